"""Looks at every image of a data set once: can it be decoded, how large is it, what does it look like in small."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmad.base.cores import usable_cores
from mmad.base.records import SPLITS, OnProgress
from mmad.data.audit.copies import SIDE, SPECTRA, THUMB, CopyPair, copies, spectra_of
from mmad.data.audit.findings import AuditIssue, Level, finding
from mmad.data.dataset import STUDIES, TOML, DataSet
from mmad.data.image_cache import in_order, reason
from mmad.data.pixels import BITS, as_grey, highest_value, is_deep, upright_size
from mmad.data.reader import UNKNOWN_SIDE

#: An image whose grey levels differ by less than this over the picture in small shows nothing.
LEAST_CONTRAST = 3
#: One that is nowhere brighter than this, of 255, over the picture in small uses an eighth of the greys.
LEAST_BRIGHT = 32
#: With fewer bits than these used of 16, 64 greys or less are left of an image.
LEAST_BITS = 15
#: Side of the picture in small by which negatives are recognised, and the correlation from which on pictures are alike.
_COARSE, _ALIKE = 8, 0.3
#: Among fewer pictures nothing says which of them are negatives.
_FEWEST = 8


@dataclass(frozen=True, eq=False)
class Looks:
    """What was seen of each image file, parallel to ``studies`` (positions of the first study of each)."""

    studies: tuple[int, ...]
    sizes: NDArray[np.int64]  # (K, 2) width and height; 0 where it cannot be decoded
    exact: tuple[bytes, ...]  # digest of the file's bytes; empty where it cannot be read
    spectra: NDArray[np.float16]  # (K, cuts, bands): see ``mmad.data.audit.copies``
    blank: NDArray[np.bool_]  # (K,)
    bright: NDArray[np.uint8]  # (K,): the highest grey of the picture in small
    deepest: NDArray[np.uint8]  # (K,): bits of the highest value of an image with more than 8, else 0
    thumbs: NDArray[np.uint8]  # (K, THUMB, THUMB): the picture in small, without its border
    corners: NDArray[np.bool_]  # (K, 4): something bright on its own stands top left, top right, bottom left, right
    unreadable: dict[int, str]  # place here → why

    def corners_by_study(self, dataset: DataSet) -> NDArray[np.bool_]:
        """``corners`` of each study's image, (N, 4)."""
        seen = {dataset.studies[p].image: i for i, p in enumerate(self.studies)}
        nothing = np.zeros(4, dtype=np.bool_)
        rows = [self.corners[seen[s.image]] if s.image in seen else nothing for s in dataset.studies]
        return np.array(rows, dtype=np.bool_).reshape(-1, 4)

    def size_of(self) -> dict[int, tuple[int, int]]:
        """Position of a study → the size of its image, as far as it can be decoded."""
        return {p: (int(w), int(h)) for p, (w, h) in zip(self.studies, self.sizes, strict=True) if w}


@dataclass(frozen=True, eq=False)
class _Look:
    size: tuple[int, int]
    exact: bytes = b""
    thumb: bytes = bytes(THUMB * THUMB)
    spectra: NDArray[np.float32] | None = None
    deepest: int = 0
    corners: tuple[bool, ...] = (False,) * 4
    why: str = ""


def look_at_images(dataset: DataSet, skip: frozenset[str] = frozenset(), progress: OnProgress | None = None) -> Looks:
    """Decode every image file once, on all cores; ``skip`` names studies whose file is not there.

    ``progress`` hears (done, all). Pixels are dropped again: memory does not grow with the images' size.
    """
    firsts: dict[str, int] = {}
    for position, study in enumerate(dataset.studies):
        if study.study not in skip:
            firsts.setdefault(study.image, position)
    places = tuple(firsts.values())
    sizes, exact = np.zeros((len(places), 2), dtype=np.int64), []
    spectra = np.zeros((len(places), *SPECTRA), dtype=np.float16)
    deepest, unreadable = np.zeros(len(places), dtype=np.uint8), {}
    thumbs = np.zeros((len(places), THUMB, THUMB), dtype=np.uint8)
    corners = np.zeros((len(places), 4), dtype=np.bool_)
    for i, look in enumerate(in_order(partial(_look, dataset), places, usable_cores())):
        sizes[i], deepest[i], corners[i] = look.size, look.deepest, look.corners
        thumbs[i] = np.frombuffer(look.thumb, dtype=np.uint8).reshape(THUMB, THUMB)
        if look.spectra is not None:
            spectra[i] = look.spectra
        exact.append(look.exact)
        if look.why:
            unreadable[i] = look.why
        if progress is not None:
            progress(i + 1, len(places))
    flat, read = thumbs.reshape(len(places), THUMB * THUMB), sizes[:, 0] > 0
    bright = flat.max(axis=1)
    blank = read & (bright - flat.min(axis=1) < LEAST_CONTRAST)
    return Looks(places, sizes, tuple(exact), spectra, blank, bright, deepest, thumbs, corners, unreadable)


