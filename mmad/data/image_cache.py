"""Every image of a data set decoded once, grey and square, in one memory-mapped file."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from mmad.base.cores import usable_cores
from mmad.base.errors import DataError
from mmad.base.files import replacing
from mmad.base.paths import cache_folder
from mmad.base.records import OnProgress, Split
from mmad.data.dataset import BOXES, STUDIES, DataSet, digests
from mmad.data.pixels import as_grey

#: Raised whenever decoding or resizing gives other bytes.
_VERSION = 1
#: Results that wait to be taken, per thread that decodes.
_AHEAD = 4
SUFFIX, PART, LOCK = ".u8", ".part", ".lock"

Result = TypeVar("Result")
Images = np.memmap[tuple[int, ...], np.dtype[np.uint8]]
#: Sees a decoded image before it is made grey, and may refuse it by a DataError.
Check = Callable[[Image.Image], None]


def images_folder() -> Path:
    """Where decoded images are cached, of all data sets and sizes."""
    return cache_folder() / "images"


def image_cache(
    dataset: DataSet, image_size: int, progress: OnProgress | None = None, *, workers: int | None = None
) -> Images:
    """The images of a data set as uint8 (M, S, S), read-only; study ``i`` has row ``dataset.image_rows[i]``.

    Resizing is bilinear (with antialiasing) to the square, whatever the aspect. The file is named after the
    images' content and the sizes their rows say, so data sets that differ only in boxes and clinical values
    share it. Of two processes that want one file the second waits for the first; what is built is whole or
    not there, and does not depend on ``workers``.

    Args:
        dataset: whose images.
        image_size: S, in pixels.
        progress: hears (done, all) where something has to be decoded.
        workers: threads that decode (Pillow holds no lock while it does); None takes the cores there are.

    Raises:
        DataError: an image that cannot be decoded or has another size than its row says, the first one.
    """
    firsts = dataset.image_studies
    shape = (len(firsts), image_size, image_size)
    sizes = " ".join(f"{dataset.studies[i].width}x{dataset.studies[i].height}" for i in firsts)
    bits = "" if dataset.bits is None else f" {dataset.bits} bits"
    key = hashlib.sha256(f"{_VERSION} {image_size} {digests(dataset).images} {sizes}{bits}".encode()).hexdigest()
    path = images_folder() / f"{len(firsts)}x{image_size}px-{key}{SUFFIX}"
    if not _whole(path, shape):
        try:
            with building(path):
                if not _whole(path, shape):
                    _build(dataset, image_size, path, progress, workers or usable_cores())
        except OSError as error:
            raise DataError(
                f"decoded images cannot be written: {error.strerror or error}",
                where=path.parent,
                hint="free some space or point MMAD_CACHE at another folder",
            ) from None
    elif Path(_lock_of(path).lock_file).exists():
        _is_being_built(path)  # of a process that was killed when the file was whole
    return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)


@contextlib.contextmanager
def building(path: Path) -> Iterator[None]:
    """Hold the right to build the file ``path``; waits while another process does. It ends with the process.

    Raises OSError when the file of the lock cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock_of(path)
    with lock:
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: who waits makes another


def _lock_of(path: Path) -> FileLock:
    """The lock of the file ``STEM.u8``, and of ``.STEM.u8.RANDOM.part`` from which it is built."""
    return FileLock(path.with_name(path.name.removeprefix(".").split(".", 1)[0] + LOCK))


def _whole(path: Path, shape: tuple[int, int, int]) -> bool:
    return path.is_file() and path.stat().st_size == shape[0] * shape[1] * shape[2]


def decode(dataset: DataSet, position: int) -> Image.Image:
    """The stored image of one study as 8-bit grey, upright, in its own size. Raises DataError.

    JPEG is decoded whole. Pillow's draft mode takes two thirds of the time, but moves grey levels of the resized
    image: by up to 2 where four pixels a side are decoded for one, by up to 8 (at odd sizes 26) where two are.
    """
    study = dataset.studies[position]
    path = dataset.image_path(position)
    at = f"{path}: study {study.study!r}"
    grey = read_grey(path, dataset.bits, at, hint="replace the file or take the study out")
    if grey.size != (study.width, study.height):
        raise DataError(
            f"image is {grey.width} x {grey.height} px where studies.csv says {study.width} x {study.height}",
            where=at,
            hint="correct width and height, and check the boxes; a picture that EXIF turns counts as it is shown",
        )
    return grey


