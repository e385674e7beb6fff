"""Records become plain JSON and come back; what was kept is not computed again."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmad.analysis.cache import cached, cached_together, from_json_value
from mmad.base.json_values import to_json_value
from mmad.evaluation.coco_summary import CocoSet
from mmad.evaluation.differences import PairSample
from mmad.evaluation.intervals import IntervalEstimate
from mmad.evaluation.operating_points import Confusion
from mmad.evaluation.resampling import Interval
from mmad.store.store import Store

NAN = float("nan")
HALF = Interval(0.5, 0.25, 0.75)


@dataclass(frozen=True)
class Odd:
    """Every kind of field at once."""

    counts: NDArray[np.int64]
    pairs: tuple[tuple[str, float | None], ...]
    inner: Interval | None
    names: tuple[str, int]


@pytest.mark.parametrize(
    "record",
    [
        IntervalEstimate(HALF, HALF, (("A", HALF, HALF), ("B", HALF, HALF)), None),
        IntervalEstimate(HALF, HALF, (), 0.125),
        PairSample((0.5, 0.25), (0.75, 0.5), ((0.1, 0.2), (0.3, 0.4)), HALF, (("A", HALF, HALF),), 0.01, 30, 40, "c"),
        CocoSet({"AP": 0.5, "AR@1": 0.25}, (("A", 0.5, 0.75),)),
        HALF,
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_comes_back(record: object) -> None:
    plain = json.loads(json.dumps(to_json_value(record), allow_nan=False))
    assert from_json_value(type(record), plain) == record


def test_what_is_not_a_number_comes_back_as_such() -> None:
    found = from_json_value(
        IntervalEstimate, to_json_value(IntervalEstimate(Interval(NAN, NAN, math.inf), HALF, (), None))
    )
    assert math.isnan(found.ap.value)
    assert math.isnan(found.ap.high)
    assert found.sd is None


def test_arrays_and_optional_records_come_back() -> None:
    counts = np.array([[1, 2], [3, 4]], dtype=np.int64)
    found = from_json_value(Odd, to_json_value(Odd(counts, (("a", 1.5), ("b", None)), None, ("x", 3))))
    assert found.counts.dtype == np.int64
    assert found.counts.tolist() == counts.tolist()
    assert (found.pairs, found.inner, found.names) == ((("a", 1.5), ("b", None)), None, ("x", 3))
    assert from_json_value(Confusion, to_json_value(Confusion(("A",), counts))).counts.tolist() == counts.tolist()


def test_it_is_computed_once_and_kept_where_that_can_be(tmp_path: Path) -> None:
    asked: list[int] = []

    def compute() -> Interval:
        asked.append(1)
        return HALF

    database = tmp_path / "mmad.sqlite"
    with Store.open(database) as store:
        assert cached(store, "estimate", {"runs": ["a"]}, Interval, compute) == HALF
        assert cached(store, "estimate", {"runs": ["a"]}, Interval, compute) == HALF
        assert len(asked) == 1
        cached(store, "estimate", {"runs": ["b"]}, Interval, compute)
        assert len(asked) == 2
    with Store.open(database, read_only=True) as store:
        assert cached(store, "estimate", {"runs": ["a"]}, Interval, compute) == HALF
        cached(store, "estimate", {"runs": ["c"]}, Interval, compute)
        cached(store, "estimate", {"runs": ["c"]}, Interval, compute)
        assert len(asked) == 4
        assert len(store.analyses()) == 2


def test_results_are_kept_several_at_once_and_are_at_hand_before(tmp_path: Path) -> None:
    asked: list[int] = []

    def compute() -> Interval:
        asked.append(1)
        return HALF

    with Store.open(tmp_path / "mmad.sqlite") as store:
        with contextlib.suppress(KeyboardInterrupt), cached_together(store):
            for n in range(13):
                cached(store, "estimate", {"runs": [n]}, Interval, compute)
            assert len(store.analyses()) == 12
            assert cached(store, "estimate", {"runs": [12]}, Interval, compute) == HALF
            raise KeyboardInterrupt
        assert len(asked) == len(store.analyses()) == 13
        cached(store, "estimate", {"runs": ["later"]}, Interval, compute)
        assert len(store.analyses()) == 14


def test_nothing_is_kept_together_where_nothing_can_be_kept(tmp_path: Path) -> None:
    Store.open(tmp_path / "mmad.sqlite").close()
    with Store.open(tmp_path / "mmad.sqlite", read_only=True) as store, cached_together(store):
        assert cached(store, "estimate", {}, Interval, lambda: HALF) == HALF
        assert store.analyses() == []
