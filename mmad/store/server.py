"""Connections to a PostgreSQL server."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from mmad.base.errors import StoreError

DRIVER = "postgresql+psycopg"
#: Seconds after which a host that does not answer counts as unreachable.
CONNECT_SECONDS = 10

_FORM = "give a file, or a URL such as postgresql+psycopg://user@host/name"
_ALIASES = {"postgresql": DRIVER, "postgres": DRIVER}


def server_engine(address: str, lock_seconds: float) -> Engine:
    """An engine for the PostgreSQL database at ``address``; nothing is connected yet.

    Args:
        address: an SQLAlchemy URL, or ``postgresql://…`` as other programs take it.
        lock_seconds: how long a statement waits for what another transaction holds.

    Raises:
        StoreError: not such a URL, or the driver is not installed. The password is never told.
    """
    scheme = address.partition("://")[0]
    try:
        url = make_url(address)
        url = url.set(drivername=_ALIASES.get(url.drivername, url.drivername))
    except (ArgumentError, ValueError):
        raise StoreError("is not the URL of a database", where=scheme, mend=_FORM) from None
    if url.drivername != DRIVER:
        raise StoreError("is not the URL of a database that mmad can use", where=scheme, mend=_FORM)
    options: dict[str, Any] = {"fallback_application_name": "mmad"}
    if "connect_timeout" not in url.query:
        options["connect_timeout"] = CONNECT_SECONDS
    try:
        engine = create_engine(url, pool_pre_ping=True, connect_args=options)
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise StoreError("is not the URL of a database", where=scheme, mend=_FORM) from None
    except ImportError:
        mend = "install it into this environment (pip install 'mmad[postgres]'), or give a file"
        raise StoreError("the driver psycopg is not installed", where=scheme, mend=mend) from None

    def prepare(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {max(1, round(lock_seconds * 1000))}")
        connection.commit()

    event.listen(engine, "connect", prepare)
    return engine


def shown(url: URL) -> str:
    """A URL without its password, wherever it stands."""
    query = {name: "***" if "pass" in name else value for name, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)
