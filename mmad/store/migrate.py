"""Brings a database to the schema of this version: creates, upgrades after a backup, or refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from mmad.base.errors import StoreError
from mmad.base.paths import StorePaths
from mmad.store import schema
from mmad.store.backup_file import write_backup
from mmad.store.engine import Database, serialise

if TYPE_CHECKING:
    from alembic.config import Config


class OlderSchema(StoreError):
    """A database of an older schema that is open for reading only."""


SCRIPTS = Path(__file__).parent / "migrations"


def revision(connection: Connection) -> str | None:
    """The schema's revision; None for an empty database. StoreError when the tables are not mmad's."""
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if "alembic_version" not in tables or (len(tables) > 1 and "runs" not in tables):
        raise StoreError("is a database of something else", mend="name another one with --db")
    row = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if row is None else str(row)


@dataclass(frozen=True)
class Prepared:
    """The schema a database had (None: it was empty) and has, and where its copy of before lies."""

    where: str
    found: str | None
    now: str
    backup: Path | None = None


def prepare(database: Database, *, create: bool) -> Prepared:
    """Makes ``database`` ready for this version of mmad.

    An empty one gets the tables when ``create`` is set, an older one is upgraded after a copy was laid
    beside it; both happen in one transaction, so that processes starting together wait for each other.

    Raises:
        StoreError: tables of something else, a newer schema, or an empty database without ``create``.
        OlderSchema: an older one that is open for reading only.
    """
    with database.reading() as connection:
        found = _checked(database, connection, create)
    if found == schema.HEAD:
        return Prepared(database.where, found, found)
    if database.read_only:
        raise OlderSchema(
            f"has the older schema {found}, this mmad reads {schema.HEAD}",
            where=database.where,
            mend="mmad db upgrade upgrades it and keeps a copy",
        )
    with database.upgrading() as connection:
        serialise(connection)
        found = _checked(database, connection, create)
        if found == schema.HEAD:
            return Prepared(database.where, found, found)
        backup = None
        if found is not None and database.file is not None:
            backup = back_up(database.file, found)
        upgrade(connection)
    return Prepared(database.where, found, schema.HEAD, backup)


def upgrade_database(address: str | Path) -> Prepared:
    """Brings an existing database to this version's schema, after a copy of an SQLite file was laid beside it.

    Raises:
        StoreError: as ``prepare``, and where there is no such file.
    """
    file = StorePaths(str(address)).file
    if file is not None and not file.exists():
        raise StoreError("no such database", where=file, mend="name another with --db")
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
        write_backup(file, backup)
    except OSError as error:
        mend = "free space or check permissions there; the database is as it was"
        raise StoreError(
            f"no backup could be made before the upgrade ({error.strerror})", where=backup, mend=mend
        ) from error
    return backup


def _checked(database: Database, connection: Connection, create: bool) -> str | None:
    try:
        found = revision(connection)
    except StoreError as error:
        raise StoreError(error.what, where=database.where, mend=error.mend) from None
    if found is None and not create:
        raise StoreError(
            "is empty: nothing was recorded in it", where=database.where, mend="run mmad ablate, or check --db"
        )
    if found is not None and found not in _known():
        raise StoreError(
            f"has the newer schema {found}, this mmad knows schemas up to {schema.HEAD}",
            where=database.where,
            mend="upgrade mmad, or name another database with --db",
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
