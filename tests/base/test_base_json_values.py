"""Values as plain JSON: what a strict reader of JSON takes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from mmad.base.json_values import finite, to_json_value


@dataclass(frozen=True)
class Pair:
    first: float
    second: object


def test_numbers_that_are_not_finite_become_none() -> None:
    assert [finite(value) for value in (None, math.nan, math.inf, -math.inf, 0.5)] == [None, None, None, None, 0.5]


def test_values_of_every_kind_become_plain_json() -> None:
    value = {
        "record": Pair(math.nan, (1, "ü", None, True)),
        "array": np.array([[0.5, math.inf]]),
        3: {"moment": datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "numbers": [np.float64(0.25), np.int64(4)]},
    }
    expected = {
        "record": {"first": None, "second": [1, "ü", None, True]},
        "array": [[0.5, None]],
        "3": {"moment": "2026-01-02T03:04:00+00:00", "numbers": [0.25, 4]},
    }
    assert json.loads(json.dumps(to_json_value(value), allow_nan=False)) == expected
