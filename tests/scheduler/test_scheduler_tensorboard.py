"""Event files beside the store: every epoch once, whatever happened between."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import MmadError
from mmad.base.records import (
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    Metric,
    ParameterCount,
    Progress,
)
from mmad.scheduler import tensorboard as room
from mmad.scheduler.tensorboard import TensorBoardRecorder, require_tensorboard, scalars

NOON = datetime(2022, 5, 16, 12, 0, tzinfo=UTC)
ENVIRONMENT = EnvironmentRecord(NOON, "cedar", "Linux", "3.11", {}, "cpu", 1, None, None, "mmad ablate x.toml", 0)


class Heard:
    """A recorder that keeps what it hears in the order it happened."""

    def __init__(self) -> None:
        self.words: list[object] = []

    def started(self, environment: EnvironmentRecord, counts: Sequence[ParameterCount]) -> None:
        self.words.append(environment)

    def epoch(
        self,
        record: EpochRecord,
        checkpoints: Sequence[CheckpointRecord],
        evaluations: Sequence[EvaluationRecord],
    ) -> None:
        self.words.append(record.epoch)

    def warning(self, text: str) -> None:
        self.words.append(text)

    def progress(self, progress: Progress) -> None:
        self.words.append(progress)


def record(epoch: int) -> EpochRecord:
    metrics = (Metric("train", "loss", 1.0 / epoch), Metric("val", "ap_iou", 0.25), Metric("val", "loss", float("nan")))
    return EpochRecord(epoch, 0.125, 2.0, 2**30, metrics)


def written(folder: Path) -> dict[str, list[int]]:
    """The steps by tag that TensorBoard's own reader finds in ``folder``."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found: dict[str, list[int]] = {}
    for file in sorted(folder.glob(room.EVENTS)):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


def stretch(folder: Path, earlier: Sequence[int], epochs: Sequence[int]) -> TensorBoardRecorder:
    """A stretch of a run that was killed after its last epoch: nothing is closed."""
    recorder = TensorBoardRecorder(Heard(), folder, [record(epoch) for epoch in earlier])
    recorder.started(ENVIRONMENT, ())
    for epoch in epochs:
        recorder.epoch(record(epoch), (), ())
    return recorder


def test_scalars_have_the_names_of_the_store() -> None:
    assert scalars(record(2))[:5] == [
        ("lr", 0.125),
        ("seconds", 2.0),
        ("peak_memory", 2.0**30),
        ("loss/train", 0.5),
        ("ap_iou/val", 0.25),
    ]


@pytest.mark.slow
def test_everything_is_told_to_the_recorder_within_and_first(tmp_path: Path) -> None:
    heard = Heard()
    recorder = TensorBoardRecorder(heard, tmp_path / "events")
    progress = Progress("k", 1, 4, "train", 1, 2)
    recorder.started(ENVIRONMENT, ())
    recorder.progress(progress)
    recorder.warning("beware")
    recorder.epoch(record(1), (), ())
    recorder.close()
    assert heard.words == [ENVIRONMENT, progress, "beware", 1]
    steps = written(tmp_path / "events")
    assert set(steps) == {"lr", "seconds", "peak_memory", "loss/train", "ap_iou/val", "loss/val"}
    assert set(map(tuple, steps.values())) == {(1,)}


@pytest.mark.slow
@examples(15)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=4))
def test_every_epoch_stands_there_once(
    tmp_path_factory: pytest.TempPathFactory, stretches: list[tuple[int, bool, bool]]
) -> None:
    """However the stretches follow: an epoch that only the file has, one told again, the option given late."""
    folder = tmp_path_factory.mktemp("events")
    stored = 0
    open_files = []
    for more, lost, again in stretches:
        epochs = list(range(stored + 1, stored + more + 1))
        told = [stored, *epochs] if again and stored else epochs
        open_files.append(stretch(folder, range(1, stored + 1), told))
        stored += len(epochs) - (lost and bool(epochs))  # a kill kept the last epoch from the store
    open_files.append(stretch(folder, range(1, stored + 1), []))
    steps = written(folder)
    for recorder in open_files:
        recorder.close()
    assert steps.get("loss/train", []) == list(range(1, stored + 1))


@pytest.mark.slow
def test_files_that_cannot_be_written_are_a_warning_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("in the way")
    heard = Heard()
    recorder = TensorBoardRecorder(heard, tmp_path / "events")
    recorder.started(ENVIRONMENT, ())
    recorder.epoch(record(1), (), ())
    line = f"TensorBoard's event files cannot be written (File exists): {tmp_path / 'events'}"
    assert heard.words == [ENVIRONMENT, line, 1]


def test_a_missing_package_is_one_line_with_the_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find: Callable[..., object] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name))
    for call in (require_tensorboard, lambda: TensorBoardRecorder(Heard(), tmp_path)):
        with pytest.raises(MmadError, match=r"not installed; pip install 'mmad\[tensorboard\]', or leave"):
            call()
