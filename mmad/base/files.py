"""Writing a file so that a reader finds the old content or the new one, never a half."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write ``data`` to a temporary file beside ``path``, flush it to the disk and rename it into place.

    Folders on the way are made. Raises OSError; nothing of a failed attempt stays behind.

    Args:
        durable: flush; without it the file is whole for every process, but a power cut may take it until
            ``make_durable`` is called.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / f".{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    if durable:
        _flush_folder(path.parent)


def make_durable(paths: Iterable[Path]) -> None:
    """Flush files that are in place, and once each of their folders. Raises OSError, also for a missing one."""
    files = sorted(set(paths))
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for folder in sorted({path.parent for path in files}):
        _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself last; a file system without folder handles is left to its own promise."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
