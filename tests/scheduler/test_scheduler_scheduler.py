"""Working off runs: failures, deaths, Ctrl-C, and two commands on one database, with pretended trainings."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from processes import pid_namespace, wait_for
from queue_bench import PROGRAMS, Bench, workers_of

from mmad.base.errors import StoreError
from mmad.scheduler.devices import Slots
from mmad.scheduler.jobs import Summary
from mmad.scheduler.progress import PlainView
from mmad.scheduler.scheduler import run_jobs
from mmad.store import claims
from mmad.store.claims import Owner
from mmad.store.store import Store

pytestmark = pytest.mark.slow
MakeBench = Callable[..., Bench]


def run_off(bench: Bench, cores: int = 2) -> tuple[Summary, str, str]:
    out, errors = io.StringIO(), io.StringIO()
    summary = run_jobs(bench.database, bench.jobs(), Slots(cores=cores), PlainView(out, errors), bench.options())
    return summary, out.getvalue(), errors.getvalue()


def each_once(bench: Bench) -> bool:
    counts = bench.trained()
    return set(counts) == {(k, e) for k in bench.keys for e in range(1, bench.epochs + 1)} and set(counts.values()) == {
        1
    }


def test_every_run_is_trained_to_its_end(bench: MakeBench) -> None:
    three = bench(runs=3)
    summary, out, errors = run_off(three)
    assert summary.exit_code == 0
    assert len(summary.finished) == 3
    assert three.statuses() == ["finished"] * 3
    assert each_once(three)
    assert errors == ""
    lines = out.splitlines()
    assert lines[0] == "3 runs to train on CPU, 2 cores, 2 runs at once"
    assert sum("epoch 3/3" in line for line in lines) == 3
    assert sum(": finished, final val AP 0.100 (" in line for line in lines) == 3  # in whatever order
    assert lines[-1].endswith(" (3 of 3 ended)")
    with Store.open(three.database, read_only=True) as store:
        assert [record.epoch for record in store.epoch_records(three.keys[0])] == [1, 2, 3]
        assert store.parameter_counts(three.keys[0])[0].count == 7


def test_a_failing_run_does_not_stop_the_others(bench: MakeBench) -> None:
    four = bench(runs=4)
    four.plan(s0={"do": [[2, "fail"]]}, s1={"do": [[1, "crash"]]}, s2={"do": [[1, "memory"]]})
    summary, _, errors = run_off(four)
    assert summary.exit_code == 1
    assert four.statuses() == ["failed", "failed", "failed", "finished"]
    reasons = {failure.job.setting: failure.error for failure in summary.failed}
    assert reasons["s0"] == "images/7.png: the image cannot be decoded; replace it"
    assert reasons["s1"].startswith("ZeroDivisionError: division by zero (log: ")
    assert reasons["s2"].startswith("out of memory on cpu (CUDA out of memory); lower batch_size or image_size")
    assert four.run(1).error == reasons["s1"]
    assert "Traceback" in four.log(1)
    assert "Traceback" not in four.log(0)
    assert len(errors.splitlines()) == 3


def test_a_failed_run_is_tried_again_by_the_next_command(bench: MakeBench) -> None:
    one = bench(runs=1)
    one.plan(s0={"do": [[2, "fail"]]})
    assert run_off(one)[0].exit_code == 1
    summary, out, _ = run_off(one)
    assert summary.exit_code == 0
    assert "resumes after epoch 1 of 3" in out
    assert each_once(one)
    assert one.run(0).error is None


def test_a_killed_worker_is_started_again(bench: MakeBench) -> None:
    two = bench(runs=2)
    two.plan(s0={"do": [[2, "die"]]})
    summary, out, _ = run_off(two)
    assert summary.exit_code == 0
    assert each_once(two)
    assert "s0 · CXR · seed 0: its process was killed by SIGKILL, retrying it (1 of 2)" in out.splitlines()


def test_a_worker_that_the_kernel_kills_for_memory_is_started_again(bench: MakeBench) -> None:
    """Its killer is pretended: a SIGKILL from outside."""
    two = bench(runs=2)
    two.plan(s0={"do": [[2, "hold"]]})
    command = two.command(cores=1)
    wait_for((two.folder / "held").exists)
    (worker,) = workers_of(command)
    worker.kill()
    out, errors = command.communicate(timeout=600)
    assert command.returncode == 0, errors
    assert "SIGKILL, retrying it (1 of 2)" in out
    assert each_once(two)
    assert [two.run(i).attempts for i in (0, 1)] == [2, 1]


def test_a_worker_that_is_killed_every_time_fails(bench: MakeBench) -> None:
    two = bench(runs=2)
    two.plan(s0={"do": [[1, "die!"]]})
    summary, _, errors = run_off(two, cores=1)
    assert summary.exit_code == 1
    assert two.statuses() == ["failed", "finished"]
    assert (two.run(0).error or "").startswith("its process was killed by SIGKILL 3 times (log: ")
    assert "killed by SIGKILL 3 times" in errors


def test_a_worker_that_leaves_without_a_word_fails(bench: MakeBench) -> None:
    one = bench(runs=1)
    one.plan(s0={"do": [[1, "leave"]]})
    summary, _, _ = run_off(one)
    assert summary.failed[0].error.startswith("its process ended with exit code 3 (log: ")
    assert one.statuses() == ["failed"]


def test_what_libraries_print_goes_to_the_log_with_its_time(bench: MakeBench) -> None:
    one = bench(runs=1)
    one.plan(s0={"do": [[1, "chatter"], [2, "warn"]]})
    summary, out, _ = run_off(one)
    assert summary.exit_code == 0
    assert "talks" not in out
    log = one.log(0)
    stamped = next(line for line in log.splitlines() if "to standard output" in line)
    assert stamped[:2] == "20"
    assert stamped[10] == " "
    assert "and so does C" in log
    assert "s0 · CXR · seed 0: a loss is odd" in out.splitlines()
    with Store.open(one.database, read_only=True) as store:
        assert store.warnings(one.keys[0]) == ["a loss is odd"]


def test_a_run_whose_log_cannot_be_written_fails_alone(bench: MakeBench) -> None:
    from mmad.base.paths import StorePaths

    two = bench(runs=2)
    folder = StorePaths(two.database).run(two.keys[0]).folder
    folder.parent.mkdir(parents=True)
    folder.write_text("a file in the way")
    summary, _, _ = run_off(two)
    assert two.statuses() == ["failed", "finished"]
    assert "the run's log cannot be written" in summary.failed[0].error


def test_without_its_database_nothing_starts(bench: MakeBench, tmp_path: Path) -> None:
    one = bench(runs=1)
    with pytest.raises(StoreError):
        run_jobs(str(tmp_path / "none.sqlite"), one.jobs(), Slots(), PlainView(io.StringIO(), io.StringIO()))
    assert not (tmp_path / "none.sqlite").exists()


def test_ctrl_c_stops_after_the_step_and_the_next_command_goes_on(bench: MakeBench) -> None:
    two = bench(runs=2, epochs=4)
    two.plan(s0={"do": [[2, "wait"]]}, s1={"do": [[2, "wait"]]})
    command = two.command()
    wait_for(lambda: len(two.trained()) >= 2)
    command.send_signal(signal.SIGINT)
    out, errors = command.communicate(timeout=600)
    assert command.returncode == 130, errors
    assert "stopping 2 runs after the present step; Ctrl-C again ends at once" in out
    assert two.statuses() == ["interrupted"] * 2
    assert not each_once(two)
    assert "Traceback" not in errors
    again = two.command()
    out, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    assert "resumes after epoch" in out
    assert each_once(two)


def test_ctrl_c_twice_ends_at_once(bench: MakeBench) -> None:
    one = bench(runs=1)
    one.plan(s0={"do": [[2, "hang"]]})
    command = one.command()
    wait_for(lambda: len(one.trained()) == 1)
    command.send_signal(signal.SIGINT)
    wait_for(lambda: "asked to stop" in one.log(0))
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=600)
    assert command.returncode == 130
    assert one.statuses() == ["interrupted"]
    assert one.run(0).error == "its process was ended by SIGKILL"
    again = one.command()
    _, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    assert each_once(one)


def test_sigterm_stops_cleanly_too(bench: MakeBench) -> None:
    one = bench(runs=1)
    one.plan(s0={"do": [[2, "wait"]]})
    command = one.command()
    wait_for(lambda: len(one.trained()) == 1)
    command.terminate()
    command.communicate(timeout=600)
    assert command.returncode == 130
    assert one.statuses() == ["interrupted"]


@pytest.mark.parametrize("deed", ["wait", "hang"])
def test_workers_vanish_with_their_killed_command(bench: MakeBench, deed: str) -> None:
    two = bench(runs=2)
    two.plan(s0={"do": [[2, deed]]}, s1={"do": [[2, "wait"]]})
    command = two.command()
    # Not between the end of an epoch and its commit: that one would rightly be trained again.
    wait_for(lambda: sum(two.run(n).epochs_done for n in (0, 1)) == two.trained().total() >= 2)
    workers = workers_of(command)
    assert workers
    command.kill()
    wait_for(lambda: not any(alive(worker) for worker in workers))
    command.communicate()
    again = two.command()
    _, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    assert each_once(two)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_two_commands_share_the_work_and_train_each_run_once(bench: MakeBench) -> None:
    five = bench(runs=5)
    five.plan(**{f"s{i}": {"pause": 0.05} for i in range(5)})
    first, second = five.command(cores=1), five.command(cores=2)
    for command in (first, second):
        _, errors = command.communicate(timeout=600)
        assert command.returncode == 0, errors
    assert each_once(five)
    assert five.statuses() == ["finished"] * 5


def test_a_command_waits_for_the_other_s_run_and_takes_it_over_when_that_dies(bench: MakeBench) -> None:
    one = bench(runs=1)
    one.plan(s0={"do": [[2, "hang"]]})
    first = one.command()
    wait_for(lambda: len(one.trained()) == 1)
    second = one.command()
    assert second.stdout is not None
    lines = iter(second.stdout.readline, "")
    assert any("trains it, waiting for its end" in line for line in lines)
    first.kill()
    out, errors = second.communicate(timeout=600)
    assert second.returncode == 0, errors
    assert "released by its process, taken over" in out
    assert each_once(one)


def test_commands_in_two_pid_namespaces_rob_each_other_of_nothing(bench: MakeBench) -> None:
    four = bench(runs=4)
    (four.folder / "allowed").write_text("1")
    first, second = four.command(cores=1, within=pid_namespace()), four.command(cores=1)
    with Store.open(four.database, read_only=True) as store:
        wait_for(lambda: len(store.owners()) == 2)  # each has a run in hand
    (four.folder / "allowed").write_text("3")
    for command in (first, second):
        out, errors = command.communicate(timeout=600)
        assert command.returncode == 0, errors
        assert "taken over" not in out
    assert four.undisturbed()


@pytest.mark.parametrize("ahead", [-600, 600])
def test_machines_of_one_name_whose_clocks_are_apart_rob_each_other_of_nothing(bench: MakeBench, ahead: int) -> None:
    four = bench(runs=4)
    four.plan(s0={"do": [[2, "hold"]]})
    first = four.command(cores=1, PRETEND_MACHINE="another/machine/1", PRETEND_AHEAD=str(ahead))
    wait_for((four.folder / "held").exists)
    second = four.command(cores=2)
    assert second.stdout is not None
    heard = []
    for line in iter(second.stdout.readline, ""):
        heard.append(line)
        if "trains it, waiting for its end, or three minutes without a heartbeat" in line:
            break
    wait_for(lambda: four.statuses()[1:] == ["finished"] * 3)
    words = [sys.executable, str(PROGRAMS / "pretending_mmad.py"), "status", "--db", four.database]
    said = subprocess.run(words, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True, check=True).stdout
    assert "a/s0/CXR/0: epoch 1 of 3 done" in said
    assert "gone" not in said
    assert ("silent since" in said) == (ahead < 0)  # its last heartbeat, as its own clock has it
    (four.folder / "held").unlink()
    for command in (first, second):
        out, errors = command.communicate(timeout=600)
        assert command.returncode == 0, errors
        heard.append(out)
    assert "taken over" not in "".join(heard)
    assert four.undisturbed()


def test_a_silent_worker_of_another_machine_is_watched_for_a_lease_then_taken_over(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LEASE", 0.5)
    one = bench(runs=2)
    far = Owner("elsewhere", 7, 1.0, "another/machine/1")
    with Store.open(one.database) as store:
        for key in one.keys:
            assert store.claim([key], far) is not None
        assert store.stop(one.keys[1:]) == {one.keys[1]: "claimed"}
    _, out, _ = run_off(one)
    assert "process 7 on elsewhere trains it, waiting for its end, or three minutes without a heartbeat" in out
    assert "released by its process, taken over" in out
    assert one.statuses() == ["finished", "stopped"]
    assert one.run(0).attempts == 2


def test_a_run_held_by_a_living_process_is_left_alone(bench: MakeBench) -> None:
    one = bench(runs=1)
    with Store.open(one.database) as store:
        assert store.claim(one.keys, Owner.current()) is not None
    command = one.command()
    assert command.stdout is not None
    assert any("trains it, waiting for its end" in line for line in iter(command.stdout.readline, ""))
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=600)
    assert command.returncode == 130
    assert one.statuses() == ["claimed"]
    assert not one.trained()
