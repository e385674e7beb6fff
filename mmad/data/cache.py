"""Every image of a data set decoded once, grey and square, in one memory-mapped file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmad.base.errors import DataError
from mmad.base.paths import cache_folder
from mmad.data.cache_lock import locked
from mmad.data.dataset import DataSet
from mmad.data.fingerprint import digests

#: Raised whenever decoding or resizing gives other bytes.
_VERSION = 1
#: Squares that wait to be written, per thread that decodes.
_AHEAD = 4
SUFFIX, PART, LOCK = ".u8", ".part", ".lock"

Progress = Callable[[int, int], None]
Images = np.memmap[tuple[int, ...], np.dtype[np.uint8]]


def images_folder() -> Path:
    """Where decoded images are kept, of all data sets and sizes."""
    return cache_folder() / "images"


def image_cache(
    dataset: DataSet, image_size: int, progress: Progress | None = None, *, workers: int | None = None
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
    key = hashlib.sha256(f"{_VERSION} {image_size} {digests(dataset).images} {sizes}".encode()).hexdigest()
    path = images_folder() / f"{len(firsts)}x{image_size}px-{key}{SUFFIX}"
    if not _whole(path, shape):
        try:
            with locked(path.with_suffix(LOCK)) as alone:
                if not _whole(path, shape):
                    for left in path.parent.glob(f".{path.stem}.*{PART}") if alone else ():
                        left.unlink()  # of a process that was killed
                    _build(dataset, image_size, path, progress, workers or cores())
        except OSError as error:
            raise DataError(
                f"decoded images cannot be written: {error.strerror or error}",
                where=path.parent,
                mend="free some space or point MMAD_CACHE at another folder",
            ) from None
    return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _whole(path: Path, shape: tuple[int, int, int]) -> bool:
    return path.is_file() and path.stat().st_size == shape[0] * shape[1] * shape[2]


def decode(dataset: DataSet, position: int) -> Image.Image:
    """The stored image of one study as 8-bit grey, in its own size. Raises DataError.

    JPEG is decoded whole. Pillow's draft mode takes two thirds of the time, but moves grey levels of the resized
    image: by up to 2 where four pixels a side are decoded for one, by up to 8 (at odd sizes 26) where two are.
    """
    study = dataset.studies[position]
    path = dataset.image_path(position)
    at = f"{path}: study {study.study!r}"
    try:
        with Image.open(path) as image:
            image.load()
            grey = as_grey(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"image cannot be decoded ({reason(error)})", where=at, mend="replace the file or take the study out"
        ) from None
    if grey.size != (study.width, study.height):
        raise DataError(
            f"image is {grey.width} x {grey.height} px where studies.csv says {study.width} x {study.height}",
            where=at,
            mend="correct width and height, and check the boxes",
        )
    return grey


def reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "not an image" if "cannot identify" in text else text.splitlines()[0][:120]


def as_grey(image: Image.Image) -> Image.Image:
    """8-bit grey of any mode; 16-bit images keep their upper byte."""
    if image.mode.startswith("I"):
        wide: NDArray[np.int64] = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8))
    return image if image.mode == "L" else image.convert("L")


def _build(dataset: DataSet, image_size: int, path: Path, progress: Progress | None, workers: int) -> None:
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=PART)
    try:
        with os.fdopen(handle, "wb") as file:
            for done, square in enumerate(_squares(dataset, image_size, workers), 1):
                file.write(square)
                if progress is not None:
                    progress(done, len(dataset.image_studies))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)  # noqa: PTH105 - the name of the call that is atomic
    except BaseException:
        with contextlib.suppress(OSError):
            Path(part).unlink()
        raise


def _squares(dataset: DataSet, image_size: int, workers: int) -> Iterator[bytes]:
    """The bytes of every image in order, decoded by ``workers`` threads a few images ahead."""

    def square(position: int) -> bytes:
        return decode(dataset, position).resize((image_size, image_size), Image.Resampling.BILINEAR).tobytes()

    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as threads:
        try:
            for position in dataset.image_studies:
                waiting.append(threads.submit(square, position))
                if len(waiting) >= _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
