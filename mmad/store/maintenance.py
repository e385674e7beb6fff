"""Checks a database and the files beside it, prunes those files, and copies both."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import shutil
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    ForeignKeyConstraint,
    Integer,
    RowMapping,
    Table,
    and_,
    func,
    insert,
    inspect,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy import delete as delete_rows
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.types import NullType

from mmad.base.errors import StoreError
from mmad.base.files import left_parts, replacing, write_atomically
from mmad.base.formatting import short_key
from mmad.base.paths import RunPaths, StorePaths, clean_command
from mmad.base.records import HELD, KEPT_KINDS, CheckpointKind, CheckpointRecord, OnProgress, RunRecord
from mmad.store import schema
from mmad.store.damage import Damage, find_damage, same_row
from mmad.store.engine import serialise
from mmad.store.export import batches
from mmad.store.lookup import epochs_asked, unasked_runs
from mmad.store.migrate import OlderSchema
from mmad.store.store import Store

#: Tables whose rows are made again when they are needed.
_CACHES = ("analyses", "device_memory")
#: What a finished run keeps when it is pruned, unless other kinds are named.
KEPT = KEPT_KINDS
#: In a run's folder: the names of checkpoints that a person had deleted, one a line.
_PRUNED = "pruned"
_BLOCK = 2**20
#: How many lines of SQLite's own check are read.
_MOST_DAMAGE = 20
_SOUND_FIRST = "set it to a sound value first: mmad db check lists every damaged one"
_RESTORE = "name the folder of the runs as MMAD_RUNS, restore it from a backup, or train it again in another database"


# Check: pages, schema, references, runs.


@dataclass(frozen=True)
class DatabaseProblem:
    """What is wrong, where, and what to do about it.

    ``check`` is ``integrity``, ``schema``, ``values``, ``references``, ``secrets``, ``runs``, ``epochs`` or ``files``;
    ``where`` a row, a run's key, a file or the database.
    """

    check: str
    where: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.hint}"


@dataclass(frozen=True)
class Checked:
    """What was looked at and what was found. ``files`` were looked for, ``read`` of them to their end."""

    database: str
    schema: str
    tables: int
    runs: int
    files: int
    read: int
    findings: tuple[DatabaseProblem, ...]


def check_database(database: str | Path, *, deep: bool = False, progress: OnProgress | None = None) -> Checked:
    """Looks at every table, reference, run and file; changes nothing.

    Where pages of an SQLite file are damaged or tables are missing, nothing else is looked at; rows that a damaged
    value hides, and the files they name, are passed over.

    Args:
        deep: read every checkpoint and every file of detections, instead of looking whether it is there.
        progress: hears how many files of how many were looked at.

    Raises:
        StoreError: there is no such database, or none that this version can read.
    """
    try:
        store = Store.open(database, create=False, read_only=True, lenient=True)
    except OlderSchema as error:
        found = DatabaseProblem("schema", str(database), error.what, "run mmad db upgrade, which keeps a copy")
        return Checked(error.where or str(database), error.what, 0, 0, 0, 0, (found,))
    with store:
        damage = tuple(_damage(store))
        if damage:
            return Checked(store.where, schema.HEAD, 0, 0, 0, 0, damage)
        with store.database.reading() as connection:
            missing = tuple(_missing_parts(store.where, connection))
            if missing:
                return Checked(store.where, schema.HEAD, 0, 0, 0, 0, missing)
            tables, runs = len(schema.metadata.tables), count(connection, schema.runs)
            broken = tuple(_broken_references(store.where, connection))
        store.database.leave_out(warn=False)  # the damaged values, without which runs and files are looked at
        values, secrets = tuple(_damaged_values(store.left_out)), tuple(_secrets(store))
        within = (*values, *broken, *secrets, *_runs(store))
        files = check_files(store, deep=deep, progress=progress)
        findings = (*within, *files.findings)
        return Checked(store.where, schema.HEAD, tables, runs, files.looked_for, files.read, findings)


def _damage(store: Store) -> Iterator[DatabaseProblem]:
    """What SQLite's own check of the file says; a server checks its pages itself."""
    if store.database.file is None:
        return
    hint = "go back to a backup, or save what can be read with the sqlite3 shell's .recover"
    try:
        with store.database.reading() as connection:
            lines = connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST_DAMAGE})").scalars().all()
    except StoreError as error:
        lines = [error.what]
    for line in lines:
        if line != "ok":
            yield DatabaseProblem("integrity", store.where, " ".join(str(line).split()), hint)


