"""Where overfitting begins: the rule, word by word, and on any curve."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_fixtures import Sample

from mmad.analysis.frames import load_frame
from mmad.analysis.overfitting import LEAST_AFTER, RISE, Onset, lowest_loss, onset, onset_of, onset_words

LOSSES = st.floats(0.01, 10, allow_nan=False)
CURVES = st.lists(st.tuples(LOSSES, LOSSES), max_size=30)


def of(training: list[float], validation: list[float]) -> Onset | None:
    return onset(range(1, len(training) + 1), training, validation)


def test_a_valley_with_a_falling_training_loss_is_an_onset_at_its_lowest_epoch() -> None:
    validation = [1.0, 0.8, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9]
    training = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    found = of(training, validation)
    assert found is not None
    assert found.epoch == 3
    assert found.rise == pytest.approx((0.85 + 0.9) / 2 / 0.6 - 1)
    assert found.fall == pytest.approx(1 - (0.3 + 0.2) / 2 / 0.8)
    assert onset_words(found) == "from epoch 3: validation loss +46 %, training loss −69 % by the end"


def test_of_equal_lowest_losses_the_last_one_is_the_turn() -> None:
    found = of([1 - 0.05 * n for n in range(10)], [1.0, 0.5, 0.6, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6])
    assert found is not None
    assert found.epoch == 4


@pytest.mark.parametrize(
    ("training", "validation", "because"),
    [
        ([1.0] * 9, [1, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1, 1], "the training loss does not fall"),
        ([1 - 0.1 * n for n in range(9)], [1, 0.5] + [0.5 * (1 + RISE / 2)] * 7, "the rise is within the noise"),
        ([1 - 0.1 * n for n in range(6)], [1, 0.5, 0.6, 0.7, 0.8, 0.9], "too few epochs follow"),
        ([1 - 0.1 * n for n in range(9)], [1, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5, 0.5], "it came back"),
        ([], [], "no epoch"),
    ],
)
def test_no_onset_where(training: list[float], validation: list[float], because: str) -> None:
    assert of(training, validation) is None, because
    assert onset_words(None) == "none seen"


@given(CURVES, st.floats(0.1, 10))
def test_a_unit_of_the_loss_changes_nothing(curves: list[tuple[float, float]], unit: float) -> None:
    """Powers of two, so that no rounding turns a tie."""
    scale = 2.0 ** round(math.log2(unit))
    training, validation = [t for t, _ in curves], [v for _, v in curves]
    assert of(training, validation) == of([t * scale for t in training], [v * scale for v in validation])


@given(CURVES)
def test_an_onset_keeps_its_rule(curves: list[tuple[float, float]]) -> None:
    training, validation = [t for t, _ in curves], [v for _, v in curves]
    found = of(training, validation)
    if found is not None:
        after = validation[found.epoch :]
        assert validation[found.epoch - 1] == min(validation)
        assert all(v > min(validation) for v in after)
        assert len(after) >= LEAST_AFTER
        assert found.rise >= RISE
        assert found.fall > 0


@given(st.lists(LOSSES, max_size=30).map(lambda values: sorted(values, reverse=True)), st.data())
def test_a_validation_loss_that_never_rises_has_no_onset(validation: list[float], data: st.DataObject) -> None:
    count = len(validation)
    assert of(data.draw(st.lists(LOSSES, min_size=count, max_size=count)), validation) is None


@given(st.integers(1, 10), st.integers(LEAST_AFTER, 20))
def test_a_clean_turn_is_found_where_it_is(before: int, after: int) -> None:
    validation = [1 + 0.1 * abs(n - before) for n in range(before + after + 1)]
    training = [5 - 0.1 * n for n in range(before + after + 1)]
    found = of(training, validation)
    assert found is not None
    assert found.epoch == before + 1


@given(CURVES, st.sampled_from([None, math.nan, math.inf]), st.integers(0, 30))
def test_an_epoch_without_a_loss_is_as_if_it_were_not_there(
    curves: list[tuple[float, float]], missing: float | None, place: int
) -> None:
    place = min(place, len(curves))
    rows = [(n, t, v) for n, (t, v) in enumerate(curves)]
    training: list[float | None] = [t for _, t, _ in rows]
    validation: list[float | None] = [v for _, _, v in rows]
    epochs = [n for n, _, _ in rows]
    whole = onset(epochs, training, validation)
    epochs.insert(place, 99)
    training.insert(place, 0.5)
    validation.insert(place, missing)
    assert onset(epochs, training, validation) == whole


def test_of_a_run_it_is_the_total_loss_that_counts() -> None:
    sample = Sample()
    sample.ablation("a", "A", "")
    sample.member("s", "CXR", protocol={"epochs": 50})
    (run,) = load_frame(sample.source).runs
    losses = {e.epoch: e.value("val", "loss") for e in run.epochs}
    lowest = lowest_loss(run)
    assert lowest is not None
    assert losses[lowest] == min(v for v in losses.values() if v is not None)
    found = onset_of(run)
    assert found is None or found.epoch == lowest
