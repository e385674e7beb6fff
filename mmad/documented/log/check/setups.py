"""Rules about setups: printed twice, of odd types, equal with other results."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from mmad.documented.log.check.slip import Slip
from mmad.documented.log.model import LogEntry

_IDLE = ("name", "best_ar_val_model_path", "best_ap_val_model_path", "final_model_path")


def setup_slips(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    """Setups printed twice with other values, fields of a type they have nowhere else, true repeats."""
    for entry in entries:
        yield from _twice(entry)
    yield from _types(entries)
    yield from _repeats(entries)
    yield from _same_checkpoint(entries)


def _twice(entry: LogEntry) -> Iterator[Slip]:
    for other in entry.other_setups:
        first, second = entry.fields, other.fields
        differ = [f"{n} {second[n]!r} and {first[n]!r}" for n in second if n in first and second[n] != first[n]]
        alone = [n for n in second if n not in first]
        missing = [n for n in first if n not in second and first[n] is not None]
        parts = differ + ([f"{', '.join(alone)} in one alone"] if alone else [])
        parts += [f"{', '.join(missing)} in the other alone"] if missing else []
        if parts:
            what = f"prints two setups ({other.form}, {entry.setup.form if entry.setup else ''}): {'; '.join(parts)}"
            yield Slip("setup-twice", entry.id, what, line=other.line or None)


def _types(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        for name, value in entry.fields.items():
            kinds[name][_kind(value)] += value is not None
    for entry in entries:
        for name, value in entry.fields.items():
            usual, count = kinds[name].most_common(1)[0]
            if value is not None and kinds[name][_kind(value)] < count:
                what = f"{name}={value!r} is a {_kind(value)}, elsewhere it is a {usual}"
                yield Slip("field-type", entry.id, what, line=entry.setup.line or None if entry.setup else None)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth value"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str | list | dict):
        return "word" if isinstance(value, str) else "list" if isinstance(value, list) else "mapping"
    return "nothing"


def same_setup_key(entry: LogEntry) -> str:
    """What two entries have in common that print the same training: all fields but name and paths, and the losses."""
    fields = {n: _plain(v) for n, v in entry.fields.items() if n not in _IDLE}
    return json.dumps([fields, _plain(dict(entry.losses.weights)) if entry.losses else None], sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e300 else value


def _repeats(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    groups: dict[str, list[LogEntry]] = defaultdict(list)
    for entry in entries:
        if entry.fields:
            groups[same_setup_key(entry)].append(entry)
    for group in groups.values():
        measured = [entry for entry in group if "best_ap" in entry.results]
        if len(measured) > 1:
            yield _repeat(measured)
        if len(group) > 1 and len(measured) < 2:
            others = tuple(entry.id for entry in group[1:])
            what = f"prints the setup of {', '.join(others)} too, without results of both"
            yield Slip("setup-repeated", group[0].id, what, "note", others, group[0].line or None)


def _repeat(group: list[LogEntry]) -> Slip:
    test = ", ".join(f"{e.results['best_ap'].test_ap:.4f}" for e in group)
    val = ", ".join(f"{e.results['best_ap'].val_ap:.4f}" for e in group)
    others = tuple(entry.id for entry in group[1:])
    what = f"the same setup as {', '.join(others)}, other results: best-AP test {test} (validation {val})"
    return Slip("same-setup", group[0].id, what, "note", others, group[0].line or None)


def _same_checkpoint(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    first: dict[str, str] = {}
    for entry in entries:
        for kind, result in entry.results.items():
            owner = first.setdefault(result.checkpoint or f"{entry.id}", entry.id)
            if owner != entry.id:
                what = f"the checkpoint of {kind} is also printed by {owner}: one run continues the other"
                yield Slip("same-checkpoint", entry.id, what, "note", (owner,), result.line or None)
