"""Writes every table and view of a database as files for other programs: CSV or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from sqlalchemy import Connection, MetaData, RowMapping, Table, inspect
from sqlalchemy.types import NullType

from mmad.base.errors import StoreError
from mmad.store import schema
from mmad.store.gateway import Store
from mmad.store.rows import batches, plain

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
    with store._database.reading() as connection:
        tables = [*schema.metadata.sorted_tables, *_views(connection)]
        files = {table.name: folder / f"{table.name}.{form}" for table in tables}
        _refuse_written(folder, list(files.values()))
        written = []
        for number, table in enumerate(tables, start=1):
            file = files[table.name]
            try:
                rows = _whole(file, table, batches(connection, table), write)
            except OSError as error:
                mend = "free space or check permissions there, or name another folder"
                raise StoreError(f"cannot be written ({error.strerror})", where=file, mend=mend) from error
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
        raise StoreError("exists already", where=there[0], mend="name a new folder, or remove what is in this one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot be made ({error.strerror})", where=folder, mend="name another folder") from error


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
        from mmad.store.export_parquet import write_parquet
    except ImportError:
        mend = "install it (pip install 'mmad[parquet]'), or take --format csv"
        raise StoreError("Parquet needs pyarrow, which is not installed", where="--format", mend=mend) from None
    return write_parquet
