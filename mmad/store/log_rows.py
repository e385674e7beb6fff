"""Experiment logs as rows: one per log, one per entry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from mmad.base.clock import now
from mmad.store.engine import serialise
from mmad.store.schema import documented_entries, documented_logs


@dataclass(frozen=True)
class LogRecord:
    """An imported log; ``content`` and ``entries`` are plain JSON."""

    name: str
    path: str
    sha256: str
    content: Mapping[str, Any]
    entries: tuple[Mapping[str, Any], ...]
    imported: datetime


@dataclass(frozen=True)
class Imported:
    """The name a log got, and whether it is ``new``, ``changed`` or ``same``."""

    name: str
    state: str


def write_log(
    connection: Connection,
    name: str,
    path: str,
    sha256: str,
    content: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
) -> Imported:
    """Keeps a log in place of its earlier form: that of equal text, else that of the same file and name.

    Another file whose name is taken gets a number behind it.
    """
    serialise(connection)
    known = {record.name: record for record in read_logs(connection)}
    chosen = _name(known, name, path, sha256)
    earlier = known.get(chosen)
    state = "new" if earlier is None else "changed"
    if earlier is not None:
        if (earlier.sha256, earlier.content, list(earlier.entries)) == (sha256, content, list(entries)):
            return Imported(chosen, "same")
        connection.execute(delete(documented_entries).where(documented_entries.c.log == chosen))
        connection.execute(delete(documented_logs).where(documented_logs.c.name == chosen))
    row = {"name": chosen, "path": path, "sha256": sha256, "content": _json(content), "imported": now()}
    connection.execute(insert(documented_logs), row)
    rows = [
        {"log": chosen, "id": entry["id"], "position": position, "content": _json(entry)}
        for position, entry in enumerate(entries)
    ]
    if rows:
        connection.execute(insert(documented_entries), rows)
    return Imported(chosen, state)


def read_logs(connection: Connection) -> list[LogRecord]:
    """The logs that were imported, by name."""
    entries: dict[str, list[Mapping[str, Any]]] = {}
    order = select(documented_entries).order_by(documented_entries.c.log, documented_entries.c.position)
    for row in connection.execute(order):
        entries.setdefault(row.log, []).append(json.loads(row.content))
    rows = connection.execute(select(documented_logs).order_by(documented_logs.c.name))
    return [
        LogRecord(r.name, r.path, r.sha256, json.loads(r.content), tuple(entries.get(r.name, ())), r.imported)
        for r in rows
    ]


def _name(known: Mapping[str, LogRecord], name: str, path: str, sha256: str) -> str:
    equal = [record.name for record in known.values() if record.sha256 == sha256]
    if equal:
        return equal[0]
    for number in count(1):
        candidate = name if number == 1 else f"{name}-{number}"
        if candidate not in known or known[candidate].path == path:
            return candidate
    raise AssertionError("numbers never end")


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
