"""The one place that talks to a database: connections, transactions, and who waits for whom."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, ProgrammingError

from mmad.base.clock import seconds
from mmad.base.errors import StoreError
from mmad.base.paths import StorePaths
from mmad.store.failures import TransactionLost, is_away, is_refused, meaning, said
from mmad.store.netfs import network_type, warn_once
from mmad.store.server import server_engine, shown

#: Seconds to wait for another process that writes, or for a server that went away.
BUSY_SECONDS = 60.0
#: Seconds between two attempts to reach a server that went away.
_PAUSE = 0.2
#: How often a transaction that was lost is repeated.
_REPEATS = 4
#: The server's number for locks of mmad.
_LOCK = 6872900

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """An open database: ``reading`` and ``writing`` are transactions that end with their block.

    A reading sees one state from its beginning to its end. A writing holds SQLite's write lock from its
    beginning, so that what it reads is still true when it writes; on a server ``serialise`` sees to that.
    Failures of the database leave either as a StoreError that names the place and the mend (TransactionLost
    where it can be repeated); faults of our own statements do not.
    """

    def __init__(self, database: str | Path, *, read_only: bool = False, timeout: float = BUSY_SECONDS) -> None:
        paths = StorePaths(str(database))
        self.file = paths.file
        self.read_only = read_only
        self.timeout = timeout
        self.engine = server_engine(paths.url, timeout) if self.file is None else self._sqlite(self.file)
        self.where = shown(self.engine.url) if self.file is None else self.file.as_posix()
        self._reached = False

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that writes nothing."""
        with self.explained(), self._connected() as connection:
            if self.file is None:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: all of it counts, or nothing. StoreError when opened read-only."""
        if self.read_only:
            raise StoreError("was opened for reading only", where=self.where, mend="open it without read_only")
        with self.explained(), self._connected() as connection:
            connection.execution_options(mmad_writes=True)
            with connection.begin():
                yield connection

    def _connected(self) -> Connection:
        """A connection; a server that was reached once is waited for when it is away, as for a restart."""
        end = seconds() + self.timeout
        while True:
            try:
                connection = self.engine.connect()
            except DatabaseError as error:
                text = said(error.orig)
                away = self.file is None and is_away(text) and (self._reached or "starting up" in text)
                if not away or seconds() > end:
                    raise meaning(text, self.where) from error
                time.sleep(_PAUSE)
            else:
                self._reached = True
                return connection

    @contextmanager
    def upgrading(self) -> Iterator[Connection]:
        """A writing that may make tables anew: rows that refer to theirs stay, and are checked at its end."""
        sqlite = self.file is not None
        with (
            self.explained(),
            self.engine.connect().execution_options(mmad_writes=True, mmad_upgrades=sqlite) as connection,
        ):
            try:
                with connection.begin():
                    yield connection
                    if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                        raise StoreError(
                            "holds rows that refer to nothing", where=self.where, mend="go back to a backup"
                        )
            finally:
                connection.invalidate()  # its settings were those of an upgrade

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns the database's failures into a StoreError."""
        try:
            yield
        except ProgrammingError as error:
            text = said(error.orig)
            if is_refused(text):
                raise meaning(text, self.where) from error
            if "does not exist" not in text:
                raise
            raise StoreError("lacks tables of mmad", where=self.where, mend="start a new one with --db") from error
        except DatabaseError as error:
            raise meaning(said(error.orig), self.where, lost=error.connection_invalidated) from error
        except sqlite3.DatabaseError as error:
            raise meaning(said(error), self.where) from error

    def _sqlite(self, file: Path) -> Engine:
        def connect() -> sqlite3.Connection:
            return open_sqlite(file, read_only=self.read_only, timeout=self.timeout)

        def prepare(connection: sqlite3.Connection, _record: object) -> None:
            _prepare_reading(connection) if self.read_only else _prepare_writing(connection, file)

        engine = create_engine(URL.create("sqlite", database=str(file)), creator=connect)
        event.listen(engine, "connect", prepare)
        event.listen(engine, "begin", _begin)
        return engine


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


def _prepare_reading(connection: sqlite3.Connection) -> None:
    connection.isolation_level = None  # transactions begin in _begin
    connection.execute("PRAGMA query_only = ON")


def _prepare_writing(connection: sqlite3.Connection, file: Path) -> None:
    connection.isolation_level = None
    kind = network_type(file)
    if kind is not None:
        warn_once(file, kind)
    # the write-ahead log's index is memory that processes share, which machines cannot
    connection.execute(f"PRAGMA journal_mode = {'WAL' if kind is None else 'DELETE'}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    options: Any = connection.get_execution_options()
    if options.get("mmad_upgrades"):
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("mmad_writes") else "BEGIN")


def repeatable(method: Callable[P, T]) -> Callable[P, T]:
    """Does a transaction again that was lost on the way: for those that may be done twice without harm."""

    @wraps(method)
    def repeated(*words: P.args, **options: P.kwargs) -> T:
        for _ in range(_REPEATS):
            try:
                return method(*words, **options)
            except TransactionLost:
                continue
        return method(*words, **options)

    return repeated


def serialise(connection: Connection, about: str | None = None) -> None:
    """Lets one writing after the other pass where the server would let them overlap (SQLite always does).

    ``about`` (such as a run's key) lets only writings about the same thing wait for one another.
    """
    if connection.dialect.name != "postgresql":
        return
    if about is None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    else:
        number = zlib.crc32(about.encode()) - 2**31
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK}, {number})")
