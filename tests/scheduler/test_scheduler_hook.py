"""The command at a queue's end: what it is told, and that its failure is one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest
from processes import wait_for

from mmad.scheduler.jobs import Failure, Job, Summary
from mmad.scheduler.submit import hook_summary, run_hook

DONE = Job("a" * 64, "patience", "patience 10", "CXR", 0, 4)
BROKEN = Job("b" * 64, "fusion", "depth 4", "CXR+Clinical", 1, 4)
SUMMARY = Summary((DONE,), (Failure(BROKEN, "the loss became nan"),), ())


def test_the_command_finds_numbers_in_its_environment_and_the_runs_on_its_input(tmp_path: Path) -> None:
    names = "$MMAD_FINISHED $MMAD_FAILED $MMAD_INTERRUPTED $MMAD_EXIT_CODE $MMAD_DB $MMAD_ABLATIONS"
    command = f'echo "{names}" > "{tmp_path}/words"; cat > "{tmp_path}/summary"'
    assert run_hook(command, SUMMARY, database="db/some.sqlite") is None
    database = Path("db/some.sqlite").absolute()
    assert (tmp_path / "words").read_text().strip() == f"1 1 0 1 {database} patience fusion"
    assert json.loads((tmp_path / "summary").read_text()) == {
        "database": str(database),
        "ablations": ["patience", "fusion"],
        "exit_code": 1,
        "stopped": False,
        "finished": [{"key": DONE.key, "ablation": "patience", "setting": "patience 10", "arm": "CXR", "seed": 0}],
        "failed": [
            {
                "key": BROKEN.key,
                "ablation": "fusion",
                "setting": "depth 4",
                "arm": "CXR+Clinical",
                "seed": 1,
                "error": "the loss became nan",
            }
        ],
        "interrupted": [],
    }


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("exit 3", "the command of --on-finish failed with exit code 3"),
        ("kill -9 $$", "the command of --on-finish was killed by signal 9"),
        ("no-such-program 2>/dev/null", "the command of --on-finish failed with exit code 127"),
        ("a\0b", "the command of --on-finish could not be started: embedded null byte"),
        ("true", None),
    ],
)
def test_a_failure_is_one_line(command: str, line: str | None) -> None:
    assert run_hook(command, SUMMARY) == line


def test_a_command_that_reads_nothing_is_no_failure() -> None:
    many = Summary(tuple(Job(f"{i:064x}", "a", "s" * 200, "CXR", i, 1) for i in range(2000)), (), ())
    assert run_hook("exec 0<&-; exit 0", many) is None


def test_a_command_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    command = f'sleep 60 & echo $! > "{tmp_path}/pid"; wait'
    written = tmp_path / "pid"
    for limit in (0.5, 5, 50):  # on a busy machine it may be ended before it began
        assert run_hook(command, SUMMARY, timeout=limit) == f"the command of --on-finish was ended after {limit} s"
        if written.exists() and written.read_text():
            break
    pid = int(written.read_text())
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_what_it_prints_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_hook("echo sent", SUMMARY) is None
    assert capfd.readouterr() == ("", "sent\n")


def test_a_password_is_left_out_of_the_summary_and_kept_for_the_command(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:secret@there/runs"
    assert hook_summary(SUMMARY, database=url)["database"] == "postgresql+psycopg://***@there/runs"
    assert run_hook(f'echo "$MMAD_DB" > "{tmp_path}/db"', SUMMARY, database=url, ablations=["patience"]) is None
    assert (tmp_path / "db").read_text().strip() == url


def test_the_environment_of_the_command_is_that_of_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "me")
    assert run_hook(f'echo "$WHO" > "{tmp_path}/who"', SUMMARY) is None
    assert (tmp_path / "who").read_text() == "me\n"
    assert "MMAD_FINISHED" not in os.environ
