"""The JPEGs of MIMIC-CXR-JPG: where they are, how large, and how they come into a data set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from mmad.data.reflacx.counts import Sieve
from mmad.data.reflacx.mimic import CxrImage
from mmad.data.reflacx.readings import Reading

Size = tuple[int, int]


def jpeg_sizes(root: Path, images: Mapping[str, CxrImage], sieve: Sieve) -> dict[str, Size]:
    """Width and height of the JPEG of every image still in; readings whose JPEG is of no use are left out.

    Only the head of a file is read. An image may be stored smaller or larger than the original as long as its
    proportions are the original's within a pixel.
    """
    paths = {dicom: images[dicom].jpeg(root) for dicom in sieve.images()}
    sieve.drop("jpeg_missing", lambda reading: not paths[reading.dicom].is_file())
    sizes: dict[str, Size] = {}
    for dicom in sieve.images():
        size = _size(paths[dicom])
        if size is not None:
            sizes[dicom] = size
    sieve.drop("jpeg_unreadable", lambda reading: reading.dicom not in sizes)
    sieve.drop("jpeg_other_shape", lambda reading: not _same_shape(reading, sizes[reading.dicom]))
    original = {reading.dicom: (reading.width, reading.height) for reading in sieve.kept}
    sieve.notes["resized"] += sum(sizes[dicom] != size for dicom, size in original.items())
    return sizes


def place(source: Path, target: Path, *, link: bool) -> bool:
    """Make ``target`` a second name of the file ``source`` if ``link``, else or where that cannot be a copy.

    True if it was linked. A link in the source is followed, so that no link leads out of the data set. Raises OSError.
    """
    if link:
        try:
            os.link(source.resolve(), target)
        except OSError:  # another file system, or one without second names
            pass
        else:
            return True
    shutil.copyfile(source, target)
    return False


def _size(path: Path) -> Size | None:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _same_shape(reading: Reading, size: Size) -> bool:
    across, down = size[0] / reading.width, size[1] / reading.height
    return abs(across - down) <= 1 / reading.width + 1 / reading.height
