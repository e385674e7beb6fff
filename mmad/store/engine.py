"""The one place that talks to a database: connections, transactions, and who waits for whom."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast
from urllib.parse import quote

from sqlalchemy import URL, Column, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError, ProgrammingError

from mmad.base.clock import seconds
from mmad.base.errors import SHARE_HINT, StoreError
from mmad.base.paths import StorePaths, without_secrets
from mmad.store.checked_columns import HINT, DamagedValue
from mmad.store.damage import Damage, SoundViews, find_damage, sound_views
from mmad.store.schema import metadata

#: Seconds to wait for another process that writes, or for a server that went away.
BUSY_SECONDS = 60.0
#: Seconds between two attempts to reach a server that went away.
_PAUSE = 0.2
#: How often a transaction that was lost is repeated.
_REPEATS = 4
#: How many damaged values are named.
_NAMED = 10
#: The server's number for locks of mmad.
_LOCK = 6872900

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Lenient")

DRIVER = "postgresql+psycopg"
#: Seconds after which a host that does not answer counts as unreachable.
CONNECT_SECONDS = 10

_FORM = "give a file, or a URL such as postgresql+psycopg://user@host/name"
_ALIASES = {"postgresql": DRIVER, "postgres": DRIVER}

_FULL, _FAILED = "disk is full|no space left", "disk i/o error"

#: What is said, what it means, and the hint; the first that fits counts.
MEANINGS: tuple[tuple[str, str, str], ...] = (
    ("locked|lock timeout", "another program has kept the database locked", "close it or wait for it, then try again"),
    (_FULL, "no space is left on the disk", "free some space, as mmad prune does, then try again"),
    (
        _FAILED,
        "the disk failed or is full",
        "check its health, free some space, as mmad prune does, then try again",
    ),
    ("not a database", "is not a database", "name another file with --db, or move this one away"),
    ("malformed", "the database is damaged", "go back to a backup, or start a new one with --db"),
    ("readonly|read-only", "cannot be written", f"{SHARE_HINT}, or name another file with --db"),
    ("unable to open", "cannot be opened", "check the path and its permissions, or name another file with --db"),
    ("foreign key", "names a run the database does not hold", "queue it first with mmad ablate"),
    ("no such table", "lacks tables of mmad", "go back to a backup, or start a new one with --db"),
    (
        "password authentication failed|authentication failed",
        "the server refuses the user or the password",
        "check both in the URL given with --db, or in ~/.pgpass",
    ),
    (
        "no password supplied",
        "the server asks for a password",
        "give it in the URL (user:password@host), as PGPASSWORD or in ~/.pgpass",
    ),
    ("pg_hba.conf", "the server lets no such user in from here", "ask who keeps it, or check the URL given with --db"),
    ('database ".*" does not exist', "the server has no such database", "make it with createdb, or check the URL"),
    ('role ".*" does not exist', "the server has no such user", "check the URL given with --db"),
    ("invalid connection option|invalid uri", "is not the URL of a database", "check what stands behind the ? of it"),
    (
        "permission denied|no schema has been selected",
        "the server's user may not do this",
        "let it make tables (GRANT ALL ON SCHEMA public TO …), or name another database",
    ),
    ("too many clients|connection slots", "the server has no connection free", "close some, or raise max_connections"),
    (
        "resolve host|translate host|name or service not known|nodename nor servname|in name resolution",
        "no such host is known",
        "check the URL given with --db",
    ),
    (
        "deadlock|duplicate key|could not serialize",
        "another program wrote the same at the same time",
        "try again",
    ),
    (
        "starting up|shutting down|recovery mode|eof detected|connection",
        "the database server cannot be reached",
        "check that it runs, and the URL given with --db",
    ),
)

#: What a server says that is there and takes nobody in now, or lets somebody go.
_NOT_NOW = re.compile(
    "starting up|shutting down|recovery mode|not (yet )?accepting connections|too many clients|connection slots|"
    "closed the connection|terminating connection|connection is (closed|lost)|connection reset|eof detected|broken pipe"
)
#: What is said where nothing answers: the server is down for a moment, or the address is wrong.
_SILENT = re.compile(
    "connection refused|timeout expired|timed out|no such file or directory|unreachable|no route to host"
)
_REFUSED = re.compile("permission denied|no schema has been selected")
#: What a database says of a value that it cannot read itself.
_UNREADABLE = re.compile("malformed json|could not decode|invalid input syntax for type|timestamp too (large|small)")
_REPEATED = re.compile("deadlock|duplicate key|could not serialize")

#: Where Linux lists what is mounted where; absent elsewhere.
MOUNTS = Path("/proc/self/mountinfo")

#: Types of file systems that several machines share; with ``fuse.`` before it, any of these counts too.
NETWORK_TYPE = re.compile(
    "9p|afs|beegfs|ceph|cifs|fhgfs|gcsfuse|gfs2|glusterfs|gpfs|juicefs|lustre|ncpfs|nfs[0-9]*|ocfs2|orangefs|"
    "panfs|pvfs2|quobyte|rclone|s3fs|smb[0-9]|smbfs|sshfs|virtiofs|wekafs"
)

_warned: set[Path] = set()
#: The servers that this process has reached before.
_reached: set[str] = set()
log = logging.getLogger(__name__)


class Database:
    """An open database: ``reading`` and ``writing`` are transactions that end with their block.

    A reading sees one state from its beginning to its end. A writing holds SQLite's write lock from its
    beginning, so that what it reads is still true when it writes; on a server ``serialise`` sees to that.
    Failures of the database leave either as a StoreError that names the place and the hint (TransactionLost
    where it can be repeated); faults of our own statements do not. So does an SQLite file that is no longer at its
    place when the transaction ends: the system would let it be written to, where nobody finds it again.

    A damaged value ends a transaction with ``DamagedRow``. Where the database is ``lenient``, ``leave_out`` hides what
    is damaged, so that a transaction can be done again without it; from then on nothing is written.
    """

    def __init__(
        self,
        database: str | Path,
        *,
        read_only: bool = False,
        timeout: float = BUSY_SECONDS,
        known: bool = False,
        lenient: bool = False,
    ) -> None:
        paths = StorePaths(str(database))
        self.file = paths.file
        self.read_only = read_only
        self.timeout = timeout
        self.lenient = lenient
        self.left_out: dict[str, tuple[Damage, ...]] = {}
        self._database = database
        self._views = SoundViews(())
        self.engine = self._server(paths.url) if self.file is None else self._sqlite(self.file)
        self.where = (
            without_secrets(self.engine.url.render_as_string(hide_password=False))
            if self.file is None
            else self.file.as_posix()
        )
        self._identity: tuple[int, int] | None = None
        if known:
            _reached.add(self.where)

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that writes nothing."""
        with self.explained(), self._located(), self._connected() as connection:
            if self.file is None:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection
        self._require_file()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: all of it counts, or nothing. StoreError when opened read-only, or damaged."""
        if any(self.left_out.values()):
            raise StoreError("holds damaged values, so nothing is written", where=self.where, hint=HINT)
        if self.read_only:
            raise StoreError("was opened for reading only", where=self.where, hint="open it without read_only")
        with self.explained(), self._located(), self._connected() as connection:
            connection.execution_options(mmad_writes=True)
            with connection.begin():
                yield connection
        self._require_file()

    @contextmanager
    def _located(self) -> Iterator[None]:
        """Turns a failure over a damaged value into a DamagedRow that names its table, row and column."""
        try:
            yield
        except DamagedValue as error:
            damage = None if error.column is None else self._first_damage([error.column.table], [error.column])
            if damage is None:  # it is of another database, whose transaction is around this one
                raise
            raise _damaged_row(damage, self.where) from error
        except DatabaseError as error:
            unreadable = _UNREADABLE.search(said(error.orig).lower())
            damage = self._first_damage(metadata.sorted_tables) if unreadable else None
            if damage is None:
                raise
            raise _damaged_row(damage, self.where) from error

    def _first_damage(self, tables: Sequence[Table], columns: Sequence[Column[Any]] = ()) -> Damage | None:
        """The first that is not left out yet."""
        with self._plain() as connection:
            for table in tables:
                with contextlib.closing(find_damage(connection, table, columns)) as found:
                    for damage in found:
                        if damage not in self.left_out.get(table.name, ()):
                            return damage
        return None

    @contextmanager
    def _plain(self) -> Iterator[Connection]:
        """A transaction that reads all that is stored, damaged or not."""
        plain = Database(self._database, read_only=True, timeout=self.timeout, known=True)
        with contextlib.closing(plain), plain.reading() as connection:
            yield connection

    def leave_out(self, *tables: str, warn: bool = True) -> bool:
        """Hides what is damaged in ``tables`` (none: in all); whether there is more than before.

        False where this database is not lenient. ``warn`` names each value.
        """
        if not self.lenient:
            return False
        fresh: list[Damage] = []
        with self._plain() as connection:
            for table in metadata.sorted_tables:
                if not tables or table.name in tables:
                    found = tuple(find_damage(connection, table))
                    fresh += [one for one in found if one not in self.left_out.get(table.name, ())]
                    self.left_out[table.name] = found
            if fresh:
                self._views = sound_views(connection, self.left_out)
        if fresh:
            self.read_only = True
            self.engine.dispose()
            if warn:
                self._warn_of(fresh)
        return bool(fresh)

    def _warn_of(self, damage: Sequence[Damage]) -> None:
        named = max(0, _NAMED - (sum(map(len, self.left_out.values())) - len(damage)))
        for one in damage[:named]:
            log.warning("%s: %s: %s; %s", self.where, one.where, one.what, one.read_as)
        if len(damage) > named:
            log.warning("%s: %s damaged values more; %s", self.where, len(damage) - named, HINT)

    def _connected(self) -> Connection:
        """A connection; a server that takes nobody in, or is silent and was reached before, is waited for."""
        end = seconds() + self.timeout
        bare: Any = self.engine.dialect.loaded_dbapi
        while True:
            try:
                connection = self.engine.connect()
            except (DBAPIError, bare.DatabaseError) as error:  # a bare one while the connection is prepared
                text = said(error.orig if isinstance(error, DBAPIError) else error)
                waits = self.file is None and is_away(text, reached=self.where in _reached)
                if not waits or seconds() > end:
                    raise meaning(text, self.where) from error
                time.sleep(_PAUSE)
            else:
                if self.file is None:
                    _reached.add(self.where)
                return connection

    @contextmanager
    def upgrading(self) -> Iterator[Connection]:
        """A writing that may make tables again: rows that refer to theirs stay, and are checked at its end."""
        sqlite = self.file is not None
        with (
            self.explained(),
            self._connected().execution_options(mmad_writes=True, mmad_upgrades=sqlite) as connection,
        ):
            try:
                with connection.begin():
                    yield connection
                    if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                        raise StoreError(
                            "holds rows that refer to nothing", where=self.where, hint="go back to a backup"
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
            if _REFUSED.search(text.lower()):  # its user may not do that
                raise meaning(text, self.where) from error
            if "does not exist" not in text:
                raise
            raise StoreError("lacks tables of mmad", where=self.where, hint="start a new one with --db") from error
        except DBAPIError as error:
            text = said(error.orig)
            lost = error.connection_invalidated or (self.file is None and is_away(text))
            raise meaning(text, self.where, lost=lost) from error
        except sqlite3.DatabaseError as error:
            raise meaning(said(error), self.where) from error

    def _sqlite(self, file: Path) -> Engine:
        def connect() -> sqlite3.Connection:
            self._require_file()  # else a new, empty one would be made
            return open_sqlite(file, read_only=self.read_only, timeout=self.timeout)

        def prepare(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # transactions begin in _begin
            try:
                self._views.make(connection)
                connection.execute("PRAGMA query_only = ON") if self.read_only else _prepare_writing(connection, file)
            except BaseException:
                connection.close()  # nobody else does where this fails
                raise
            if self._identity is None and network_type(file) is None:  # which may number an open file anew
                self._identity = _identity(file)

        engine = create_engine(URL.create("sqlite", database=str(file)), creator=connect)
        event.listen(engine, "connect", prepare)
        event.listen(engine, "begin", _begin)
        return engine

    def _server(self, address: str) -> Engine:
        def prepare(connection: Any, _record: object) -> None:
            with connection.cursor() as cursor:
                self._views.make(cursor)
            connection.commit()

        engine = server_engine(address, self.timeout)
        event.listen(engine, "connect", prepare)
        return engine

    def _require_file(self) -> None:
        """StoreError when the SQLite file that was opened was deleted or replaced since."""
        if self.file is None or self._identity is None:
            return
        try:
            there = _identity(self.file) == self._identity
        except FileNotFoundError:
            there = False
        except OSError:
            return  # the statements will say what is wrong
        if not there:
            raise StoreError(
                "was deleted or replaced while it was in use; nothing is recorded any more",
                where=self.where,
                hint="put it back, or restore it from a backup, then run the command again",
            )


def _identity(file: Path) -> tuple[int, int]:
    """What tells a file from another one at its place."""
    found = file.stat()
    return found.st_dev, found.st_ino


def open_sqlite(file: Path, *, read_only: bool, timeout: float = BUSY_SECONDS) -> sqlite3.Connection:
    """A bare connection to the SQLite database ``file``; sqlite3's own errors."""
    if not read_only:
        _make_file(file)
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