def _missing_parts(where: str, connection: Connection) -> Iterator[DatabaseProblem]:
    """Tables and columns that this version writes and the database lacks."""
    found = inspect(connection)
    there = set(found.get_table_names())
    hint = "go back to a backup, or copy what is there into a new one with mmad db copy"
    for table in schema.metadata.sorted_tables:
        if table.name not in there:
            yield DatabaseProblem("schema", where, f"lacks the table {table.name}", hint)
            continue
        columns = {column["name"] for column in found.get_columns(table.name)}
        for own in table.c:
            if own.name not in columns:
                yield DatabaseProblem("schema", where, f"{table.name} lacks the column {own.name}", hint)


def _damaged_values(damage: Sequence[Damage]) -> Iterator[DatabaseProblem]:
    """Values that their column cannot hold."""
    hint = "set each to a sound value by hand (UPDATE in the sqlite3 shell or psql), or go back to a backup"
    drop = "mmad db check --fix removes each such row: it is computed or measured again when it is needed"
    for one in damage:
        yield DatabaseProblem("values", one.where, one.what, drop if one.table in _CACHES else hint)


def _secrets(store: Store) -> Iterator[DatabaseProblem]:
    """Command lines that an earlier version recorded with passwords and tokens in them."""
    c = schema.environments.c
    with store.database.reading() as connection:
        for number, command in connection.execute(select(c.id, c.command).order_by(c.id)):
            if clean_command(command) != command:
                where = f"environments, row id {number}"
                yield DatabaseProblem(
                    "secrets", where, "command holds a password or a token", "mmad db check --fix takes it out"
                )


@dataclass(frozen=True)
class DatabaseFixes:
    """How many damaged rows of caches were removed, and of how many command lines secrets were taken out."""

    rows: int
    commands: int


def fix_database(database: str | Path) -> DatabaseFixes:
    """Removes damaged rows that are made again when they are needed, and secrets from recorded command lines.

    Nothing that was measured by a training is touched.

    Raises:
        StoreError: the database is missing or cannot be written.
    """
    c = schema.environments.c
    with Store.open(database, create=False) as store, store.database.writing() as connection:
        serialise(connection)
        rows = 0
        for table in (schema.metadata.tables[name] for name in _CACHES):
            for identity in {damage.identity for damage in find_damage(connection, table)}:
                connection.execute(delete_rows(table).where(same_row(connection, table, identity)))
                rows += 1
        commands = 0
        raw = select(c.id, type_coerce(c.command, NullType()).label("command")).order_by(c.id)
        for number, command in connection.execute(raw).all():
            if isinstance(command, str) and (bare := clean_command(command)) != command:
                connection.execute(update(schema.environments).where(c.id == number).values(command=bare))
                commands += 1
        return DatabaseFixes(rows, commands)


def _broken_references(where: str, connection: Connection) -> Iterator[DatabaseProblem]:
    """Rows that name a row of another table which is not there."""
    for table in schema.metadata.sorted_tables:
        for constraint in table.constraints:
            if isinstance(constraint, ForeignKeyConstraint):
                number = connection.scalar(_orphans(constraint)) or 0
                if number:
                    other = constraint.referred_table.name
                    what = f"{number} rows of {table.name} name a row of {other} that is not there"
                    yield DatabaseProblem("references", where, what, "go back to a backup, or remove them by hand")


