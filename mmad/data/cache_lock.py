"""A lock between processes that ends with the process that holds it, however it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nobody waits there; both build, and the last rename wins
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path``; waits while another process does. It is removed in the end.

    Gives whether nobody else can be inside: where the file system knows no locks nobody waits. A killed holder
    leaves the file, not the lock. Raises OSError when the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, alone = _hold(path)
    try:
        yield alone
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file ``path`` now."""
    if fcntl is None:
        return False
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _hold(path: Path) -> tuple[int, bool]:
    """An open handle, and whether it holds the lock; taken again where the file was removed in between."""
    while True:
        handle, alone = os.open(path, os.O_RDWR | os.O_CREAT, 0o666), False
        if fcntl is None:
            return handle, alone
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
                alone = True
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle, alone
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
