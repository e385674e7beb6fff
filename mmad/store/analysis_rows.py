"""Analyses as rows: each is computed once and found again by the hash of all that decides it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from mmad.base.clock import now
from mmad.base.records import AnalysisRecord
from mmad.store.engine import serialise
from mmad.store.schema import analyses


def analysis_key(kind: str, subject: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of ``kind`` and ``subject``. ValueError for NaN."""
    return hashlib.sha256(_json({"kind": kind, "subject": subject}).encode()).hexdigest()


def write_analysis(connection: Connection, kind: str, subject: Mapping[str, Any], value: Mapping[str, Any]) -> str:
    """One row per key, the later in the earlier's place; returns the key."""
    serialise(connection)
    key = analysis_key(kind, subject)
    connection.execute(delete(analyses).where(analyses.c.key == key))
    row = {
        "kind": kind,
        "key": key,
        "subject": _json(subject),
        "value": json.dumps(value, ensure_ascii=False, allow_nan=False),
    }
    connection.execute(insert(analyses), row | {"created": now()})
    return key


def read_analysis(connection: Connection, key: str) -> AnalysisRecord | None:
    """The analysis of ``key``, or None."""
    row = connection.execute(select(analyses).where(analyses.c.key == key)).first()
    return None if row is None else _record(row)


def read_analyses(connection: Connection, kind: str | None) -> list[AnalysisRecord]:
    """The analyses of ``kind`` (None: of every kind), oldest first."""
    statement = select(analyses).order_by(analyses.c.id)
    if kind is not None:
        statement = statement.where(analyses.c.kind == kind)
    return [_record(row) for row in connection.execute(statement)]


def _record(row: Row[Any]) -> AnalysisRecord:
    return AnalysisRecord(row.kind, row.key, json.loads(row.subject), json.loads(row.value), row.created)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
