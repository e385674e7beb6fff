"""Backs up a database in a file: SQLite's own online copy, checked before it counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import StoreError
from mmad.base.paths import StorePaths
from mmad.store.backup_file import write_backup
from mmad.store.engine import open_sqlite
from mmad.store.failures import meaning


@dataclass(frozen=True)
class Backup:
    """A backup that was made: ``size`` in bytes, the rows of ``runs`` and ``epochs`` in it."""

    database: str
    file: Path
    size: int
    runs: int
    epochs: int


def back_up_database(database: str | Path, target: Path, progress: Callable[[int, int], None] | None = None) -> Backup:
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
            mend="or copied to a file: mmad db copy URL FILE",
        )
    if not file.exists():
        raise StoreError("no such database", where=file, mend="name another with --db")
    if target.exists():
        raise StoreError("exists already", where=target, mend="name a new file, or remove this one first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_backup(file, target, progress)
    except sqlite3.Error as error:
        raise meaning(str(error), file.as_posix()) from error
    except OSError as error:
        mend = "free space or check permissions there, or name another file"
        raise StoreError(f"cannot be written ({error.strerror})", where=target, mend=mend) from error
    return _checked(file, target)


def _checked(file: Path, target: Path) -> Backup:
    """What the backup holds. StoreError, and no backup, where it is not whole."""
    try:
        with closing(open_sqlite(target, read_only=True)) as copy:
            (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise StoreError(f"is damaged ({verdict})", where=file, mend="see mmad db check")
            runs, epochs = (copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("runs", "epochs"))
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise meaning(str(error), file.as_posix()) from error
    except StoreError:
        target.unlink(missing_ok=True)
        raise
    return Backup(file.as_posix(), target, target.stat().st_size, runs, epochs)
