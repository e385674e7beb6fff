"""Lays the five findings over a phantom chest and says where each box stands.

Every opacity is a field of strength between 0 and 1; its box is the extent of what exceeds 0.4 of it, so a
box is tight to what can be seen. A bilateral finding has one box per lung, the heart one box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmad.data.phantom_cases import Case
from mmad.data.phantom_chest import Chest, Field, smooth_noise, step

Box = tuple[float, float, float, float]
_VISIBLE = 0.4


@dataclass(frozen=True)
class Mark:
    """A box in pixels of the film and the finding it shows."""

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
