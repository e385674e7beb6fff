"""Draws the chest of a phantom radiograph: body, lungs, heart, vessels, bones.

Coordinates: ``x`` is lateral, 0 at the midline and 1 at the widest inner wall of the thorax, negative on the
image's left (the patient's right); ``v`` runs down from 0 to 1. Brightness is tissue in the beam, about 0 in
air and 0.6 in soft tissue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mmad.data.phantom.cases import Case

Field = NDArray[np.floating[Any]]  # (S, S), float32 in practice


@dataclass(frozen=True)
class Anatomy:
    """How one patient is built and stood before the image (lengths as shares of the image's side)."""

    half_width: float
    centre: float
    top: float
    dome: float
    tilt: float
    rib_spacing: float
    heart_right: float
    heart_left: float
    heart_height: float
    female: bool


@dataclass(frozen=True, eq=False)
class Chest:
    """A drawn chest, and the fields that findings are laid over."""

    x: Field
    v: Field
    density: Field
    lungs: dict[int, Field]  # by side; 1 inside the aerated lung, 0 behind heart and diaphragm
    spaces: dict[int, Field]  # by side; 1 inside the chest cavity, down into the costophrenic angle
    heart: Field  # 1 inside the heart's outline above the diaphragm
    anatomy: Anatomy


def make_anatomy(patient: np.random.Generator, visit: np.random.Generator, female: bool, big_heart: bool) -> Anatomy:
    """One patient's build from ``patient``, and one visit's stance and heart from ``visit``."""
    build = [float(draw) for draw in patient.uniform(-1, 1, 6)]  # plain floats keep the fields float32
    stance = [float(draw) for draw in visit.uniform(-1, 1, 5)]
    right, left = (0.33, 0.76) if big_heart else (0.20, 0.47)
    return Anatomy(
        half_width=0.385 + 0.025 * build[0] - 0.01 * female,
        centre=0.5 + 0.02 * stance[0],
        top=0.125 + 0.02 * build[1] + 0.015 * stance[1],
        dome=0.735 + 0.025 * build[2] + 0.02 * stance[2],
        tilt=float(np.deg2rad(2.5 * stance[3])),
        rib_spacing=0.072 + 0.005 * build[3],
        heart_right=right + 0.03 * build[4],
        heart_left=left + 0.035 * stance[4],
        heart_height=(0.185 if big_heart else 0.165) + 0.012 * build[5],
        female=female,
    )


def step(field: Field) -> Field:
    """Smooth step: 0 below -1/2, 1 above 1/2."""
    t: Field = np.asarray(field + np.float32(0.5))
    np.maximum(t, 0, out=t)
    np.minimum(t, 1, out=t)
    smooth: Field = t * -2
    smooth += 3
    smooth *= t
    smooth *= t
    return smooth


def smooth_noise(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth noise (S, S) of about unit deviation with ``cells`` bumps a side."""
    grid = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    at = np.linspace(0.5, cells + 1.5, size, dtype=np.float32)
    low = np.floor(at).astype(np.int64)
    share = at - low
    share = share * share * (3 - 2 * share)
    rows = grid[low] * (1 - share)[:, None] + grid[low + 1] * share[:, None]  # (S, cells + 3)
    noise: Field = (rows[:, low] * (1 - share) + rows[:, low + 1] * share) * np.float32(1.4)
    return noise


def draw_chest(a: Anatomy, size: int, rng: np.random.Generator) -> Chest:
    """The chest of ``a`` on an S x S image, without findings. ``rng`` draws vessels and texture."""
    x, v = _coordinates(a, size)
    s = np.abs(x)
    t = np.clip((v - a.top) / (a.dome - a.top), 0, 1.3)  # 0 at the apex of the lungs, 1 at the dome
    wall = 0.40 + 0.56 * np.clip(1 - np.clip(1 - t, 0, 1) ** 2.6, 0, 1) ** 0.85  # inner wall of the thorax
    medial = 0.15 + 0.25 * np.clip(1 - t / 0.22, 0, 1) ** 2
    below = a.dome + 0.012 * np.sign(x) + 0.34 * np.clip(s - 0.50, 0, 1) ** 1.7
    below += 0.05 * np.clip(0.45 - s, 0, 1)
    in_wall = step((wall - s) / 0.035)
    above = step((below - v) / 0.018) * step((v - a.top) / 0.02)
    space = in_wall * step((s - medial) / 0.05) * above
    heart, trunk = _heart(a, x, v)
    lung = space * (1 - heart) * (1 - trunk)
    sides = {-1: (x < 0).astype(np.float32), 1: (x >= 0).astype(np.float32)}

    body = _body(a, s, v)
    density = 0.60 * body
    density += 0.08 * step((v - below) / 0.06) * body * step((1.02 - s) / 0.1)  # belly
    density -= 0.40 * lung
    density += 0.10 * np.maximum(heart * step((below - 0.02 - v) / 0.14), 0.7 * trunk * step((v - a.top + 0.06) / 0.08))
    density += _spine(a, s, v) + _ribs(a, s, v, wall, lung) * body + _clavicles(a, s, v) * body
    density += _vessels(a, x, v, rng) * lung
    density += _soft_tissue(a, x, s, v, rng, size) * body
    return Chest(
        x=x,
        v=v,
        density=density.astype(np.float32),
        lungs={side: lung * half for side, half in sides.items()},
        spaces={side: space * (1 - heart * (s < 0.5)) * half for side, half in sides.items()},
        heart=heart * step((below + 0.05 - v) / 0.02),
        anatomy=a,
    )


def _coordinates(a: Anatomy, size: int) -> tuple[Field, Field]:
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    u, v = axis[None, :], axis[:, None]
    cos, sin = np.float32(np.cos(a.tilt)), np.float32(np.sin(a.tilt))
    x = (u * cos + v * sin + np.float32(0.5 - a.centre)) / np.float32(a.half_width)
    return x, v * cos - u * sin + np.float32(0.5)


def _body(a: Anatomy, s: Field, v: Field) -> Field:
    """Neck, shoulders and trunk."""
    down = np.clip((v - a.top + 0.10) / 0.16, 0, 1)
    outline = 0.34 + 0.92 * down**0.8 - 0.06 * np.clip((v - 0.45) / 0.3, 0, 1)
    return step((outline - s) / 0.06)


def _heart(a: Anatomy, x: Field, v: Field) -> tuple[Field, Field]:
    """The heart with its two borders, and the mediastinum above it with the aortic knob."""
    mid, half = (a.heart_left - a.heart_right) / 2, (a.heart_left + a.heart_right) / 2
    centre = a.dome - a.heart_height * 0.62
    lateral = (x - mid) / half
    r = np.sqrt(np.abs(lateral) ** 2.3 + np.abs((v - centre - 0.035 * lateral) / a.heart_height) ** 2.3)
    heart = step((1 - r) / 0.10)
    waist = np.sqrt(((x - 0.5 * mid) / (0.12 + 0.35 * half)) ** 2 + ((v - centre + 0.8 * a.heart_height) / 0.13) ** 2)
    knob = np.sqrt(((x - 0.13) / 0.16) ** 2 + ((v - a.top - 0.19) / 0.055) ** 2)
    artery = np.sqrt(((x - 0.14) / 0.17) ** 2 + ((v - a.top - 0.30) / 0.08) ** 2)
    bulges = np.minimum(np.minimum(knob, artery), waist)
    trunk = np.maximum(step((0.17 - np.abs(x)) / 0.05), step((1 - bulges) / 0.3))
    return heart, trunk * step((a.dome - 0.02 - v) / 0.06)


def _spine(a: Anatomy, s: Field, v: Field) -> Field:
    """Vertebral column with its discs, and the dark windpipe before it."""
    column = step((0.105 - s) / 0.04)
    discs = 0.5 + 0.5 * np.cos((v - a.top) * np.float32(2 * np.pi / 0.062))
    trachea = step((0.05 - s) / 0.035) * step((a.top + 0.22 - v) / 0.08)
    bone: Field = column * (0.045 + 0.025 * discs) * step((a.dome + 0.02 - v) / 0.5) - 0.10 * trachea
    return bone


def _ribs(a: Anatomy, s: Field, v: Field, wall: Field, lung: Field) -> Field:
    """Posterior ribs, arching down towards the wall, and the fainter anterior ends, running up to it."""
    cage = step((wall + 0.07 - s) / 0.05) * step((v - a.top + 0.01) / 0.03) * step((a.dome + 0.13 - v) / 0.06)
    back = (v - a.top - 0.20 * s * s + 0.04 * np.sin(np.float32(2.6) * s)) / a.rib_spacing
    front = (v - a.top - 0.02 + 0.24 * s) / (a.rib_spacing * 1.18)
    visible = 0.35 + 0.65 * lung
    strong = 0.10 * _band(back, 0.46) * step((s - 0.12) / 0.05)
    weak = 0.045 * _band(front, 0.50) * step((s - 0.42) / 0.2)
    return cage * visible * (strong + weak)


def _band(phase: Field, width: float) -> Field:
    """A row of bars of the given relative width, each a little brighter along its edges."""
    d = np.abs(phase - np.floor(phase) - 0.5) * 2
    bars: Field = step((width - d) / 0.22) * (0.72 + 0.28 * np.clip(d / width, 0, 1) ** 2)
    return bars


def _clavicles(a: Anatomy, s: Field, v: Field) -> Field:
    line = a.top + 0.055 - 0.075 * s + 0.022 * np.sin(np.float32(4.2) * s)
    return 0.11 * step((0.021 - np.abs(v - line)) / 0.014) * step((s - 0.07) / 0.05) * step((1.12 - s) / 0.1)


def _vessels(a: Anatomy, x: Field, v: Field, rng: np.random.Generator) -> Field:
    """Hilar shadows and the vessels that fan out from them and thin towards the wall."""
    s = np.abs(x)
    across = (s - 0.20) * np.float32(a.half_width)
    down = v - np.float32(a.top + 0.31)
    r = np.sqrt(across**2 + down**2)
    angle = np.arctan2(down, across)
    fan = np.zeros_like(r)
    for rays, shift, bend in zip(rng.uniform(7, 19, 3), rng.uniform(0, 6.3, 3), rng.uniform(-9, 9, 3), strict=True):
        phase = angle * np.float32(rays) + np.float32(shift) + r * np.float32(bend) + np.sign(x)
        fan += np.clip(np.cos(phase), 0, 1) ** 6
    hilum = step((0.075 - np.sqrt((across * 1.3) ** 2 + (down * 0.75) ** 2)) / 0.07)
    return 0.075 * fan * np.clip(1 - r / 0.30, 0, 1) + 0.13 * hilum


def _soft_tissue(a: Anatomy, x: Field, s: Field, v: Field, rng: np.random.Generator, size: int) -> Field:
    """Breast shadows, the stomach's bubble, shoulder blades, and the unevenness of muscle and fat."""
    soft = 0.022 * smooth_noise(rng, size, 5) + 0.012 * smooth_noise(rng, size, 22)
    blade = np.abs((s - 0.98) + 0.25 * (v - a.top - 0.2))
    soft += 0.04 * step((0.16 - blade) / 0.08) * step((v - a.top) / 0.05) * step((a.top + 0.33 - v) / 0.1)
    if a.female:
        breast = np.sqrt(((s - 0.60) / 0.40) ** 2 + ((v - a.dome + 0.055) / 0.15) ** 2)
        soft += 0.055 * step((1 - breast) / 0.18)
    if rng.random() < 0.6:
        bubble = np.sqrt(((x - 0.42) / 0.2) ** 2 + ((v - a.dome - 0.10) / 0.035) ** 2)
        soft -= 0.14 * step((1 - bubble) / 0.4)
    return soft


# Lays the five findings over a phantom chest and says where each box stands.
#
# Every opacity is a field of strength between 0 and 1; its box is the extent of what exceeds 0.4 of it, so a
# box is tight to what can be seen. A bilateral finding has one box per lung, the heart one box.


Box = tuple[float, float, float, float]
_VISIBLE = 0.4


@dataclass(frozen=True)
class Mark:
    """A box in pixels of the image and the finding it shows."""

    label: str
    box: Box


def draw_findings(chest: Chest, case: Case, rng: np.random.Generator) -> tuple[Field, list[Mark]]:
    """The density with the findings of ``case`` added, and their boxes."""
    density, marks = chest.density.copy(), []
    if case.big_heart:
        marks.append(_mark("Enlarged cardiac silhouette", chest.heart))
    taken: set[int] = set()
    for side in case.pleura:
        fluid = _fluid(chest, side, rng)
        density += (0.62 - density).clip(0, 1) * np.minimum(
            1, 1.8 * fluid
        )  # up to soft tissue, the wall's soft edge too
        marks.append(_mark("Pleural abnormality", fluid))
        taken.add(side)
    for opacity, strength in _opacities(chest, case, taken, rng):
        density += strength * opacity
        marks.append(_mark(case.label or "", opacity))
    return density, [mark for mark in marks if mark is not None]


def _mark(label: str, field: Field) -> Mark | None:
    """The extent of ``field`` above the visible share of its peak; None when there is next to nothing to see."""
    seen = field > _VISIBLE * max(float(field.max()), 0.5)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if rows.size < 3 or columns.size < 3:
        return None
    return Mark(label, (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)))


def _opacities(chest: Chest, case: Case, taken: set[int], rng: np.random.Generator) -> list[tuple[Field, float]]:
    """The opacities of the lungs with their densities. What is drawn depends on the look, never on the label."""
    free = [side for side in (-1, 1) if side not in taken] or [-1, 1]
    side = free[int(rng.integers(len(free)))]
    if case.big_heart and -1 in free:
        side = -1  # the wide heart leaves little of the other lung's base
    lower = side not in taken and not (case.big_heart and side > 0)
    if case.look == "focal":
        return [(_focal(chest, side, rng, lower=lower), 0.34)]
    if case.look == "patch":
        return [(_patch(chest, side, rng), 0.34)]
    if case.look == "plate":
        return [(_plate(chest, side, rng, lower=lower), 0.32)]
    if case.look in ("haze", "septal"):
        return [(_haze(chest, half, rng, septal=case.look == "septal"), 0.30) for half in (-1, 1)]
    return []


def _blob(chest: Chest, x: float, v: float, across: float, down: float, rough: Field) -> Field:
    """A rough-edged ellipse: ``across`` in units of x, ``down`` in units of v."""
    r = np.sqrt(((chest.x - x) / across) ** 2 + ((chest.v - v) / down) ** 2)
    return step((1 - r + 0.16 * rough) / 0.45)


def _focal(chest: Chest, side: int, rng: np.random.Generator, *, lower: bool) -> Field:
    """A fluffy opacity of the lower lung: the one look of Atelectasis and Consolidation."""
    a = chest.anatomy
    edge = a.heart_left if side > 0 else a.heart_right
    across = float(rng.uniform(0.31, 0.40))
    x = min(max(edge + 0.35 * across, 0.46), 0.62) + float(rng.uniform(0, 0.06))
    v = a.dome - (float(rng.uniform(0.10, 0.15)) if lower else float(rng.uniform(0.28, 0.33)))
    rough = smooth_noise(rng, chest.x.shape[0], 12)
    texture = 1 + 0.10 * smooth_noise(rng, chest.x.shape[0], 26)
    return _blob(chest, side * x, v, across, float(rng.uniform(0.125, 0.16)), rough) * texture * chest.lungs[side]


def _patch(chest: Chest, side: int, rng: np.random.Generator) -> Field:
    """A consolidated upper lobe with dark bronchi in it."""
    a = chest.anatomy
    rough = smooth_noise(rng, chest.x.shape[0], 12)
    blob = _blob(
        chest, side * 0.52, a.top + float(rng.uniform(0.16, 0.22)), 0.30, float(rng.uniform(0.09, 0.12)), rough
    )
    bronchi = step((np.abs(chest.x * side - 0.5 + 1.6 * (chest.v - a.top - 0.2)) - 0.035) / 0.03)
    return blob * (0.75 + 0.25 * bronchi) * chest.lungs[side]


def _plate(chest: Chest, side: int, rng: np.random.Generator, *, lower: bool) -> Field:
    """Plate-like atelectasis: a straight band across the lung's base."""
    a = chest.anatomy
    slope = float(rng.uniform(-0.06, 0.06))
    x = float(rng.uniform(0.52, 0.60))
    v = a.dome - (float(rng.uniform(0.07, 0.15)) if lower else float(rng.uniform(0.24, 0.30)))
    along = chest.x * side - x
    band = step((0.045 - np.abs(chest.v - v - slope * along)) / 0.014)
    return band * step((0.34 - np.abs(along)) / 0.14) * chest.lungs[side]


def _haze(chest: Chest, side: int, rng: np.random.Generator, *, septal: bool) -> Field:
    """One wing of a bat's-wing haze around the hilum: the one look of edema and of bilateral Consolidation.

    With ``septal`` short lines at the wall are added, which only an edema has.
    """
    a = chest.anatomy
    size = chest.x.shape[0]
    rough = smooth_noise(rng, size, 9)
    x, v = float(rng.uniform(0.36, 0.42)), a.top + float(rng.uniform(0.33, 0.37))
    wing = _blob(chest, side * x, v, float(rng.uniform(0.32, 0.38)), float(rng.uniform(0.17, 0.20)), 0.8 * rough)
    wing = wing * (0.85 + 0.12 * smooth_noise(rng, size, 24))
    if septal:
        lines = step((0.3 - np.abs((chest.v * 42) % 1 - 0.5)) / 0.2)
        zone = step((np.abs(chest.x) - 0.66) / 0.06) * step((chest.v - a.dome + 0.24) / 0.05)
        wing = np.maximum(wing, 0.55 * lines * zone)
    return wing * chest.lungs[side]


def _fluid(chest: Chest, side: int, rng: np.random.Generator) -> Field:
    """An effusion: the costophrenic angle is filled up to a meniscus that climbs along the wall."""
    a = chest.anatomy
    level = a.dome - float(rng.uniform(0.02, 0.09))
    climb = float(rng.uniform(0.10, 0.16))
    s = np.abs(chest.x)
    meniscus = level - climb * np.clip((s - 0.45) / 0.5, 0, 1.1) ** 3 + 0.25 * np.clip(0.62 - s, 0, 1)
    return step((chest.v - meniscus) / 0.03) * chest.spaces[side]


# What lies over a radiograph and is no finding: side markers, tubes, lines and devices, an image too dark or light.
#
# Everything is drawn on a layer of its own, in shares of the image, and blended in; no box and no label depends on
# it. Artefacts are dealt without looking at the case, so they say nothing of the findings.


#: Side of the layer in pixels; it is resized to the image, so that lines are as wide at any size.
_LAYER = 1024
Point = tuple[float, float]  # shares of width and height, origin top left
Grey = NDArray[np.uint8]  # (H, W)

#: Letters as strokes within the unit square: no font, so no bytes that depend on one.
_LETTERS: dict[str, tuple[tuple[Point, ...], ...]] = {
    "L": (((0.1, 0.0), (0.1, 1.0), (0.8, 1.0)),),
    "R": (
        ((0.1, 1.0), (0.1, 0.0), (0.6, 0.0), (0.8, 0.12), (0.8, 0.4), (0.6, 0.52), (0.1, 0.52)),
        ((0.45, 0.52), (0.8, 1.0)),
    ),
}


def add_artefacts(image: Grey, rng: np.random.Generator) -> Grey:
    """The image (H, W) with another exposure and, by chance, markers, leads, lines, tubes and a pacemaker on it."""
    levels = _exposure(image, rng)
    bright = Image.new("L", (_LAYER, _LAYER), 0)
    pen = ImageDraw.Draw(bright)
    drawers: Sequence[tuple[float, Callable[[ImageDraw.ImageDraw, np.random.Generator], None]]] = (
        (0.40, _leads),
        (0.30, _central_line),
        (0.20, _breathing_tube),
        (0.20, _feeding_tube),
        (0.12, _pacemaker),
        (0.90, _marker),
    )
    for chance, draw in drawers:
        if rng.random() < chance:
            draw(pen, rng)
    height, width = image.shape
    layer = np.asarray(bright.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32) / 255
    levels += (np.float32(248) - levels) * layer
    _collimate(levels, rng)
    return np.clip(levels, 0, 255).astype(np.uint8)


def _exposure(image: Grey, rng: np.random.Generator) -> NDArray[np.float32]:
    """Grey levels of an image exposed too little or too long: a gamma, and a share of the contrast."""
    gamma, contrast = float(rng.uniform(0.75, 1.35)), float(rng.uniform(0.80, 1.05))
    share = np.arange(256) / 255
    table: NDArray[np.float32] = (((share**gamma - 0.5) * contrast + 0.5) * 255).astype(np.float32)
    return table[image]


def _collimate(levels: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Unexposed borders where the beam was narrowed; at most 4 % of a side, where no finding lies."""
    height, width = levels.shape
    left, right, top, bottom = (float(share) for share in np.clip(rng.uniform(-0.05, 0.04, 4), 0, None))
    levels[:, : int(left * width)] = 4
    levels[:, width - int(right * width) :] = 4
    levels[: int(top * height)] = 4
    levels[height - int(bottom * height) :] = 4


def _stroke(pen: ImageDraw.ImageDraw, points: Sequence[Point], width: float, level: int) -> None:
    """A line through ``points``; ``width`` is a share of the side, ``level`` (0 to 255) how opaque it is."""
    pixels = max(1, round(width * _LAYER))
    pen.line([(x * _LAYER, y * _LAYER) for x, y in points], fill=level, width=pixels, joint="curve")


def _curve(points: Sequence[Point], steps: int = 40) -> list[Point]:
    """A Bézier curve with the control points ``points``."""
    t = np.linspace(0, 1, steps)[:, None]
    rows = [np.array(point)[None, :].repeat(steps, axis=0) for point in points]
    while len(rows) > 1:
        rows = [(1 - t) * a + t * b for a, b in pairwise(rows)]
    return [(float(x), float(y)) for x, y in rows[0]]


def _disc(pen: ImageDraw.ImageDraw, at: Point, radius: float, level: int) -> None:
    x, y, r = at[0] * _LAYER, at[1] * _LAYER, radius * _LAYER
    pen.ellipse((x - r, y - r, x + r, y + r), fill=level)


def _marker(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A lead letter: R over the patient's right, which is the image's left, or L on the other side."""
    letter = "R" if rng.random() < 0.6 else "L"
    side, tall = float(rng.uniform(0.04, 0.06)), float(rng.uniform(0.05, 0.075))
    left = float(rng.uniform(0.06, 0.10)) if letter == "R" else float(rng.uniform(0.86, 0.89))
    top = float(rng.uniform(0.05, 0.12))
    for points in _LETTERS[letter]:
        _stroke(pen, [(left + side * x, top + tall * y) for x, y in points], 0.009, 250)
    if rng.random() < 0.4:  # the round frame some letters have
        centre = ((left + side / 2) * _LAYER, (top + tall / 2) * _LAYER)
        radius = 0.75 * tall * _LAYER
        box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        pen.ellipse(box, outline=230, width=5)


def _leads(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Electrodes of a monitor with their wires, which leave the image sideways."""
    for x, y in ((0.24, 0.22), (0.76, 0.22), (0.80, 0.66))[: 2 + int(rng.integers(2))]:
        at = (x + float(rng.uniform(-0.04, 0.04)), y + float(rng.uniform(-0.04, 0.04)))
        _disc(pen, at, 0.016, 90)
        _disc(pen, at, 0.007, 235)
        edge = (1.0 if x > 0.5 else 0.0, at[1] + float(rng.uniform(-0.1, 0.3)))
        bend = ((at[0] + edge[0]) / 2, at[1] + float(rng.uniform(-0.12, 0.2)))
        _stroke(pen, _curve([at, bend, edge]), 0.004, 190)


def _central_line(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A catheter from the neck to where the great vein enters the heart."""
    neck = (0.42 + float(rng.uniform(-0.03, 0.02)), 0.0)
    tip = (0.455 + float(rng.uniform(-0.015, 0.02)), float(rng.uniform(0.40, 0.50)))
    _stroke(pen, _curve([neck, (0.40, 0.15), (0.46, 0.25), tip]), 0.006, 130)


def _breathing_tube(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A tube in the windpipe: two faint walls and a bright stripe."""
    x, end = 0.5 + float(rng.uniform(-0.012, 0.012)), float(rng.uniform(0.22, 0.29))
    for shift, level in ((-0.011, 80), (0.011, 80), (0.004, 170)):
        _stroke(pen, [(x + shift, 0.0), (x + shift, end)], 0.003, level)


def _feeding_tube(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A tube down the gullet into the stomach, below the patient's left dome."""
    x = 0.505 + float(rng.uniform(-0.01, 0.01))
    stomach = (0.64 + float(rng.uniform(-0.03, 0.05)), float(rng.uniform(0.86, 0.93)))
    _stroke(
        pen,
        [*_curve([(x, 0.0), (x + 0.01, 0.4), (x + 0.02, 0.72)]), *_curve([(x + 0.02, 0.72), (0.54, 0.86), stomach])],
        0.005,
        150,
    )


def _pacemaker(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A generator below the patient's left collar bone, with a lead into the heart."""
    x, y = 0.74 + float(rng.uniform(-0.03, 0.03)), 0.20 + float(rng.uniform(-0.02, 0.03))
    box = [side * _LAYER for side in (x, y, x + 0.085, y + 0.07)]
    pen.rounded_rectangle(box, radius=0.025 * _LAYER, fill=225)
    tip = (0.56 + float(rng.uniform(-0.03, 0.04)), 0.66 + float(rng.uniform(-0.03, 0.03)))
    _stroke(pen, _curve([(x, y + 0.03), (0.52, 0.16), (0.44, 0.40), (0.46, 0.62), tip]), 0.005, 210)
