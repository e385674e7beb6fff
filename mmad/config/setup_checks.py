"""What to know of the network of a setup, and whether it fits a data set and this version."""

from __future__ import annotations

from importlib.util import find_spec

from mmad.base.errors import SpecError
from mmad.base.records import ClinicalColumns
from mmad.config.named_parts import TIMM
from mmad.config.setup import ModelSetup, fused_side


def network_warnings(setup: ModelSetup, sides: tuple[int, ...] | None) -> str | None:
    """What to know of the network of ``setup`` before trusting it, with image maps of ``sides`` cells; else None."""
    found = [said for said in (shrunken(setup, sides), _running_statistics(setup, sides)) if said is not None]
    return "; ".join(found) or None


def _running_statistics(setup: ModelSetup, sides: tuple[int, ...] | None) -> str | None:
    """A warning where a BatchNorm meets one value per channel, which a batch of one image has; else None."""
    sides = sides or ()
    where = []
    if 1 in (sides[:-1] if setup.has_pyramid else sides) and not (setup.has_pyramid and setup.frozen_norm):
        where.append("image's map")  # the last level of a pyramid is pooled
    if setup.era_form == "A" and 1 in sides:
        where.append("clinical map")
    if setup.fuse_layers and any(fused_side(setup, side) == 1 for side in sides):
        where.append("fused map")
    mixed = setup.era_form == "C" and setup.spatialise_clinical and setup.pre_spatialised_layer
    if mixed or (setup.use_clinical and setup.fusion_name == "gated_sum"):
        where.append("clinical vector")
    if not where:
        return None
    return (
        f"in a batch of one image, as batch_size = 1 has and the last of an epoch may be, BatchNorm of the "
        f"{' and the '.join(where)} takes its running statistics, for one value has no variance"
    )


def shrunken(setup: ModelSetup, sides: tuple[int, ...] | None) -> str | None:
    """A warning when a fused map shrinks to 1×1, where the heads cannot see what lies in a box; else None."""
    shrunk = [side for side in sides or () if side > 1 and fused_side(setup, side) == 1]
    if not shrunk:
        return None
    hint = "set fuse_stride = 1, unless the documented network is meant"
    if len(shrunk) < len(sides or ()):
        return f"the fused maps of {shrunk[0]} and fewer cells a side shrink to 1×1 and no longer say where: {hint}"
    return f"the fused map shrinks to 1×1, so the heads cannot see what lies in a box, only where its corner is: {hint}"


# Whether its clinical branch fits the columns of a data set.


def require_fit(setup: ModelSetup, columns: ClinicalColumns) -> None:
    """Refuse clinical columns that ``setup`` cannot read; columns without ``use_clinical`` are idle.

    Args:
        setup: the hyper-parameters.
        columns: those that ``clinical_numeric`` and ``clinical_categorical`` leave of the data set's.

    Raises:
        SpecError: no column is left, their number is not the one given, or the vector has no room for them.
    """
    if not setup.use_clinical:
        return
    numbers = len(columns.numeric)
    if not numbers and not columns.categorical:
        raise SpecError(
            "use_clinical = true, but no clinical column is left",
            hint="name some in clinical_numeric or clinical_categorical, or set use_clinical = false",
        )
    if setup.clinical_num_len not in (None, numbers):
        raise SpecError(
            f"clinical_num_len = {setup.clinical_num_len}, but there are {numbers} numeric columns",
            hint="drop clinical_num_len, or choose columns with clinical_numeric",
        )
    if setup.clinical_encoder_name == "vector":
        require_room(columns, setup.clinical_input_channels, indicators=setup.clinical_missing_indicators)


def number_count(columns: ClinicalColumns, *, indicators: bool) -> int:
    """How many numbers a detector reads: one per numeric column, with missing-value indicators two."""
    return len(columns.numeric) * (2 if indicators else 1)


def require_room(columns: ClinicalColumns, length: int, *, indicators: bool = False) -> None:
    """Refuse a vector of ``length`` values that is too short: one per number, at least one per category.

    Raises:
        SpecError: with the least length.
    """
    needed = number_count(columns, indicators=indicators) + len(columns.categorical)
    if length < needed:
        beside = f" and their {len(columns.numeric)} missing-value indicators" if indicators else ""
        raise SpecError(
            f"clinical_input_channels = {length} is too small for {len(columns.numeric)} numbers{beside} "
            f"and {len(columns.categorical)} categorical columns",
            hint=f"use at least {needed}",
        )


# What this installation can build.


def unsupported(setup: ModelSetup) -> tuple[str, str, str] | None:
    """The first field of ``setup`` that cannot be built here: (field, what, hint); None when all can."""
    if setup.image_backbone.startswith(TIMM) and find_spec("timm") is None:
        return "backbone", "timm is not installed", "install it with pip install 'mmad[timm]'"
    return None
