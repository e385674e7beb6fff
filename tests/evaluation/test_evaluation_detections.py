"""Kept detections: they come back as they were, and a damaged file is never believed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections
from mmad.evaluation.detections_file import read_detections, write_detections


def some(count: int = 7, names: tuple[str, ...] = ("a", "größe/\x00", "")) -> Detections:
    rng = np.random.default_rng(count)
    return Detections(
        studies=names,
        study=rng.integers(0, len(names), count),
        boxes=rng.normal(0, 100, (count, 4)),
        scores=rng.random(count),
        labels=rng.integers(1, 6, count),
    )


def assert_equal(a: Detections, b: Detections) -> None:
    assert a.studies == b.studies
    for name in ("study", "boxes", "scores", "labels"):
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype
        assert np.array_equal(left, right)


@examples(13)
@given(count=st.integers(0, 30), names=st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, count: int, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("kept") / "deeper" / "epoch-00001-val-clean.npz"
    written = some(count, tuple(names))
    write_detections(path, written)
    assert_equal(read_detections(path), written)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_equal_detections_give_equal_bytes(tmp_path: Path) -> None:
    write_detections(tmp_path / "one.npz", some())
    write_detections(tmp_path / "two.npz", some())
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    path, whole = tmp_path / "kept.npz", some()
    write_detections(path, whole)
    good = path.read_bytes()
    refusals = []
    for position in range(0, len(good), 7):
        broken = bytearray(good)
        broken[position] ^= 0xFF
        path.write_bytes(bytes(broken))
        try:
            assert_equal(read_detections(path), whole)  # a byte of the container that carries nothing
        except EvaluationError as error:
            refusals.append(str(error))
    assert len(refusals) > len(good) / 7 / 2
    assert all(line.startswith(str(path)) for line in refusals)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "kept.npz"
    write_detections(path, some())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(EvaluationError, match=r"kept\.npz: .*run the ablation again"):
        read_detections(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"gone\.npz: no such detections file"):
        read_detections(tmp_path / "gone.npz")


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, study=np.array([{"a": 1}], dtype=object))
    with pytest.raises(EvaluationError, match="not a readable detections file"):
        read_detections(path)


def test_another_archive_is_not_taken_for_detections(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, something=np.arange(3))
    with pytest.raises(EvaluationError, match="not a detections file of this program"):
        read_detections(path)


def test_a_newer_layout_is_named(tmp_path: Path) -> None:
    path = tmp_path / "newer.npz"
    write_detections(path, some())
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **{**arrays, "format": np.array([99], dtype="<i8")})
    with pytest.raises(EvaluationError, match="layout 99 is newer"):
        read_detections(path)


def test_a_disk_that_refuses_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, old = tmp_path / "kept.npz", some(3)
    write_detections(path, old)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EvaluationError, match=r"No space left on device.*free some space"):
        write_detections(path, some(9))
    monkeypatch.undo()
    assert_equal(read_detections(path), old)
    assert [p.name for p in tmp_path.iterdir()] == ["kept.npz"]


def test_numbers_that_are_not_finite_are_not_kept(tmp_path: Path) -> None:
    broken = some(3, ("study-7",))
    broken.scores[1] = np.nan
    with pytest.raises(EvaluationError, match="study-7"):
        write_detections(tmp_path / "kept.npz", broken)
    assert not (tmp_path / "kept.npz").exists()