@contextmanager
def _opened(dataset: DataSet, position: int, side: int, content: bytes | None = None) -> Iterator[Image.Image]:
    """The image of a study, decoded; a JPEG is read to its end and decoded small, of at least ``side``."""
    with Image.open(dataset.image_path(position) if content is None else io.BytesIO(content)) as image:
        image.draft("L", (side, side))
        image.load()
        yield image


def _look(dataset: DataSet, position: int) -> _Look:
    try:
        content = dataset.image_path(position).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            size = upright_size(image)
        with _opened(dataset, position, SIDE, content) as image:
            deepest = highest_value(image).bit_length() if is_deep(image) else 0
            whole = as_grey(image, dataset.bits)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return _Look((0, 0), why=reason(error))
    corners, whole = _corners(whole), _without_border(whole)
    thumb = whole.resize((THUMB, THUMB), Image.Resampling.BOX).tobytes()
    return _Look(size, hashlib.sha256(content).digest()[:16], thumb, spectra_of(whole), deepest, corners)


#: Side of a corner as a share of the image's, and by how much a mark outshines half of its corner.
_CORNER, _OUTSHINES = 0.125, 100


def _corners(image: Image.Image) -> tuple[bool, ...]:
    """Of each corner whether a small part of it is much brighter than most of it, as a burned-in marker is."""
    pixels = np.asarray(image)
    down, across = (max(2, int(side * _CORNER)) for side in pixels.shape)
    four = (pixels[:down, :across], pixels[:down, -across:], pixels[-down:, :across], pixels[-down:, -across:])
    return tuple(bool(int(one.max()) - float(np.median(one)) >= _OUTSHINES) for one in four)


