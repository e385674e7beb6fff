"""Made-up patients for the simulations of coverage, as matches: no boxes are drawn and none are matched."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from mmad.evaluation.intervals import LEAST_PATIENTS, estimate, patients_with
from mmad.evaluation.matching import Matched
from mmad.evaluation.resampling import weigh


@dataclass(frozen=True)
class World:
    """One finding: how often it is there, found, told from false alarms, and how many of these an image has.

    ``alike`` is how far the images of one patient resemble each other: the chance to be found differs by so much
    between patients.
    """

    skill: float
    apart: float
    alarms: float
    share: float = 0.5
    alike: float = 0.15

    def draw(self, rng: np.random.Generator, patients: int, images: int) -> Matched:
        owner = np.repeat(np.arange(patients), images)
        ease = rng.uniform(-1, 1, patients)[owner]
        there = np.flatnonzero(rng.random(len(owner)) < self.share)
        spread = self.alike * min(1.0, 4 * self.skill * (1 - self.skill))
        found = there[rng.random(len(there)) < np.clip(self.skill + spread * ease[there], 0, 1)]
        false = np.repeat(np.arange(len(owner)), rng.poisson(self.alarms * 2 * self.share, len(owner)))
        score = np.r_[expit(rng.normal(self.apart + 0.5 * ease[found], 1)), expit(rng.normal(-0.3 * ease[false], 1))]
        image, hit = np.r_[found, false], np.r_[np.ones(len(found), bool), np.zeros(len(false), bool)]
        order = np.lexsort((image, -score))
        boxes = np.zeros((len(owner), 1), dtype=np.int64)
        boxes[there] = 1
        return _matched(image[order], np.zeros(len(order), int), score[order], hit[order], boxes, owner)


def _matched(
    image: np.ndarray, finding: np.ndarray, score: np.ndarray, hit: np.ndarray, boxes: np.ndarray, owner: np.ndarray
) -> Matched:
    return Matched(
        thresholds=np.array([0.5]),
        row=np.arange(len(image)),
        image=image,
        finding=finding,
        score=score,
        true=np.where(hit, 0, -1)[None],
        ignored=np.zeros((1, len(image)), dtype=bool),
        boxes=boxes,
        patients=tuple(map(str, owner)),
        categories=tuple("ABCDE"[: boxes.shape[1]]),
    )


def beside(parts: list[Matched]) -> Matched:
    """Findings of the same images, side by side."""
    one = parts[0]
    column = [np.full(len(part.row), k) for k, part in enumerate(parts)]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("image", "score")}
    hit = np.concatenate([part.hit[0] for part in parts])
    boxes = np.concatenate([part.boxes for part in parts], axis=1)
    owner = np.array([int(name) for name in one.patients])
    return _matched(joined["image"], np.concatenate(column), joined["score"], hit, boxes, owner)


#: By their AP: drowned in false alarms; in between; missed but hardly ever wrong; good; nearly perfect.
WORLDS = {
    "0.33": World(0.55, 1.3, 1.0),
    "0.64": World(0.78, 1.6, 0.6),
    "0.86": World(0.865, 5.0, 0.3),
    "0.90": World(0.93, 2.6, 0.3),
    "0.99": World(0.995, 5.2, 0.2),
}


@dataclass(frozen=True)
class Coverage:
    """Of ``intervals`` that were given, the share that held the truth, and their median width."""

    intervals: int
    share: float
    width: float


@functools.cache
def _truth(world: World) -> float:
    """AP on very many patients."""
    rng = np.random.default_rng(0)
    return float(np.mean([weigh(world.draw(rng, 100_000, 1)).ap[0, 0] for _ in range(3)]))


def coverage(world: World, patients: int, images: int, repeats: int, seed: int = 0) -> Coverage:
    """How often the interval of AP holds the AP on very many patients."""
    rng, truth = np.random.default_rng([seed, patients, images]), _truth(world)
    held, widths = 0, []
    for _ in range(repeats):
        drawn = world.draw(rng, patients, images)
        if patients_with(drawn) < LEAST_PATIENTS:
            continue
        found = estimate([drawn]).ap
        held += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    return Coverage(len(widths), held / max(1, len(widths)), float(np.median(widths)) if widths else float("nan"))
