"""Whole tables, row by row, whatever their columns: what copies and exports are made of."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, func, select

#: Rows that are held in memory at once.
BATCH = 1000


def batches(connection: Connection, table: Table, size: int = BATCH) -> Iterator[Sequence[RowMapping]]:
    """The rows of ``table`` in the order of its primary key, ``size`` at a time; moments are in UTC."""
    order = tuple(table.primary_key.columns) or tuple(table.c)  # a view has no key
    statement = select(table).order_by(*order).execution_options(yield_per=size)
    with connection.execute(statement) as rows:
        yield from rows.mappings().partitions(size)


def count(connection: Connection, table: Table) -> int:
    """How many rows ``table`` has."""
    return int(connection.scalar(select(func.count()).select_from(table)) or 0)


class Checksum:
    """A checksum of rows that their order does not change, so that databases which sort differently agree."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, rows: Sequence[RowMapping]) -> None:
        self.rows += len(rows)
        for row in rows:
            self._sum += int.from_bytes(hashlib.sha256(_line(row)).digest(), "big")

    @property
    def digest(self) -> str:
        """64 hexadecimal digits: the sum of the rows' SHA-256, modulo 2^256."""
        return f"{self._sum % 2**256:064x}"


def checksum(connection: Connection, table: Table) -> Checksum:
    """The checksum of all rows of ``table``."""
    found = Checksum()
    for part in batches(connection, table):
        found.add(part)
    return found


def plain(value: Any) -> Any:
    """A value as text, number, truth or None: moments are ISO 8601 in UTC, what is not a number is None."""
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return moment.isoformat()
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _line(row: RowMapping) -> bytes:
    return json.dumps({name: plain(value) for name, value in row.items()}, sort_keys=True).encode()