def _without_border(image: Image.Image) -> Image.Image:
    """The image without rows and columns of one grey around it, as a picture has that was padded."""
    pixels = np.asarray(image.reduce(max(1, min(image.size) // 128)), dtype=np.int16)
    spans = []
    for axis, side in ((0, image.width), (1, image.height)):
        lines = np.flatnonzero(np.ptp(pixels, axis=axis) >= LEAST_CONTRAST * 2)
        scale = side / pixels.shape[1 - axis]
        spans.append((int(lines[0] * scale), round((lines[-1] + 1) * scale)) if len(lines) else (0, side))
    (left, right), (top, bottom) = spans
    if 2 * (right - left) < image.width or 2 * (bottom - top) < image.height:
        return image
    return image.crop((left, top, min(right, image.width), min(bottom, image.height)))


def image_findings(dataset: DataSet, looks: Looks) -> list[AuditIssue]:
    """Images that cannot be decoded, disagree with their row's size, or show nothing."""
    findings = []
    studies = dataset.studies
    for i, why in list(looks.unreadable.items())[:1]:
        first, ids = studies[looks.studies[i]], [studies[looks.studies[j]].study for j in looks.unreadable]
        what = f"image cannot be decoded ({why})" + (f", and {len(ids) - 1} more" if len(ids) > 1 else "")
        where = f"{first.image}: study {first.study!r}"
        hint = "replace the file or take the study out"
        findings.append(finding("image-unreadable", "error", where, what, hint, ids))
    seen = {studies[p].image: size for p, size in looks.size_of().items()}
    wrong = [s for s in studies if UNKNOWN_SIDE not in (s.width, s.height) and seen.get(s.image) != (s.width, s.height)]
    wrong = [study for study in wrong if study.image in seen]
    if wrong:
        first = wrong[0]
        width, height = seen[first.image]
        what = f"image is {width} x {height} px where studies.csv says {first.width} x {first.height}"
        what += f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        hint = "correct width and height, and check the boxes"
        where = f"{first.image}: study {first.study!r}"
        findings.append(finding("image-size", "error", where, what, hint, [s.study for s in wrong]))
    empty = [studies[p].study for p, blank in zip(looks.studies, looks.blank, strict=True) if blank]
    if empty:
        many = "images show" if len(empty) > 1 else "image shows"
        what, hint = f"{len(empty)} {many} nothing but one grey", "look, and take out what is blank"
        level: Level = "error" if len(empty) == len(seen) else "warning"
        what = f"every image shows nothing but one grey ({len(empty)})" if level == "error" else what
        findings.append(finding("image-blank", level, STUDIES, what, hint, empty))
    return [*findings, *_depth_findings(dataset, looks), *_dark(dataset, looks), *_negatives(dataset, looks)]


def used_bits(dataset: DataSet, looks: Looks) -> int | None:
    """What ``bits`` of the data set should be: its own, unless values need more, or none and greys are lost."""
    used, said = max(8, int(looks.deepest.max(initial=0))), dataset.bits or BITS
    lost = looks.deepest.any() and dataset.bits is None and used < LEAST_BITS
    return used if used > said or lost else dataset.bits


def _depth_findings(dataset: DataSet, looks: Looks) -> list[AuditIssue]:
    """Images with more than 8 bits: too few of them used, more than ``bits`` says, or others beside them."""
    deep = looks.deepest > 0
    if not deep.any():
        return []
    findings = []
    used, said = used_bits(dataset, looks), dataset.bits or BITS
    here = [dataset.studies[p].study for p, one in zip(looks.studies, deep, strict=True) if one]
    if used is not None and used != dataset.bits:
        greys = 2 ** max(0, used - said + 8)
        what = f"of {said} bits {used} are used in all images: {greys} of 256 greys are left"
        if used > said:
            here = [dataset.studies[p].study for p, n in zip(looks.studies, looks.deepest, strict=True) if n > said]
            what = f"values need {used} bits where {said} are taken: what is brighter becomes white"
        hint = f"write bits = {used} at the top, or `mmad data check DIR --fix --out NEW`"
        findings.append(finding("image-depth", "error", TOML, what, hint, here))
    read = looks.sizes[:, 0] > 0
    if (read & ~deep).any():
        what = f"{int(deep.sum())} images have more than 8 bits, {int((read & ~deep).sum())} have 8"
        hint = "make sure that the depth does not say where an image is from, or what it shows"
        findings.append(finding("depth-mixed", "warning", STUDIES, what + _follows(dataset, looks, deep), hint, here))
    return findings


def _follows(dataset: DataSet, looks: Looks, some: NDArray[np.bool_]) -> str:
    """The source, split or label that images in ``some`` (K,) follow most, in words; empty where they follow none."""
    studies = [dataset.studies[p] for p in looks.studies]
    groups = {f"split {study.split!r}": np.array([s.split == study.split for s in studies]) for study in studies}
    for source in {study.source for study in studies if study.source}:
        groups[f"source {source!r}"] = np.array([study.source == source for study in studies])
    for number, label in enumerate(dataset.labels, 1):
        of = set(dataset.box_study[dataset.labels_of == number].tolist())
        groups[f"label {label!r}"] = np.array([p in of for p in looks.studies])
    sizes = {}
    for name, group in groups.items():
        if 0 < group.sum() < len(group) and 0 < some.sum() < len(some):
            sizes[name] = abs(float(np.corrcoef(group, some)[0, 1]))
    best = max(sizes, key=sizes.__getitem__, default=None)
    return f"; they follow {best} (correlation {sizes[best]:.2f})" if best and sizes[best] >= _FOLLOWS else ""


_FOLLOWS = 0.5


def _dark(dataset: DataSet, looks: Looks) -> list[AuditIssue]:
    dark = (looks.sizes[:, 0] > 0) & ~looks.blank & (looks.bright < LEAST_BRIGHT)
    ids = [dataset.studies[p].study for p, one in zip(looks.studies, dark, strict=True) if one]
    if not ids:
        return []
    many = "images are" if len(ids) > 1 else "image is"
    what = f"{len(ids)} {many} nowhere brighter than {LEAST_BRIGHT} of 255" + _follows(dataset, looks, dark)
    hint = "export them again: their values may have been divided, or their window lost"
    return [finding("image-dark", "warning", STUDIES, what, hint, ids)]


def _negatives(dataset: DataSet, looks: Looks) -> list[AuditIssue]:
    """Pictures that are the negatives of most others: they point the other way along what all have in common."""
    places = np.flatnonzero((looks.sizes[:, 0] > 0) & ~looks.blank)
    if len(places) < _FEWEST:
        return []
    share = THUMB // _COARSE
    pictures = looks.thumbs[places].reshape(len(places), _COARSE, share, _COARSE, share).mean(axis=(2, 4))
    pictures = pictures.reshape(len(places), -1)
    pictures -= pictures.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(pictures, axis=1, keepdims=True)
    pictures /= np.where(lengths > 0, lengths, 1)
    common = np.linalg.eigh(pictures.T @ pictures)[1][:, -1]  # (64,): the direction of the most
    along = pictures @ common
    if (along > 0).sum() < (along < 0).sum():
        along = -along
    alike, negative = along > _ALIKE, along < -_ALIKE
    if not negative.any() or alike.sum() + negative.sum() < _MOST_ALIKE * len(places):
        return []
    mask = np.zeros(len(looks.studies), dtype=np.bool_)
    mask[places[negative]] = True
    ids = [dataset.studies[p].study for p, one in zip(looks.studies, mask, strict=True) if one]
    many = "images look" if len(ids) > 1 else "image looks"
    what = f"{len(ids)} {many} like the negative of the other {int(alike.sum())}" + _follows(dataset, looks, mask)
    hint = "look with `mmad data show`, and invert them (MONOCHROME1 saved as it is stored is a negative)"
    return [finding("image-negative", "warning", STUDIES, what, hint, ids)]


#: The share of the pictures that have to be clear one way or the other.
_MOST_ALIKE = 0.8


# Images that are there twice: the same bytes, or the same picture.


Groups = list[list[int]]


def exact_groups(dataset: DataSet, looks: Looks) -> Groups:
    """Places in ``looks`` of files with the same bytes, two or more each, in the order of the studies.

    Where a study is a reading, files of one patient and split are no duplicates but readings of one image.
    """
    groups: dict[bytes, list[int]] = {}
    for i, digest in enumerate(looks.exact):
        if digest:
            groups.setdefault(digest, []).append(i)
    return [group for group in groups.values() if len(group) > 1 and not _are_readings(dataset, looks, group)]


def _are_readings(dataset: DataSet, looks: Looks, group: list[int]) -> bool:
    studies = [dataset.studies[looks.studies[i]] for i in group]
    alone = len({(study.patient, study.split) for study in studies}) == 1
    return alone and dataset.mode in ("normal", "full")


def copy_pairs(dataset: DataSet, looks: Looks) -> list[CopyPair]:
    """Pairs of places in ``looks`` of files that show the same though their bytes differ; blank ones are left out."""
    first: dict[bytes, int] = {}
    for i, digest in enumerate(looks.exact):
        if digest and not looks.blank[i]:
            first.setdefault(digest, i)
    places = np.array(list(first.values()), dtype=np.int64)

    def read(place: int) -> NDArray[np.uint8]:
        with _opened(dataset, looks.studies[places[place]], 2 * SIDE) as image:
            grey = _without_border(as_grey(image, dataset.bits))
        return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)

    pairs = copies(looks.spectra[places], looks.thumbs[places], read)
    return [CopyPair(int(places[pair.first]), int(places[pair.second]), pair.moved) for pair in pairs]


def connected(pairs: Iterable[Sequence[int]]) -> Groups:
    """Groups that the pairs connect, each in ascending order."""
    parent: dict[int, int] = {}

    def root(i: int) -> int:
        while parent.setdefault(i, i) != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    groups: dict[int, list[int]] = {}
    for i in sorted(parent):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


def duplicate_findings(dataset: DataSet, looks: Looks) -> list[AuditIssue]:
    """Images twice within a split and in several; a documented split by row is a warning."""
    documented = dataset.split_policy == "documented"
    across: Level = "warning" if documented else "error"
    drop = "keep one of each, with `mmad data check DIR --fix --out NEW`"
    look = "look at them with `mmad data show`, and take out what is a copy"
    same, alike = "the same bytes", "nearly the same picture"
    other_way = "nearly the same picture, cropped, shifted, turned, mirrored or inverted"
    exact, pairs = exact_groups(dataset, looks), copy_pairs(dataset, looks)
    near, moved = (connected((p.first, p.second) for p in pairs if p.moved == how) for how in (False, True))
    findings = [
        _group_finding(dataset, looks, exact, True, "duplicate-across-splits", across, same, drop),
        _group_finding(dataset, looks, exact, False, "duplicate", "warning", same, drop),
        _group_finding(dataset, looks, near, True, "near-duplicate-across-splits", "warning", alike, look),
        _group_finding(dataset, looks, near, False, "near-duplicate", "warning", alike, look),
        _group_finding(dataset, looks, moved, True, "near-duplicate-across-splits", "warning", other_way, look),
        _group_finding(dataset, looks, moved, False, "near-duplicate", "warning", other_way, look),
    ]
    return [one for one in findings if one is not None]


def _group_finding(
    dataset: DataSet, looks: Looks, groups: Groups, across: bool, code: str, level: Level, what: str, hint: str
) -> AuditIssue | None:
    studies = dataset.studies
    rows = [[studies[looks.studies[i]] for i in group] for group in groups]
    chosen = [group for group in rows if (len({study.split for study in group}) > 1) == across]
    if not chosen:
        return None
    several = f"{len(chosen)} groups of image files" if len(chosen) > 1 else f"{len(chosen[0])} image files"
    where = _splits_of(study.split for group in chosen for study in group)
    text = f"{several} hold {what}, in {where}: {', '.join(study.study for study in chosen[0][:3])}"
    return finding(code, level, STUDIES, text, hint, [study.study for group in chosen for study in group])


def _splits_of(splits: Iterable[str]) -> str:
    present = set(splits)
    found = [split for split in SPLITS if split in present]
    return " and ".join(found) if len(found) < 3 else ", ".join(found)
