"""Writes every table and view of a database as files for other programs: CSV or Parquet."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from sqlalchemy import (
    Boolean,
    Connection,
    DateTime,
    Float,
    Integer,
    MetaData,
    Numeric,
    RowMapping,
    Table,
    TypeDecorator,
    func,
    inspect,
    select,
)
from sqlalchemy.types import NullType, TypeEngine

from mmad.base.errors import StoreError
from mmad.store import schema
from mmad.store.store import Store

# Whole tables, row by row, whatever their columns: what copies and exports are made of.


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


Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
Progress = Callable[[int, int], None]
Parts = Iterator[Sequence[RowMapping]]
Writer = Callable[[Path, Table, Parts], int]


@dataclass(frozen=True)
class Exported:
    """A file that was written, one per table or view."""

    name: str
    file: Path
    rows: int


def export_tables(
    store: Store, folder: Path, form: Format = "csv", progress: Progress | None = None
) -> tuple[Exported, ...]:
    """Writes each table, and each view, to ``folder``/NAME.csv or .parquet, all as they are at one moment.

    In CSV an empty cell is NULL, a moment ISO 8601 in UTC, a truth ``true`` or ``false``, JSON its text.

    Raises:
        StoreError: a file that is there already or cannot be written; pyarrow is missing for Parquet.
    """
    write = _write_csv if form == "csv" else _parquet_writer()
    with store.database.reading() as connection:
        tables = [*schema.metadata.sorted_tables, *_views(connection)]
        files = {table.name: folder / f"{table.name}.{form}" for table in tables}
        _refuse_written(folder, list(files.values()))
        written = []
        for number, table in enumerate(tables, start=1):
            file = files[table.name]
            try:
                rows = _whole(file, table, batches(connection, table), write)
            except OSError as error:
                hint = "free space or check permissions there, or name another folder"
                raise StoreError(f"cannot be written ({error.strerror})", where=file, hint=hint) from error
            written.append(Exported(table.name, file, rows))
            if progress is not None:
                progress(number, len(tables))
        return tuple(written)


def _views(connection: Connection) -> list[Table]:
    """The views as they are there; a computed column has the type of the tables' columns of that name."""
    names = sorted(inspect(connection).get_view_names())
    known = {column.name: column.type for table in schema.metadata.sorted_tables for column in table.c}
    views = [Table(name, MetaData(), autoload_with=connection) for name in names]
    for view in views:
        for column in view.c:
            if isinstance(column.type, NullType):
                column.type = known.get(column.name, column.type)
    return views


def _refuse_written(folder: Path, files: Sequence[Path]) -> None:
    there = [file for file in files if file.exists()]
    if there:
        raise StoreError("exists already", where=there[0], hint="name a new folder, or remove what is in this one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot be made ({error.strerror})", where=folder, hint="name another folder") from error


def _whole(file: Path, table: Table, parts: Parts, write: Writer) -> int:
    """Writes beside ``file`` and renames into its place."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        rows = write(partial, table, parts)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def _write_csv(file: Path, table: Table, parts: Parts) -> int:
    rows = 0
    with file.open("w", encoding="utf-8", newline="") as written:
        writer = csv.writer(written)
        writer.writerow(table.c.keys())
        for part in parts:
            writer.writerows([[_cell(value) for value in row.values()] for row in part])
            rows += len(part)
    return rows


def _cell(value: Any) -> Any:
    value = plain(value)
    return str(value).lower() if isinstance(value, bool) else value


def _parquet_writer() -> Writer:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        hint = "install it (pip install 'mmad[parquet]'), or take --format csv"
        raise StoreError("Parquet needs pyarrow, which is not installed", where="--format", hint=hint) from None
    return write_parquet


# A table as one Parquet file, with the types of its columns. Imports pyarrow.


def write_parquet(file: Path, table: Table, parts: Iterator[Sequence[Any]]) -> int:
    """Writes the rows of ``table`` part by part; returns how many. Moments are microseconds in UTC."""
    import pyarrow
    import pyarrow.parquet

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
    import pyarrow

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
