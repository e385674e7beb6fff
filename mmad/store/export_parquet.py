"""A table as one Parquet file, with the types of its columns. Imports pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from sqlalchemy import Boolean, DateTime, Float, Integer, Numeric, Table, TypeDecorator
from sqlalchemy.types import TypeEngine

from mmad.store.rows import plain


def write_parquet(file: Path, table: Table, parts: Iterator[Sequence[Any]]) -> int:
    """Writes the rows of ``table`` part by part; returns how many. Moments are microseconds in UTC."""
    form = pyarrow.schema([(column.name, _type(column.type)) for column in table.c])
    rows = 0
    with pyarrow.parquet.ParquetWriter(file, form) as writer:
        for part in parts:
            columns = {
                field.name: pyarrow.array([_value(row[field.name]) for row in part], field.type) for field in form
            }
            writer.write_table(pyarrow.table(columns, schema=form))
            rows += len(part)
    return rows


def _type(kind: TypeEngine[Any]) -> Any:
    if isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    if isinstance(kind, Boolean):
        return pyarrow.bool_()
    if isinstance(kind, Integer):
        return pyarrow.int64()
    if isinstance(kind, Float | Numeric):
        return pyarrow.float64()
    if isinstance(kind, DateTime):
        return pyarrow.timestamp("us", tz="UTC")
    return pyarrow.string()


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return plain(value)
