"""Copies an SQLite file while others write to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from mmad.store.engine import open_sqlite

#: Pages that are copied between two looks at who else wants the file.
_PAGES = 4096


def write_backup(file: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Copies the SQLite database ``file`` to ``target`` as it is at one moment, whole or not at all.

    ``progress`` is told how many pages of how many are copied. Raises OSError and sqlite3's own errors.
    """
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)

    def step(status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    try:
        with closing(open_sqlite(file, read_only=True)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy, pages=-1 if progress is None else _PAGES, progress=step, sleep=0.01)
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(target)
    except BaseException:
        if partial.is_file():
            partial.unlink()
        raise