def read_grey(path: Path, bits: int | None, where: str, *, hint: str, check: Check | None = None) -> Image.Image:
    """The image file at ``path`` as ``as_grey`` makes it. Raises DataError, which ``where`` begins."""
    try:
        with Image.open(path) as image:
            image.load()
            if check is not None:
                check(image)
            return as_grey(image, bits)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"image cannot be decoded ({reason(error)})", where=where, hint=hint) from None


def as_square(grey: Image.Image, side: int) -> Image.Image:
    """What a network of ``side`` pixels is shown of a grey image, whatever its aspect."""
    return grey.resize((side, side), Image.Resampling.BILINEAR)


def reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "not an image" if "cannot identify" in text else text.splitlines()[0][:120]


def _build(dataset: DataSet, image_size: int, path: Path, progress: OnProgress | None, workers: int) -> None:
    with replacing(path) as part, part.open("wb") as file:
        for done, square in enumerate(_squares(dataset, image_size, workers), 1):
            file.write(square)
            if progress is not None:
                progress(done, len(dataset.image_studies))


def _squares(dataset: DataSet, image_size: int, workers: int) -> Iterator[bytes]:
    """The bytes of every image in order."""

    def square(position: int) -> bytes:
        return as_square(decode(dataset, position), image_size).tobytes()

    return in_order(square, dataset.image_studies, workers)


def in_order(work: Callable[[int], Result], positions: Iterable[int], workers: int) -> Iterator[Result]:
    """What ``work`` makes of each position in order, by ``workers`` threads a few positions ahead."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as threads:
        try:
            for position in positions:
                waiting.append(threads.submit(work, position))
                if len(waiting) >= _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


# Which decoded images are cached, and how to clear them.


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

    A run that reads one of them is not disturbed: its pages stay until it ends. Raises DataError for a file that
    cannot be removed.
    """
    removed = []
    for path in _files():
        if path.name.endswith(PART) and _is_being_built(path):
            continue
        entry = _entry(path)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"cannot be removed: {error.strerror or error}", where=path, hint="stop what uses it, or remove it"
            ) from None
        removed.append(entry)
    for lock in images_folder().glob(f"*{LOCK}"):
        _is_being_built(lock)
    return CacheContents(str(images_folder()), sum(entry.size for entry in removed), tuple(removed))


def _is_being_built(path: Path) -> bool:
    """Whether a process builds the file; the lock that a killed one left is removed."""
    lock = _lock_of(path)
    try:
        with lock.acquire(timeout=0):
            Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout:
        return True
    except OSError:
        pass
    return False


def _files() -> Iterator[Path]:
    folder = images_folder()
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if path.suffix in (SUFFIX, PART))


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


# Whether a data set can be trained on, found out before the first run instead of in each.


#: The splits a training cannot do without, and what for.
_NEEDED: tuple[tuple[Split, str], ...] = (("train", "learn from"), ("val", "choose the best checkpoints by"))


def require_trainable(dataset: DataSet) -> None:
    """Refuses a data set without studies or boxes to learn from, or to choose checkpoints by. Raises DataError."""
    for split, purpose in _NEEDED:
        if not dataset.split(split):
            raise DataError(
                f"no study is in the split {split!r}: nothing to {purpose}",
                where=dataset.root / STUDIES,
                hint=f"put some patients into {split}",
            )
        if not len(dataset.ground_truth(split).labels):
            raise DataError(
                f"no study of the split {split!r} has a box: nothing to {purpose}",
                where=dataset.root / BOXES,
                hint="add its boxes, or divide the studies otherwise",
            )


def prepare_images(dataset: DataSet, image_sizes: Iterable[int], progress: OnProgress | None = None) -> None:
    """Decodes every image for each size once, for all runs to come; ``progress`` hears (done, all) of a size.

    Raises DataError naming the image that cannot be decoded or has another size than its row says.
    """
    for size in sorted(set(image_sizes)):
        image_cache(dataset, size, progress)
