"""Finds the values that their columns cannot hold, and lets everything else be read as if they were not there."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    ForeignKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    and_,
    cast,
    literal_column,
    select,
    text,
    type_coerce,
)
from sqlalchemy.types import NullType

from mmad.base.formatting import clip
from mmad.store.checked_columns import CheckedColumn, DamagedValue, Moment, shown
from mmad.store.schema import metadata, metric_names, runs

#: PostgreSQL's number for doubles, which is all that psycopg's numbers ask about.
_DOUBLE = 701
#: Rows that are looked at together.
_ROWS = 5_000
#: What a damaged value is read as, in words.
_WORDS = {"NULL": "missing", "''": "empty", "'[]'": "empty", "'{}'": "empty", "FALSE": "false"}


@dataclass(frozen=True)
class Damage:
    """A value that its column cannot hold: of which row, and why. ``identity`` finds the row again (``same_row``)."""

    table: str
    row: str
    column: str
    value: str
    why: str
    identity: tuple[Any, ...] = field(repr=False)

    @property
    def where(self) -> str:
        return f"{self.table}, row {self.row}"

    @property
    def what(self) -> str:
        return f"{self.column} is {self.value} ({self.why})"

    @property
    def read_as(self) -> str:
        """What a reader sees in the value's place."""
        sql = _instead(metadata.tables[self.table].c[self.column])
        return "the row is left out" if sql is None else f"read as {_WORDS.get(sql, sql.strip(chr(39)))}"


def find_damage(
    connection: Connection, table: Table, columns: Sequence[Column[Any]] = ()
) -> Generator[Damage, None, None]:
    """Every value of ``columns`` of ``table`` (none: of all) that its column cannot hold; nothing else is raised."""
    checked = [column for column in columns or table.c if isinstance(column.type, CheckedColumn)]
    keys, identity = list(table.primary_key), _identity(connection, table)
    read = [_reader(connection, column) for column in checked]
    wanted = (*identity, *(type_coerce(key, NullType()) for key in keys), *(_raw(connection, one) for one in checked))
    names = _Names(connection)
    statement = select(*wanted).execution_options(yield_per=_ROWS)
    with _lenient(connection), connection.execute(statement) as found:
        for part in found.partitions():
            for row in part:
                own, named, values = row[: len(identity)], row[len(identity) :], row[len(identity) + len(keys) :]
                for column, processor, value in zip(checked, read, values, strict=True):
                    if (why := _fault(processor, value)) is not None:
                        held = ", ".join(
                            f"{key.name} {names.shown(key, of)}" for key, of in zip(keys, named, strict=False)
                        )
                        yield Damage(table.name, held, column.name, shown(value), why, tuple(own))


class _Names:
    """What people call a row that a key names by its number: the run's key, or the metric's split and name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._of: dict[str, dict[Any, Any]] = {}

    def shown(self, key: Column[Any], value: Any) -> str:
        named = {
            "run": (runs.c.id, runs.c.key),
            "metric": (metric_names.c.id, metric_names.c.split, metric_names.c.name),
        }
        if key.name not in named:
            return shown(value)
        if key.name not in self._of:
            rows = self._connection.execute(select(*(type_coerce(column, NullType()) for column in named[key.name])))
            self._of[key.name] = {number: " ".join(map(str, words)) for number, *words in rows}
        return shown(self._of[key.name].get(value, value))


def _has_rowid(table: Table, sqlite: bool) -> bool:
    return sqlite and bool(table.dialect_options["sqlite"]["with_rowid"])


def _identity(connection: Connection, table: Table) -> list[Any]:
    """What tells a row from others even where its key is damaged: SQLite's own number if it has one, else the key."""
    if _has_rowid(table, connection.dialect.name == "sqlite"):
        return [literal_column("rowid").label("mmad_row")]
    return [type_coerce(column, NullType()).label(f"mmad_{column.name}") for column in table.primary_key]


def same_row(connection: Connection, table: Table, identity: tuple[Any, ...]) -> ColumnElement[bool]:
    """Whether a row of ``table`` is that of a ``Damage`` with this identity."""
    found = _identity(connection, table)
    return and_(*(one.element == value for one, value in zip(found, identity, strict=True)))


def _raw(connection: Connection, column: Column[Any]) -> Any:
    """The column as it is stored; a server's moments as text, for not all of theirs are Python's."""
    if isinstance(column.type, Moment) and connection.dialect.name != "sqlite":
        return cast(column, Text)
    return type_coerce(column, NullType())


def _reader(connection: Connection, column: Column[Any]) -> Callable[[Any], Any]:
    if isinstance(column.type, Moment) and connection.dialect.name != "sqlite":
        return lambda value: None if value is None else datetime.fromisoformat(value)
    kind: Any = column.type.dialect_impl(connection.dialect)
    found: Callable[[Any], Any] = kind.result_processor(connection.dialect, _DOUBLE)
    return found


def _fault(read: Callable[[Any], Any], value: Any) -> str | None:
    try:
        if isinstance(value, str):
            value.encode()  # what is not UTF-8 was read as lone surrogates
        read(value)
    except UnicodeEncodeError:
        return "no UTF-8"
    except DamagedValue as error:
        return clip(str(error.__cause__), 100)
    except ValueError as error:
        return clip(str(error), 100)
    return None


@contextmanager
def _lenient(connection: Connection) -> Iterator[None]:
    """Within the block, SQLite's text that is not UTF-8 is read instead of refused."""
    if connection.dialect.name != "sqlite":
        yield
        return
    own: Any = connection.connection.dbapi_connection
    before = own.text_factory
    own.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        own.text_factory = before


