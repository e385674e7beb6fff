"""The tables of an ablation file as pydantic models, made from the fields of setup and protocols.

Every table may leave every field out. Values are checked strictly: no text for a number, no ``true`` for 1.
"""

from __future__ import annotations

from copy import copy
from types import GenericAlias, NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from mmad.spec.protocol import EvaluationProtocol, TrainingProtocol
from mmad.spec.runs import NAMING_FIELDS
from mmad.spec.setup import ModelSetup, unit

SETUP_FIELDS: dict[str, FieldInfo] = dict(ModelSetup.model_fields)
#: ``weights_hash`` follows from the backbone, ``continues`` from ``continue_from``: no user's words.
TRAINING_FIELDS: dict[str, FieldInfo] = {
    k: v for k, v in TrainingProtocol.model_fields.items() if k not in ("weights_hash", "continues")
}
EVALUATION_FIELDS: dict[str, FieldInfo] = dict(EvaluationProtocol.model_fields)
PROTOCOL_FIELDS: dict[str, FieldInfo] = TRAINING_FIELDS | EVALUATION_FIELDS
#: Spellings read beside a field's own name.
ALIASES = {"fusion_residual": "fusion_residule"}

Name = Annotated[str, StringConstraints(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)]

_STRICT = ConfigDict(extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False)


def takes_none(field: FieldInfo) -> bool:
    """Whether the word ``none`` stands for an absent value of ``field``."""
    return NoneType in get_args(field.annotation)


def _no_bool(value: object) -> object:
    """Python takes ``True`` for 1, so a choice of whole numbers has to refuse it by hand."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "Input should be a whole number")
    return value


def _annotation(field: FieldInfo) -> Any:
    choices = get_args(field.annotation)
    if get_origin(field.annotation) is Literal and all(type(choice) is int for choice in choices):
        return Annotated[field.annotation, BeforeValidator(_no_bool)]
    return field.annotation


def _optional(fields: dict[str, FieldInfo]) -> dict[str, Any]:
    """Definitions for ``create_model``: the same fields, none of them required."""
    return {name: (_annotation(field), copy(field)) for name, field in fields.items()}


def _lists(fields: dict[str, FieldInfo]) -> dict[str, Any]:
    """Definitions for ``create_model``: per field a list of at least one of its values."""
    definitions: dict[str, Any] = {}
    for name, field in fields.items():
        value = Annotated[(_annotation(field), *field.metadata)] if field.metadata else _annotation(field)
        definitions[name] = (
            GenericAlias(list, (value,)),
            Field(
                None,
                min_length=1,
                description=field.description,
                validation_alias=field.validation_alias,
                json_schema_extra=field.json_schema_extra,
            ),
        )
    return definitions


class _Seeded(BaseModel):
    model_config = _STRICT

    seeds: Seeds = Field((0,), description="One member per seed; both arms of a pair share it.")
    inferred: tuple[str, ...] = Field(
        (), description="Fields whose values the log does not print; they follow from its results or its code."
    )


class ContinueTable(BaseModel):
    """The run that a setting's runs go on from; each continues that of its own seed."""

    model_config = _STRICT

    setting: Name = Field(description="A setting of this file.")
    arm: Name = Field("", description="Its arm; left out: the arm that continues.")
    checkpoint: Literal["final", "best_ap", "best_ar"] = Field("final", description="Which of its checkpoints.")


class _Setting(_Seeded):
    name: Name = Field(description="Name of this point of the ablation, as tables and charts print it.")
    documented: dict[str, Annotated[str, StringConstraints(pattern=r"^e\d{3}$")]] = Field(
        default_factory=dict, description="Arm → the entry of the documented log that it mirrors."
    )
    continue_from: ContinueTable | Annotated[str, StringConstraints(pattern=r"^(e\d{3}|[0-9a-f]{64})$")] = Field(
        "",
        description="Go on from another run: a setting, an entry of the log that this file mirrors, or a run's key. "
        "epochs counts those of both.",
    )


