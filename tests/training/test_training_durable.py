"""A power cut at any moment: what is written in which order, and what the database says in the end."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from training_runs import Notes, specification

from mmad.base.paths import RunPaths
from mmad.base.records import CheckpointRecord, EpochRecord, EvaluationRecord
from mmad.config.protocol import EvaluationProtocol
from mmad.config.runs import Ablation, Member, RunSpec
from mmad.data.dataset import DataSet
from mmad.evaluation.detections_file import read_detections
from mmad.store.store import Store
from mmad.training.trainer import train

pytestmark = pytest.mark.slow


class Written(Notes):
    """A recorder that commits to a store, and keeps what it was told."""

    def __init__(self, store: Store, key: str) -> None:
        super().__init__()
        self.store, self.key = store, key

    def epoch(
        self, record: EpochRecord, checkpoints: Sequence[CheckpointRecord], evaluations: Sequence[EvaluationRecord]
    ) -> None:
        super().epoch(record, checkpoints, evaluations)
        self.store.commit_epoch(self.key, record, checkpoints, evaluations)

    def warning(self, text: str) -> None:
        super().warning(text)
        self.store.add_warning(self.key, text)


@pytest.fixture
def spec(dataset: DataSet) -> RunSpec:
    return specification(dataset, 3)


@pytest.fixture
def store(tmp_path: Path, spec: RunSpec) -> Iterator[Store]:
    member = Member("one", "default", "CXR", 0, spec, EvaluationProtocol())
    with Store.open(tmp_path / "mmad.sqlite") as opened:
        opened.add_ablation(Ablation("one", "one.toml", "One", "", "", ("CXR",), (), (member,)))
        yield opened


def replaced(store: Store, key: str) -> list[int]:
    with store.database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT replaced FROM epochs WHERE run_key = ? ORDER BY epoch", (key,))
        return [row[0] for row in rows]


def test_an_epoch_trained_again_after_damage_equals_its_committed_row(
    store: Store, spec: RunSpec, dataset: DataSet
) -> None:
    run = store.run_paths(spec.key)
    train(spec, dataset_path=dataset.root, run=run, recorder=Written(store, spec.key))
    rows, evaluations = store.epoch_records(spec.key), store.evaluations(spec.key)
    newest = run.folder / next(c.path for c in store.checkpoints(spec.key) if c.kind == "last")
    data = bytearray(newest.read_bytes())
    data[len(data) // 3] ^= 0x40
    newest.write_bytes(data)
    again = Written(store, spec.key)
    assert train(spec, dataset_path=dataset.root, run=run, recorder=again) == "finished"
    assert again.steps > 0
    assert store.epoch_records(spec.key) == rows  # to the bit, and what they cost is that of the first time
    assert replaced(store, spec.key) == [0, 0, 0]
    assert store.evaluations(spec.key) == evaluations
    assert [w for w in store.warnings(spec.key) if newest.name in w] == store.warnings(spec.key) != []
    for row in store.checkpoints(spec.key):
        assert (run.folder / row.path).stat().st_size == row.size


def test_a_row_that_other_numbers_replace_is_marked_in_the_same_transaction(
    store: Store, spec: RunSpec, dataset: DataSet
) -> None:
    run = store.run_paths(spec.key)
    notes = Written(store, spec.key)
    train(spec, dataset_path=dataset.root, run=run, recorder=notes)
    other = EpochRecord(3, 0.5, 1.0, 1, notes.epochs[3].metrics[1:])
    store.commit_epoch(spec.key, other)  # as another machine's would be
    newest = run.folder / next(c.path for c in store.checkpoints(spec.key) if c.kind == "last")
    newest.write_bytes(newest.read_bytes()[:100])
    train(spec, dataset_path=dataset.root, run=run, recorder=Written(store, spec.key))
    assert {(m.split, m.name): m.value for m in store.epoch_records(spec.key)[2].metrics} == {
        (m.split, m.name): m.value for m in notes.epochs[3].metrics
    }
    assert replaced(store, spec.key) == [0, 0, 2]
    assert any("epoch 3 was recorded again with other values" in text for text in store.warnings(spec.key))


def events_of(monkeypatch: pytest.MonkeyPatch, store: Store) -> list[str]:
    """What happens to files and database, in order; the descriptors' files by kind."""
    events: list[str] = []
    flush, rename, commit = os.fsync, Path.replace, store.commit_epoch

    def kind(path: str) -> str:
        name = Path(path).name
        if Path(path).is_dir():
            return f"folder {name}"
        found = re.search(r"epoch-(\d+)", name)
        state = "temporary" if name.endswith(".part") else "kept"
        return f"{state} {Path(path).parent.name} {int(found[1]) if found else name}"

    def flushed(descriptor: int) -> None:
        events.append(f"flush {kind(str(Path(f'/proc/self/fd/{descriptor}').readlink()))}")
        flush(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        events.append(f"rename {Path(self).parent.name} {kind(str(self)).split()[-1]}")
        return rename(self, target)

    def committed(key: str, record: EpochRecord, *rest: object) -> None:
        events.append(f"commit {record.epoch}")
        commit(key, record, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(store, "commit_epoch", committed)
    return events


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names a descriptor's file")
def test_a_checkpoint_is_on_the_disk_before_its_name_and_its_name_before_the_commit(
    store: Store, spec: RunSpec, dataset: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.run_paths(spec.key)
    train(spec, dataset_path=dataset.root, run=run, recorder=Notes(), stop=lambda: True)  # the data set is decoded
    events = events_of(monkeypatch, store)
    notes = Written(store, spec.key)
    train(spec, dataset_path=dataset.root, run=run, recorder=notes)
    best = {e.epoch for e in notes.evaluations if e.kind != "final"}
    assert 1 in best  # detections are kept of it, too
    for epoch in (1, 2, 3):
        before = events[events.index(f"commit {epoch - 1}") + 1 :] if epoch > 1 else events
        mine = [
            e for e in before[: before.index(f"commit {epoch}")] if "detections" not in e and "fingerprints" not in e
        ]
        assert mine == [
            f"flush temporary checkpoints {epoch}",
            f"rename checkpoints {epoch}",
            "flush folder checkpoints",
        ]
    early = events[: events.index("commit 2")]
    assert not [e for e in early if e.startswith("flush") and "detections" in e]
    last = events[events.index("commit 2") : events.index("flush temporary checkpoints 3")]
    kept = {
        e.detections for e in notes.evaluations if e.kind in {c.kind for c in notes.checkpoints if c.epoch == e.epoch}
    }
    assert len([e for e in last if e.startswith("flush kept detections")]) == len(kept)
    assert last[-1] == "flush folder detections"


def test_what_was_never_flushed_can_vanish_without_a_loss(
    store: Store, spec: RunSpec, dataset: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after two epochs: every file that no flush reached is empty."""
    run = store.run_paths(spec.key)
    reached: set[int] = set()
    flush = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (reached.add(os.fstat(fd).st_ino), flush(fd))[1])
    first = Written(store, spec.key)
    train(spec, dataset_path=dataset.root, run=run, recorder=first, stop=lambda: len(first.epochs) == 2)
    lost = [p for p in run.folder.rglob("*") if p.is_file() and p.stat().st_ino not in reached]
    assert {p.parent.name for p in lost} == {"detections"}
    for path in lost:
        path.write_bytes(b"")
    again, whole = Written(store, spec.key), Notes()
    assert train(spec, dataset_path=dataset.root, run=run, recorder=again) == "finished"
    train(spec, dataset_path=dataset.root, run=RunPaths(run.folder / "whole"), recorder=whole)
    assert first.numbers() | again.numbers() == whole.numbers()
    for row in store.evaluations(spec.key):
        read_detections(run.folder / (row.detections or ""))
