"""Images that are copies of another one: saved anew, resized, cropped, shifted, turned, padded, mirrored or inverted.

Two steps, so that the work grows little faster than the number of images. A **spectrum** tells which pictures may be
copies: the size of the Fourier transform of the picture in small, contrast made even, summed over rings and sectors. It
does not change when a picture is shifted, mirrored, turned by 180° or inverted, and little when it is cropped or turned
by a few degrees; that of its middle part is kept too, which is like that of a copy that was cropped. Then the nearest
few of each are **registered**: phase correlation for the shift, then the affine map that fits best (the algorithm of
Lucas and Kanade in its inverse compositional form), in small first, and of those that agree from the files again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmad.base.cores import usable_cores
from mmad.data.image_cache import in_order

Singles = NDArray[np.float32]

#: Sides of the pictures: from which a spectrum is made, and which are kept; and of those that are read again.
THUMB, SIDE = 64, 128
#: Shares of each side that are cut off before a spectrum is made.
_CUTS = (0.0, 0.06, 0.11)
#: Rings of the spectrum, from so many to so many cycles a picture, and the most sectors of a ring.
_RINGS, _LEAST_CYCLES, _MOST_CYCLES, _SECTORS = 8, 1.5, 20.0, 12
_SECTORS_OF = [max(1, min(_SECTORS, round(2 * ring))) for ring in np.geomspace(_LEAST_CYCLES, _MOST_CYCLES, _RINGS)]
#: Cuts and bands of the spectra of a picture.
SPECTRA = (len(_CUTS), sum(_SECTORS_OF))
#: So many directions in which spectra differ most are compared, with so many nearest, up to the factor 1 + slack; with
#: more where that many pairs in all are not reached, as pictures of few pixels lose their fine rings when resized.
_DIRECTIONS, _NEAREST, _SLACK, _FEW_PAIRS = 24, 2, 1.0, 400
#: Correlations of registered pictures from which on they are one: halved, as kept, and as read again. Chosen above what
#: the most alike different images among 348 real X-rays had.
_MAY_BE, _LIKELY, _SAME = 0.93, 0.92, 0.91
#: Corners moved by at most this share of the side are where they were.
_STILL = 0.03
_AT_ONCE, _STEPS, _MORE_STEPS = 32, 10, 4
#: What is coarser than so many pixels does not count there, nor what is finer than about one; the least overlap.
_FINE, _SOFT, _OVERLAP = 3, (0, 1, 1), 0.6


@dataclass(frozen=True)
class CopyPair:
    """Places of two pictures that show the same; ``moved`` where one was cropped, shifted, turned or inverted."""

    first: int
    second: int
    moved: bool


def spectra_of(image: Image.Image) -> Singles:
    """The spectra (cuts, bands) of a grey image without its border."""
    image = image.reduce(max(1, min(image.size) // (4 * THUMB)))
    width, height = image.size
    pictures = []
    for cut in _CUTS:
        box = (width * cut, height * cut, width * (1 - cut), height * (1 - cut))
        side = (THUMB, THUMB)
        pictures.append(np.asarray(image.resize(side, Image.Resampling.BOX, box=box), dtype=np.float32))
    even = _even(np.stack(pictures)) * _window(THUMB)
    size = np.abs(np.fft.rfft2(even)).reshape(len(_CUTS), -1)
    return np.asarray(np.log(size @ _bands().T + 1e-3), dtype=np.float32)


def copies(
    spectra: NDArray[np.float16], thumbs: NDArray[np.uint8], read: Callable[[int], NDArray[np.uint8]]
) -> list[CopyPair]:
    """Pairs of pictures that show the same.

    ``spectra`` (N, cuts, bands) and ``thumbs`` (N, THUMB, THUMB) are of each, ``read`` gives one of (SIDE, SIDE).
    """
    if len(spectra) < 2:
        return []
    found: dict[tuple[int, int], CopyPair] = {}
    for cut, every in zip(_CUTS, _candidates(spectra), strict=True):
        pairs = every[[(min(pair), max(pair)) not in found for pair in every.tolist()]]
        starts = range(0, len(pairs), _AT_ONCE)

        def verified(start: int, cut: float = cut, pairs: NDArray[np.int64] = pairs) -> list[CopyPair]:
            return _verified(thumbs, read, cut, pairs[start : start + _AT_ONCE])

        for several in in_order(verified, starts, usable_cores()):
            found |= {(pair.first, pair.second): pair for pair in several}
    return [found[key] for key in sorted(found)]


def _verified(
    thumbs: NDArray[np.uint8], read: Callable[[int], NDArray[np.uint8]], cut: float, pairs: NDArray[np.int64]
) -> list[CopyPair]:
    """Those of the candidates (P, 2) that agree when they are registered: in small, larger, and as read again."""
    first, second = (_halved(thumbs[pairs[:, side]]) for side in (0, 1))
    maps, signs = _shifts(first, second, cut)
    maps, alike = _registered(first, second, maps, signs, _STEPS)
    kept = alike >= _MAY_BE
    maps, signs, pairs = maps[kept], signs[kept], pairs[kept]
    maps, alike = _registered(thumbs[pairs[:, 0]], thumbs[pairs[:, 1]], maps, signs, _MORE_STEPS)
    found = []
    for i in np.flatnonzero(alike >= _LIKELY):
        one, other = pairs[i].tolist()
        final, same = _registered(read(one)[None], read(other)[None], maps[i : i + 1], signs[i : i + 1], _MORE_STEPS)
        if same[0] >= _SAME:
            moved = bool(signs[i] < 0 or _displaced(final[0]) > _STILL)
            found.append(CopyPair(min(one, other), max(one, other), moved))
    return found


def _halved(pictures: NDArray[np.uint8]) -> Singles:
    count, side, _ = pictures.shape
    small = pictures.reshape(count, side // 2, 2, side // 2, 2).mean(axis=(2, 4), dtype=np.float32)
    return np.asarray(small, dtype=np.float32)


def _candidates(spectra: NDArray[np.float16]) -> Iterator[NDArray[np.int64]]:
    """By cut, pairs (P, 2): the second looks like the first without its outer part."""
    from scipy.spatial import cKDTree

    plain = spectra[:, 0].astype(np.float64)
    mean = plain.mean(axis=0)
    sizes, directions = np.linalg.eigh(np.cov(plain - mean, rowvar=False))
    sizes, directions = sizes[::-1][:_DIRECTIONS], directions[:, ::-1][:, :_DIRECTIONS]
    scale = directions / np.maximum(sizes, 1e-6) ** 0.25  # half way to equal weights
    tree = cKDTree((plain - mean) @ scale)
    for cut in range(spectra.shape[1]):
        nearest = min(max(_NEAREST, _FEW_PAIRS // len(plain)), len(plain) - 1) + 1
        _, near = tree.query((spectra[:, cut] - mean) @ scale, k=nearest, eps=_SLACK, workers=-1)
        pairs = np.stack([np.repeat(np.arange(len(plain)), nearest), np.asarray(near).ravel()], axis=1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        if not _CUTS[cut]:
            pairs = np.unique(np.sort(pairs, axis=1), axis=0)
        yield pairs


@cache
def _window(side: int) -> Singles:
    line = np.hanning(side + 2)[1:-1]
    return np.outer(line, line).astype(np.float32)


@cache
def _bands() -> Singles:
    """Weights (bands, frequencies) of rings and sectors; a sector and its mirror image are one."""
    down = np.fft.fftfreq(THUMB)[:, None] * THUMB
    across = np.fft.rfftfreq(THUMB)[None] * THUMB
    cycles, angle = np.maximum(np.hypot(down, across), 0.1), np.arctan2(down, across)
    rings = np.geomspace(_LEAST_CYCLES, _MOST_CYCLES, _RINGS)
    apart = np.log(rings[1] / rings[0])
    bands = []
    for ring, sectors in zip(rings, _SECTORS_OF, strict=True):
        on_ring = (np.log(cycles / ring) / (apart * 0.7)) ** 2
        for sector in range(sectors):
            middle = np.pi * ((sector + 0.5) / sectors - 0.5)
            weights = np.zeros_like(cycles)
            for side in (middle, -middle):
                off = np.abs((angle - side + np.pi / 2) % np.pi - np.pi / 2)
                weights += np.exp(-(on_ring + (off / (np.pi / sectors * 0.7)) ** 2) / 2)
            weights[0, 0] = 0
            bands.append(weights.ravel() / weights.sum())
    return np.array(bands, dtype=np.float32)


def _even(pictures: NDArray[Any], coarsest: float | None = None) -> Singles:
    """Pictures (B, side, side) of the same contrast everywhere, without what is coarser than ``coarsest`` pixels.

    These are an eighth of the side where none are given.
    """
    from scipy.ndimage import gaussian_filter

    blur = (0, *(coarsest or pictures.shape[1] / 8,) * 2)
    fine = pictures.astype(np.float32)
    fine = fine - gaussian_filter(fine, blur)
    return np.asarray(fine / (np.sqrt(gaussian_filter(fine * fine, blur)) + 4), dtype=np.float32)


#: Affine maps that mirror a picture across, turn it by 180°, and mirror it down.
_WAYS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=np.float32)


def _shifts(first: Singles, second: Singles, cut: float) -> tuple[Singles, Singles]:
    """Maps (B, 2, 3) from the second picture to the first, which was cut, by the best shift; -1 where inverted."""
    side, count = first.shape[1], len(first)
    window = _window(side)
    of_second = np.fft.rfft2(_even(second) * window)
    best, signs = np.full(count, -1.0, dtype=np.float32), np.ones(count, dtype=np.float32)
    maps = np.zeros((count, 2, 3), dtype=np.float32)
    for way in _WAYS:
        start = np.zeros((count, 2, 3), dtype=np.float32)
        start[:, 0, 0], start[:, 1, 1] = way * (1 - 2 * cut)
        changed, _ = _warp(_even(first), start)
        cross = np.fft.rfft2(changed * window)
        cross = cross * np.conj(of_second)
        peaks = np.fft.irfft2(cross / np.sqrt(np.abs(cross) + 1e-6), s=(side, side)).reshape(count, -1)
        place = np.abs(peaks).argmax(axis=1)
        height = np.take_along_axis(peaks, place[:, None], axis=1)[:, 0] / np.linalg.norm(peaks, axis=1)
        better = np.abs(height) > best
        down, across = np.divmod(place, side)
        moved = np.stack([across, down], axis=1).astype(np.float32)
        moved = (moved - side * (moved > side / 2)) * 2 / side  # in halves of the side
        start[:, :, 2] = moved * way * (1 - 2 * cut)
        maps[better], signs[better], best[better] = start[better], np.sign(height)[better], np.abs(height)[better]
    return maps, signs


def _warp(pictures: Singles, maps: Singles) -> tuple[Singles, NDArray[np.bool_]]:
    """Pictures (B, side, side) looked up where the maps (B, 2, 3) lead, and which of these places lie inside."""
    count, side, _ = pictures.shape
    at = (maps @ _grid(side) + 1) * (side / 2) - 0.5  # (B, 2, P) in pixels
    inside = ((at >= 0) & (at <= side - 1)).all(axis=1)
    at = np.clip(at, 0, side - 1.001)
    low = at.astype(np.int32)
    part = at - low
    place = low[:, 1] * side + low[:, 0]
    flat = pictures.reshape(count, -1)
    a, b, c, d = (np.take_along_axis(flat, place + step, axis=1) for step in (0, 1, side, side + 1))
    x, y = part[:, 0], part[:, 1]
    looked = (a * (1 - x) + b * x) * (1 - y) + (c * (1 - x) + d * x) * y
    return np.asarray(looked.reshape(pictures.shape), dtype=np.float32), inside


@cache
def _grid(side: int) -> Singles:
    """Centres of the pixels, (3, P): across and down from -1 to 1, and 1."""
    line = (np.arange(side) + 0.5) * 2 / side - 1
    across, down = np.meshgrid(line, line)
    return np.stack([across.ravel(), down.ravel(), np.ones(side * side)]).astype(np.float32)


def _registered(
    first: NDArray[Any], second: NDArray[Any], maps: Singles, signs: Singles, steps: int
) -> tuple[Singles, Singles]:
    """The maps (B, 2, 3) from the second to the first that fit best, begun at ``maps``, and the correlations (B,)."""
    from scipy.ndimage import gaussian_filter

    count, side, _ = first.shape
    if not count:
        return maps, np.empty(0, dtype=np.float32)
    smooth = (0, side / 40, side / 40)
    source = gaussian_filter(_even(first), smooth) * signs[:, None, None]
    target = gaussian_filter(_even(second), smooth)
    window = np.sqrt(_window(side)).ravel()
    down, across = np.gradient(target, 2 / side, axis=(1, 2))
    grid, flat = _grid(side), target.reshape(count, -1)
    slopes = np.concatenate(
        [across.reshape(count, 1, -1) * grid, down.reshape(count, 1, -1) * grid], axis=1
    )  # (B, 6, P): how the target changes with each number of the map
    leaning = slopes * window
    curved = leaning @ slopes.transpose(0, 2, 1)
    curved += np.eye(6, dtype=np.float32) * (1e-3 * np.trace(curved, axis1=1, axis2=2)[:, None, None] / 6 + 1e-6)
    pull = np.linalg.solve(curved, leaning)
    maps = maps.copy()
    for _ in range(steps):
        looked, inside = _warp(source, maps)
        weights = window * inside
        total = weights.sum(axis=1, keepdims=True) + 1e-6
        gain = (weights * flat * flat).sum(axis=1, keepdims=True) / total
        a, b = (_centred(each, weights, total) for each in (looked.reshape(count, -1), flat))
        change = pull @ ((a - b) * np.sqrt(gain) * inside)[:, :, None]
        maps = _composed(maps, np.clip(change.reshape(count, 2, 3), -0.1, 0.1))
    # by what is fine in them: what is coarse is alike in all chests
    looked, inside = _warp(gaussian_filter(_even(first, _FINE), _SOFT) * signs[:, None, None], maps)
    target = gaussian_filter(_even(second, _FINE), _SOFT)
    weights = window * inside
    total = weights.sum(axis=1, keepdims=True) + 1e-6
    a, b = (_centred(each.reshape(count, -1), weights, total) for each in (looked, target))
    overlap = total[:, 0] / window.sum()
    alike = (weights * a * b).sum(axis=1) / total[:, 0]
    return maps, np.where((overlap > _OVERLAP) & _likely(maps), alike, 0).astype(np.float32)


def _centred(values: Singles, weights: Singles, total: Singles) -> Singles:
    """Values without their mean, of spread 1."""
    values = values - (weights * values).sum(axis=1, keepdims=True) / total
    return np.asarray(values / np.sqrt((weights * values**2).sum(axis=1, keepdims=True) / total + 1e-6), np.float32)


def _composed(maps: Singles, change: Singles) -> Singles:
    """The maps after the inverse of identity plus ``change``."""
    whole = np.zeros((len(maps), 3, 3), dtype=np.float32)
    whole[:, :2], whole[:, 2, 2] = change, 1
    whole[:, 0, 0] += 1
    whole[:, 1, 1] += 1
    return np.asarray(maps @ np.linalg.inv(whole), dtype=np.float32)


def _likely(maps: Singles) -> NDArray[np.bool_]:
    """Whether sides keep 0.7 to 1.4 of their length and right angles nearly are right."""
    sides = np.linalg.norm(maps[:, :, :2], axis=1)
    skew = np.abs((maps[:, :, 0] * maps[:, :, 1]).sum(axis=1)) / np.maximum(sides.prod(axis=1), 1e-6)
    return np.asarray(((sides > 0.7) & (sides < 1.4)).all(axis=1) & (skew < 0.2))


def _displaced(one: Singles) -> float:
    """By how much of the side a corner of the picture is moved."""
    corners = np.array([[-1, 1, -1, 1], [-1, -1, 1, 1], [1, 1, 1, 1]], dtype=np.float32)
    return float(np.abs(one @ corners - corners[:2]).max() / 2)
