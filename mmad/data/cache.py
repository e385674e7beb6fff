"""Every image of a data set decoded once, grey and square, in one memory-mapped file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmad.base.errors import DataError
from mmad.base.paths import cache_folder
from mmad.data.dataset import DataSet
from mmad.data.fingerprint import digests

#: Raised whenever decoding or resizing gives other bytes.
_VERSION = 1

Progress = Callable[[int, int], None]
Images = np.memmap[tuple[int, ...], np.dtype[np.uint8]]


def image_cache(dataset: DataSet, image_size: int, progress: Progress | None = None) -> Images:
    """All images as uint8 (N, S, S), in the order of ``dataset.studies``, read-only.

    Resizing is bilinear (with antialiasing) to the square, whatever the aspect. The file is named after the
    images' content and the sizes their rows say, so data sets that differ only in boxes and clinical values
    share it; two processes may build it at once.
    ``progress`` hears (done, all). Raises DataError for an image that cannot be decoded or has another size
    than its row says.
    """
    shape = (len(dataset.studies), image_size, image_size)
    sizes = " ".join(f"{study.width}x{study.height}" for study in dataset.studies)
    key = hashlib.sha256(f"{_VERSION} {image_size} {digests(dataset).images} {sizes}".encode()).hexdigest()
    path = cache_folder() / "images" / f"{key}.u8"
    if not path.is_file() or path.stat().st_size != shape[0] * shape[1] * shape[2]:
        _build(dataset, image_size, path, progress)
    return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)


def decode(dataset: DataSet, position: int) -> Image.Image:
    """The stored image of one study as 8-bit grey, in its own size. Raises DataError."""
    study = dataset.studies[position]
    path = dataset.image_path(position)
    at = f"{path}: study {study.study!r}"
    try:
        with Image.open(path) as image:
            image.load()
            grey = _grey(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"image cannot be decoded ({_reason(error)})", where=at, mend="replace the file or take the study out"
        ) from None
    if grey.size != (study.width, study.height):
        raise DataError(
            f"image is {grey.width} x {grey.height} px where studies.csv says {study.width} x {study.height}",
            where=at,
            mend="correct width and height, and check the boxes",
        )
    return grey


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "not an image" if "cannot identify" in text else text.splitlines()[0][:120]


def _grey(image: Image.Image) -> Image.Image:
    """8-bit grey of any mode; 16-bit images keep their upper byte."""
    if image.mode.startswith("I"):
        wide: NDArray[np.int64] = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8))
    return image.copy() if image.mode == "L" else image.convert("L")


def _build(dataset: DataSet, image_size: int, path: Path, progress: Progress | None) -> None:
    part: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:16]}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            for position in range(len(dataset.studies)):
                square = decode(dataset, position).resize((image_size, image_size), Image.Resampling.BILINEAR)
                file.write(np.asarray(square, dtype=np.uint8).tobytes())
                if progress is not None:
                    progress(position + 1, len(dataset.studies))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)  # noqa: PTH105 - the name of the call that is atomic
        part = None
    except OSError as error:
        raise DataError(
            f"decoded images cannot be written: {error.strerror or error}",
            where=path.parent,
            mend="free some space or point MMAD_CACHE at another folder",
        ) from None
    finally:
        if part is not None:
            with contextlib.suppress(OSError):
                Path(part).unlink()
