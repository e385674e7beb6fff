"""What lies over a radiograph and is no finding: side markers, tubes, lines and devices, a film too dark or light.

Everything is drawn on a layer of its own, in shares of the film, and blended in; no box and no label depends on
it. Artefacts are dealt without looking at the case, so they tell nothing of the findings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

#: Side of the layer in pixels; it is resized to the film, so that lines are as wide at any size.
_LAYER = 1024
Point = tuple[float, float]  # shares of width and height, origin top left
Film = NDArray[np.uint8]  # (H, W)

#: Letters as strokes within the unit square: no font, so no bytes that depend on one.
_LETTERS: dict[str, tuple[tuple[Point, ...], ...]] = {
    "L": (((0.1, 0.0), (0.1, 1.0), (0.8, 1.0)),),
    "R": (
        ((0.1, 1.0), (0.1, 0.0), (0.6, 0.0), (0.8, 0.12), (0.8, 0.4), (0.6, 0.52), (0.1, 0.52)),
        ((0.45, 0.52), (0.8, 1.0)),
    ),
}


def add_artefacts(film: Film, rng: np.random.Generator) -> Film:
    """The film (H, W) with another exposure and, by chance, markers, leads, lines, tubes and a pacemaker on it."""
    levels = _exposure(film, rng)
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
    height, width = film.shape
    layer = np.asarray(bright.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32) / 255
    levels += (np.float32(248) - levels) * layer
    _collimate(levels, rng)
    return np.clip(levels, 0, 255).astype(np.uint8)


def _exposure(film: Film, rng: np.random.Generator) -> NDArray[np.float32]:
    """Grey levels of a film exposed too little or too long: a gamma, and a share of the contrast."""
    gamma, contrast = float(rng.uniform(0.75, 1.35)), float(rng.uniform(0.80, 1.05))
    share = np.arange(256) / 255
    table: NDArray[np.float32] = (((share**gamma - 0.5) * contrast + 0.5) * 255).astype(np.float32)
    return table[film]


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
    """Electrodes of a monitor with their wires, which leave the film sideways."""
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
