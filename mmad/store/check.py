"""Looks for what is wrong in a database and beside it: pages, references, schema, runs, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, ForeignKeyConstraint, and_, func, inspect, select

from mmad.base.errors import StoreError
from mmad.base.records import HELD
from mmad.store import schema
from mmad.store.check_files import check_files
from mmad.store.finding import Finding
from mmad.store.gateway import Store
from mmad.store.migrate import OlderSchema
from mmad.store.results import epochs_asked

Progress = Callable[[int, int], None]
_MOST = 20


@dataclass(frozen=True)
class Checked:
    """What was looked at and what was found. ``files`` were looked for, ``read`` of them to their end."""

    database: str
    schema: str
    tables: int
    runs: int
    files: int
    read: int
    findings: tuple[Finding, ...]


def check_database(database: str | Path, *, deep: bool = False, progress: Progress | None = None) -> Checked:
    """Looks at every table, reference, run and file; changes nothing.

    Where pages of an SQLite file are damaged or tables are missing, nothing else is looked at.

    Args:
        deep: read every checkpoint and every file of detections, instead of looking whether it is there.
        progress: told how many files of how many were looked at.

    Raises:
        StoreError: there is no such database, or none that this version can read.
    """
    try:
        store = Store.open(database, create=False, read_only=True)
    except OlderSchema as error:
        found = Finding("schema", str(database), error.what, "run mmad db upgrade, which keeps a copy")
        return Checked(error.where or str(database), error.what, 0, 0, 0, 0, (found,))
    with store:
        damage = tuple(_damage(store))
        if damage:
            return Checked(store.where, schema.HEAD, 0, 0, 0, 0, damage)
        with store._database.reading() as connection:
            missing = tuple(_missing_parts(store.where, connection))
            if missing:
                return Checked(store.where, schema.HEAD, 0, 0, 0, 0, missing)
            within = list(_broken_references(store.where, connection))
        within += _runs(store)
        files = check_files(store, deep=deep, progress=progress)
        tables, runs = len(schema.metadata.tables), len(store.runs())
        findings = (*within, *files.findings)
        return Checked(store.where, schema.HEAD, tables, runs, files.looked_for, files.read, findings)


def _damage(store: Store) -> Iterator[Finding]:
    """What SQLite's own check of the file says; a server checks its pages itself."""
    if store._database.file is None:
        return
    mend = "go back to a backup, or save what can be read with the sqlite3 shell's .recover"
    try:
        with store._database.reading() as connection:
            lines = connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST})").scalars().all()
    except StoreError as error:
        lines = [error.what]
    for line in lines:
        if line != "ok":
            yield Finding("integrity", store.where, " ".join(str(line).split()), mend)


def _missing_parts(where: str, connection: Connection) -> Iterator[Finding]:
    """Tables and columns that this version writes and the database lacks."""
    found = inspect(connection)
    there = set(found.get_table_names())
    mend = "go back to a backup, or copy what is there into a new one with mmad db copy"
    for table in schema.metadata.sorted_tables:
        if table.name not in there:
            yield Finding("schema", where, f"lacks the table {table.name}", mend)
            continue
        columns = {column["name"] for column in found.get_columns(table.name)}
        for own in table.c:
            if own.name not in columns:
                yield Finding("schema", where, f"{table.name} lacks the column {own.name}", mend)


def _broken_references(where: str, connection: Connection) -> Iterator[Finding]:
    """Rows that name a row of another table which is not there."""
    for table in schema.metadata.sorted_tables:
        for constraint in table.constraints:
            if isinstance(constraint, ForeignKeyConstraint):
                number = connection.scalar(_orphans(constraint)) or 0
                if number:
                    other = constraint.referred_table.name
                    what = f"{number} rows of {table.name} name a row of {other} that is not there"
                    yield Finding("references", where, what, "go back to a backup, or remove them by hand")


def _orphans(constraint: ForeignKeyConstraint) -> Any:
    table = constraint.parent
    other = constraint.referred_table.alias()
    pairs = [(element.parent, other.c[element.column.name]) for element in constraint.elements]
    joined = table.outerjoin(other, and_(*(own == named for own, named in pairs)))
    given = [own.is_not(None) for own, _ in pairs]
    return select(func.count()).select_from(joined).where(and_(*given, pairs[0][1].is_(None)))


def _runs(store: Store) -> Iterator[Finding]:
    """Runs that nobody trains although they say so, and epochs that are missing between others."""
    owners, runs = store.owners(), store.runs()
    epochs = store.all_epochs([run.key for run in runs])
    for run in runs:
        if run.status in HELD:
            owner = owners.get(run.key)
            if owner is None or owner.dead:
                who = "nobody" if owner is None else f"process {owner.pid} of {owner.host}, which is gone"
                yield Finding("runs", run.key[:12], f"is {run.status} under {who}", "mmad ablate goes on with it")
        numbers = [record.epoch for record in epochs[run.key]]
        missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
        if missing:
            words = ", ".join(str(number) for number in missing[:5])
            yield Finding("epochs", run.key[:12], f"lacks its epoch {words}", "go back to a backup")
        if run.status == "finished" and not numbers and epochs_asked(run) > 0:
            yield Finding("epochs", run.key[:12], "is finished without an epoch", "go back to a backup")