def _orphans(constraint: ForeignKeyConstraint) -> Any:
    table = constraint.parent
    other = constraint.referred_table.alias()
    pairs = [(element.parent, other.c[element.column.name]) for element in constraint.elements]
    joined = table.outerjoin(other, and_(*(own == named for own, named in pairs)))
    given = [own.is_not(None) for own, _ in pairs]
    return select(func.count()).select_from(joined).where(and_(*given, pairs[0][1].is_(None)))


def _runs(store: Store) -> Iterator[DatabaseProblem]:
    """Runs that nobody trains although they say so, and epochs that are missing between others."""
    owners, runs = store.owners(), store.run_records()
    epochs = store.all_epochs([run.key for run in runs])
    for run in runs:
        if run.status in HELD:
            owner = owners.get(run.key)
            if owner is None or owner.alive is False:
                who = "nobody" if owner is None else f"process {owner.pid} of {owner.host}, which is gone"
                yield DatabaseProblem(
                    "runs", short_key(run.key), f"is {run.status} under {who}", "mmad ablate resumes it"
                )
        numbers = [record.epoch for record in epochs[run.key]]
        missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
        if missing:
            words = ", ".join(str(number) for number in missing[:5])
            yield DatabaseProblem("epochs", short_key(run.key), f"lacks its epoch {words}", "go back to a backup")
        if run.status == "finished" and not numbers and epochs_asked(run) > 0:
            yield DatabaseProblem("epochs", short_key(run.key), "is finished without an epoch", "go back to a backup")


# Check: the files that rows name.


@dataclass(frozen=True)
class CheckedFiles:
    """How many files were looked for and how many read to their end, and what is wrong with them."""

    looked_for: int
    read: int
    findings: tuple[DatabaseProblem, ...]


def check_files(store: Store, *, deep: bool, progress: OnProgress | None = None) -> CheckedFiles:
    """Looks for every checkpoint and file of detections that a row names.

    ``deep`` compares each checkpoint's SHA-256 with its row's, and the check sums within each file of
    detections; else a checkpoint's size is compared.
    """
    looks = list(_looks(store))
    findings: list[DatabaseProblem] = []
    read = 0
    for number, (key, paths, name, record) in enumerate(looks, start=1):
        what, whole = _wrong(paths, name, record, deep)
        read += whole
        if what is not None:
            named = "detections" if record is None else f"checkpoint {record.kind}"
            findings.append(
                DatabaseProblem(
                    "files", (paths.folder / name).as_posix(), f"{what} ({named} of run {short_key(key)})", _RESTORE
                )
            )
        if progress is not None:
            progress(number, len(looks))
    return CheckedFiles(len(looks), read, tuple(findings))


def note_pruned(run: RunPaths, checkpoint: Path) -> None:
    """Remembers that ``checkpoint`` is about to be deleted on purpose."""
    names = dict.fromkeys((*_noted(run), run.relative(checkpoint)))
    write_atomically(run.folder / _PRUNED, "".join(f"{name}\n" for name in names).encode())


def read_pruned(run: RunPaths) -> frozenset[str]:
    """The checkpoints of ``run`` that were deleted on purpose and are not there again, as the store names them."""
    return frozenset(name for name in _noted(run) if not (run.folder / name).exists())


def _noted(run: RunPaths) -> list[str]:
    file = run.folder / _PRUNED
    return file.read_text("utf-8", "replace").splitlines() if file.is_file() else []


def _looks(store: Store) -> Iterator[tuple[str, RunPaths, str, CheckpointRecord | None]]:
    """Each file once: key and files of its run, its name there and, of a checkpoint, the row that names it."""
    keys = [run.key for run in store.run_records()]
    checkpoints, evaluations = store.all_checkpoints(keys), store.all_evaluations(keys)
    for key in keys:
        paths = store.run_paths(key)
        gone = read_pruned(paths)
        kept = {(record.path, record.sha256): record for record in checkpoints[key] if record.path not in gone}
        for record in kept.values():
            yield key, paths, record.path, record
        for name in dict.fromkeys(record.detections for record in evaluations[key]):
            if name is not None:
                yield key, paths, name, None


