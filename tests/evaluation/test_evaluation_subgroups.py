"""Parts of a split: figures at one score, and whether arms differ more in one part than in the others."""

from __future__ import annotations

import math

import numpy as np
import pytest
from coverage_worlds import WORLDS
from scipy.special import expit

from mmad.evaluation.diagnosis import wafroc
from mmad.evaluation.intervals import estimate
from mmad.evaluation.matching import Matched
from mmad.evaluation.subgroups import Levels, interactions, subgroups


def halves(matched: Matched) -> Levels:
    """Every second patient."""
    odd = np.array([int(patient) % 2 for patient in matched.patients])
    return Levels("sex", ("F", "M", "not known"), odd)


def test_each_part_has_its_own_figures_at_the_score_given() -> None:
    matched = WORLDS["0.64"].draw(np.random.default_rng(0), 60, 2)
    levels = halves(matched)
    found = subgroups(matched, levels, 0.6)
    assert [(one.column, one.level, one.images, one.patients) for one in found] == [
        ("sex", "F", 60, 30),
        ("sex", "M", 60, 30),
    ]
    for place, one in enumerate(found):
        here = levels.of == place
        kept = (matched.score >= 0.6) & here[matched.image]
        healthy = here & (matched.boxes.sum(axis=1) == 0)
        boxes = matched.boxes[here].sum()
        assert one.positives == one.images - healthy.sum()
        assert one.prevalence == pytest.approx(one.positives / 60)
        assert one.sensitivity.value == pytest.approx((kept & matched.hit[0]).sum() / boxes)
        wrong = kept & ~matched.hit[0] & healthy[matched.image]
        assert one.false_positives.value == pytest.approx(wrong.sum() / healthy.sum())
        for value in (one.sensitivity, one.false_positives, one.wafroc, one.ap):
            assert 0 <= value.low <= value.value <= value.high


def test_one_part_of_all_has_the_figures_of_all_and_few_patients_have_no_interval() -> None:
    matched = WORLDS["0.64"].draw(np.random.default_rng(1), 40, 1)
    (whole,) = subgroups(matched, Levels("ward", ("any",), np.zeros(40, dtype=np.int64)), None)
    assert whole.wafroc == wafroc(matched)[0].value
    assert whole.ap == estimate([matched]).ap
    assert math.isnan(whole.sensitivity.value)
    few, _ = subgroups(matched, Levels("ward", ("north", "south"), np.repeat([0, 1], [8, 32])), 0.5)
    assert (few.patients, few.wafroc.value == few.wafroc.value, math.isnan(few.wafroc.low)) == (8, True, True)


def test_no_false_positive_of_few_patients_is_not_certain() -> None:
    """Ten healthy patients: none of them has any at the score, or each has exactly one."""
    image = np.repeat(np.arange(20), 1)
    false = Matched(
        (0.5,), np.arange(20), image, np.zeros(20, dtype=np.int64), np.full(20, 0.5), np.full((1, 20), -1),
        np.zeros((1, 20), dtype=bool), (image < 10).astype(np.int64)[:, None], tuple(map(str, image)), ("Mass",),
    )  # fmt: skip
    levels = Levels("sex", ("F",), np.zeros(20, dtype=np.int64))
    ((none,), (one,)) = (subgroups(false, levels, score) for score in (0.6, 0.4))
    assert (none.false_positives.value, none.false_positives.low) == (0, 0)
    assert none.false_positives.high == pytest.approx(-math.log(0.025) / 10)
    assert one.false_positives.value == 1
    assert math.isnan(one.false_positives.low)
    assert math.isnan(one.false_positives.high)


def arms(seed: int, patients: int, gain: float) -> tuple[list[tuple[Matched, Matched]], Levels]:
    """Two detectors of the same images: the second finds more in every second patient, by ``gain``."""
    rng = np.random.default_rng(seed)
    truth = WORLDS["0.64"].draw(rng, patients, 1)
    levels = halves(truth)

    def detected(more: float) -> Matched:
        there = np.flatnonzero(truth.boxes[:, 0])
        found = there[rng.random(len(there)) < 0.6 + more * levels.of[there]]
        false = np.repeat(np.arange(patients), rng.poisson(0.6, patients))
        score = expit(rng.normal(np.r_[np.full(len(found), 1.6), np.zeros(len(false))]))
        hit = np.arange(len(score)) < len(found)
        order = np.argsort(-score)
        image = np.r_[found, false][order]
        none = np.zeros(len(image), dtype=np.int64)
        true, ignored = np.where(hit[order], 0, -1)[None], np.zeros((1, len(image)), dtype=bool)
        same = (truth.boxes, truth.patients, truth.categories)
        return Matched(truth.thresholds, none, image, none, score[order], true, ignored, *same)

    return [(detected(0.0), detected(gain))], levels


def test_a_difference_in_one_part_alone_is_found_and_one_of_two_parts_is_tested_once() -> None:
    pairs, levels = arms(0, 800, 0.35)
    first, second = interactions(pairs, [levels])
    assert second.difference.value > 0.08 > abs(first.difference.value)
    assert first.interaction is not None
    assert first.interaction.value == pytest.approx(first.difference.value - second.difference.value)
    assert first.p < 0.001
    assert (second.interaction, math.isnan(second.p)) == (None, True)


def test_parts_that_score_another_merit_are_not_subtracted() -> None:
    """In a part where the finding is on every image there is no image to be told from."""
    pairs, _ = arms(0, 200, 0.35)
    ill = pairs[0][0].boxes[:, 0] > 0
    few = ill.copy()
    few[np.flatnonzero(ill)[40:]] = False
    found = interactions(pairs, [Levels("ward", ("other", "oncology"), few.astype(np.int64))])
    assert [one.interaction for one in found] == [None, None]
    assert all(math.isnan(one.p) and math.isnan(one.p_family) for one in found)
    assert all(one.difference.low < one.difference.high for one in found), "each part has its own"


def test_all_parts_of_all_columns_are_one_family() -> None:
    pairs, levels = arms(1, 300, 0.1)
    thirds = Levels("age", ("young", "middle", "old"), np.arange(300) % 3)
    found = interactions(pairs, [levels, thirds])
    assert [one.column for one in found] == ["sex", "sex", "age", "age", "age"]
    tested = [one for one in found if one.interaction is not None]
    assert min(one.p_family for one in tested) == pytest.approx(min(1, 4 * min(one.p for one in tested)))


@pytest.mark.slow
def test_arms_that_differ_alike_everywhere_are_rarely_said_to_differ_more_somewhere() -> None:
    drawn = [arms(seed, 100, 0.0) for seed in range(300)]
    false = sum(interactions(pairs, [levels])[0].p < 0.05 for pairs, levels in drawn)
    assert false <= 0.08 * len(drawn)