def _make_file(file: Path) -> None:
    """Makes a missing ``file`` for whom the umask allows it; SQLite's own is for its owner alone to write.

    One that is there is not opened, for closing it would give up the locks that this process has on it.
    """
    with contextlib.suppress(OSError):  # SQLite says what is wrong
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _prepare_writing(connection: sqlite3.Connection, file: Path) -> None:
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


class Lenient(Protocol):
    """What ``repeatable`` methods belong to."""

    def leave_out(self, *tables: str) -> bool: ...


def repeatable(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Repeats a transaction that was lost on the way, perhaps only its answer: it may be done twice without harm.

    One that met a damaged value is repeated without it where the store's database is lenient.
    """

    @wraps(method)
    def repeated(store: S, *words: P.args, **options: P.kwargs) -> T:
        repeats = 0
        while True:
            try:
                return method(store, *words, **options)
            except TransactionLost:
                repeats += 1
                if repeats > _REPEATS:
                    raise
            except DamagedRow as error:
                if not store.leave_out(error.table):
                    raise

    return cast(Callable[Concatenate[S, P], T], repeated)


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


# A PostgreSQL server.


def server_engine(address: str, lock_seconds: float) -> Engine:
    """An engine for the PostgreSQL database at ``address``; nothing is connected yet.

    Args:
        address: an SQLAlchemy URL, or ``postgresql://…`` as other programs take it.
        lock_seconds: how long a statement waits for what another transaction holds.

    Raises:
        StoreError: not such a URL, or the driver is not installed. The password is never shown.
    """
    scheme = address.partition("://")[0]
    try:
        url = make_url(address)
        url = url.set(drivername=_ALIASES.get(url.drivername, url.drivername))
    except (ArgumentError, ValueError):
        raise StoreError("is not the URL of a database", where=scheme, hint=_FORM) from None
    if url.drivername != DRIVER:
        raise StoreError("is not the URL of a database that mmad can use", where=scheme, hint=_FORM)
    options: dict[str, Any] = {"fallback_application_name": "mmad"}
    if "connect_timeout" not in url.query:
        options["connect_timeout"] = CONNECT_SECONDS
    try:
        engine = create_engine(url, pool_pre_ping=True, connect_args=options)
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise StoreError("is not the URL of a database", where=scheme, hint=_FORM) from None
    except ImportError:
        hint = "install it into this environment (pip install 'mmad[postgres]'), or give a file"
        raise StoreError("the driver psycopg is not installed", where=scheme, hint=hint) from None

    def prepare(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {max(1, round(lock_seconds * 1000))}")
        connection.commit()

    event.listen(engine, "connect", prepare)
    return engine


# What SQLite and PostgreSQL say when something fails, what it means, and the hint.


class TransactionLost(StoreError):
    """A transaction that was lost on the way, so that nothing of it counts; it can be repeated."""


class DamagedRow(StoreError):
    """A value that its column cannot hold, in a row of ``table``."""

    table = ""


def _damaged_row(damage: Damage, where: str) -> DamagedRow:
    found = DamagedRow(f"{damage.where}: {damage.what}", where=where, hint=HINT)
    found.table = damage.table
    return found


class DiskFull(StoreError):
    """The disk has no room for what SQLite has to write, perhaps no more than its side files; it may be readable."""


def said(error: BaseException | None) -> str:
    """What a database's error says, without white space around it."""
    return str(error or "").strip()


def is_away(text: str, *, reached: bool = True) -> bool:
    """Whether a server may be back in a moment, as when it is restarted, where a connection failed with ``text``.

    Args:
        reached: it was reached before at this address; else silence there means that the address is wrong.
    """
    silent = reached and _SILENT.search(text.lower()) is not None
    return silent or _NOT_NOW.search(text.lower()) is not None


def meaning(text: str, where: str, *, lost: bool = False) -> StoreError:
    """What the database's ``text`` means, as an error to raise; ``lost`` says that the connection went with it."""
    repeated = _REPEATED.search(text.lower()) is not None
    kind = TransactionLost if lost or repeated else StoreError
    for pattern, what, hint in MEANINGS:
        if re.search(pattern, text.lower()):
            return (DiskFull if pattern in (_FULL, _FAILED) else kind)(what, where=where, hint=hint)
    line = " ".join(text.split("\n")[0].split()) or "unknown failure"
    return kind(f"the database failed ({line})", where=where, hint="see its own log, then try again")


# Network file systems, whose locks and shared memory SQLite cannot count on.


def network_type(path: Path) -> str | None:
    """The type (such as ``nfs4``) of the network file system that ``path`` lies on, or None.

    The path, or what is there of its folders, is followed through links. None where the system does not say.
    """
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    target = f"{path.resolve().as_posix()}/"
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = (
            re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4]).rstrip("/") + "/"
        )  # octal blanks
        # a later line hides an earlier one of the same place
        if len(point) >= best and target.startswith(point):
            best, kind = len(point), after.split(" ")[0]
    return kind if NETWORK_TYPE.fullmatch(kind.removeprefix("fuse.")) else None


def warn_once(file: Path, kind: str) -> None:
    """Warns, once per process and file, of a database that lies where it can be damaged or stay locked."""
    if file in _warned:
        return
    _warned.add(file)
    log.warning(
        "%s: lies on a network file system (%s), where SQLite's locks may fail: one machine at a time, without its "
        "write-ahead log; give a PostgreSQL server with --db, or a file on a local disk",
        file.as_posix(),
        kind,
    )


def _unescaped(text: str) -> str:
    """A mount point as it is: mountinfo writes spaces, tabs, line ends and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
