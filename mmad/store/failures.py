"""What SQLite and PostgreSQL say when something fails, what it means, and the mend."""

from __future__ import annotations

import re

from mmad.base.errors import StoreError


class TransactionLost(StoreError):
    """A transaction that was lost on the way, so that nothing of it counts; it can be repeated."""


#: What is said, what it means, and the mend; the first that fits counts.
MEANINGS: tuple[tuple[str, str, str], ...] = (
    ("locked|lock timeout", "another program has kept the database locked", "close it or wait for it, then try again"),
    ("disk is full|no space left", "no space is left on the disk", "free some space, then try again"),
    ("disk i/o error", "the disk failed or is full", "check its space and health, then try again"),
    ("not a database", "is not a database", "name another file with --db, or move this one away"),
    ("malformed", "the database is damaged", "go back to a backup, or start a new one with --db"),
    ("readonly|read-only", "cannot be written", "check its permissions, or name another file with --db"),
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
        "starting up|shutting down|connection",
        "the database server cannot be reached",
        "check that it runs, and the URL given with --db",
    ),
)

_AWAY = re.compile(
    "connection refused|starting up|shutting down|recovery mode|closed the connection|terminating connection|"
    "connection reset|timeout expired|timed out|no such file or directory|unreachable|no route to host"
)
_REFUSED = re.compile("permission denied|no schema has been selected")
_REPEATED = re.compile("deadlock|duplicate key|could not serialize")


def said(error: BaseException | None) -> str:
    """What a database's error says, without white space around it."""
    return str(error or "").strip()


def is_away(text: str) -> bool:
    """Whether a server that said ``text`` may be back in a moment, as when it is started anew."""
    return _AWAY.search(text.lower()) is not None


def is_refused(text: str) -> bool:
    """Whether a server said that its user may not do something, which is no fault of the statement."""
    return _REFUSED.search(text.lower()) is not None


def meaning(text: str, where: str, *, lost: bool = False) -> StoreError:
    """What the database's ``text`` means, as an error to raise; ``lost`` says that the connection went with it."""
    repeated = _REPEATED.search(text.lower()) is not None
    kind = TransactionLost if lost or repeated else StoreError
    for pattern, what, mend in MEANINGS:
        if re.search(pattern, text.lower()):
            return kind(what, where=where, mend=mend)
    line = " ".join(text.split("\n")[0].split()) or "unknown failure"
    return kind(f"the database failed ({line})", where=where, mend="see its own log, then try again")
