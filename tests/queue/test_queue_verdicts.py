"""Who won, in words."""

from __future__ import annotations

import pytest

from mmad.queue.verdicts import Pair, verdict_lines
from mmad.store.results import Result


def result(test_ap: float | None, val_ap: float | None = None) -> Result:
    return Result(epoch=3, val_ap=val_ap, val_ar=None, test_ap=test_ap, test_ar=None)


def pair(first: Result | None, second: Result | None, seed: int = 0, setting: str = "default") -> Pair:
    return Pair("quick", setting, seed, 1, "CXR", "CXR+Clinical", first, second)


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        (
            [pair(result(0.331, 0.3), result(0.412, 0.5))],
            "default: CXR+Clinical is ahead of CXR by 0.081 test AP (0.412 against 0.331); "
            "val AP 0.500 for CXR+Clinical, 0.300 for CXR",
        ),
        (
            [pair(result(0.5), result(0.25))],
            "default: CXR is ahead of CXR+Clinical by 0.250 test AP (0.500 against 0.250)",
        ),
        ([pair(result(0.5), result(0.5001))], "default: CXR+Clinical and CXR are level at 0.500 test AP"),
        (
            [pair(result(None, 0.1), result(None, 0.2))],
            "default: CXR+Clinical is ahead of CXR by 0.100 val AP (0.200 against 0.100)",
        ),
        ([pair(result(0.5), None)], "default: no comparison, nothing measured for CXR+Clinical"),
        (
            [pair(result(0.1), result(0.3), 0), pair(result(0.3), result(0.5), 1)],
            "default, mean of 2 repeats: CXR+Clinical is ahead of CXR by 0.200 test AP (0.400 against 0.200)",
        ),
        (
            [pair(result(0.1), result(0.3), 0), pair(result(0.3), None, 1)],
            "default, mean of 1 of 2 repeats: CXR+Clinical is ahead of CXR by 0.200 test AP (0.300 against 0.100)",
        ),
    ],
)
def test_one_line_says_who_is_ahead_and_by_how_much(pairs: list[Pair], line: str) -> None:
    assert verdict_lines(pairs) == [line]


def test_pairs_without_figures_can_be_left_out() -> None:
    measured, empty = pair(result(0.1), result(0.2)), pair(None, None, setting="later")
    assert len(verdict_lines([measured, empty])) == 2
    assert len(verdict_lines([measured, empty], whole=False)) == 1


def test_settings_keep_their_order_and_stay_apart() -> None:
    lines = verdict_lines([pair(result(0.1), result(0.2), setting=name) for name in ("b", "a")])
    assert [line.split(":")[0] for line in lines] == ["b", "a"]


def test_a_figure_that_is_not_a_number_is_none() -> None:
    assert pair(result(float("nan")), result(0.2)).difference("test") is None
    assert pair(result(0.1), result(0.3)).difference("test") == pytest.approx(0.2)
