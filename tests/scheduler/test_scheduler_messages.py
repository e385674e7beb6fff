"""The lines between worker and scheduler."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.records import Progress
from mmad.scheduler.supervisor_link import (
    Ended,
    EpochDone,
    Message,
    Started,
    TrainRequest,
    Warned,
    WorkerRequest,
    decode_message,
    decode_request,
    encode,
)

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
    assert decode_message(line) == message


def test_a_number_that_is_not_finite_becomes_null() -> None:
    line = encode(EpochDone("k", 1, 2, 0.5, 0.1, train_loss=math.nan, val_ap=math.inf))
    assert json.loads(line)["train_loss"] is None
    assert decode_message(line) == EpochDone("k", 1, 2, 0.5, 0.1)


requests = st.one_of(
    st.sampled_from(["stop", "quit"]),
    st.builds(TrainRequest, text, text, text, st.none() | text.map(Path), command_line=text, resume=st.booleans()),
)


@given(requests)
def test_a_request_survives_its_line(request: WorkerRequest) -> None:
    line = encode(request)
    assert "\n" not in line
    assert decode_request(line) == request


def test_names_of_files_that_are_no_utf_8_survive_their_lines() -> None:
    request = TrainRequest("db.sqlite", "k", weights_dir=Path("/w\udcff"))
    assert encode(request).isascii()
    assert decode_request(encode(request)) == request
    assert decode_message(encode(Ended("k", "failed", "/w\udcff: no"))) == Ended("k", "failed", "/w\udcff: no")


NO_REQUESTS = ["", "stop", '"halt"', "[1, 2]", "3", "{", '{"key": 3}', '{"database": "a", "key": "k", "shade": 3}']


@pytest.mark.parametrize("line", NO_REQUESTS)
def test_what_is_no_request_is_none(line: str) -> None:
    assert decode_request(line) is None


@pytest.mark.parametrize("line", ["", "hello", "[1, 2]", "3", '{"type": "end"}', '{"type": "other", "key": "k"}', "{"])
def test_what_is_no_message_is_none(line: str) -> None:
    assert decode_message(line) is None


def test_fields_of_a_newer_worker_are_dropped() -> None:
    assert decode_message('{"type": "warning", "key": "k", "text": "t", "shade": 3}') == Warned("k", "t")