class PhantomTable(BaseModel):
    """How the embedded data set is drawn; what is left out takes the generator's default."""

    model_config = _STRICT

    studies: int = Field(480, ge=10, le=1_000_000, description="How many studies.", json_schema_extra=unit("studies"))
    image_size: int = Field(256, ge=64, le=4096, description="Side of the images.", json_schema_extra=unit("px"))
    seed: int = Field(0, ge=0, lt=2**31, description="Same seed, same bytes.")
    clinical_effect: float = Field(
        1.0, ge=0, le=1, description="Share of the studies whose clinical values tell about their finding; 0 is none."
    )
    missing: float = Field(0.05, ge=0, le=0.9, description="Share of the clinical values that are missing.")
    artefacts: bool = Field(
        False, description="Side markers, tubes, lines, devices and uneven exposure; boxes and labels stay."
    )
    format: Literal["png", "jpeg"] = Field("png", description="Of the image files.")
    width: int = Field(
        256,
        ge=64,
        le=4096,
        description="Width of the images where they are not square; left out, image_size.",
        json_schema_extra=unit("px"),
    )
    height: int = Field(
        256,
        ge=64,
        le=4096,
        description="Height of the images where they are not square; left out, image_size.",
        json_schema_extra=unit("px"),
    )


_WITHOUT_NAME = {name: field for name, field in SETUP_FIELDS.items() if name != "name"}
_DECIDING = {name: field for name, field in SETUP_FIELDS.items() if name not in NAMING_FIELDS}

SetupTable = create_model("SetupTable", __config__=_STRICT, **_optional(SETUP_FIELDS))
ProtocolTable = create_model("ProtocolTable", __base__=_Seeded, **_optional(PROTOCOL_FIELDS))
SettingTable = create_model("SettingTable", __base__=_Setting, **_optional(_WITHOUT_NAME | PROTOCOL_FIELDS))
GridTable = create_model("GridTable", __config__=_STRICT, **_lists(_DECIDING | PROTOCOL_FIELDS))
OverrideTable = create_model(
    "OverrideTable",
    __config__=_STRICT,
    seeds=(Seeds, Field((0,))),
    **_optional(SETUP_FIELDS | PROTOCOL_FIELDS),
)

OutOfMemory = Literal["fail", "accumulate"]
Pair = Annotated[tuple[Name, ...], Field(min_length=2, max_length=2)]

AblationTable = create_model(
    "AblationTable",
    __config__=_STRICT,
    title=(str, Field("", description="Heading in the report; empty takes the file's name.")),
    description=(str, Field("", description="What is asked, in a sentence or two.")),
    on_out_of_memory=(
        OutOfMemory,
        Field(
            "fail",
            description="What becomes of a run whose batch does not fit into its device's memory even alone: it fails, "
            "or is trained at half the batch with twice the accumulated steps, under a key of its own.",
        ),
    ),
    data=(Name, Field("phantom", description='The data set: a folder relative to this file, or "phantom".')),
    phantom=(PhantomTable, Field(default_factory=PhantomTable, description="How the embedded data set is drawn.")),
    setup=(SetupTable, Field(default_factory=SetupTable, description="Fields of ModelSetup that all runs share.")),
    arms=(
        Annotated[dict[Name, SetupTable], Field(min_length=1)],
        Field(None, description="The sides of a comparison; left out: CXR and CXR+Clinical."),
    ),
    settings=(
        Annotated[list[SettingTable], Field(min_length=1)],
        Field(None, description="The points of the ablation, one table each."),
    ),
    grid=(GridTable, Field(None, description="Lists of values: every combination becomes a setting.")),
    protocol=(
        ProtocolTable,
        Field(default_factory=ProtocolTable, description="How runs are trained and judged, and with which seeds."),
    ),
    compare=(
        tuple[Pair, ...],
        Field((), description="Pairs (reference arm, other arm); left out: the first arm with each other."),
    ),
)
