"""The lines between worker and scheduler."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.records import Progress
from mmad.scheduler.supervisor_link import Ended, EpochDone, Message, Started, Warned, decode, encode

text = st.text(max_size=40)
number = st.floats(allow_nan=False, allow_infinity=False)
messages = st.one_of(
    st.builds(Started, text, st.integers(0, 9), st.integers(1, 9), st.none() | number),
    st.builds(
        Progress, text, st.integers(), st.integers(), st.sampled_from(["load", "train"]), st.integers(), st.integers()
    ),
    st.builds(EpochDone, text, st.integers(), st.integers(), number, number, st.none() | number),
    st.builds(Warned, text, text),
    st.builds(Ended, text, st.sampled_from(["finished", "failed", "taken"]), st.none() | text),
)


@given(messages)
def test_a_message_survives_its_line(message: Message) -> None:
    line = encode(message)
    assert "\n" not in line
    assert decode(line) == message


def test_a_number_that_is_not_finite_becomes_null() -> None:
    line = encode(EpochDone("k", 1, 2, 0.5, 0.1, train_loss=math.nan, val_ap=math.inf))
    assert json.loads(line)["train_loss"] is None
    assert decode(line) == EpochDone("k", 1, 2, 0.5, 0.1)


@pytest.mark.parametrize("line", ["", "hello", "[1, 2]", "3", '{"type": "end"}', '{"type": "other", "key": "k"}', "{"])
def test_what_is_no_message_is_none(line: str) -> None:
    assert decode(line) is None


def test_fields_of_a_newer_worker_are_dropped() -> None:
    assert decode('{"type": "warning", "key": "k", "text": "t", "shade": 3}') == Warned("k", "t")
