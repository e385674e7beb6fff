"""How figures and foreign text are written."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.formatting import clean, clip, decimal, direction, duration, moment, plural, signed, size, whole


@pytest.mark.parametrize(
    ("value", "shown", "way"),
    [
        (0.0412, "+0.041", "up"),
        (-0.0412, "−0.041", "down"),
        (0.0, "0.000", "even"),
        (-0.0004, "0.000", "even"),
        (0.0004, "0.000", "even"),
        (None, "–", "even"),
        (math.nan, "–", "even"),
    ],
)
def test_differences_are_signed_after_rounding(value: float | None, shown: str, way: str) -> None:
    assert signed(value) == shown
    assert direction(value) == way


@given(st.floats(-1, 1))
def test_sign_and_direction_agree(value: float) -> None:
    assert {"up": "+", "down": "−", "even": "0"}[direction(value)] == signed(value)[0]


def test_plain_figures() -> None:
    assert decimal(0.12345, 4) == "0.1235"
    assert decimal(None) == "–"
    assert whole(1_040_729) == "1,040,729"
    assert whole(None) == "–"
    seconds = (0.4, 12.4, 59.6, 200, 7500, 47 * 3600, 50 * 3600, math.nan)
    words = ["0 s", "12 s", "1 min 00 s", "3 min 20 s", "2 h 05 min", "47 h 00 min", "2 d 02 h", "–"]
    assert [duration(s) for s in seconds] == words
    assert [size(n) for n in (12, 2**20, 4_300_000, 312 * 2**20, 3 * 2**29)] == [
        "12 B",
        "1.0 MiB",
        "4.1 MiB",
        "312 MiB",
        "1.5 GiB",
    ]
    assert moment(datetime(2022, 5, 16, 2, 47, tzinfo=UTC)) == "2022-05-16 02:47 UTC"
    assert [plural(n, "run") for n in (0, 1, 2000)] == ["0 runs", "1 run", "2,000 runs"]


@given(st.text(max_size=300), st.integers(2, 50))
def test_clipped_text_is_one_short_line(text: str, most: int) -> None:
    line = clip(text, most)
    assert len(line) <= most
    assert len(line.splitlines()) <= 1
    if len(" ".join(clean(text).split())) <= most:
        assert line == " ".join(clean(text).split())


@given(st.text(alphabet=st.characters(), max_size=100))
def test_clean_text_can_be_encoded_and_has_no_controls(text: str) -> None:
    clean(text).encode("utf-8")
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", clean(text))
