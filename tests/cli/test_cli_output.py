"""``mmad output``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from cli_store_runs import filled, mmad

from mmad.cli import queue as room
from mmad.store.claims import Owner
from mmad.store.store import Store


def logged(folder: Path) -> tuple[str, str, Path]:
    """A database whose finished run has a log in two files: its path, the run's key, its newest file."""
    database, good, _ = filled(folder)
    with Store.open(database, read_only=True) as store:
        log = store.run_paths(good).log
    log.parent.mkdir(parents=True)
    log.with_name("run.log.1").write_text("one\ntwo\n")
    log.write_text("three\nfour\n")
    return database, good, log


@pytest.mark.parametrize(
    ("words", "out"),
    [
        ((), "one\ntwo\nthree\nfour\n"),
        (("-n", "3"), "two\nthree\nfour\n"),
        (("--lines", "0"), ""),
        (("-f", "-n", "1"), "four\n"),
    ],
)
def test_a_log_of_several_files_is_printed_as_one(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    out: str,
) -> None:
    monkeypatch.setattr(room, "_ASK", 0.0)
    monkeypatch.setattr(room, "_LOOK", 0.0)
    database, good, _ = logged(tmp_path)
    for name in (good[:10], "patience/patience 10/CXR"):
        answer = mmad(capsys, monkeypatch, "output", name, *words, "--db", database)
        assert (answer.code, answer.out, answer.err) == (0, out, "")


def test_following_ends_with_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_ASK", 0.05)
    monkeypatch.setattr(room, "_LOOK", 0.02)
    database, good, log = logged(tmp_path)
    followed, honest = threading.Event(), room._follow

    def follow(*words: Any) -> None:
        followed.set()
        honest(*words)

    monkeypatch.setattr(room, "_follow", follow)

    def train() -> None:
        assert followed.wait(600)
        log.rename(log.with_name("run.log.2"))
        log.with_name("run.log.1").rename(log.with_name("run.log.3"))
        log.with_name("run.log.2").rename(log.with_name("run.log.1"))
        log.write_text("the last word\n")
        with Store.open(database) as store:
            store.end(good, Owner.current(), "finished")

    with Store.open(database) as store:
        assert store.requeue([good], ["finished"])
        assert store.claim([good], Owner.current()) is not None
        assert store.begin(good, Owner.current())
        worker = threading.Thread(target=train)
        worker.start()
        answer = mmad(capsys, monkeypatch, "output", good, "-f", "-n", "1", "--db", database)
        worker.join()
    assert (answer.code, answer.out) == (0, "four\nthe last word\n")


def test_a_run_without_a_log_is_one_line_with_the_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, good, bad = filled(tmp_path)
    answer = mmad(capsys, monkeypatch, "output", bad, "-f", "--db", database)
    assert (answer.code, answer.out) == (2, "")
    assert "no log of this run is here (it is failed); look on the machine that trained it" in answer.err
    with Store.open(database) as store:
        assert store.requeue([good], ["finished"])
    answer = mmad(capsys, monkeypatch, "output", good, "--db", database)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "(it is queued); it begins with the training: mmad output -f waits for it" in answer.err


def test_an_unknown_run_meets_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _, _ = filled(tmp_path)
    answer = mmad(capsys, monkeypatch, "output", "patience/patience 10/CRX", "--db", database)
    assert answer.code == 2
    assert "did you mean 'patience/patience 10/CXR" in answer.err