# Views of a connection's own, which stand before the tables of their names.


@dataclass(frozen=True)
class SoundViews:
    """Statements that make a connection read tables without their damage; each with rows of parameters."""

    statements: tuple[tuple[str, tuple[tuple[Any, ...], ...]], ...]

    def make(self, cursor: Any) -> None:
        """Make the views with a cursor of the bare driver."""
        for statement, rows in self.statements:
            if rows:
                cursor.executemany(statement, rows)
            else:
                cursor.execute(statement)


def sound_views(connection: Connection, damage: Mapping[str, Sequence[Damage]]) -> SoundViews:
    """Views that hide ``damage`` (by table), for connections to the database of ``connection``.

    A damaged value is NULL where its column may be, else what its type says in its place; where that says nothing, as
    in a key, or a row is no more than its value, the row is left out, and so are the rows that name it.
    """
    sqlite = connection.dialect.name == "sqlite"
    schema = "main" if sqlite else str(connection.scalar(text(_SCHEMA)))
    made: list[tuple[str, tuple[tuple[Any, ...], ...]]] = []
    cut: set[str] = set()
    for table in metadata.sorted_tables:
        found = damage.get(table.name, ())
        parents = [one for one in table.foreign_key_constraints if one.referred_table.name in cut]
        if found:
            made += _damaged_rows(table, found, schema, sqlite)
        values = {one.column: _instead(table.c[one.column]) for one in found}
        conditions = [f"NOT {_chosen(table, name, sqlite)}" for name, sql in values.items() if sql is None]
        conditions += [_named(one) for one in parents]
        if conditions:
            cut.add(table.name)
        if found or conditions:
            columns = ", ".join(
                f't."{name}"'
                if values.get(name) is None
                else f'CASE WHEN {_chosen(table, name, sqlite)} THEN {values[name]} ELSE t."{name}" END AS "{name}"'
                for name in [column.name for column in table.c]
            )
            where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
            made.append(
                (f"CREATE TEMP VIEW {table.name} AS SELECT {columns} FROM {schema}.{table.name} AS t{where}", ())
            )
    for row in connection.execute(text(_SQLITE_VIEWS if sqlite else _SERVER_VIEWS)):
        made.append((f"CREATE TEMP VIEW {row.name} AS {row.sql}", ()))
    return SoundViews(tuple(made))


#: The schema that holds the tables, and the views in it, oldest first, each with its statement.
_SCHEMA = "SELECT relnamespace::regnamespace FROM pg_class WHERE oid = to_regclass('runs')"
_SERVER_VIEWS = f"""SELECT relname AS name, pg_get_viewdef(oid) AS sql FROM pg_class
WHERE relkind = 'v' AND relnamespace::regnamespace = ({_SCHEMA}) ORDER BY oid"""
_SQLITE_VIEWS = "SELECT name, substr(sql, instr(upper(sql), ' AS') + 3) AS sql FROM sqlite_master WHERE type = 'view'"


def _instead(column: Column[Any]) -> str | None:
    """What a damaged value of ``column`` is read as, as SQL; None where its row has to be left out."""
    together = [one.columns.values() for one in column.table.constraints if isinstance(one, UniqueConstraint)]
    tells_apart = column.primary_key or column.unique or any(column in columns for columns in together)
    if tells_apart or column.foreign_keys or column.info.get("is_row") or not isinstance(column.type, CheckedColumn):
        return None
    return "NULL" if column.nullable else column.type.instead


def _row_columns(table: Table, sqlite: bool) -> list[str]:
    return ["rowid"] if _has_rowid(table, sqlite) else [f'"{column.name}"' for column in table.primary_key]


def _damaged_rows(
    table: Table, found: Sequence[Damage], schema: str, sqlite: bool
) -> Iterator[tuple[str, tuple[tuple[Any, ...], ...]]]:
    """A table of a connection's own that holds the column and the identity of each damaged value."""
    name, columns = f"mmad_damaged_{table.name}", _row_columns(table, sqlite)
    if _has_rowid(table, sqlite):
        yield f"CREATE TEMP TABLE {name} (part TEXT, mmad_row INTEGER)", ()
    elif sqlite:
        yield f"CREATE TEMP TABLE {name} (part TEXT, {', '.join(columns)})", ()
    else:
        like = f"SELECT CAST('' AS text) AS part, {', '.join(columns)} FROM {schema}.{table.name} WHERE FALSE"
        yield f"CREATE TEMP TABLE {name} AS {like}", ()
    marks = ", ".join(["?" if sqlite else "%s"] * (1 + len(columns)))
    yield f"INSERT INTO {name} VALUES ({marks})", tuple((one.column, *one.identity) for one in found)


def _chosen(table: Table, column: str, sqlite: bool) -> str:
    """Whether the value of ``column`` in the row ``t`` is damaged, as SQL."""
    columns = _row_columns(table, sqlite)
    held = "mmad_row" if _has_rowid(table, sqlite) else ", ".join(columns)
    rows = ", ".join(f"t.{name}" for name in columns)
    return f"(({rows}) IN (SELECT {held} FROM mmad_damaged_{table.name} WHERE part = '{column}'))"


def _named(constraint: ForeignKeyConstraint) -> str:
    """Whether the row that ``t`` names is still there, as SQL."""
    pairs = [(one.parent.name, one.column.name) for one in constraint.elements]
    same = " AND ".join(f'p."{other}" = t."{own}"' for own, other in pairs)
    return f"EXISTS (SELECT 1 FROM {constraint.referred_table.name} AS p WHERE {same})"
