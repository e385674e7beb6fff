"""The boxes of two arms held against the true ones: what each found on a study, and what of the AP hangs on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmad.base.records import Detections
from mmad.evaluation.agreement import matched_at, worth
from mmad.evaluation.matching import Floats, Ints, Matched
from mmad.evaluation.resampling import weigh
from mmad.evaluation.thresholds import at_least
from mmad.report.judged import Archive, Judged, matched_under

Box = tuple[float, float, float, float]
#: Of an arm's boxes: right, false, missed. Of the true ones, by whom they were found.
Fate = Literal["right", "false", "missed", "both", "reference", "other", "neither"]


@dataclass(frozen=True)
class DrawnBox:
    """One box of a panel in pixels of the stored image; ``number`` is its finding's, ``score`` None for a true box."""

    number: int
    box: Box
    score: float | None
    fate: Fate


@dataclass(frozen=True)
class Panels:
    """What is drawn on one study: the true boxes, and those of each arm with what it missed."""

    truth: tuple[DrawnBox, ...]
    reference: tuple[DrawnBox, ...]
    other: tuple[DrawnBox, ...]


@dataclass(frozen=True)
class Stakes:
    """Differences in test AP, other less reference, means over the seeds: of all boxes, and of those drawn.

    ``drawn`` and ``kept`` count boxes of (reference, other) over all seeds: those of at least the score, and all.
    """

    all_boxes: float
    drawn_boxes: float
    drawn: tuple[int, int]
    kept: tuple[int, int]


class HeldAgainst:
    """The seeds of one pair of arms against the true boxes of their split.

    Args:
        archive: where detections and true boxes are.
        pairs: (reference, other) of each seed, all under one protocol.
        score: from which a box is drawn.

    Raises:
        EvaluationError: detections that are missing or cannot be judged.
        DataError: a data set that is gone or changed.
    """

    def __init__(self, archive: Archive, pairs: Sequence[tuple[Judged, Judged]], score: float) -> None:
        self.truth = archive.truth(pairs[0][0])
        self._protocol, self._score = pairs[0][0].protocol, score
        self._place = {study: n for n, study in enumerate(self.truth.studies)}
        self._seeds = [(self._side(archive, a), self._side(archive, b)) for a, b in pairs]

    def _side(self, archive: Archive, judged: Judged) -> _Side:
        every, protocol = archive.detections(judged), self._protocol
        matched = matched_at(
            every, self.truth, score=self._score, overlap=protocol.overlap, threshold=protocol.threshold
        )
        return _Side(every, at_least(every, self._score), matched, matched_under(protocol, every, self.truth))

    def gains(self, study: str) -> list[int]:
        """Of each seed: hits less false alarms on ``study``, the other's less the reference's."""
        n = self._place[study]
        return [int(worth(b.matched)[n] - worth(a.matched)[n]) for a, b in self._seeds]

    def panels(self, study: str, seed: int) -> Panels:
        """What the arms of the seed at position ``seed`` found on ``study``."""
        n, (a, b) = self._place[study], self._seeds[seed]
        rows = np.flatnonzero(self.truth.study == n)
        found = [set(side.hits(n)) for side in (a, b)]
        truth = []
        for row in rows.tolist():
            by: Fate = _BY[row in found[0], row in found[1]]
            truth.append(DrawnBox(int(self.truth.labels[row]), _box(self.truth.boxes[row]), None, by))
        sides = [
            (*side.boxes(n), *(_missed(one) for row, one in zip(rows, truth, strict=True) if row not in hit))
            for side, hit in zip((a, b), found, strict=True)
        ]
        return Panels(tuple(truth), sides[0], sides[1])

    def stakes(self) -> Stakes:
        """What the pair differs by, with and without the boxes that are too weak to be drawn."""
        drawn = [
            _difference(*(matched_under(self._protocol, s.drawn, self.truth) for s in seed), weights=None)[0]
            for seed in self._seeds
        ]
        counts = np.sum([[(len(s.drawn.scores), len(s.every.scores)) for s in seed] for seed in self._seeds], axis=0)
        (strong_a, all_a), (strong_b, all_b) = counts.tolist()
        return Stakes(float(self._differences(None)[0]), float(np.mean(drawn)), (strong_a, strong_b), (all_a, all_b))

    def without(self, studies: Sequence[str]) -> list[float]:
        """The difference in AP of all boxes, had each of ``studies`` not been looked at."""
        weights = np.ones((len(studies), len(self.truth.studies)))
        weights[np.arange(len(studies)), [self._place[study] for study in studies]] = 0
        return [float(value) for value in self._differences(weights)] if len(studies) else []

    def _differences(self, weights: Floats | None) -> Floats:
        seeds = [_difference(a.full, b.full, weights=weights) for a, b in self._seeds]
        mean: Floats = np.mean(seeds, axis=0)
        return mean


_BY: dict[tuple[bool, bool], Fate] = {
    (True, True): "both",
    (True, False): "reference",
    (False, True): "other",
    (False, False): "neither",
}


@dataclass(frozen=True, eq=False)
class _Side:
    """One run: all its boxes, those that are drawn with their matches, and the matches of all under the protocol."""

    every: Detections
    drawn: Detections
    matched: Matched
    full: Matched

    def hits(self, image: int) -> list[int]:
        """Rows of the true boxes it found on the study."""
        here = (self.matched.image == image) & self.matched.hit[0]
        rows: Ints = self.matched.true[0][here]
        return [int(row) for row in rows]

    def boxes(self, image: int) -> tuple[DrawnBox, ...]:
        """What it drew on the study, by finding and falling score."""
        here = np.flatnonzero((self.matched.image == image) & self.matched.counted[0])
        found = []
        for n in here.tolist():
            row = int(self.matched.row[n])
            fate: Fate = "right" if self.matched.hit[0][n] else "false"
            score = float(self.drawn.scores[row])
            found.append(DrawnBox(int(self.drawn.labels[row]), _box(self.drawn.boxes[row]), score, fate))
        return tuple(found)


def _missed(true: DrawnBox) -> DrawnBox:
    return DrawnBox(true.number, true.box, None, "missed")


def _box(sides: Floats) -> Box:
    left, top, right, bottom = (float(side) for side in sides)
    return left, top, right, bottom


def _difference(reference: Matched, other: Matched, *, weights: Floats | None) -> Floats:
    difference: Floats = weigh(other, weights).mean_ap - weigh(reference, weights).mean_ap
    return difference


def telling(gains: Sequence[int]) -> int:
    """The position of the seed that shows best what the seeds come to together; the first of equal ones."""
    sign = math.copysign(1, sum(gains))
    return max(range(len(gains)), key=lambda n: (sign * gains[n], -n))
