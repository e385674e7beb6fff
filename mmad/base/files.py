"""Writing a file so that a reader finds the old content or the new one, never a half, and a kill leaves nothing."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

_PART = ".part"
#: What SQLite lays beside a database that is written.
_SIDES = ("-journal", "-wal", "-shm")
#: Bytes of a target's name in that of its part, so that a file system takes both (255 at most).
_NAME_BYTES = 200


class FolderFilled(Exception):
    """A folder that was to be made holds something already."""


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write ``data`` to a temporary file beside ``path``, flush it to the disk and rename it into place.

    Folders on the way are made. Raises OSError; nothing of a failed attempt stays behind.

    Args:
        durable: as in ``replacing``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=durable) as part:
        part.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """An empty file to write, which becomes ``path`` when the block succeeds and is gone when it does not.

    Args:
        durable: flush; without it the file is whole for every process, but a power cut may take it until
            ``make_durable`` is called.

    Raises:
        OSError: the disk refuses.
    """
    with part_beside(path) as part:
        yield part
        if durable:
            _flush(part)
        part.replace(path)
    if durable:
        _flush_folder(path.parent)


@contextlib.contextmanager
def part_beside(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """A new empty file (or ``folder``) beside ``path``, to fill and rename; what is not renamed is gone in the end.

    While the block lasts, the part is locked (flock), which ends with the process: so parts of processes that were
    killed are known. Those for the same ``path`` are removed first. Where the file system has no such locks, they stay.

    Raises:
        OSError: the disk refuses.
    """
    remove_left_parts(path.parent, path.name)
    part, handle = _new_part(path, folder)
    try:
        yield part
    finally:
        with contextlib.suppress(OSError):
            _remove(part)
        os.close(handle)


@contextlib.contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes ``path`` when the block succeeds and is gone when it does not.

    Folders on the way are made. Where another process made ``path`` meanwhile and put the same files into it, that
    one is kept.

    Raises:
        FolderFilled: ``path`` holds something already, or is no folder.
        OSError: the disk refuses.
    """
    path = path.absolute()
    remove_left_parts(path.parent, path.name)
    if path.is_symlink() or (path.exists() and not path.is_dir()) or (path.is_dir() and any(path.iterdir())):
        raise FolderFilled(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with part_beside(path, folder=True) as part:
        yield part
        try:
            part.replace(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if not _equal(part, path):
                raise FolderFilled(path) from None


def _equal(folder: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same bytes."""
    files, others = ({path.relative_to(top) for path in top.rglob("*") if path.is_file()} for top in (folder, other))
    return files == others and all(filecmp.cmp(folder / file, other / file, shallow=False) for file in files)


def left_parts(folder: Path, name: str = "") -> Iterator[Path]:
    """The parts in ``folder`` (of targets called ``name``) that killed processes left, each locked until the next."""
    beginning = f".{_short(name)}." if name else "."
    try:
        with os.scandir(folder) as entries:
            found = sorted(entry.path for entry in entries if entry.name.startswith(beginning))
    except OSError:
        return
    for part in (Path(path) for path in found if path.endswith(_PART)):
        with contextlib.suppress(OSError):
            handle = _open(part)
            try:
                lock_handle(handle)
                yield part
            finally:
                os.close(handle)


def remove_left_parts(folder: Path, name: str = "") -> None:
    """Remove what ``left_parts`` finds, as far as the disk lets it."""
    for part in left_parts(folder, name):
        with contextlib.suppress(OSError):
            _remove(part)


def make_durable(paths: Iterable[Path]) -> None:
    """Flush files that are in place, and once each of their folders. Raises OSError, also for a missing one."""
    files = sorted(set(paths))
    for path in files:
        _flush(path)
    for folder in sorted({path.parent for path in files}):
        _flush_folder(folder)


def _short(name: str) -> str:
    return name.encode("utf-8", "ignore")[:_NAME_BYTES].decode("utf-8", "ignore")


def _new_part(path: Path, folder: bool) -> tuple[Path, int]:
    """A part that this process has locked, and the handle of the lock."""
    while True:
        part = path.parent / f".{_short(path.name)}.{secrets.token_hex(8)}{_PART}"
        part.mkdir() if folder else part.touch(exist_ok=False)
        try:
            handle = _open(part)
        except FileNotFoundError:
            continue  # who looked for left parts took it for one before it was locked
        except BaseException:
            _remove(part)
            raise
        try:
            lock_handle(handle)
        except BlockingIOError:
            os.close(handle)
            continue
        except OSError:
            pass  # a file system without such locks: nobody removes what they would say is left
        if part.exists():
            return part, handle
        os.close(handle)


def lock_handle(handle: int, *, shared: bool = False) -> None:
    """Lock what is open as long as it is, against others or (``shared``) against those that are not.

    Raises:
        BlockingIOError: another process has done so.
        OSError: there are no such locks here.
    """
    try:
        import fcntl
    except ImportError:  # Windows: nobody knows which parts are left
        raise OSError(errno.ENOTSUP, "no such locks") from None
    fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


#: A link is not followed, where a system can say so.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def _open(part: Path) -> int:
    try:
        return os.open(part, os.O_RDWR | _NO_LINK)  # NFS locks what can be written
    except (IsADirectoryError, PermissionError):
        return os.open(part, os.O_RDONLY | _NO_LINK)


def _remove(part: Path) -> None:
    """Remove a part; last of all what bears its lock."""
    if part.is_dir():
        shutil.rmtree(part)
        return
    for side in _SIDES:
        part.with_name(part.name + side).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


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
