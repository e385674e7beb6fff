"""The one place that talks to a database: connections, transactions, and what their failures mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, ProgrammingError

from mmad.base.errors import StoreError
from mmad.base.paths import StorePaths

#: Seconds to wait for another process that writes.
BUSY_SECONDS = 60.0

#: What SQLite and PostgreSQL say, what it means, and the mend; the first that fits counts.
MEANINGS: tuple[tuple[str, str, str], ...] = (
    ("locked", "another program has kept the database locked", "close it or wait for it, then try again"),
    ("disk is full", "no space is left on the disk", "free some space, then try again"),
    ("disk i/o error", "the disk failed or is full", "check its space and health, then try again"),
    ("not a database", "is not a database", "name another file with --db, or move this one away"),
    ("malformed", "the database is damaged", "go back to a backup, or start a new one with --db"),
    ("readonly", "cannot be written", "check its permissions, or name another file with --db"),
    ("unable to open", "cannot be opened", "check the path and its permissions, or name another file with --db"),
    ("foreign key", "names a run the database does not hold", "queue it first with mmad ablate"),
    ("no such table", "lacks tables of mmad", "go back to a backup, or start a new one with --db"),
    ("connection", "the database server cannot be reached", "check that it runs, and the URL given with --db"),
)


class Database:
    """An open database: ``reading`` and ``writing`` are transactions that end with their block.

    A reading sees one state from its beginning to its end. A writing holds SQLite's write lock from its
    beginning, so that what it reads is still true when it writes. Failures of the database leave either
    as a StoreError that names the place and the mend; faults of our own statements do not.
    """

    def __init__(self, database: str | Path, *, read_only: bool = False, timeout: float = BUSY_SECONDS) -> None:
        paths = StorePaths(str(database))
        self.file = paths.file
        self.read_only = read_only
        self.timeout = timeout
        self.engine = self._server(paths.url) if self.file is None else self._sqlite(self.file)
        self.where = self.engine.url.render_as_string(hide_password=True) if self.file is None else self.file.as_posix()

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that writes nothing."""
        with self.explained(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: all of it counts, or nothing. StoreError when opened read-only."""
        if self.read_only:
            raise StoreError("was opened for reading only", where=self.where, mend="open it without read_only")
        with (
            self.explained(),
            self.engine.connect().execution_options(mmad_writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns the database's failures into a StoreError."""
        try:
            yield
        except ProgrammingError as error:
            if "does not exist" not in str(error.orig):
                raise
            raise StoreError("lacks tables of mmad", where=self.where, mend="start a new one with --db") from error
        except DatabaseError as error:
            raise self._meaning(error.orig) from error
        except sqlite3.DatabaseError as error:
            raise self._meaning(error) from error

    def _meaning(self, error: BaseException | None) -> StoreError:
        text = str(error).strip()
        for word, what, mend in MEANINGS:
            if word in text.lower():
                return StoreError(what, where=self.where, mend=mend)
        line = text.splitlines()[0] if text else "unknown failure"
        return StoreError(f"the database failed ({line})", where=self.where, mend="see its own log, then try again")

    def _sqlite(self, file: Path) -> Engine:
        def connect() -> sqlite3.Connection:
            return open_sqlite(file, read_only=self.read_only, timeout=self.timeout)

        engine = create_engine(URL.create("sqlite", database=str(file)), creator=connect)
        event.listen(engine, "connect", _prepare_reading if self.read_only else _prepare_writing)
        event.listen(engine, "begin", _begin)
        return engine

    def _server(self, url: str) -> Engine:
        mend = "give a file, or a URL such as postgresql+psycopg://user@host/name"
        try:
            return create_engine(url, pool_pre_ping=True)
        except (ArgumentError, NoSuchModuleError, ValueError):
            raise StoreError("is not the URL of a database", where=url.partition("://")[0], mend=mend) from None
        except ModuleNotFoundError as error:
            raise StoreError(
                f"the driver {error.name} is not installed",
                where=url.partition("://")[0],
                mend=f"install it into this environment (pip install {error.name}), or give a file",
            ) from None


def open_sqlite(file: Path, *, read_only: bool, timeout: float = BUSY_SECONDS) -> sqlite3.Connection:
    """A bare connection to the SQLite database ``file``; sqlite3's own errors."""
    uri = f"file:{quote(file.absolute().as_posix())}?mode={'ro' if read_only else 'rwc'}"
    connection = sqlite3.connect(uri, uri=True, timeout=timeout, check_same_thread=False)
    if not read_only:
        return connection
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        log = file.with_name(f"{file.name}-wal")
        if not file.exists() or (log.exists() and log.stat().st_size):
            raise
        # a closed database in a folder that cannot be written, where SQLite's side files have no place
        return sqlite3.connect(f"{uri}&immutable=1", uri=True, timeout=timeout, check_same_thread=False)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare_reading(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin in _begin
    connection.execute("PRAGMA query_only = ON")


def _prepare_writing(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    options: Any = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("mmad_writes") else "BEGIN")


def serialise(connection: Connection) -> None:
    """Lets one writing after the other pass where the server would let them overlap (SQLite always does)."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(6872900)")
