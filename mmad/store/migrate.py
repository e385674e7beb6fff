"""Brings a database to the schema of this version: creates, upgrades after a backup, or refuses. Makes backups."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from sqlalchemy import Connection, inspect, text

from mmad.base.errors import StoreError
from mmad.base.files import replacing
from mmad.base.paths import StorePaths
from mmad.base.records import OnProgress
from mmad.store import schema
from mmad.store.engine import Database, meaning, open_sqlite, repeatable, serialise
from mmad.store.run_rows import write_contents

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS = Path(__file__).parent / "migrations"
#: Pages that are copied between two looks at who else wants the file.
_PAGES = 4096


class OlderSchema(StoreError):
    """A database of an older schema that is open for reading only."""


def revision(connection: Connection) -> str | None:
    """The schema's revision; None for an empty database. StoreError when the tables are not mmad's."""
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if "alembic_version" not in tables or (len(tables) > 1 and "runs" not in tables):
        raise StoreError("is a database of something else", hint="name another one with --db")
    row = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if row is None else str(row)


@dataclass(frozen=True)
class Prepared:
    """The schema a database had (None: it was empty) and has, and where its copy of before lies."""

    where: str
    found: str | None
    now: str
    backup: Path | None = None


@repeatable
def prepare(database: Database, *, create: bool) -> Prepared:
    """Makes ``database`` ready for this version of mmad.

    An empty one gets the tables when ``create`` is set, an older one is upgraded after a copy was laid
    beside it; both happen in one transaction, so that processes starting together wait for each other.

    Raises:
        StoreError: tables of something else, a newer schema, or an empty database without ``create``.
        OlderSchema: an older one that is open for reading only.
    """
    with database.reading() as connection:
        found = _checked_revision(database, connection, create)
    if found == schema.HEAD:
        return Prepared(database.where, found, found)
    if database.read_only:
        raise OlderSchema(
            f"has the older schema {found}, this mmad reads {schema.HEAD}",
            where=database.where,
            hint="mmad db upgrade upgrades it and keeps a copy",
        )
    with database.upgrading() as connection:
        serialise(connection)
        found = _checked_revision(database, connection, create)
        if found == schema.HEAD:
            return Prepared(database.where, found, found)
        backup = None
        if found is not None and database.file is not None:
            backup = back_up(database.file, found)
        upgrade(connection)
        write_contents(connection)
    if backup is not None and database.file is not None:
        _give_back(database.file)
    return Prepared(database.where, found, schema.HEAD, backup)


def _give_back(file: Path) -> None:
    """Gives the disk back what an upgrade left free in ``file``, if that is most of it and nobody else is at work."""
    with suppress(sqlite3.OperationalError), closing(open_sqlite(file, read_only=False, timeout=1.0)) as connection:
        free, pages = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count"))
        if 2 * free > pages:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def upgrade_database(address: str | Path) -> Prepared:
    """Brings an existing database to this version's schema, after a copy of an SQLite file was laid beside it.

    Raises:
        StoreError: as ``prepare``, and where there is no such file.
    """
    file = StorePaths(str(address)).file
    if file is not None and not file.exists():
        raise StoreError("no such database", where=file, hint="name another with --db")
    database = Database(address)
    try:
        return prepare(database, create=False)
    finally:
        database.close()


def upgrade(connection: Connection, target: str = "head") -> None:
    """Runs the revisions up to ``target`` inside the connection's transaction."""
    from alembic import command  # a quarter of a second, needed once in a database's life

    command.upgrade(_config(connection), target)


def back_up(file: Path, found: str) -> Path:
    """Copies the SQLite database to ``<name>.<revision>.backup`` beside it, whole or not at all."""
    backup = file.with_name(f"{file.name}.{found}.backup")
    try:
        with _backing_up(file, backup):
            pass
    except OSError as error:
        hint = "free space or check permissions there; the database is as it was"
        raise StoreError(
            f"no backup could be made before the upgrade ({error.strerror})", where=backup, hint=hint
        ) from error
    return backup


def _checked_revision(database: Database, connection: Connection, create: bool) -> str | None:
    try:
        found = revision(connection)
    except StoreError as error:
        raise StoreError(error.what, where=database.where, hint=error.hint) from None
    if found is None and not create:
        raise StoreError(
            "is empty: nothing was recorded in it", where=database.where, hint="run mmad ablate, or check --db"
        )
    if found is not None and found not in _known():
        raise StoreError(
            f"has the newer schema {found}, this mmad knows schemas up to {schema.HEAD}",
            where=database.where,
            hint="upgrade mmad, or name another database with --db",
        )
    return found


def _known() -> frozenset[str]:
    """The revisions of this version, by their files' names."""
    return frozenset(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*_*.py"))


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


# Backups: SQLite's own online copy, checked before it counts.


@dataclass(frozen=True)
class Backup:
    """A backup that was made: ``size`` in bytes, the rows of ``runs`` and ``epochs`` in it."""

    database: str
    file: Path
    size: int
    runs: int
    epochs: int


def back_up_database(database: str | Path, target: Path, progress: OnProgress | None = None) -> Backup:
    """Copies the SQLite ``database`` to the new file ``target`` as it is at one moment; others may write meanwhile.

    Raises:
        StoreError: a server's database; no such file, or none of mmad's; a target that is there already or cannot
            be written.
    """
    file = StorePaths(str(database)).file
    if file is None:
        raise StoreError(
            "a server's database is backed up with its own pg_dump",
            where="--db",
            hint="or copied to a file: mmad db copy URL FILE",
        )
    if not file.exists():
        raise StoreError("no such database", where=file, hint="name another with --db")
    if target.is_dir():
        raise StoreError("is a folder", where=target, hint=f"name a file in it, such as {target / file.name}")
    if target.exists():
        raise StoreError("exists already", where=target, hint="name a new file, or remove this one first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _backing_up(file, target, progress) as part:
            runs, epochs = _rows_of_sound(file, part)
    except sqlite3.Error as error:
        written = error.sqlite_errorcode == sqlite3.SQLITE_FULL
        raise meaning(str(error), (target if written else file).as_posix()) from error
    except OSError as error:
        hint = "free space or check permissions there, or name another file"
        raise StoreError(f"cannot be written ({error.strerror})", where=target, hint=hint) from error
    return Backup(file.as_posix(), target, target.stat().st_size, runs, epochs)


def _rows_of_sound(file: Path, part: Path) -> tuple[int, int]:
    """Rows of ``runs`` and ``epochs`` in the backup ``part`` of ``file``; StoreError where it is damaged."""
    # immutable: SQLite lays no files beside it
    with closing(sqlite3.connect(f"file:{quote(part.absolute().as_posix())}?immutable=1", uri=True)) as copy:
        (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreError(f"is damaged ({' '.join(verdict.split())})", where=file, hint="see mmad db check")
        runs, epochs = (copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("runs", "epochs"))
    return runs, epochs


@contextmanager
def _backing_up(file: Path, target: Path, progress: OnProgress | None = None) -> Iterator[Path]:
    """The SQLite database ``file`` as it is at one moment, which becomes ``target`` when the block succeeds.

    ``progress`` hears how many pages of how many are copied. Raises OSError and sqlite3's own errors.
    """

    def step(status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    with replacing(target) as part:
        with (
            closing(open_sqlite(file, read_only=True)) as source,
            closing(open_sqlite(part, read_only=False)) as copy,
        ):
            source.backup(copy, pages=-1 if progress is None else _PAGES, progress=step, sleep=0.01)
        yield part
