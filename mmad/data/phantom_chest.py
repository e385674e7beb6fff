"""Draws the chest of a phantom radiograph: body, lungs, heart, vessels, bones.

Coordinates: ``x`` is lateral, 0 at the midline and 1 at the widest inner wall of the thorax, negative on the
image's left (the patient's right); ``v`` runs down from 0 to 1. Brightness is tissue in the beam, about 0 in
air and 0.6 in soft tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]  # (S, S), float32 in practice


@dataclass(frozen=True)
class Anatomy:
    """How one patient is built and stood before the film (lengths as shares of the image's side)."""

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
    """The chest of ``a`` on an S x S film, without findings. ``rng`` draws vessels and texture."""
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
