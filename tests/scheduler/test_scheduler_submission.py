"""From ablations to jobs: what is done, what is missing, what is queued."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mmad.base.errors import SpecError, StoreError, WeightsError
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.scheduler.submit import asked_for, check_weights, halved, queue_up
from mmad.store.store import Store


def member(arm: str, seed: int = 0, weights: str = "none", **setup: object) -> Member:
    protocol = TrainingProtocol(epochs=5, seed=seed, threads=2, weights=weights)
    run = RunSpec(ModelSetup.model_validate(setup), protocol, DataSource("data", "phantom", "f" * 64))
    return Member("quick", "default", arm, seed, run, EvaluationProtocol())


def ablation(*members: Member, path: str = "quick.toml") -> Ablation:
    return Ablation("quick", path, "Quick", "", "", ("CXR", "CXR+Clinical"), (("CXR", "CXR+Clinical"),), members)


PAIR = ablation(member("CXR"), member("CXR+Clinical", use_clinical=True), member("twin of CXR"))


def test_equal_members_make_one_job(tmp_path: Path) -> None:
    jobs = queue_up([PAIR], str(tmp_path / "a.sqlite"))
    assert [(job.arm, job.epochs, job.threads) for job in jobs] == [("CXR", 5, 2), ("CXR+Clinical", 5, 2)]
    assert jobs[0].data == str(Path("data").absolute())
    assert jobs[0].label == "default · CXR · seed 0"


def test_what_is_finished_makes_no_job(tmp_path: Path) -> None:
    database = str(tmp_path / "a.sqlite")
    jobs = queue_up([PAIR], database)
    with Store.open(database) as store:
        store.end_free(jobs[0].key, "finished")
        store.end_free(jobs[1].key, "failed", "odd")
    assert [job.arm for job in queue_up([PAIR], database)] == ["CXR+Clinical"]
    assert [(one.status, one.waits) for one in asked_for([PAIR], database)] == [
        ("finished", False),
        ("failed", True),
        ("finished", False),
    ]


def test_what_is_trained_in_place_of_a_run_answers_for_it_when_the_file_comes_again(tmp_path: Path) -> None:
    database = str(tmp_path / "a.sqlite")
    one = ablation(member("CXR"))
    (job,) = queue_up([one], database)
    with Store.open(database) as store:
        half = halved(store, job)
        assert half is not None
        quarter = halved(store, half)
        assert quarter is not None
        for run, error in ((job, "out of memory"), (half, "out of memory")):
            store.end_free(run.key, "failed", error)
    (again,) = queue_up([one], database)
    assert (again.key, again.memory_key) == (quarter.key, quarter.memory_key)
    with Store.open(database) as store:
        assert [m.key for m in store.ablations()[0].members] == [quarter.key]
        assert store.requeue([job.key, half.key]) == ()  # nobody would train them
        store.end_free(quarter.key, "finished")
    assert [(asked.key, asked.status) for asked in asked_for([one], database)] == [(quarter.key, "finished")]


def test_asking_makes_no_database(tmp_path: Path) -> None:
    assert [one.status for one in asked_for([PAIR], str(tmp_path / "a.sqlite"))] == ["queued"] * 3
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_holds_no_runs_and_another_s_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.sqlite").touch()
    assert [one.status for one in asked_for([PAIR], str(tmp_path / "empty.sqlite"))] == ["queued"] * 3
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as connection, connection:
        connection.execute("create table birds (name text)")
    connection.close()
    with pytest.raises(StoreError):
        asked_for([PAIR], str(tmp_path / "other.sqlite"))


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    other = replace(PAIR, path="elsewhere/quick.toml")
    with pytest.raises(SpecError, match=r"same name as quick\.toml"):
        asked_for([PAIR, other], str(tmp_path / "a.sqlite"))
    assert len(asked_for([PAIR, PAIR], str(tmp_path / "a.sqlite"))) == 6


def test_missing_weights_are_named_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("MMAD_WEIGHTS", raising=False)
    wanting = [
        member("CXR", seed, "imagenet", backbone=name) for name in ("custom1", "mobilenet_v3") for seed in (0, 1)
    ]
    with pytest.raises(WeightsError) as caught:
        check_weights(wanting)
    assert str(caught.value).startswith(
        "pretrained weights are missing for custom1 (resnet18-f37072fd.pth), mobilenet_v3 (mobilenet_v3_small-"
    )
    check_weights([member("CXR"), member("CXR", 0, "imagenet", pretrained=False)])
    for name in ("resnet18-f37072fd.pth", "mobilenet_v3_small-047dcff4.pth"):
        (tmp_path / name).touch()
    check_weights(wanting, tmp_path)
