"""From the text of an ablation file to its parts, every value checked by itself."""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mmad.base.errors import SpecError
from mmad.spec.complaints import explain, first_complaint
from mmad.spec.continuing import Wish
from mmad.spec.lines import KeyPath
from mmad.spec.nearest import did_you_mean
from mmad.spec.source import Source, read_source
from mmad.spec.tables import (
    ALIASES,
    EVALUATION_FIELDS,
    PROTOCOL_FIELDS,
    SETUP_FIELDS,
    TRAINING_FIELDS,
    AblationTable,
    OverrideTable,
    takes_none,
)

DEFAULT_ARMS: Mapping[str, Mapping[str, Any]] = {
    "CXR": {"use_clinical": False},
    "CXR+Clinical": {"use_clinical": True},
}
_FIELDS = SETUP_FIELDS | PROTOCOL_FIELDS
_SEEDS = ("seed", "seeds")


@dataclass(frozen=True)
class Layer:
    """Values that one place gives to fields, and that place."""

    values: Mapping[str, Any]
    place: KeyPath
    word: str | None = None  # the --set word, when it is no place of the file

    def key(self, field: str) -> KeyPath:
        return (*self.place, field)


@dataclass(frozen=True)
class Setting:
    """One ``[[settings]]`` table: a point of the ablation."""

    name: str
    layer: Layer
    documented: Mapping[str, str]
    inferred: tuple[str, ...]
    place: KeyPath
    continues: Wish | None = None


@dataclass(frozen=True)
class ParsedFile:
    """An ablation file, its values checked one by one but not yet put together."""

    source: Source
    title: str
    description: str
    on_out_of_memory: str
    data: str
    phantom: Mapping[str, Any]
    setup: Layer
    protocol: Layer
    inferred: tuple[str, ...]
    arms: Mapping[str, Layer]
    settings: tuple[Setting, ...]
    grid: Mapping[str, tuple[Any, ...]]
    compare: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """The ablation's name: the file's, without its ending."""
        return Path(self.source.path).stem


def parse_file(path: Path) -> ParsedFile:
    """Read and check the ablation file ``path``.

    Raises:
        SpecError: whatever is wrong first, with file, line, key and mend.
    """
    source = read_source(path)
    document = _prepared(source, source.document, ())
    try:
        table = AblationTable.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise first_complaint(error, source) from None
    given = table.model_dump(exclude_unset=True)
    protocol = dict(given.get("protocol", {}))
    inferred = _inferred(protocol, source, ("protocol", "inferred"))
    parsed = ParsedFile(
        source=source,
        title=given.get("title") or Path(source.path).stem,
        description=given.get("description", ""),
        on_out_of_memory=given.get("on_out_of_memory", "fail"),
        data=given.get("data", "phantom"),
        phantom=given.get("phantom", {}),
        setup=Layer(given.get("setup", {}), ("setup",)),
        protocol=Layer(_seeded(protocol, source, ("protocol",)), ("protocol",)),
        inferred=inferred,
        arms={name: Layer(values, ("arms", name)) for name, values in given.get("arms", DEFAULT_ARMS).items()},
        settings=tuple(_setting(source, i, values) for i, values in enumerate(given.get("settings", ()))),
        grid=_grid(source, given.get("grid")),
        compare=tuple((pair[0], pair[1]) for pair in given.get("compare", ())),
    )
    _check_arms(parsed)
    return parsed


def parse_override(word: str) -> Layer:
    """One ``--set field=value``: the value as TOML reads it, else as plain text.

    Raises:
        SpecError: no ``=``, an unknown field (with the nearest), a value of the wrong type or range.
    """
    field, equals, text = word.partition("=")
    field, text = field.strip(), text.strip()
    where = said(word)
    if not equals or not field:
        raise SpecError("expected field=value", where=where, mend="write it as --set epochs=1")
    if any("\ud800" <= letter <= "\udfff" for letter in word):  # bytes of the command line that are no text
        raise SpecError("is not UTF-8 text", where=where, mend="write it in UTF-8")
    field = ALIASES.get(field, field)
    if field not in _FIELDS and field != "seeds":
        raise SpecError(f"{field}: unknown field", where=where, mend=did_you_mean(field, [*_FIELDS, *ALIASES, "seeds"]))
    candidates: list[Any] = [text]
    try:
        document = tomllib.loads(f"value = {text}")
        if list(document) == ["value"] and document["value"] != text:
            candidates.insert(0, document["value"])
    except tomllib.TOMLDecodeError:
        pass
    problem: ValidationError | None = None
    for value in candidates:
        try:
            table = OverrideTable.model_validate_json(json.dumps({field: _none_or(field, value)}, default=str))
        except ValidationError as error:
            problem = problem or error
            continue
        values = table.model_dump(exclude_unset=True)
        return Layer({"seeds": (values["seed"],)} if field == "seed" else values, (), word)
    assert problem is not None
    what, mend = explain((field,), problem.errors(include_url=False))
    raise SpecError(f"{field}: {what}", where=where, mend=mend)


