"""Copies a database into another one, of either kind, and compares what arrived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Integer, Table, func, insert, select, text
from sqlalchemy.exc import DataError, IntegrityError

from mmad.base.errors import StoreError
from mmad.base.paths import StorePaths
from mmad.base.records import HELD
from mmad.store import schema
from mmad.store.copy_files import CopiedFiles, copy_files
from mmad.store.gateway import Store
from mmad.store.rows import Checksum, batches, checksum, count

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CopiedTable:
    """A table that arrived: ``checksum`` is that of its rows in both databases."""

    name: str
    rows: int
    checksum: str


@dataclass(frozen=True)
class Copied:
    """A copy that is whole. ``files`` is None where only the database was copied."""

    source: str
    target: str
    tables: tuple[CopiedTable, ...]
    source_files: Path
    target_files: Path
    files: CopiedFiles | None

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


def copy_database(
    source: str | Path, target: str | Path, *, files: bool = False, progress: Progress | None = None
) -> Copied:
    """Copies every row of ``source`` into the empty ``target``; all of them arrive, or none.

    Args:
        source: an SQLite file or a URL; only read.
        target: an SQLite file or a URL, which is made where it is missing.
        files: copy the runs' files (checkpoints, detections, logs) too, before the rows that name them.
        progress: told how many rows of how many were written.

    Raises:
        StoreError: the source is missing, older, or has running runs; the target is the source or holds
            something; a value does not fit there; what arrived is not what was sent.
    """
    _refuse_same(source, target)
    with Store.open(source, create=False, read_only=True) as sender:
        _refuse_running(sender)
        with Store.open(target) as receiver:
            refuse_filled(receiver)
            copied = copy_files(sender, receiver.paths) if files else None
            with sender._database.reading() as reading, receiver._database.writing() as writing:
                refuse_rows(receiver.where, writing)
                tables = _copy_tables(reading, writing, receiver.where, progress or (lambda done, whole: None))
            return Copied(sender.where, receiver.where, tables, sender.paths.runs, receiver.paths.runs, copied)


def refuse_filled(store: Store) -> None:
    """StoreError where ``store`` holds any row."""
    with store._database.reading() as connection:
        refuse_rows(store.where, connection)


def refuse_rows(where: str, connection: Connection) -> None:
    """StoreError where any table has a row."""
    held = [(table.name, rows) for table in schema.metadata.sorted_tables if (rows := count(connection, table))]
    if held:
        words = ", ".join(f"{rows} {name}" for name, rows in held[:3])
        raise StoreError(f"is not empty ({words})", where=where, mend="name another target, which need not be there")


def _copy_tables(reading: Connection, writing: Connection, where: str, progress: Progress) -> tuple[CopiedTable, ...]:
    tables = schema.metadata.sorted_tables
    whole, done = sum(count(reading, table) for table in tables), 0
    copied = []
    for table in tables:
        sent = Checksum()
        for part in batches(reading, table):
            _insert(writing, table, [dict(row) for row in part], where)
            sent.add(part)
            done += len(part)
            progress(done, whole)
        _continue_numbers(writing, table)
        arrived = checksum(writing, table)
        if (arrived.rows, arrived.digest) != (sent.rows, sent.digest):
            raise StoreError(
                f"{table.name}: {arrived.rows} rows arrived ({arrived.digest[:12]}), "
                f"{sent.rows} were sent ({sent.digest[:12]}); nothing was kept",
                where=where,
                mend="check the source with mmad db check, then copy again",
            )
        copied.append(CopiedTable(table.name, sent.rows, sent.digest))
    return tuple(copied)


def _insert(writing: Connection, table: Table, rows: list[dict[str, object]], where: str) -> None:
    try:
        writing.execute(insert(table), rows)
    except (DataError, IntegrityError, ValueError) as error:
        said = " ".join(str(getattr(error, "orig", error)).split("\n")[0].split())
        mend = "find the row with mmad db check, or mend it in the source; nothing was kept"
        raise StoreError(f"a row of {table.name} cannot be kept there ({said})", where=where, mend=mend) from error


def _continue_numbers(writing: Connection, table: Table) -> None:
    """Lets a server's counter go on behind the numbers that were copied (SQLite does so by itself)."""
    column = table.autoincrement_column
    if writing.dialect.name != "postgresql" or column is None or not isinstance(column.type, Integer):
        return
    last = writing.scalar(select(func.max(column)))
    if last is not None:
        sequence = "pg_get_serial_sequence(:table, :column)"
        given = {"table": table.name, "column": column.name, "last": last}
        writing.execute(text(f"SELECT setval({sequence}, :last)"), given)


def _refuse_same(source: str | Path, target: str | Path) -> None:
    one, other = StorePaths(str(source)), StorePaths(str(target))
    if one.file is not None and other.file is not None:
        same = one.file.resolve() == other.file.resolve()
    else:
        same = one.url == other.url
    if same:
        raise StoreError("is both source and target", where=one.file or "the URL", mend="name another target")


def _refuse_running(store: Store) -> None:
    running = [run.key for run in store.runs() if run.status in HELD]
    if not running:
        return
    owners = store.owners()
    dead = all(key not in owners or owners[key].dead for key in running)
    runs = f"{len(running)} run{'s are' if len(running) > 1 else ' is'} running"
    if dead:
        raise StoreError(
            f"{runs}, by processes that are gone",
            where=store.where,
            mend="let mmad ablate go on with it, or start and stop it once (Ctrl-C), which frees what nobody trains",
        )
    raise StoreError(
        f"{runs} and would go on in the source alone",
        where=store.where,
        mend="wait for the end, or stop mmad ablate with Ctrl-C first",
    )
