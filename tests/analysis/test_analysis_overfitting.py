"""Where overfitting begins: what the test for a rise says of noise, of curves that fall, and of curves that rise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples
from report_fixtures import Sample

from mmad.analysis.overfitting import (
    LEAST_EPOCHS,
    Onset,
    lowest_loss,
    onset_of,
    onset_of_curves,
    onset_words,
    rises,
)
from mmad.analysis.report_frame import load_frame

LOSSES = st.floats(0.01, 10, allow_nan=False)
CURVES = st.lists(st.tuples(LOSSES, LOSSES), max_size=60)


def of(training: list[float], validation: list[float], ap: list[float] | None = None) -> Onset | None:
    epochs = tuple(range(1, len(training) + 1))
    return onset_of_curves(
        epochs, tuple(training), tuple(validation), (None,) * len(epochs) if ap is None else tuple(ap)
    )


def test_a_valley_turns_at_its_lowest_epoch_and_says_by_how_much() -> None:
    validation = [2.0 - 0.1 * n for n in range(10)] + [1.1 + 0.05 * n for n in range(1, 21)]
    training = [3.0 - 0.1 * n for n in range(30)]
    found = of(training, validation)
    assert found is not None
    assert found.epoch == 10
    near = (validation[8] + validation[9] + validation[10]) / 3
    assert found.rise == pytest.approx(np.mean(validation[-7:]) / near - 1)
    assert found.fall == pytest.approx(1 - np.mean(training[-7:]) / training[9])
    assert found.ap_from is None
    assert (
        onset_words(found)
        == "validation loss rises from epoch 10 (+70 % by the end; training loss −81 %); AP is not seen to fall"
    )


def test_whether_ap_falls_is_said_apart() -> None:
    training = [3.0 - 0.05 * n for n in range(40)]
    rising = [1 + abs(n - 10) * 0.05 for n in range(40)]
    falls = of(training, rising, [0.5 - abs(n - 20) * 0.01 for n in range(40)])
    assert falls is not None
    assert (falls.epoch, falls.ap_from) == (11, 21)
    assert onset_words(falls).endswith("; AP falls from epoch 21")
    assert of(training, training, [0.5 - n * 0.01 for n in range(40)]) is None  # the loss does not rise


def test_few_epochs_tell_nothing_and_say_so() -> None:
    assert of([1.0] * 19, [float(n + 1) for n in range(19)]) is None
    assert onset_words(None, 19) == "too few epochs to tell (19)"
    assert onset_words(None, LEAST_EPOCHS) == "no rise seen"
    assert of([], []) is None


@examples(30)
@given(CURVES, st.floats(0.1, 10))
def test_a_unit_of_the_loss_changes_nothing(curves: list[tuple[float, float]], unit: float) -> None:
    """Powers of two, so that no rounding turns a tie."""
    scale = 2.0 ** round(math.log2(unit))
    training, validation = [t for t, _ in curves], [v for _, v in curves]
    assert of(training, validation) == of([t * scale for t in training], [v * scale for v in validation])


@examples(30)
@given(st.lists(LOSSES, max_size=60).map(lambda values: sorted(values, reverse=True)))
def test_a_validation_loss_that_never_rises_has_no_onset(validation: list[float]) -> None:
    assert of([1.0] * len(validation), validation) is None


@examples(30)
@given(st.integers(1, 15), st.integers(19, 40))
def test_a_clean_turn_is_found_where_it_is(before: int, after: int) -> None:
    found = of(
        [5 - 0.05 * n for n in range(before + after + 1)],
        [1 + 0.1 * abs(n - before) for n in range(before + after + 1)],
    )
    assert found is not None
    assert found.epoch == before + 1


@examples(30)
@given(CURVES, st.sampled_from([None, math.nan, math.inf, 0.0]), st.integers(0, 60))
def test_an_epoch_without_a_loss_is_as_if_it_were_not_there(
    curves: list[tuple[float, float]], missing: float | None, place: int
) -> None:
    place = min(place, len(curves))
    rows: list[tuple[int, float | None, float | None]] = [(n, t, v) for n, (t, v) in enumerate(curves)]

    def found(rows: list[tuple[int, float | None, float | None]]) -> Onset | None:
        columns = [tuple(row[n] for row in rows) for n in range(3)]
        return onset_of_curves(*columns, (None,) * len(rows))  # type: ignore[arg-type]

    assert found([*rows[:place], (99, 0.5, missing), *rows[place:]]) == found(rows)


def noise(seed: int, repeats: int, epochs: int, correlation: float) -> np.ndarray:
    """Standard normal noise (repeats, epochs) that follows itself."""
    drawn = np.random.default_rng([seed, epochs, int(10 * correlation)]).standard_normal((repeats, epochs))
    for n in range(1, epochs):
        drawn[:, n] = correlation * drawn[:, n - 1] + math.sqrt(1 - correlation**2) * drawn[:, n]
    return drawn


def share_found(curves: np.ndarray) -> float:
    """How many of the curves (n, epochs) are said to rise."""
    return float(np.mean([rises(np.log(curve).tolist()) for curve in curves]))


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [30, 60, 100, 200])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_a_rise_is_said_of_one_resting_or_falling_curve_in_twenty_at_most(epochs: int, correlation: float) -> None:
    time = np.arange(epochs)
    start = 0.85**time
    for mean, sd in ((1 + 0 * start, 0.01), (1 + 0 * start, 0.05), (1 + start - 0.05 * time / epochs, 0.05)):
        curves = mean * (1 + sd * noise(1, 2000, epochs, correlation))
        assert share_found(curves) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("epochs", "height"), [(30, 4), (100, 2), (200, 2)])
def test_a_rise_of_some_standard_deviations_is_found(epochs: int, height: float) -> None:
    """Over all epochs, and over the second half of them."""
    time = np.arange(epochs) / (epochs - 1)
    for rise in (time, np.clip(2 * time - 1, 0, None)):
        power = [
            share_found(1 + 0.02 * (height * rise + noise(2, 500, epochs, correlation)))
            for correlation in (0.0, 0.3, 0.6)
        ]
        assert power[0] >= 0.9
        assert power == sorted(power, reverse=True)


def test_of_a_run_it_is_the_total_loss_that_counts() -> None:
    sample = Sample()
    sample.ablation("a", "A", "")
    sample.member("s", "CXR", protocol={"epochs": 50})
    (run,) = load_frame(sample.source).runs
    losses = {e.epoch: e.value("val", "loss") for e in run.epochs}
    lowest = lowest_loss(run)
    assert lowest is not None
    assert losses[lowest] == min(v for v in losses.values() if v is not None)
    epochs = run.epochs
    expected = onset_of_curves(
        tuple(e.epoch for e in epochs),
        tuple(e.value("train", "loss") for e in epochs),
        tuple(losses.values()),
        tuple(e.value("val", "ap_iou") for e in epochs),
    )
    assert onset_of(run) == expected
