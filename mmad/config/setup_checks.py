"""Which fields of a setup go together, how large its maps are, and whether it fits a data set and this version."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mmad.base.errors import SpecError
from mmad.base.records import LOSS_COMPONENTS, ClinicalColumns
from mmad.config.named_parts import PARTS, STRIDES, TIMM, is_own, part_arguments, part_name, part_problems

if TYPE_CHECKING:
    from mmad.config.setup import ModelSetup

#: Losses that can be weighted: those of every detector, and the mask head's.
LOSS_NAMES = (*LOSS_COMPONENTS, "loss_mask")
#: Backbones a feature pyramid can stand on; of timm's any with maps at strides 4, 8, 16 and 32.
PYRAMID_BACKBONES = ("resnet18", "resnet50", "swin_t")
PYRAMID_CHANNELS = 256
LARGEST_ANCHOR = 16_384  # px: four times the largest image
#: Pixels per cell of a pyramid's levels, the last one pooled from the one before.
PYRAMID_STRIDES = (4, 8, 16, 32, 64)


def problems(setup: ModelSetup) -> Iterator[str]:
    """What does not go together in ``setup``: each names its fields and what would do."""
    for field in PARTS:
        yield from part_problems(field, getattr(setup, field))
    yield from _values(setup)
    yield from _image_branch(setup)
    yield from _losses(setup)
    if setup.use_clinical:
        yield from _clinical_branch(setup)


def _values(setup: ModelSetup) -> Iterator[str]:
    if setup.image_size & (setup.image_size - 1):
        below = 1 << (setup.image_size.bit_length() - 1)
        yield f"image_size = {setup.image_size}: must be a power of two, such as {below} or {below * 2}"
    for name in ("anchor_sizes", "anchor_ratios"):
        values = getattr(setup, name)
        if not values or min(values) <= 0:
            yield f"{name} = {list(values)}: expected at least one number, each greater than 0"
        elif max(values) > LARGEST_ANCHOR:
            yield f"{name} = {list(values)}: expected numbers up to {LARGEST_ANCHOR}"
    for name in ("clinical_numeric", "clinical_categorical"):
        columns = getattr(setup, name) or ()
        if len(set(columns)) < len(columns):
            yield f"{name} = {list(columns)}: names a column twice; keep one of them"
    if setup.mixed_precision and setup.bf16:
        yield "mixed_precision = true with bf16 = true: two precisions; set one of them false"
    if setup.gpus_per_run > setup.batch_size:
        yield (
            f"gpus_per_run = {setup.gpus_per_run} with batch_size = {setup.batch_size}: a batch is the images "
            f"of all GPUs; set batch_size to {setup.gpus_per_run} or more"
        )
    if setup.gpus_per_run > 1 and setup.record_training_performance:
        yield (
            f"gpus_per_run = {setup.gpus_per_run} with record_training_performance = true: training AP is measured on "
            "one GPU alone; set record_training_performance = false"
        )
    if any(epoch < 1 for epoch in setup.milestones):
        yield f"multiStepLR_milestones = {list(setup.milestones)}: expected epochs, counted from 1"
    if setup.dataset_mode == "full" and setup.use_clinical:
        yield (
            'dataset_mode = "full" with use_clinical = true: full is every reading without clinical data; '
            'set dataset_mode = "normal", or use_clinical = false'
        )
    for part in ("rpn", "box"):
        below_, above = getattr(setup, f"{part}_bg_iou_thresh"), getattr(setup, f"{part}_fg_iou_thresh")
        if below_ > above:
            yield (
                f"{part}_bg_iou_thresh = {below_} is above {part}_fg_iou_thresh = {above}: "
                f"set {part}_bg_iou_thresh to {above} or less"
            )
        size, share = getattr(setup, f"{part}_batch_size_per_image"), getattr(setup, f"{part}_positive_fraction")
        if int(size * share) < 1:
            yield (
                f"{part}_batch_size_per_image = {size} with {part}_positive_fraction = {share}: no finding would ever "
                f"be sampled; set {part}_batch_size_per_image to {math.ceil(1 / share)} or more"
            )


def _image_branch(setup: ModelSetup) -> Iterator[str]:
    name = part_name(setup.backbone) or ""
    known = name in STRIDES
    if not known and not is_own(setup.backbone) and not re.fullmatch(rf"{TIMM}[\w.-]+", name):
        yield f"backbone = {name!r}: expected one of {', '.join(STRIDES)}, or timm:NAME"
    if not setup.use_custom_model:
        if setup.use_clinical:
            yield (
                "use_custom_model = false with use_clinical = true: torchvision's own Mask R-CNN reads no clinical "
                "data; set use_custom_model = true"
            )
        return
    if setup.using_fpn and setup.trainable_layers is not None and not name.startswith("resnet"):
        yield f"trainable_layers with backbone = {name!r}: only a ResNet's parts are counted; drop it"
    if setup.using_fpn and setup.trainable_layers not in (None, 5) and not setup.pretrained:
        yield (
            f"trainable_layers = {setup.trainable_layers} with pretrained = false: parts drawn at random would stay "
            "so; drop it, or set pretrained = true"
        )
    if setup.using_fpn:
        if known and name not in PYRAMID_BACKBONES:
            yield (
                f"using_fpn = true with backbone = {name!r}: it has no feature pyramid; "
                f"use one of {', '.join(PYRAMID_BACKBONES)}, or timm:NAME"
            )
        if len(setup.anchor_sizes) != len(PYRAMID_STRIDES):
            yield (
                f"anchor_sizes = {list(setup.anchor_sizes)} with using_fpn = true: expected "
                f"{len(PYRAMID_STRIDES)} sizes, one per level"
            )


def _losses(setup: ModelSetup) -> Iterator[str]:
    for name in setup.loss_weights:
        if name not in LOSS_NAMES:
            yield f"loss_weights.{name}: expected one of {', '.join(LOSS_NAMES)}"
    present = [name for name in LOSS_NAMES if name != "loss_mask" or setup.has_masks]
    if all(setup.loss_weights.get(name) in ("detach", 0) for name in present):
        yield "loss_weights: every component is detached or 0, so nothing would be trained; leave one its weight"


def _clinical_branch(setup: ModelSetup) -> Iterator[str]:
    yield from _reading(setup)
    era = setup.era_form
    if era == "C" and not (setup.spatialise_clinical or setup.add_clinical_to_roi_heads):
        yield (
            "use_clinical = true with spatialise_clinical = false and add_clinical_to_roi_heads = false: "
            "nothing would read the clinical data; set one of them true"
        )
    if era not in ("C", None) and (setup.spatialise_method == "repeat" or setup.pre_spatialised_layer):
        field = "spatialise_method" if setup.spatialise_method == "repeat" else "pre_spatialised_layer"
        yield f'{field} belongs to era C and this setup is of era {era}: drop it, or set era = "C"'
    if setup.clinical_numeric == () and setup.clinical_categorical == ():
        yield (
            "use_clinical = true with clinical_numeric = [] and clinical_categorical = []: no clinical column is "
            "left; name one, or set use_clinical = false"
        )
    fuses = era == "A" or (era == "C" and setup.spatialise_clinical)
    if fuses and setup.fusion_strategy == "concat" and setup.fuse_layers == 0:
        yield (
            'fusion_strategy = "concat" with fuse_depth = 0: the joined map would be twice as wide; '
            'use "add", or fuse_depth >= 1'
        )
    if setup.fuse_layers and setup.fusion_residule and setup.fusion_strategy == "concat":
        yield (
            'fusion_residule = true with fusion_strategy = "concat": a residual adds the image map and the clinical '
            'map to their fused sum; use fusion_strategy = "add", or fusion_residule = false'
        )
    if (problem := misfit(setup, map_sides(setup))) is not None:
        yield problem


#: Attention heads of ``cross_attention`` where its table gives no other number.
_HEADS = 8


def _reading(setup: ModelSetup) -> Iterator[str]:
    """Whether the fusion can read what the clinical encoder makes."""
    fusion, encoder = setup.fusion_name, setup.clinical_encoder_name
    if fusion == "cross_attention":
        if encoder == "vector":
            yield (
                'clinical_encoder = "vector" with fusion = "cross_attention": it attends to tokens; '
                "drop clinical_encoder"
            )
        heads = part_arguments(setup.fusion).get("heads", _HEADS)
        if isinstance(heads, int) and (heads < 1 or setup.clinical_input_channels % heads):
            yield (
                f'clinical_input_channels = {setup.clinical_input_channels} with fusion = "cross_attention": '
                f"expected a multiple of its {heads} heads"
            )
    elif encoder == "tokens" and not is_own(setup.fusion):
        yield f'clinical_encoder = "tokens" with fusion = "{fusion}": it reads one vector; drop clinical_encoder'
    if setup.clinical_records == "missing" and setup.clinical_numeric != () and not setup.missing_indicators:
        yield (
            'clinical_records = "missing" with clinical_missing_indicators = false: which numbers are missing would '
            "not be seen; set clinical_missing_indicators = true"
        )


def misfit(setup: ModelSetup, sides: tuple[int, ...] | None) -> str | None:
    """Why maps of ``sides`` cells cannot be added to the fused ones (``fusion_residule``); else None."""
    for side in sides or ():
        fused = fused_side(setup, side)
        if setup.fusion_residule and fused not in (1, side):
            return (
                f"fusion_residule = true with fuse_stride = {setup.fuse_stride}: the fused map has {fused} cells a "
                f"side and the image's {side}, which cannot be added; set fuse_stride = 1"
            )
    return None


def map_sides(setup: ModelSetup) -> tuple[int, ...] | None:
    """Cells per side of the image's maps, level by level; None for timm's networks, which have to be built to know."""
    if setup.using_fpn or not setup.use_custom_model:
        return tuple(-(-setup.image_size // stride) for stride in PYRAMID_STRIDES)
    stride = STRIDES.get(setup.image_backbone)
    return None if stride is None else (-(-setup.image_size // stride),)


def fused_side(setup: ModelSetup, side: int) -> int:
    """Cells per side that a map of ``side`` cells has after the fuse convolutions."""
    for _ in range(setup.fuse_layers):
        side = -(-side // setup.fuse_stride)
    return side


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