def said(word: str) -> str:
    """How a message names the ``--set`` word, on one line whatever is in it."""
    return f"--set {word if word.isprintable() else repr(word)}"


def _none_or(field: str, value: Any) -> Any:
    """TOML has no null: the word ``none`` stands for it where a field may be absent."""
    absent = isinstance(value, str) and value.lower() == "none" and field in _FIELDS and takes_none(_FIELDS[field])
    return None if absent else value


def _prepared(source: Source, node: Any, key: KeyPath) -> Any:
    """The document with ``"none"`` as null; dates, which no field takes, are refused."""
    if isinstance(node, datetime.date | datetime.time):
        raise source.error(key, f"expected no date or time, got {node}", "put it in quotes if it is a text")
    if isinstance(node, dict):
        return {name: _prepared(source, value, (*key, name)) for name, value in node.items()}
    if isinstance(node, list):
        return [_prepared(source, value, (*key, position)) for position, value in enumerate(node)]
    named = next((str(part) for part in reversed(key) if isinstance(part, str)), "")
    return _none_or(ALIASES.get(named, named), node)


def _setting(source: Source, position: int, given: Mapping[str, Any]) -> Setting:
    place: KeyPath = ("settings", position)
    values = dict(given)
    name, documented = values.pop("name"), values.pop("documented", {})
    said = values.pop("continue_from", None)
    continues = None if said is None else Wish(said, (*place, "continue_from"))
    inferred = _inferred(values, source, (*place, "inferred"))
    return Setting(name, Layer(_seeded(values, source, place), place), documented, inferred, place, continues)


def _inferred(values: dict[str, Any], source: Source, key: KeyPath) -> tuple[str, ...]:
    """The names under ``inferred``, taken out of ``values``."""
    names = values.pop("inferred", ())
    for position, name in enumerate(names):
        if ALIASES.get(name, name) not in _FIELDS:
            raise source.error(key, f"{name!r} is no field", did_you_mean(name, _FIELDS))
        if name in names[:position]:
            raise source.error(key, f"{name!r} is listed twice", "leave one of them out")
    return tuple(ALIASES.get(name, name) for name in names)


def _seeded(values: Mapping[str, Any], source: Source, place: KeyPath) -> dict[str, Any]:
    """``seed = 3`` written as ``seeds = [3]``; both at once, or a seed twice, are refused."""
    result = dict(values)
    if all(name in values for name in _SEEDS):
        raise source.error((*place, "seed"), "seeds is given too", "leave one of them out")
    if "seed" in result:
        result["seeds"] = (result.pop("seed"),)
    if len(set(result.get("seeds", ()))) != len(result.get("seeds", ())):
        raise source.error((*place, "seeds"), "a seed is listed twice", "leave one out, or set replicate = 2")
    return result


def _grid(source: Source, given: Mapping[str, Any] | None) -> dict[str, tuple[Any, ...]]:
    if given is None:
        return {}
    if not given:
        raise source.error(("grid",), "an empty grid", "give a field a list of values, or leave [grid] out")
    grid: dict[str, tuple[Any, ...]] = {}
    for field, values in given.items():
        if any(value in values[:position] for position, value in enumerate(values)):
            raise source.error(("grid", field), "a value is listed twice", "leave one of them out")
        grid[field] = tuple(values)
    return grid


def _check_arms(parsed: ParsedFile) -> None:
    """Every arm that ``compare`` and ``documented`` name has to exist."""
    source = parsed.source
    if parsed.compare and len(parsed.arms) == 1:
        raise source.error(("compare",), "there is only one arm", "add an arm or leave compare out")
    for position, pair in enumerate(parsed.compare):
        for arm in pair:
            if arm not in parsed.arms:
                raise source.error(("compare", position), f"no arm is named {arm!r}", did_you_mean(arm, parsed.arms))
        if pair[0] == pair[1]:
            raise source.error(("compare", position), f"{pair[0]!r} with itself", "name two arms")
    for setting in parsed.settings:
        for arm in setting.documented:
            if arm not in parsed.arms:
                key = (*setting.place, "documented", arm)
                raise source.error(key, f"no arm is named {arm!r}", did_you_mean(arm, parsed.arms))


def split_fields(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """``values`` sorted into setup, training protocol and evaluation protocol."""
    return (
        {name: value for name, value in values.items() if name in SETUP_FIELDS},
        {name: value for name, value in values.items() if name in TRAINING_FIELDS},
        {name: value for name, value in values.items() if name in EVALUATION_FIELDS},
    )
