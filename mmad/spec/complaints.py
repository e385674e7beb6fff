"""From what pydantic finds wrong to one line that names file, line, key, what was expected and the mend."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from mmad.base.errors import SpecError
from mmad.spec.lines import KeyPath, line_of
from mmad.spec.nearest import did_you_mean, nearest
from mmad.spec.source import Source
from mmad.spec.tables import (
    ALIASES,
    PROTOCOL_FIELDS,
    SETUP_FIELDS,
    AblationTable,
    GridTable,
    PhantomTable,
    ProtocolTable,
    SettingTable,
    SetupTable,
    takes_none,
)

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "string_too_short": "a text that is not empty",
    "string_pattern_mismatch": "an entry of the log such as e069",
    "too_long": "at most {max_length} values",
}


def first_complaint(error: ValidationError, source: Source) -> SpecError:
    """The problem that stands first in the file, in words."""
    groups: dict[KeyPath, list[Any]] = {}
    for problem in error.errors(include_url=False):
        groups.setdefault(_key_in(source.document, problem), []).append(problem)
    # what holds a wrong value may be reported for it once more (a list that is too short without it)
    inner = [path for path in groups if not any(other[: len(path)] == path for other in groups if other != path)]
    key = min(inner, key=lambda path: (line_of(source.lines, path) or 0, len(path)))
    what, mend = explain(key, groups[key])
    return source.error(key, what, mend)


def explain(key: KeyPath, problems: Iterable[Any]) -> tuple[str, str | None]:
    """What is wrong with ``key`` and the mend; ``problems`` are pydantic's about it."""
    found = list(problems)
    kind, value = found[0]["type"], found[0]["input"]
    if kind == "extra_forbidden":
        return "unknown key", _mend_unknown(key)
    if kind == "missing":
        return f"{found[0]['loc'][-1]} is missing", f'add the line {found[0]["loc"][-1]} = "…"'
    if kind == "too_short" and not value:
        return _empty(key)
    expected = [word for problem in found for word in _expectation(problem)]
    if isinstance(key[-1], str) and (field := (SETUP_FIELDS | PROTOCOL_FIELDS).get(key[-1])) and takes_none(field):
        expected.append('"none"')
    words = " or ".join(dict.fromkeys(expected))
    choices = re.findall(r'"([^"]+)"', words)
    best = nearest(value, choices) if isinstance(value, str) else None
    return f"expected {words}, got {shown(value)}", f'did you mean "{best}"?' if best else None


def shown(value: object) -> str:
    """``value`` about as TOML writes it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _expectation(problem: Mapping[str, Any]) -> list[str]:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "literal_error":
        return re.split(r", | or ", str(context["expected"]).replace("'", '"'))
    if kind in ("too_short", "too_long") and context.get("min_length", context.get("max_length")) == 2:
        return ["two arms"]
    if kind in _EXPECTED:
        limits = {name: f"{value:g}" for name, value in context.items() if isinstance(value, int | float)}
        words = _EXPECTED[kind].format(**limits)
        in_list = any(str(part).startswith("tuple[") for part in problem["loc"][:-1])
        return [f"a list of such: {words}" if in_list else words]
    return [str(problem["msg"]).removeprefix("Input should be ")]


def _key_in(document: Mapping[str, Any], problem: Mapping[str, Any]) -> KeyPath:
    """Pydantic's location as far as the document has it: what follows names branches of a union."""
    key: list[str | int] = []
    node: Any = document
    for part in problem["loc"]:
        inside = (isinstance(node, dict) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        )
        if not inside:
            break
        key.append(part)
        node = node[part]
    return tuple(key)


def _empty(key: KeyPath) -> tuple[str, str]:
    if key[:1] == ("grid",):
        return "an empty grid", "give at least one value or leave the line out"
    if key == ("settings",):
        return "there are no settings", "add a [[settings]] table or leave the line out"
    if key == ("arms",):
        return "there are no arms", "add an [arms.NAME] table or leave the line out"
    return "expected at least one value, got none", "give a value or leave the line out"


def _table_words(key: KeyPath) -> list[str]:
    """The keys that are valid where ``key`` stands."""
    tables: dict[str, type[BaseModel]] = {
        "setup": SetupTable,
        "arms": SetupTable,
        "settings": SettingTable,
        "grid": GridTable,
        "protocol": ProtocolTable,
        "phantom": PhantomTable,
    }
    if len(key) == 1:
        return list(AblationTable.model_fields)
    return [*tables[str(key[0])].model_fields, *(() if key[0] == "phantom" else ALIASES)]


def _mend_unknown(key: KeyPath) -> str:
    word, valid = str(key[-1]), _table_words(key)
    if ALIASES.get(word) in valid:
        return f"{ALIASES[word]} is given too; leave one of them out"
    place = {"name": "[setup]"} | dict.fromkeys(PROTOCOL_FIELDS, "[protocol]") | dict.fromkeys(SETUP_FIELDS, "[setup]")
    if word in place and word not in valid:
        return f"it belongs in {place[word]} or in a [[settings]] table"
    if word in ("seeds", "inferred") and word not in valid:
        return "it belongs in [protocol]"
    best = nearest(word, valid)
    if best is None and (elsewhere := nearest(word, place)) is not None:
        return f"did you mean {elsewhere}? (it belongs in {place[elsewhere]})"
    return f"did you mean {best}?" if best else did_you_mean(word, valid)
