"""What decoded images are kept, and how to be rid of them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mmad.base.errors import DataError
from mmad.data.cache import LOCK, PART, SUFFIX, images_folder
from mmad.data.cache_lock import is_held

_NAME = re.compile(rf"(\d+)x(\d+)px-[0-9a-f]+{re.escape(SUFFIX)}")


@dataclass(frozen=True)
class CacheEntry:
    """The decoded images of one data set in one size.

    ``images`` and ``image_size`` (px) are None for a file of an older version or one that is being built or was
    left behind; ``size`` is in bytes; ``built`` is UTC.
    """

    file: str
    images: int | None
    image_size: int | None
    size: int
    built: datetime


@dataclass(frozen=True)
class CacheContents:
    """The folder of decoded images, and what is in it, the newest first; ``size`` is in bytes."""

    path: str
    size: int
    entries: tuple[CacheEntry, ...]


def cache_contents() -> CacheContents:
    """What the cache of decoded images holds now. A folder that is not there holds nothing."""
    found = sorted((_entry(path) for path in _files()), key=lambda entry: (entry.built, entry.file), reverse=True)
    return CacheContents(str(images_folder()), sum(entry.size for entry in found), tuple(found))


def clear_cache() -> CacheContents:
    """Remove every file of decoded images but those being built now; says what was removed.

    A run that reads one of them goes on: its pages stay until it ends. Raises DataError for a file that
    cannot be removed.
    """
    removed = []
    for path in _files():
        if path.name.endswith(PART) and is_held(_lock_of(path)):
            continue
        entry = _entry(path)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"cannot be removed: {error.strerror or error}", where=path, mend="stop what uses it, or remove it"
            ) from None
        removed.append(entry)
    for lock in images_folder().glob(f"*{LOCK}"):
        if not is_held(lock):
            with contextlib.suppress(OSError):
                lock.unlink()
    return CacheContents(str(images_folder()), sum(entry.size for entry in removed), tuple(removed))


def _files() -> Iterator[Path]:
    folder = images_folder()
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if path.suffix in (SUFFIX, PART))


def _lock_of(part: Path) -> Path:
    """The lock under which the file ``.STEM.RANDOM.part`` is built."""
    return part.with_name(part.name.removeprefix(".").split(".", 1)[0] + LOCK)


def _entry(path: Path) -> CacheEntry:
    named = _NAME.fullmatch(path.name)
    status = path.stat()
    return CacheEntry(
        file=path.name,
        images=int(named[1]) if named else None,
        image_size=int(named[2]) if named else None,
        size=status.st_size,
        built=datetime.fromtimestamp(status.st_mtime, UTC),
    )
