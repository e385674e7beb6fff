"""``mmad watch``."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_store_runs import filled, mmad, samples

from mmad.store.claims import Owner
from mmad.store.store import Store


def busy(folder: Path) -> str:
    """A database with a finished, a failed and a running run, and two that wait."""
    database, _, _ = filled(folder)
    with Store.open(database) as store:
        store.add_ablation(samples.ablation("seeds", patiences=(20,), seeds=(1,)))
        run = store.claim(None, Owner.current())
        assert run is not None
        assert store.begin(run.key, Owner.current())
        store.commit_epoch(run.key, samples.epoch(1, seconds=90.0), [samples.checkpoint()], [samples.evaluation()])
        store.add_environment(run.key, samples.environment())
        store.add_ablation(samples.ablation("later", patiences=(30,), seeds=(1,)))
    return database


def test_one_frame_as_plain_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    answer = mmad(capsys, monkeypatch, "watch", "--once", "--db", busy(tmp_path))
    assert (answer.code, answer.err) == (0, "")
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert "2 of 6 runs ended" in lines[0]
    assert "1 running, 1 failed, 3 queued" in lines[0]
    assert lines[2].startswith("seeds/patience 20/CXR/1 running 1/3 ███░░░░░░░ 0.500 0.500")
    assert f"{os.getpid()} cpu" in lines[2]
    assert "patience/patience 10/CXR+Clinical/0: OutOfMemoryError: 3 GiB were asked for" in lines
    assert lines[lines.index("next (3)") + 1] == "seeds/patience 20/CXR+Clinical/1"
    assert "\x1b" not in answer.out


def test_json_of_one_ablation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = busy(tmp_path)
    answer = mmad(capsys, monkeypatch, "watch", "--json", "--ablation", "seeds", "--db", database)
    shown = json.loads(answer.out)
    assert (shown["ablation"], shown["counts"], shown["places"]) == ("seeds", {"queued": 1, "running": 1}, 1)
    # two epochs of 90 s less what went by of the first, and the waiting run's three
    assert 2 * 90 + 3 * 90 - 90 <= shown["seconds_left"] <= 450
    (run,) = shown["running"]
    assert (run["arm"], run["device"], run["val_ap"], run["best_val_ap"]) == ("CXR", "cpu", 0.5, 0.5)
    assert run["memory"] > 0
    assert run["cpu"] is not None
    assert (shown["failed"], len(shown["next"])) == ([], 1)
    answer = mmad(capsys, monkeypatch, "watch", "--once", "--ablation", "seed", "--db", database)
    assert answer.code == 2
    assert "did you mean" in answer.err


def test_without_a_terminal_frames_follow_until_all_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _, _ = filled(tmp_path)
    answer = mmad(capsys, monkeypatch, "watch", "--until-done", "--db", database)
    assert (answer.code, answer.err) == (0, "")
    assert "2 of 2 runs ended, 1 failed" in answer.out


def test_a_database_is_only_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = mmad(capsys, monkeypatch, "watch", "--once", "--db", str(tmp_path / "none.sqlite"))
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "no such database" in answer.err
    assert list(tmp_path.iterdir()) == []


#: The leader of a session makes the first terminal it opens its own.
LEADING = "import os; os.close(os.open(os.ttyname(0), os.O_RDWR)); from mmad.cli.app import main; main()"


class Terminal:
    """``mmad watch`` on a terminal of its own."""

    def __init__(self, database: str, *words: str, term: str = "xterm") -> None:
        self.keyboard, theirs = pty.openpty()
        self.text = ""
        command = [sys.executable, "-c", LEADING, "watch", "--db", database, *words]
        environment = os.environ | {"TERM": term, "COLUMNS": "70", "LINES": "20"}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)

    def until(self, word: str) -> None:
        end = time.monotonic() + 600
        while word not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self.keyboard], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self.text += os.read(self.keyboard, 4096).decode()

    def end(self) -> int:
        end = time.monotonic() + 600
        while self.process.poll() is None:
            assert time.monotonic() < end
            if select.select([self.keyboard], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self.text += os.read(self.keyboard, 4096).decode()
        return self.process.wait()


@contextlib.contextmanager
def terminal(database: str, *words: str, term: str = "xterm") -> Iterator[Terminal]:
    opened = Terminal(database, *words, term=term)
    try:
        yield opened
    finally:
        if opened.process.poll() is None:
            opened.process.kill()
            opened.process.wait()
        os.close(opened.keyboard)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["q", "Ctrl-C", "SIGTERM"])
def test_a_key_ends_it_and_the_terminal_is_given_back(tmp_path: Path, how: str) -> None:
    with terminal(busy(tmp_path), "--interval", "0.2") as shown:
        shown.until("seeds/patience")
        if how == "SIGTERM":
            shown.process.send_signal(signal.SIGTERM)
        else:
            os.write(shown.keyboard, {"q": b"q", "Ctrl-C": b"\x03"}[how])
        assert shown.end() == 0
    assert shown.text.count("\x1b[?1049h") == shown.text.count("\x1b[?1049l") == 1
    assert "seeds/patience 20/CXR/1" in shown.text.rpartition("\x1b[?1049l")[2]


@pytest.mark.slow
def test_it_ends_with_the_queue_and_a_dumb_terminal_gets_lines(tmp_path: Path) -> None:
    database = busy(tmp_path)
    with terminal(database, "--interval", "0.2", "--until-done", term="dumb") as shown:
        shown.until("2 of 6 runs ended")
        with Store.open(database) as store:
            keys = [run.key for run in store.run_records()]
            store.take_away(keys)
            for key in keys:
                store.end_free(key, "finished")
        assert shown.end() == 0
    assert "6 of 6 runs ended" in shown.text
    assert "\x1b[" not in shown.text
