"""Made-up detections and true boxes that the tests of this room share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.differences import Difference, FamilyPair, differences, pair_sample
from mmad.evaluation.matching import Matched
from mmad.evaluation.resampling import LEVEL

SKILL, FALSE = 0.7, 0.5


def sample_split(
    seed: int,
    *,
    images: int = 12,
    findings: int = 3,
    per_image: int = 5,
    boxes: float = 2.0,
    crowd: float = 0.1,
    skill: float = 0.7,
    patients: int | None = None,
) -> tuple[Detections, GroundTruth]:
    """Boxes at random, detections near some of them (``skill``) with scores that often tie."""
    rng = np.random.default_rng(seed)
    studies = tuple(f"s{i}" for i in range(images))
    owners = studies if patients is None else tuple(f"p{i % patients}" for i in range(images))
    image = np.repeat(np.arange(images), rng.poisson(boxes, size=images))
    corner = rng.integers(0, 40, (len(image), 2)).astype(float)
    truth = np.concatenate([corner, corner + rng.integers(5, 30, (len(image), 2))], axis=1)
    labels = rng.integers(1, findings + 1, len(image))
    given = GroundTruth(
        studies, owners, tuple("ABCDEFGH"[:findings]), image, truth, labels, rng.random(len(image)) < crowd
    )
    found = np.repeat(np.arange(images), rng.integers(0, per_image + 1, images))
    corner = rng.integers(0, 40, (len(found), 2)).astype(float)
    guessed = np.concatenate([corner, corner + rng.integers(5, 30, (len(found), 2))], axis=1)
    named = rng.integers(1, findings + 1, len(found))
    for n, where in enumerate(found):
        near = np.flatnonzero(image == where)
        if len(near) and rng.random() < skill:
            pick = rng.choice(near)
            guessed[n] = truth[pick] + rng.integers(-2, 3, 4)
            named[n] = labels[pick]
    guessed[:, 2:] = np.maximum(guessed[:, 2:], guessed[:, :2] + 1)
    scores = np.round(rng.random(len(found)), 1)
    return Detections(studies, found, guessed, scores, named), given


def simulated(seed: int, images: int, *, shift: float = 0.0, arm: int = 0) -> tuple[Detections, GroundTruth]:
    """One true box per image; found with chance ``SKILL`` + ``shift``, and a false alarm with chance ``FALSE``.

    Images (and so the difficulty of each) follow from ``seed``, what an arm sees of them from ``arm`` too.
    """
    rng = np.random.default_rng([seed, arm])
    studies = tuple(map(str, range(images)))
    box = np.tile([0.0, 0.0, 10.0, 10.0], (images, 1))
    truth = GroundTruth(studies, studies, ("A",), np.arange(images), box, np.ones(images, dtype=np.int64))
    hit, false = rng.random(images) < SKILL + shift, rng.random(images) < FALSE
    study = np.r_[np.flatnonzero(hit), np.flatnonzero(false)]
    boxes = np.r_[box[hit], box[false] + 50]
    scores = np.r_[rng.beta(4, 2, hit.sum()), rng.beta(2, 4, false.sum())]
    return Detections(studies, study, boxes, scores, np.ones(len(study), dtype=np.int64)), truth


def several(
    trial: int, images: int, *, seeds: int, spread: float, arm: int, shift: float = 0.0, patients: float = 0.0
) -> list[tuple[Detections, GroundTruth]]:
    """As :func:`simulated`, by networks of several seeds: each has a skill of its own, apart by ``spread``.

    Images are easy or hard for all networks by up to ``patients``.
    """
    ease = np.random.default_rng([trial, 99]).uniform(-patients, patients, images)
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng([trial, arm, seed])
        skill = SKILL + shift + rng.normal(0, spread) + ease
        studies = tuple(map(str, range(images)))
        box = np.tile([0.0, 0.0, 10.0, 10.0], (images, 1))
        truth = GroundTruth(studies, studies, ("A",), np.arange(images), box, np.ones(images, dtype=np.int64))
        hit, false = rng.random(images) < skill, rng.random(images) < FALSE
        study = np.r_[np.flatnonzero(hit), np.flatnonzero(false)]
        scores = np.r_[rng.beta(4, 2, hit.sum()), rng.beta(2, 4, false.sum())]
        boxes = np.r_[box[hit], box[false] + 50]
        found.append((Detections(studies, study, boxes, scores, np.ones(len(study), dtype=np.int64)), truth))
    return found


def compare(
    reference: Sequence[Matched], other: Sequence[Matched], *, resamples: int = 50, level: float = LEVEL
) -> Difference:
    """The difference of two arms that are a family by themselves."""
    sample = pair_sample(reference, other, resamples=resamples, level=level)
    numbers = tuple(range(len(sample.reference)))
    one = FamilyPair(sample, tuple(("a", n) for n in numbers), tuple(("b", n) for n in numbers), numbers)
    return differences([one], resamples=resamples, level=level)[0]