def _wrong(paths: RunPaths, name: str, record: CheckpointRecord | None, deep: bool) -> tuple[str | None, bool]:
    """What is wrong with the file ``name``, or None; and whether it was read to its end."""
    try:
        file = paths.inner(name)
        size = file.stat().st_size
        if record is not None and size != record.size:
            return f"has {size} bytes, its row says {record.size}", False
        if not deep:
            return None, False
        if record is not None:
            digest = _sha256(file)
            return (
                None if digest == record.sha256 else f"is another file: its SHA-256 begins {short_key(digest)}"
            ), True
        with zipfile.ZipFile(file) as packed:
            broken = packed.testzip()
        return (None if broken is None else f"is damaged at {broken}"), True
    except StoreError as error:
        return error.what, False
    except FileNotFoundError:
        return "is not there", False
    except OSError as error:
        return f"cannot be read ({error.strerror or error})", False
    except zipfile.BadZipFile as error:
        return f"is damaged ({error})", True


def _sha256(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


# Prune: the files that nothing needs any more.


@dataclass(frozen=True)
class Surplus:
    """A file or folder that may go: of which run (a name of a folder where no run is known), its bytes and why.

    ``kind`` is that of a checkpoint which the database holds; ``whole_run`` says that the run's rows go too.
    """

    path: Path
    key: str
    size: int
    reason: str
    kind: CheckpointKind | None = None
    whole_run: bool = False


def find_surplus(
    store: Store,
    keys: Collection[str],
    *,
    keep: Sequence[CheckpointKind] = KEPT,
    orphans: bool = False,
    unasked: bool = False,
) -> list[Surplus]:
    """What nothing needs of the runs ``keys``: finished runs' checkpoints beside those of ``keep``, checkpoints that
    were set aside, and what interrupted writes left of finished runs. Runs that may be resumed, and those that an
    unfinished one continues, lose nothing they need.

    Args:
        orphans: also whole folders of runs that the database does not hold.
        unasked: also whole runs of ``keys`` that no member asks for and nobody trains.

    Raises:
        StoreError: a value is damaged, so that what needs a file may not be known.
    """
    records = {run.key: run for run in store.run_records()}
    held = store.all_checkpoints(list(records))
    waiting = (run for run in records.values() if run.status != "finished" and run.protocol.get("continues"))
    parents = {run.protocol["continues"]["key"] for run in waiting}  # which these still have to take over
    found: list[Surplus] = []
    gone = {run.key for run in unasked_runs(store) if run.status not in HELD} - parents if unasked else set()
    for key in records:
        if key in keys and key in gone:
            folder = store.run_paths(key).folder
            found.append(Surplus(folder, key, _size(folder), "no member asks for it", whole_run=True))
        elif key in keys:
            found += _of_run(store, records[key], held[key], keep, whole=key in parents)
    if orphans:
        found += _orphaned_runs(store)
    for damage in store.left_out:
        raise StoreError(
            f"{damage.where}: {damage.what}: what it needs is not known", where=store.where, hint=_SOUND_FIRST
        )
    return found


def _of_run(
    store: Store, run: RunRecord, rows: Sequence[CheckpointRecord], keep: Sequence[CheckpointKind], *, whole: bool
) -> Iterator[Surplus]:
    paths = store.run_paths(run.key)
    for aside in sorted(paths.folder.glob(f"{paths.checkpoints.name}.*")):
        yield Surplus(aside, run.key, _size(aside), "set aside: of epochs that this database does not hold")
    if run.status != "finished":
        return
    needed = {paths.folder / row.path: row.kind for row in rows if whole or row.kind in keep}
    names = {paths.folder / row.path: row.kind for row in rows}
    for file in sorted(paths.checkpoints.glob("*")) if paths.checkpoints.is_dir() else ():
        if file not in needed:
            kind = names.get(file)
            yield Surplus(file, run.key, _size(file), f"checkpoint {kind}" if kind else "of no kept checkpoint", kind)
    for part in left_parts(paths.detections_folder):
        yield Surplus(part, run.key, _size(part), "left by an interrupted write")


def _orphaned_runs(store: Store) -> Iterator[Surplus]:
    folders = sorted(store.paths.runs.glob("??/*"))
    records = {run.key for run in store.run_records()}  # read last: a run is queued before it has a folder
    for folder in folders:
        if folder.is_dir() and folder.name not in records and folder.name[:2] == folder.parent.name:
            yield Surplus(folder, folder.name, _size(folder), "of a run that this database does not hold")


def delete(store: Store, surplus: Sequence[Surplus]) -> int:
    """Deletes what was found; the bytes that became free. The names of checkpoints stay in the run's ``pruned``.

    Rows go before their files: what is left then is the folder of a run that the database does not hold. A run that
    was asked for meanwhile stays.

    Raises:
        StoreError: something cannot be deleted; what came before it is gone.
    """
    freed = 0
    whole = [one.key for one in surplus if one.whole_run]
    forgotten = store.forget(whole) if whole else ()
    for one in surplus:
        if one.whole_run and one.key not in forgotten:
            continue
        try:
            if one.path.is_dir():
                shutil.rmtree(one.path)
            elif one.whole_run:
                continue  # it was never begun
            else:
                _delete_file(one)
        except OSError as error:
            raise StoreError(
                f"cannot be deleted ({error.strerror})", where=one.path, hint="check its permissions, then try again"
            ) from error
        freed += one.size
    return freed


def _delete_file(one: Surplus) -> None:
    """Deletes a file; its name is noted before, or afterwards where the disk has no room for it."""
    run = RunPaths(one.path.parent.parent)
    noted = one.kind is None
    if not noted:
        try:
            note_pruned(run, one.path)
            noted = True
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
    one.path.unlink(missing_ok=True)
    if not noted:
        note_pruned(run, one.path)


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0


# Copy: the files of the runs.


@dataclass(frozen=True)
class CopiedFiles:
    """How many files and bytes were copied, and how many were there already."""

    copied: int
    size: int
    there: int

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.copied, self.size, self.there


def copy_files(keys: Iterable[str], sender: StorePaths, target: StorePaths, *, missing: bool = False) -> CopiedFiles:
    """Copies the folders of the runs ``keys`` to where ``target`` looks for them, each file whole or not at all.

    A file that is there with equal size and time is left alone, with ``missing`` any that is there. StoreError where
    one cannot be read or written.
    """
    copied = size = there = 0
    for key in keys:
        source, folder = sender.run(key).folder, target.run(key).folder
        if source.resolve() == folder.resolve():
            there += sum(path.is_file() for path in source.rglob("*"))
            continue
        for path in sorted(source.rglob("*")):
            if path.is_symlink() or not path.is_file() or path.name.startswith("."):
                continue
            place = folder / path.relative_to(source)
            if not (missing and place.exists()) and _copy(path, place):
                copied, size = copied + 1, size + path.stat().st_size
            else:
                there += 1
    return CopiedFiles(copied, size, there)


def _copy(source: Path, target: Path) -> bool:
    """Whether ``source`` had to be copied to ``target``."""
    try:
        own = source.stat()
        if target.is_file() and (target.stat().st_size, target.stat().st_mtime_ns) == (own.st_size, own.st_mtime_ns):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            shutil.copy2(source, part)
    except OSError as error:
        raise StoreError(
            f"cannot be copied to {target.parent} ({error.strerror}); no row was copied",
            where=source,
            hint="free space or check permissions there, then copy again: what is there already is kept",
        ) from error
    return True


# Copy: the rows, compared when they arrived.


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


def _plain(value: Any) -> Any:
    """A value of a row as JSON has it: what is not a number is null."""
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and math.isnan(value) else value


def _line(row: RowMapping) -> bytes:
    return json.dumps({name: _plain(value) for name, value in row.items()}, sort_keys=True).encode()


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
    source: str | Path, target: str | Path, *, files: bool = False, progress: OnProgress | None = None
) -> Copied:
    """Copies every row of ``source`` into the empty ``target``; all of them arrive, or none.

    Args:
        source: an SQLite file or a URL; only read.
        target: an SQLite file or a URL, which is made where it is missing.
        files: copy the runs' files (checkpoints, detections, logs) too, before the rows that name them.
        progress: hears how many rows of how many were written.

    Raises:
        StoreError: the source is missing, older, or has running runs; the target is the source or holds
            something; a value does not fit there; what arrived is not what was sent.
    """
    refuse_same(source, target)
    with Store.open(source, create=False, read_only=True) as sender:
        refuse_running(sender)
        with Store.open(target) as receiver:
            with receiver.database.reading() as connection:
                refuse_rows(receiver.where, connection)
            copied = None
            if files:
                copied = copy_files([run.key for run in sender.run_records()], sender.paths, receiver.paths)
            with sender.database.reading() as reading, receiver.database.writing() as writing:
                refuse_rows(receiver.where, writing)
                tables = _copy_tables(reading, writing, receiver.where, progress or (lambda done, whole: None))
            return Copied(sender.where, receiver.where, tables, sender.paths.runs, receiver.paths.runs, copied)


