"""Runs by a shell command each: some stay, some return at once, some fail, some lose what they were given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from processes import wait_for
from queue_bench import PROGRAMS, Bench

from mmad.base.errors import MmadError
from mmad.base.paths import StorePaths
from mmad.scheduler.executors.command import CommandExecutor, check_template, command_slots
from mmad.scheduler.progress import choose_view
from mmad.scheduler.scheduler import run_jobs
from mmad.scheduler.supervisor_link import TrainRequest
from mmad.store.store import Store

MakeBench = Callable[..., Bench]
STAYS, RETURNS = "{command}", "{command} &"


def command(bench: Bench, line: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "command_command.py"), bench.database, line, *bench.keys],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=bench.folder,
    )
    bench.started.append(process)
    return process


def rows(bench: Bench, number: int = 0) -> list[int]:
    with Store.open(bench.database, read_only=True) as store:
        return [record.epoch for record in store.epoch_records(bench.keys[number])]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (None, "--template: is needed; as in --template 'ssh gpu1 {quoted}'"),
        ("ssh gpu1", "--template: 'ssh gpu1' has no {command} or {quoted}; as in --template 'ssh gpu1 {quoted}'"),
        (
            "sh {program}",
            "--template: {program} is not a placeholder; use {command}, {quoted}, {key} or {gpus}, and",
        ),
        ("sh -c {", "--template: 'sh -c {': "),
        ("sh -c '{command}", "Unterminated quoted string; try it in a shell"),
        ("no-such-batch {command}", "--template: there is no no-such-batch here; name a program of this machine"),
    ],
)
def test_a_line_that_hands_out_nothing_is_refused(line: str | None, said: str) -> None:
    with pytest.raises(MmadError) as refused:
        check_template(line)
    assert said.lower() in str(refused.value).lower()


@pytest.mark.parametrize("line", [STAYS, RETURNS, "( {command} & )", "sh -c {quoted}", "NAME={key}; nice {command}"])
def test_a_line_of_a_shell_is_taken(line: str) -> None:
    assert check_template(line) == line


def test_what_the_lines_run_on_has_to_be_said() -> None:
    with pytest.raises(MmadError, match="--device: auto: what the lines run on is not known here; say --device cuda"):
        command_slots(STAYS, None)
    with pytest.raises(MmadError, match="--jobs: 0 is not a number of runs"):
        command_slots(STAYS, 0, "cpu")
    assert command_slots(STAYS, 3, "cuda").describe(1) == "a shell command, 3 runs at once"


@pytest.mark.slow
@pytest.mark.parametrize("line", [STAYS, RETURNS, "sh -c {quoted}"])
def test_every_run_is_a_line_that_stays_or_returns(bench: MakeBench, line: str) -> None:
    three = bench(runs=3)
    three.plan(s2={"do": [[2, "fail"]]})
    out, errors = command(three, line).communicate(timeout=600)
    assert three.statuses() == ["finished", "finished", "failed"]
    assert [rows(three, number) for number in range(3)] == [[1, 2, 3], [1, 2, 3], [1]]
    assert errors.splitlines() == [
        "mmad: s2 · CXR · seed 0: failed: images/7.png: the image cannot be decoded; replace it"
    ]
    assert out.splitlines()[0] == "3 runs to train on a shell command, 2 runs at once"
    assert list((StorePaths(three.database).runs / "lines").iterdir()) == []


@pytest.mark.slow
def test_a_line_that_fails_is_the_runs_end_in_its_own_words(bench: MakeBench) -> None:
    one = bench(runs=1)
    _, errors = command(one, "sh -c 'echo no such queue >&2; exit 3' {command}").communicate(timeout=600)
    assert one.statuses() == ["failed"]
    assert "its process ended with exit code 3 (no such queue)" in errors


@pytest.mark.slow
def test_a_worker_that_is_killed_is_handed_out_again(bench: MakeBench) -> None:
    one = bench(runs=1, epochs=4)
    one.plan(s0={"do": [[3, "wait"]]})
    process = command(one, RETURNS)
    wait_for(lambda: len(rows(one)) >= 2)
    with Store.open(one.database, read_only=True) as store:
        os.kill(store.owners()[one.keys[0]].pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    assert "its line was lost, or its worker killed, retrying it (1 of 2)" in out
    assert rows(one) == [1, 2, 3, 4]


def test_a_line_that_loses_its_run_is_tried_again_and_then_the_runs_end(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench(runs=1)
    monkeypatch.setattr("mmad.scheduler.executors.command._BEGINS", 0.0)
    monkeypatch.setattr("mmad.scheduler.executors.command._LOOK", 0.0)
    monkeypatch.setattr("mmad.scheduler.scheduler.BACK_OFF", 0.0)
    executor = CommandExecutor(
        command_slots("true {command}", 1, "cpu"), TrainRequest(one.database, ""), "true {command}"
    )
    summary = run_jobs(one.database, one.jobs(), executor.slots, choose_view(), executor=executor)
    (failure,) = summary.failed
    assert failure.error.startswith("its line was lost: nobody began the run 3 times")


@pytest.mark.slow
@pytest.mark.parametrize("line", [STAYS, RETURNS])
def test_ctrl_c_stops_runs_at_a_safe_point_and_the_same_command_resumes_them(bench: MakeBench, line: str) -> None:
    one = bench(runs=1, epochs=4)
    one.plan(s0={"do": [[3, "wait"]]})
    process = command(one, line)
    wait_for(lambda: len(rows(one)) >= 2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode == 130
    assert one.statuses()[0] in ("interrupted", "queued")
    again = command(one, line)
    again.communicate(timeout=600)
    assert again.returncode == 0
    assert rows(one) == [1, 2, 3, 4]
    assert set(one.trained().values()) == {1}
