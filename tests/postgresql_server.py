"""A PostgreSQL server for the tests: its own data directory, its own port, gone when they are over."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

#: What is written has to outlive a crash of the server, not of the machine, which costs time.
SETTINGS = ("fsync=off", "full_page_writes=off", "listen_addresses=127.0.0.1")
USER, PASSWORD, NAME = "mmad", "s3cret/with:signs", "mmad"


def programs() -> Path | None:
    """The folder of the newest server's programs, or None where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    other = shutil.which("initdb")
    return Path(other).resolve().parent if other else None


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """A running server; ``url`` is that of its database. Raises CalledProcessError where it cannot be started."""

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        self.folder = Path(tempfile.mkdtemp(prefix="mmad-pg-"))  # short: a socket's path has at most 107 bytes
        self.port = free_port()
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            account = next(entry for name in ("postgres", "nobody") if (entry := _account(name)) is not None)
            self._as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            for path in (self.folder, secret):
                os.chown(path, account.pw_uid, account.pw_gid)
        self._data = str(self.folder / "data")
        self._lasting: Any = None
        account_words = ("--username", USER, "--auth", "scram-sha-256", "--pwfile", str(secret))
        self._run("initdb", "--no-sync", "--encoding", "UTF8", "--locale", "C.UTF-8", *account_words, "-D", self._data)
        self.start()
        with self.connected("postgres") as connection:
            connection.execute(f"CREATE DATABASE {NAME}")

    @property
    def url(self) -> str:
        return self.url_of()

    def url_of(self, *, user: str = USER, password: str = PASSWORD, port: int | None = None, name: str = NAME) -> str:
        """The URL of a database of this server, or one that is wrong in what is given."""
        return f"postgresql+psycopg://{user}:{quote(password, safe='')}@127.0.0.1:{port or self.port}/{name}"

    def start(self) -> None:
        settings = " ".join(f"-c {each}" for each in SETTINGS)
        options = f"-p {self.port} -k {self.folder} {settings}"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", str(self.folder / "log"), "-o", options)

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", self._data)

    def remove(self) -> None:
        """Ends the server and removes its data."""
        if self._lasting is not None:
            self._lasting.close()
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def connected(self, name: str = NAME) -> Iterator[Any]:
        """A bare connection that commits every statement."""
        with self._connect(name) as connection:
            yield connection

    def _connect(self, name: str) -> Any:
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=name, autocommit=True
        )

    @contextlib.contextmanager
    def schema(self, name: str) -> Iterator[str]:
        """The URL of an empty schema of its own, which is dropped in the end."""
        self._execute(f"CREATE SCHEMA {name}")
        try:
            yield f"{self.url}?options=-csearch_path%3D{name}"
        finally:
            self._execute(f"SET client_min_messages = warning; DROP SCHEMA {name} CASCADE")

    def _execute(self, statements: str) -> None:
        """By a connection that lasts, and by a new one where the server ended that."""
        import psycopg

        if self._lasting is not None:
            try:
                self._lasting.execute(statements)
                return
            except psycopg.OperationalError:
                self._lasting.close()
        self._lasting = self._connect(NAME)
        self._lasting.execute(statements)

    def _run(self, program: str, *words: str) -> None:
        # not captured: the server would keep the pipe open
        with (self.folder / "programs.log").open("ab") as log:
            subprocess.run(
                [self._bin / program, *words],
                check=True,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                **self._as_user,
            )


def _account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def started() -> Server:
    """A server of its own; the test skips where none is installed."""
    folder = programs()
    if folder is None:
        pytest.skip("no PostgreSQL server is installed (on Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed (make setup does it)")
    return Server(folder)
