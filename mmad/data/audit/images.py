"""Looks at every image of a data set once: can it be decoded, how large is it, what does it look like in small."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmad.data.audit.findings import Finding, finding
from mmad.data.cache import as_grey, cores, reason
from mmad.data.dataset import STUDIES, DataSet
from mmad.data.study_table import UNKNOWN_SIDE

Progress = Callable[[int, int], None]
#: The picture in small whose neighbouring pixels are compared: so many rows, and one column more.
SIDE = 16
#: An image whose grey levels differ by less than this over the picture in small shows nothing.
LEAST_CONTRAST = 3
_AHEAD = 4


@dataclass(frozen=True, eq=False)
class Looks:
    """What was seen of each image file, parallel to ``studies`` (positions of the first study of each)."""

    studies: tuple[int, ...]
    sizes: NDArray[np.int64]  # (K, 2) width and height; 0 where it cannot be decoded
    exact: tuple[bytes, ...]  # digest of the file's bytes; empty where it cannot be read
    small: NDArray[np.uint8]  # (K, 32): a difference hash of 256 bits
    blank: NDArray[np.bool_]  # (K,)
    unreadable: dict[int, str]  # place here → why

    def size_of(self) -> dict[int, tuple[int, int]]:
        """Position of a study → the size of its image, as far as it can be decoded."""
        return {p: (int(w), int(h)) for p, (w, h) in zip(self.studies, self.sizes, strict=True) if w}


@dataclass(frozen=True)
class _Look:
    size: tuple[int, int]
    exact: bytes
    small: bytes
    blank: bool
    why: str = ""


def look_at_images(dataset: DataSet, skip: frozenset[str] = frozenset(), progress: Progress | None = None) -> Looks:
    """Decode every image file once, on all cores; ``skip`` names studies whose file is not there.

    ``progress`` hears (done, all). Pixels are not kept: memory does not grow with the images' size.
    """
    firsts: dict[str, int] = {}
    for position, study in enumerate(dataset.studies):
        if study.study not in skip:
            firsts.setdefault(study.image, position)
    places = tuple(firsts.values())
    sizes, exact = np.zeros((len(places), 2), dtype=np.int64), []
    small = np.zeros((len(places), SIDE * SIDE // 8), dtype=np.uint8)
    blank, unreadable = np.zeros(len(places), dtype=np.bool_), {}
    for i, look in enumerate(_looks(dataset, places)):
        sizes[i], blank[i] = look.size, look.blank
        small[i] = np.frombuffer(look.small, dtype=np.uint8)
        exact.append(look.exact)
        if look.why:
            unreadable[i] = look.why
        if progress is not None:
            progress(i + 1, len(places))
    return Looks(places, sizes, tuple(exact), small, blank, unreadable)


def _looks(dataset: DataSet, positions: Sequence[int]) -> Iterator[_Look]:
    """What is seen of each image in order, a few decoded ahead."""
    workers = cores()
    waiting: deque[Future[_Look]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="look") as threads:
        for position in positions:
            waiting.append(threads.submit(_look, dataset, position))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _look(dataset: DataSet, position: int) -> _Look:
    nothing = bytes(SIDE * SIDE // 8)
    try:
        content = dataset.image_path(position).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            size = image.size
            image.draft("L", (4 * SIDE, 4 * SIDE))  # a JPEG is read to its end and decoded small
            image.load()
            small = as_grey(image).resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return _Look((0, 0), b"", nothing, False, reason(error))
    grey = np.asarray(small, dtype=np.int16)  # (SIDE, SIDE + 1)
    bits = np.packbits(grey[:, 1:] > grey[:, :-1])
    return _Look(size, hashlib.sha256(content).digest()[:16], bits.tobytes(), bool(np.ptp(grey) < LEAST_CONTRAST))


def image_findings(dataset: DataSet, looks: Looks) -> list[Finding]:
    """Images that cannot be decoded, disagree with their row's size, or show nothing."""
    findings = []
    studies = dataset.studies
    for i, why in list(looks.unreadable.items())[:1]:
        first, ids = studies[looks.studies[i]], [studies[looks.studies[j]].study for j in looks.unreadable]
        what = f"image cannot be decoded ({why})" + (f", and {len(ids) - 1} more" if len(ids) > 1 else "")
        where = f"{first.image}: study {first.study!r}"
        mend = "replace the file or take the study out"
        findings.append(finding("image-unreadable", "error", where, what, mend, ids))
    seen = {studies[p].image: size for p, size in looks.size_of().items()}
    wrong = [s for s in studies if UNKNOWN_SIDE not in (s.width, s.height) and seen.get(s.image) != (s.width, s.height)]
    wrong = [study for study in wrong if study.image in seen]
    if wrong:
        first = wrong[0]
        width, height = seen[first.image]
        what = f"image is {width} x {height} px where studies.csv says {first.width} x {first.height}"
        what += f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        mend = "correct width and height, and check the boxes"
        where = f"{first.image}: study {first.study!r}"
        findings.append(finding("image-size", "error", where, what, mend, [s.study for s in wrong]))
    empty = [studies[p].study for p, blank in zip(looks.studies, looks.blank, strict=True) if blank]
    if empty:
        many = "images show" if len(empty) > 1 else "image shows"
        what, mend = f"{len(empty)} {many} nothing but one grey", "look, and take out what is blank"
        findings.append(finding("image-blank", "warning", STUDIES, what, mend, empty))
    return findings
