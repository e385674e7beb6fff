"""The field reference of docs/ablation-file.md, made from the models that check an ablation file.

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
from mmad.config.checks import LOSS_NAMES
from mmad.config.fields import stated
from mmad.config.hypothesis import Hypothesis

PAGE = Path(__file__).parents[2] / "docs" / "ablation-file.md"
BEGIN, END = "<!-- fields: begin (generated, see tests/docs/docs_field_reference.py) -->", "<!-- fields: end -->"

#: The field that begins each part of the setup, and the part's heading. The order is the model's.
PARTS = {
    "name": "Names and paths (no part of a run's key)",
    "use_clinical": "What is trained",
    "backbone": "Image branch",
    "clinical_input_channels": "Clinical branch",
    "anchor_sizes": "Heads",
    "optimiser": "Optimisation",
}
_HEAD = ("key", "type", "range", "default", "unit", "what it does")
#: What fields of the setup and of the training say of themselves besides.
_STATED = ("affects", "idle when")
_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    NoneType: '`"none"`',
}
_SIGNS: Mapping[type, tuple[str, str]] = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


def reference() -> str:
    """Every field of the setup, the protocols and the phantom as Markdown tables."""
    parts = [f"### `[setup]`: {heading}\n\n{_table(fields, stating=True)}" for heading, fields in _setup_parts()]
    parts.append("### `[protocol]`: the training (part of a run's key)\n\n" + _table(TRAINING_FIELDS, stating=True))
    parts.append("### `[protocol]`: the evaluation (no part of a run's key)\n\n" + _table(EVALUATION_FIELDS))
    parts.append(
        "### `[hypothesis]`: what the study sets out to show (no part of a run's key)\n\n"
        + _table(Hypothesis.model_fields)
    )
    tune = {name: field for name, field in TuneTable.model_fields.items() if name != "space"}
    parts.append("### `[tune]`: the search for each arm's setup (no part of a run's key)\n\n" + _table(tune))
    parts.append("### `[phantom]`: how the embedded data set is drawn\n\n" + _table(PhantomTable.model_fields))
    return "\n\n".join(parts)


def page_with_reference(page: str) -> str:
    """``page`` with what stands between its markers made anew."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{rest.split(END)[1]}"


def _setup_parts() -> list[tuple[str, dict[str, FieldInfo]]]:
    parts: list[tuple[str, dict[str, FieldInfo]]] = []
    for name, field in SETUP_FIELDS.items():
        if name in PARTS:
            parts.append((PARTS[name], {}))
        parts[-1][1][name] = field
    return parts


def _table(fields: Mapping[str, FieldInfo], *, stating: bool = False) -> str:
    head = (*_HEAD, *(_STATED if stating else ()))
    rows = [(*_cells(name, field), *(_claims(field) if stating else ())) for name, field in fields.items()]
    return "\n".join([_line(head), f"|{'---|' * len(head)}", *map(_line, rows)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(name: str, field: FieldInfo) -> tuple[str, ...]:
    extra = field.json_schema_extra
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    what = (field.description or "").replace("|", r"\|")
    return f"`{name}`", _type(name, field), _range(field), _default(field), unit or "–", what


def _claims(field: FieldInfo) -> tuple[str, str]:
    """What ``field`` affects, and when it is idle; where it is so in part, with that part."""
    claims = stated(field)
    idle = [
        f"`{condition}`" + (f" ({', '.join(claim.effects)})" if len(claims) > 1 else "")
        for claim in claims
        for condition in claim.idle
    ]
    return ", ".join(effect for claim in claims for effect in claim.effects) or "nothing", "; ".join(idle) or "–"


def _type(name: str, field: FieldInfo) -> str:
    if name == "loss_weights":
        return "table: " + ", ".join(f"`{word}`" for word in LOSS_NAMES) + ' = a number ≥ 0 or `"detach"`'
    return _words(field.annotation)


def _words(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if origin is dict:
        return '`{ use = "MODULE:CLASS", … }`'
    if origin is Annotated:
        return _words(inner[0])
    if origin is Literal:
        return " or ".join(f"`{json.dumps(choice)}`" for choice in inner)
    if origin is tuple:
        return f"list of {_words(inner[0])}s"
    return " or ".join(_words(part) for part in inner)


def _range(field: FieldInfo) -> str:
    limits = [
        f"{_SIGNS[type(limit)][0]} {_number(getattr(limit, _SIGNS[type(limit)][1]))}"
        for limit in field.metadata
        if type(limit) in _SIGNS
    ]
    return ", ".join(limits) or "–"


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
    text = PAGE.read_text("utf-8")
    made = page_with_reference(text)
    PAGE.write_text(made, "utf-8")
    print(
        f"{PAGE}: {'unchanged' if made == text else 'brought up to date'}, {len(re.findall('^[|] `', made, re.M))} rows"
    )


if __name__ == "__main__":
    main()