def refuse_rows(where: str, connection: Connection) -> None:
    """StoreError where any table has a row."""
    held = [(table.name, rows) for table in schema.metadata.sorted_tables if (rows := count(connection, table))]
    if held:
        words = ", ".join(f"{rows} {name}" for name, rows in held[:3])
        raise StoreError(f"is not empty ({words})", where=where, hint="name another target, which need not be there")


def _copy_tables(reading: Connection, writing: Connection, where: str, progress: OnProgress) -> tuple[CopiedTable, ...]:
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
                f"{table.name}: {arrived.rows} rows arrived ({short_key(arrived.digest)}), "
                f"{sent.rows} were sent ({short_key(sent.digest)}); nothing was kept",
                where=where,
                hint="check the source with mmad db check, then copy again",
            )
        copied.append(CopiedTable(table.name, sent.rows, sent.digest))
    return tuple(copied)


def _insert(writing: Connection, table: Table, rows: list[dict[str, object]], where: str) -> None:
    try:
        writing.execute(insert(table), rows)
    except (DataError, IntegrityError, ValueError) as error:
        reason = " ".join(str(getattr(error, "orig", error)).split("\n")[0].split())
        hint = "find the row with mmad db check, or fix it in the source; nothing was kept"
        raise StoreError(f"a row of {table.name} does not fit there ({reason})", where=where, hint=hint) from error


