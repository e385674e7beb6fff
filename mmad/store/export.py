"""Writes every table and view of a database as files for other programs: CSV or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Float,
    Integer,
    MetaData,
    Numeric,
    RowMapping,
    Table,
    Text,
    TypeDecorator,
    inspect,
    select,
    type_coerce,
)
from sqlalchemy.types import NullType, TypeEngine

from mmad.base.errors import StoreError
from mmad.base.files import FolderFilled, folder_beside, make_durable
from mmad.base.records import OnProgress
from mmad.store import schema
from mmad.store.checked_columns import Json
from mmad.store.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
Parts = Iterator[Sequence[RowMapping]]
Writer = Callable[[Path, Table, Parts], int]
#: Rows that are held in memory at once.
BATCH = 1000


def batches(
    connection: Connection, table: Table, where: Sequence[ColumnElement[bool]] = ()
) -> Generator[Sequence[RowMapping], None, None]:
    """The rows of ``table`` in the order of its primary key, part by part; moments are in UTC, JSON its text.

    ``where`` are conditions that all hold for them.
    """
    order = tuple(table.primary_key.columns) or tuple(table.c)  # a view has no key
    texts = [type_coerce(c, Text).label(c.name) if isinstance(c.type, Json) else c for c in table.c]
    statement = select(*texts).where(*where).order_by(*order).execution_options(yield_per=BATCH)
    with connection.execute(statement) as rows:
        yield from rows.mappings().partitions(BATCH)


@dataclass(frozen=True)
class Exported:
    """A file that was written, one per table or view."""

    name: str
    file: Path
    rows: int


def export_tables(
    store: Store, folder: Path, form: Format = "csv", progress: OnProgress | None = None
) -> tuple[Exported, ...]:
    """Writes each table, and each view, to ``folder``/NAME.csv or .parquet, all as they are at one moment.

    The folder is whole or not there: it is filled beside its place and renamed.

    In CSV an empty cell is NULL, a moment ISO 8601 in UTC, a truth ``true`` or ``false``, JSON its text. A lenient
    store leaves out what is damaged.

    Raises:
        StoreError: a folder that holds something already or cannot be written; pyarrow is missing for Parquet.
    """
    write = _write_csv if form == "csv" else _parquet_writer()
    store.leave_out()
    written = []
    with store.database.reading() as connection:
        tables = [*_tables(), *_views(connection)]
        try:
            with folder_beside(folder) as part:
                for number, table in enumerate(tables, start=1):
                    file = f"{table.name}.{form}"
                    with closing(batches(connection, table)) as parts:
                        rows = write(part / file, table, parts)
                    written.append(Exported(table.name, folder / file, rows))
                    if progress is not None:
                        progress(number, len(tables))
                make_durable(part / one.file.name for one in written)
        except FolderFilled:
            hint = "name a new folder, or remove this one first"
            raise StoreError("exists already", where=folder, hint=hint) from None
        except OSError as error:
            hint = "free space or check permissions there, or name another folder"
            raise StoreError(f"cannot be written ({error.strerror})", where=folder, hint=hint) from error
    return tuple(written)


def _tables() -> list[Table]:
    """The tables that people know; the views of ``schema`` stand for those with numbers for keys."""
    numbered = (schema.run_epochs, schema.metric_names, schema.run_metrics)
    return [table for table in schema.metadata.sorted_tables if table not in numbered] + schema.views.sorted_tables


def _views(connection: Connection) -> list[Table]:
    """The other views as they are there; a computed column has the type of the tables' columns of that name."""
    names = sorted(set(inspect(connection).get_view_names()) - set(schema.views.tables))
    known = {column.name: column.type for table in schema.metadata.sorted_tables for column in table.c}
    views = [Table(name, MetaData(), autoload_with=connection) for name in names]
    for view in views:
        for column in view.c:
            if isinstance(column.type, NullType):
                column.type = known.get(column.name, column.type)
    return views


def _frames(table: Table, parts: Parts) -> Iterator[DataFrame]:
    """Each part as a frame of objects, which keeps whole numbers whole beside NULL; one at least."""
    import pandas

    names = table.c.keys()
    yield pandas.DataFrame(columns=names, dtype=object)
    for part in parts:
        yield pandas.DataFrame([tuple(row.values()) for row in part], columns=names, dtype=object)


def _write_csv(file: Path, table: Table, parts: Parts) -> int:
    rows = 0
    with file.open("w", encoding="utf-8", newline="") as written:
        for number, frame in enumerate(_frames(table, parts)):
            for column in table.c:
                if isinstance(_kind(column), Boolean):
                    frame[column.name] = frame[column.name].map({True: "true", False: "false"})
                elif isinstance(_kind(column), DateTime):
                    frame[column.name] = frame[column.name].map(_iso, na_action="ignore")
            frame.to_csv(written, index=False, header=number == 0, lineterminator="\r\n")
            rows += len(frame)
    return rows


def _iso(moment: datetime) -> str:
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)).isoformat()


def _parquet_writer() -> Writer:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        hint = "install it (pip install 'mmad[parquet]'), or take --format csv"
        raise StoreError("Parquet needs pyarrow, which is not installed", where="--format", hint=hint) from None
    return _write_parquet


def _write_parquet(file: Path, table: Table, parts: Parts) -> int:
    """Part by part, which ``DataFrame.to_parquet`` cannot; moments are microseconds in UTC."""
    import pyarrow
    import pyarrow.parquet

    form = pyarrow.schema([(column.name, _arrow_type(_kind(column))) for column in table.c])
    rows = 0
    with pyarrow.parquet.ParquetWriter(file, form) as writer:
        for frame in _frames(table, parts):
            writer.write_table(pyarrow.Table.from_pandas(frame, schema=form, preserve_index=False))
            rows += len(frame)
    return rows


def _kind(column: Column[Any]) -> TypeEngine[Any]:
    """The type that the database has for ``column``."""
    return column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type


def _arrow_type(kind: TypeEngine[Any]) -> Any:
    import pyarrow

    if isinstance(kind, Boolean):
        return pyarrow.bool_()
    if isinstance(kind, Integer):
        return pyarrow.int64()
    if isinstance(kind, Float | Numeric):
        return pyarrow.float64()
    if isinstance(kind, DateTime):
        return pyarrow.timestamp("us", tz="UTC")
    return pyarrow.string()
