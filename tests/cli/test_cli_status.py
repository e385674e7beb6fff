"""``mmad status``."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_store_runs import filled, mmad, samples

from mmad.store.claims import Owner
from mmad.store.store import Store


def busy(folder: Path) -> str:
    """A database with a run that is trained, one whose process is gone, a finished and a failed one."""
    database, _, _ = filled(folder)
    with Store.open(database) as store:
        store.add_ablation(samples.ablation("seeds", seeds=(1, 2)))
        run = store.claim(None, Owner.current())
        assert run is not None
        store.commit_epoch(run.key, samples.epoch(1, seconds=90.0))
        gone = replace(Owner.current(), process_started=0.5)
        lost = store.claim(None, gone)
        assert lost is not None
        assert store.begin(run.key, Owner.current())
        assert store.begin(lost.key, gone)
    return database


def test_a_worker_that_lives_and_is_silent_is_not_called_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _, _ = filled(tmp_path)
    long_ago = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
    with Store.open(database) as store, monkeypatch.context() as patch:
        store.add_ablation(samples.ablation("seeds", seeds=(1, 2)))
        patch.setattr("mmad.store.store.now", lambda: long_ago)
        assert store.claim(None, Owner.current()) is not None
        assert store.claim(None, Owner("elsewhere", 7, 1.0, "another/machine/1")) is not None
    out = mmad(capsys, monkeypatch, "status", "--db", database).out
    assert f"process {os.getpid()} on {socket.gethostname()}, silent since 2024-02-29 12:00 UTC" in out
    assert "process 7 on elsewhere, silent since 2024-02-29 12:00 UTC" in out
    shown = json.loads(mmad(capsys, monkeypatch, "status", "--db", database, "--json").out)
    assert [run["alive"] for run in shown["running"]] == [True, False]


def test_json_counts_and_tells_what_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = mmad(capsys, monkeypatch, "status", "--db", busy(tmp_path), "--json")
    assert (answer.code, answer.err) == (0, "")
    shown = json.loads(answer.out)
    assert shown["ablations"][1] == {
        "ablation": "seeds",
        "title": "How long to wait",
        "members": 4,
        "queued": 2,
        "claimed": 0,
        "running": 2,
        "finished": 0,
        "failed": 0,
        "interrupted": 0,
        "stopped": 0,
    }
    alive, lost = shown["running"]
    assert (alive["epoch"], alive["epochs"], alive["seconds_left"], alive["alive"]) == (1, 3, 180.0, True)
    assert alive["host"] == socket.gethostname()
    assert (lost["epoch"], lost["seconds_left"], lost["alive"]) == (0, None, False)
    assert [(run["arm"], run["error"]) for run in shown["failed"]] == [
        ("CXR+Clinical", "OutOfMemoryError: 3 GiB were asked for")
    ]


def test_people_read_epoch_time_left_and_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = mmad(capsys, monkeypatch, "status", "--db", busy(tmp_path)).out
    assert "seeds/patience 10/CXR/1: epoch 1 of 3 done, 90.0 s per epoch, 3 min 00 s left, process" in out
    assert "seeds/patience 10/CXR+Clinical/1: epoch 0 of 3 done, but its process is gone" in out
    assert "patience/patience 10/CXR+Clinical/0: OutOfMemoryError: 3 GiB were asked for" in out
    (counts,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["seeds"]]
    assert counts == ["seeds", "2", "2", "·", "·", "·", "4"]
