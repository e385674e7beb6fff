"""Named parts: what a field of a setup names by a word of ours, or as ``MODULE:CLASS`` of a module of the user's own.

    fusion = "film"                                       a word
    fusion = { use = "gated_sum" }                        the same as "gated_sum"
    fusion = { use = "mylab.image:FiLM", width = 64 }     a class of one's own, with its arguments

All are found in one way: a word stands for ``MODULE:CLASS`` of this package. Nothing is imported here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from mmad.config.messages import did_you_mean

#: Backbone → pixels of the image per cell of its last map.
STRIDES: dict[str, int] = {
    "mobilenet_v3": 32,
    "mobilenet_v2": 32,
    "resnet18": 32,
    "resnet50": 32,
    "swin_t": 32,
    "custom": 4,
    "custom1": 4,
    "custom2": 8,
    "custom3": 16,
}
TIMM = "timm:"

#: How a setup names a part: a word, or a table with ``use`` and the arguments of the class.
Named = str | Mapping[str, Any] | None

#: ``MODULE:CLASS``.
USE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


@dataclass(frozen=True)
class PartKind:
    """A field of the setup that names a part.

    Attributes:
        field: of the setup.
        protocol: ``MODULE:CLASS`` of the ``Protocol`` that a part of this kind keeps to.
        words: what stands for a class of this package.
        others: words that stand for no class, with what they mean.
    """

    field: str
    protocol: str
    words: Mapping[str, str]
    others: Mapping[str, str] = dataclass_field(default_factory=dict)


PARTS: Mapping[str, PartKind] = {
    kind.field: kind
    for kind in (
        PartKind(
            "fusion",
            "mmad.detector.fusions:Fusion",
            {
                "film": "mmad.detector.fusions:FiLM",
                "daft": "mmad.detector.fusions:DAFT",
                "gated_sum": "mmad.detector.fusions:GatedSum",
                "mmtm": "mmad.detector.fusions:MMTM",
                "cross_attention": "mmad.detector.fusions:CrossAttention",
                "late": "mmad.detector.fusions:Late",
            },
            others={"era": "the documented forms, by the field era"},
        ),
        PartKind(
            "clinical_encoder",
            "mmad.detector.clinical:ClinicalEncoding",
            {"vector": "mmad.detector.clinical:ClinicalVector", "tokens": "mmad.detector.clinical:ClinicalTokens"},
        ),
        PartKind(
            "backbone",
            "mmad.detector.backbones:Body",
            {},
            others={
                **{
                    name: f"torchvision's, {stride} pixels per cell of its last map" for name, stride in STRIDES.items()
                },
                f"{TIMM}NAME": "a network of timm",
            },
        ),
        PartKind(
            "box_loss", "mmad.detector.roi_heads:BoxLoss", {}, others={"smooth_l1": "torchvision's smooth L1 loss"}
        ),
        PartKind("augmentation", "mmad.data.loader:OwnAugmentation", {}, others={"none": "no change after the flip"}),
        PartKind(
            "optimiser",
            "mmad.training.schedules:OptimiserMaker",
            {"sgd": "torch.optim:SGD", "adamw": "torch.optim:AdamW"},
        ),
        PartKind(
            "lr_scheduler",
            "mmad.training.schedules:OwnSchedule",
            {},
            others={
                "none": "the rate stays",
                "ReduceLROnPlateau": "lowers it on a plateau, by the fields of that name",
                "MultiStepLR": "lowers it at milestones, by the fields of that name",
                "CosineAnnealingLR": "half a cosine after a ramp, by the fields cosine_…",
            },
        ),
    )
}


def part_name(named: Named) -> str | None:
    """The word, or ``MODULE:CLASS``, that ``named`` gives."""
    return str(named["use"]) if isinstance(named, Mapping) else named


def part_arguments(named: Named) -> dict[str, Any]:
    """The arguments that ``named`` gives to the class."""
    return {name: value for name, value in named.items() if name != "use"} if isinstance(named, Mapping) else {}


def part_path(field: str, named: Named) -> str:
    """``MODULE:CLASS`` of what ``field`` names."""
    name = str(part_name(named))
    return PARTS[field].words.get(name, name)


def is_own(named: Named) -> bool:
    """Whether it is a class of a module of the user's own."""
    return isinstance(named, Mapping) and ":" in str(named["use"])


def plain_part(named: Any) -> Any:
    """``named`` in the one form that a run's content has: a word without arguments is the word alone."""
    return named["use"] if isinstance(named, Mapping) and len(named) == 1 and not is_own(named) else named


def part_problems(field: str, named: Named) -> Iterator[str]:
    """What is wrong with how ``field`` names a part, its module not looked at."""
    if not isinstance(named, Mapping):
        return
    use, words = named.get("use"), PARTS[field].words
    example = 'use = "mymodule:MyClass"'
    if not isinstance(use, str):
        yield f"{field}: the table has no use; write {field} = {{ {example} }}"
    elif use not in words and not re.match(USE, use, re.ASCII):
        named = f"neither MODULE:CLASS nor one of {', '.join(words)}" if words else "not MODULE:CLASS"
        near = f"; {did_you_mean(use, words)}" if words else f"; write {example}"
        yield f"{field}: use = {use!r} is {named}{near}"
    for name, value in part_arguments(named).items():
        if not (name.isidentifier() and _is_plain(value)):
            yield f"{field}.{name}: expected a number, a text, true, false or a list of such as an argument"


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) or (
        isinstance(value, list | tuple) and all(map(_is_plain, value))
    )


# What can be named, read off the text of the classes: their libraries take seconds to import.


@dataclass(frozen=True)
class PartDescription:
    """A class in words: the first line of its documentation, and the arguments that a table may give, with defaults."""

    path: str
    what: str
    arguments: Mapping[str, Any]


def describe(path: str) -> PartDescription:
    """The class at ``MODULE:CLASS``; of torch's nothing is read."""
    module, _, name = path.partition(":")
    if not module.startswith("mmad."):
        return PartDescription(path, f"{path.replace(':', '.')}, with its own arguments", {})
    file = Path(__file__).parents[1].joinpath(*module.split(".")[1:]).with_suffix(".py")
    nodes = ast.parse(file.read_text(encoding="utf-8")).body
    (found,) = [node for node in nodes if isinstance(node, ast.ClassDef) and node.name == name]
    what = (ast.get_docstring(found) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "")
    makes = [node.args for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    arguments: dict[str, Any] = {}
    for given in makes:
        values = given.args[len(given.args) - len(given.defaults) :]
        arguments |= {one.arg: ast.literal_eval(value) for one, value in zip(values, given.defaults, strict=True)}
    return PartDescription(path, what, arguments)