def _continue_numbers(writing: Connection, table: Table) -> None:
    """Has a server count on from the numbers that were copied (SQLite does so by itself)."""
    column = table.autoincrement_column
    if writing.dialect.name != "postgresql" or column is None or not isinstance(column.type, Integer):
        return
    last = writing.scalar(select(func.max(column)))
    if last is not None:
        sequence = "pg_get_serial_sequence(:table, :column)"
        given = {"table": table.name, "column": column.name, "last": last}
        writing.execute(text(f"SELECT setval({sequence}, :last)"), given)


def refuse_same(source: str | Path, target: str | Path) -> None:
    """StoreError where both are one database."""
    one, other = StorePaths(str(source)), StorePaths(str(target))
    if one.file is not None and other.file is not None:
        same = one.file.resolve() == other.file.resolve()
    else:
        same = one.url == other.url
    if same:
        raise StoreError("is both source and target", where=one.file or "the URL", hint="name another target")


def refuse_running(store: Store) -> None:
    """StoreError where a run of ``store`` is running, or says so."""
    running = [run.key for run in store.run_records() if run.status in HELD]
    if not running:
        return
    owners = store.owners()
    dead = all(key not in owners or owners[key].alive is False for key in running)
    runs = f"{len(running)} run{'s are' if len(running) > 1 else ' is'} running"
    if dead:
        raise StoreError(
            f"{runs}, by processes that are gone",
            where=store.where,
            hint="let mmad ablate resume them, or start and stop it once (Ctrl-C), which frees what nobody trains",
        )
    raise StoreError(
        f"{runs} and would continue in the source alone",
        where=store.where,
        hint="wait for the end, or stop mmad ablate with Ctrl-C first",
    )
