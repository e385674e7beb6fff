"""Studies with a known truth, replayed from a store to the sentence: a small part of benchmarks/replay.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from replay import replay

from mmad.data.phantom.generate import make_phantom


@pytest.mark.slow
def test_what_is_not_there_is_not_said_and_what_is_there_is(tmp_path: Path) -> None:
    dataset = make_phantom(tmp_path / "phantom", studies=160, image_size=64)
    alone = replay(tmp_path, dataset, 1, 0.0, 6)
    assert {one.verdict for one in alone} == {"not settled"}
    assert all("one seed says nothing about the arms" in one.sentence for one in alone)
    shown = replay(tmp_path, dataset, 5, 1.2, 2, seed=1)
    assert {one.verdict for one in shown} == {"higher"}
    assert all("Trained so on this training set, CXR+Clinical is higher than CXR by" in one.sentence for one in shown)
