"""docs/fields.md, made from the models that check an ablation file.

Run ``python tests/docs/docs_field_reference.py`` to bring the page up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from mmad.config.ablation_file import EVALUATION_FIELDS, SETUP_FIELDS, TRAINING_FIELDS, PhantomTable, TuneTable
from mmad.config.field_effects import stated
from mmad.config.hypothesis import Hypothesis
from mmad.config.setup import LOSS_NAMES

PAGE = Path(__file__).parents[2] / "docs" / "fields.md"
#: What stands above the tables.
INTRO = """\
# Fields

Every field of an [ablation file](ablation-file.md), made from the code by `tests/docs/docs_field_reference.py`. Names
are those that the documented log prints; [the detector](detector.md) describes eras A, B and C. Names, paths, the
evaluation, `[hypothesis]` and `[tune]` are no part of a run's [key](ablation-file.md#keys).

A field affects **A** the architecture, **T** the training (rounding included), **E** the evaluation (what is measured
of given weights), **S** the speed (time and memory of an epoch). An *idle* field changes no bit of a result. In these
conditions `resolved_era` is the clinical branch's era, `fuse_layers` the number of fuse convolutions on each map, and
`has_pyramid`, `has_masks`, `image_backbone` describe the network. A *part* is `{ use = "MODULE:CLASS", … }`
([parts](parts.md)); `[0, 1)` includes 0 but not 1.
"""

#: The field that begins each part of the setup, and the part's heading. The order is the model's.
PARTS = {
    "name": "Names and paths",
    "use_clinical": "What is trained",
    "backbone": "Image branch",
    "clinical_input_channels": "Clinical branch",
    "clinical_expand_conv_channels": "Documented fusion",
    "anchor_sizes": "Heads",
    "rpn_pre_nms_top_n_train": "Proposals",
    "optimiser": "Optimisation",
}
_HEAD = ("key", "value", "default", "what it does")
#: Where the first condition is stated of every field of a table but some, and these state one of the others, which it
#: implies, it holds of them too.
_IMPLIES = {"`use_clinical = false`": {"`fuse_layers = 0`", "`always`"}, "`fusion ≠ era`": {"`fuse_layers = 0`"}}
_WORDS: Mapping[Any, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "string",
    NoneType: '`"none"`',
}
#: Kinds of limits: the attribute that holds the bound, and how the interval begins or ends there.
_LOWER: Mapping[type, tuple[str, str]] = {Ge: ("ge", "["), Gt: ("gt", "(")}
_UPPER: Mapping[type, tuple[str, str]] = {Le: ("le", "]"), Lt: ("lt", ")")}


def reference() -> str:
    """Every field of the setup, the protocols and the phantom as Markdown tables."""
    parts = [f"## `[setup]`: {heading}\n\n{_table(fields, stating=True)}" for heading, fields in _setup_parts()]
    parts.append("## `[protocol]`: the training\n\n" + _table(TRAINING_FIELDS, stating=True))
    parts.append("## `[protocol]`: the evaluation\n\n" + _table(EVALUATION_FIELDS))
    parts.append("## `[hypothesis]`: what the study sets out to show\n\n" + _table(Hypothesis.model_fields))
    tune = {name: field for name, field in TuneTable.model_fields.items() if name != "space"}
    parts.append("## `[tune]`: the search for each arm's setup\n\n" + _table(tune))
    parts.append("## `[phantom]`: how the embedded data set is drawn\n\n" + _table(PhantomTable.model_fields))
    return "\n\n".join(parts)


def page() -> str:
    """The whole page."""
    return f"{INTRO}\n{reference()}\n"


def _setup_parts() -> list[tuple[str, dict[str, FieldInfo]]]:
    parts: list[tuple[str, dict[str, FieldInfo]]] = []
    for name, field in SETUP_FIELDS.items():
        if name in PARTS:
            parts.append((PARTS[name], {}))
        parts[-1][1][name] = field
    return parts


def _table(fields: Mapping[str, FieldInfo], *, stating: bool = False) -> str:
    idle = {name: _idle(field) if stating else [] for name, field in fields.items()}
    common = {
        words
        for words in set().union(*idle.values())
        if all(words in said or _IMPLIES.get(words, set()) & set(said) for said in idle.values())
    }
    rows = [
        _cells(name, field, [words for words in idle[name] if words not in common], _affects(field) if stating else "")
        for name, field in fields.items()
    ]
    always = f"All are idle where {' or '.join(sorted(common))}.\n\n" if common else ""
    return always + "\n".join([_line(_HEAD), f"|{'---|' * len(_HEAD)}", *map(_line, rows)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(name: str, field: FieldInfo, idle: list[str], affects: str) -> tuple[str, ...]:
    extra = field.json_schema_extra
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    what = (field.description or "").replace("|", r"\|")
    kind, *none = _type(name, field).split(f", {_WORDS[NoneType]}")
    value = " ".join(part for part in (kind, _range(field), unit) if part)
    if none and field.default is not None:  # as a default it is named in the next cell
        value += f", {_WORDS[NoneType]}"
    said = [what, *([f"**{affects}**"] if affects else []), *([f"Idle: {'; '.join(idle)}."] if idle else [])]
    return f"`{name}`", value, _default(field), " ".join(said)


def _affects(field: FieldInfo) -> str:
    """The initials of what ``field`` affects."""
    return "".join(effect[0].upper() for claim in stated(field) for effect in claim.effects)


def _idle(field: FieldInfo) -> list[str]:
    """The conditions under which ``field`` is idle; where one is so in part, with the initials of that part."""
    claims = stated(field)
    return [
        f"`{condition}`" + (f" ({''.join(e[0].upper() for e in claim.effects)})" if len(claims) > 1 else "")
        for claim in claims
        for condition in claim.idle
    ]


def _type(name: str, field: FieldInfo) -> str:
    if name == "loss_weights":
        return "table of " + ", ".join(f"`{word}`" for word in LOSS_NAMES) + ' = float ≥ 0 or `"detach"`'
    return _words(field.annotation)


def _words(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if origin is dict:
        return "part"
    if origin is Annotated:
        return _words(inner[0])
    if origin is Literal:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in inner)
    if origin is tuple:
        return f"[{_words(inner[0])}]"
    return ", ".join(_words(part) for part in inner)


def _range(field: FieldInfo) -> str:
    """The interval of the values, ``[1, 8)``; with one bound the sign and the bound."""
    lower = [(_LOWER[type(m)], m) for m in field.metadata if type(m) in _LOWER]
    upper = [(_UPPER[type(m)], m) for m in field.metadata if type(m) in _UPPER]
    low, high = (_number(getattr(found[0][1], found[0][0][0])) if found else "" for found in (lower, upper))
    if lower and upper:
        return f"{lower[0][0][1]}{low}, {high}{upper[0][0][1]}"
    return f"{'≥' if lower[0][0][1] == '[' else '>'} {low}" if lower else ""


def _number(value: float) -> str:
    return "2³¹" if value == 2**31 else f"{value:g}" if abs(value) < 1e5 else f"{value:,}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "–"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(list(value))}`"
    return "`" + json.dumps("none" if value is None else value) + "`"


def main() -> None:
    text = page()
    PAGE.write_text(text, "utf-8")
    print(f"{PAGE}: {len(re.findall('^[|] `', text, re.M))} rows")


if __name__ == "__main__":
    main()
