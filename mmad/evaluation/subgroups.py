"""What a detector does in parts of a split, and whether two arms differ more in one part than in the others.

Sensitivity and false positives are at one score for all parts, chosen elsewhere. AP depends on how frequent findings
are, so it stands beside their prevalence and is not compared between parts. Whether arms differ more in one part than
in the others is asked of wAFROC, as a difference of differences.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmad.base.holm import holm
from mmad.evaluation.diagnosis import wafroc_figures
from mmad.evaluation.differences import t_test
from mmad.evaluation.intervals import (
    LEAST_PATIENTS,
    difference_interval_of,
    error_of,
    estimate,
    groups_of,
    interval_of,
    patients_with,
)
from mmad.evaluation.matching import Flags, Floats, Ints, Matched
from mmad.evaluation.operating_points import above
from mmad.evaluation.resampling import LEVEL, Interval, mean_over_findings


@dataclass(frozen=True, eq=False)
class Levels:
    """A column of a split: the names of its levels, and the level of each image (I,) by position."""

    column: str
    names: tuple[str, ...]
    of: Ints

    def parts(self) -> Iterator[tuple[str, Flags]]:
        """Each level that some image has, and which images have it."""
        for place, name in enumerate(self.names):
            if (chosen := self.of == place).any():
                yield name, chosen


_UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Subgroup:
    """The images of one level of a column.

    Args:
        column, level: what they have in common.
        images, patients: how many they are; ``positives`` are the images with a finding.
        sensitivity: share of the true boxes that are found at the score.
        false_positives: per image without a finding, at the score.
        wafroc: mean over the findings.
        ap: mean over the findings; depends on ``prevalence``.
    """

    column: str
    level: str
    images: int
    patients: int
    positives: int
    sensitivity: Interval
    false_positives: Interval
    wafroc: Interval
    ap: Interval

    @property
    def prevalence(self) -> float:
        """Share of the images with a finding."""
        return self.positives / self.images


def subgroups(matched: Matched, levels: Levels, score: float | None) -> tuple[Subgroup, ...]:
    """The parts of a split.

    Args:
        levels: of its images.
        score: of the operating point; None where none was chosen.
    """
    found = []
    for level, chosen in levels.parts():
        part = part_of(matched, chosen)
        groups = groups_of(part.patients)
        positive = part.boxes.sum(axis=1) > 0
        sensitivity = false_positives = _UNKNOWN
        if score is not None:
            kept = above(part, score)
            hits = np.bincount(kept.image[kept.hit[0]], minlength=len(groups)).astype(np.float64)
            false = np.bincount(kept.image[kept.counted[0] & ~kept.hit[0]], minlength=len(groups)).astype(np.float64)
            boxes = part.boxes.sum(axis=1).astype(np.float64)
            sensitivity = interval_of(ratio(hits, boxes, groups), patients_with(part), float(boxes.sum()))
            negative = (~positive).astype(np.float64)
            healthy = len({part.patients[image] for image in np.flatnonzero(~positive)})
            false_positives = rate(ratio(false * negative, negative, groups), healthy)
        merit = _merit(part, groups, int(groups.max(initial=-1)) + 1)
        merit_interval = interval_of(merit, _people(part), int(part.boxes.sum()))
        people = len(set(part.patients))
        counts = (len(groups), people, int(positive.sum()))
        ap = estimate([part]).ap if positive.any() else _UNKNOWN
        found.append(Subgroup(levels.column, level, *counts, sensitivity, false_positives, merit_interval, ap))
    return tuple(found)


def part_of(matched: Matched, chosen: Flags) -> Matched:
    """The matches of some images, which are numbered anew."""
    keep, place = chosen[matched.image], np.cumsum(chosen) - 1
    return replace(
        matched,
        row=matched.row[keep],
        image=place[matched.image[keep]],
        finding=matched.finding[keep],
        score=matched.score[keep],
        true=matched.true[:, keep],
        ignored=matched.ignored[:, keep],
        boxes=matched.boxes[chosen],
        patients=tuple(patient for patient, here in zip(matched.patients, chosen, strict=True) if here),
    )


def ratio(above_line: Floats, below_line: Floats, groups: Ints) -> Floats:
    """(1 + G,) a ratio of sums over the images: of all, then without each group."""
    size = int(groups.max(initial=-1)) + 1
    up, down = (np.bincount(groups, weights=values, minlength=size) for values in (above_line, below_line))
    with np.errstate(divide="ignore", invalid="ignore"):
        figures = np.r_[up.sum(), up.sum() - up] / np.r_[down.sum(), down.sum() - down]
    kept: Floats = np.where(np.isnan(figures), figures[:1], figures)
    return kept


def rate(figures: Floats, patients: int) -> Interval:
    """The interval of a rate of at least 0, (1 + G,) of ``ratio``; none where all patients agree on more than 0.

    Where nobody has any, it reaches up to the rate at which so many patients have none with a chance of 2.5 %: the
    exact interval of a Poisson count, each patient as one case.
    """
    found = difference_interval_of(figures, patients)
    if math.isnan(found.low):
        return found
    if found.low < found.high:
        return replace(found, low=max(0.0, found.low))
    if found.value > 0:
        return replace(found, low=math.nan, high=math.nan)
    return replace(found, high=-math.log((1 - LEVEL) / 2) / patients)


def _merit(part: Matched, groups: Ints, size: int) -> Floats:
    """(1 + G,) mean wAFROC over the findings."""
    each = [figures for _, _, (figures, _, _) in wafroc_figures(part, groups, size)]
    return mean_over_findings(np.stack(each, axis=1))


def _people(part: Matched) -> int:
    """The patients with a finding, or those without one where they are fewer."""
    positive = part.boxes.sum(axis=1) > 0
    with_it, without = ({part.patients[image] for image in np.flatnonzero(of)} for of in (positive, ~positive))
    return min(len(with_it), len(without)) if without else len(with_it)


@dataclass(frozen=True)
class Interaction:
    """Whether two arms differ more in one part than in the others, by mean wAFROC.

    Args:
        column, level: which part; ``patients`` of it, the fewer of those with and without a finding.
        difference: other minus reference within the part.
        interaction: that minus the same difference in all other parts. Of two levels the second has none: it would be
            the first's with the other sign. Nor has a part where a finding is on every image and elsewhere is not, or
            the other way round: there true boxes are compared with the false ones of other images.
        p: two-sided, of this part alone; ``p_family`` for all parts of all columns together (Holm).
    """

    column: str
    level: str
    patients: int
    difference: Interval
    interaction: Interval | None
    p: float
    p_family: float


def interactions(pairs: Sequence[tuple[Matched, Matched]], columns: Sequence[Levels]) -> tuple[Interaction, ...]:
    """Of every part of every column, as one family.

    Args:
        pairs: (reference, other) of each seed.
        columns: the levels of the images, of each column.
    """
    groups = groups_of(pairs[0][0].patients)
    size = int(groups.max(initial=-1)) + 1
    found = []
    for levels in columns:
        parts = list(levels.parts())
        for number, (level, chosen) in enumerate(parts):
            within = _differences(pairs, chosen, groups, size)
            people, others = (_people(part_of(pairs[0][0], of)) for of in (chosen, ~chosen))
            difference, _ = _tested(within, people)
            tested: Interval | None = None
            p = math.nan
            once = len(parts) > 1 and not (len(parts) == 2 and number == 1)
            if once and _compared(pairs[0][0], chosen) == _compared(pairs[0][0], ~chosen):
                tested, p = _tested(within - _differences(pairs, ~chosen, groups, size), min(people, others))
            found.append(Interaction(levels.column, level, people, difference, tested, p, p))
    together = holm([one.p for one in found])
    return tuple(replace(one, p_family=p) for one, p in zip(found, together, strict=True))


def _differences(pairs: Sequence[tuple[Matched, Matched]], chosen: Flags, groups: Ints, size: int) -> Floats:
    """(S, 1 + G) other minus reference within some images: of all patients, then without each group."""
    own = groups[chosen]
    return np.stack([_merit(part_of(b, chosen), own, size) - _merit(part_of(a, chosen), own, size) for a, b in pairs])


def _compared(matched: Matched, chosen: Flags) -> tuple[bool, ...]:
    """Of every finding whether some of the ``chosen`` images are without it: wAFROC there, else wAFROC1."""
    return tuple((matched.boxes[chosen] == 0).any(axis=0).tolist())


def _tested(figures: Floats, patients: int) -> tuple[Interval, float]:
    """The mean over the seeds of (S, 1 + G) with its t interval, and p; neither for too few patients."""
    value = float(figures[:, 0].mean())
    if math.isnan(value) or patients < LEAST_PATIENTS:
        return Interval(value, math.nan, math.nan, patients), math.nan
    error = error_of(figures[:, 0], figures[:, 1:], patients)
    if error.variance <= 0:
        return Interval(value, math.nan, math.nan, patients), math.nan
    reach, p = t_test(value, math.sqrt(error.variance), error.freedom)
    return Interval(value, value - reach, value + reach, patients), p
