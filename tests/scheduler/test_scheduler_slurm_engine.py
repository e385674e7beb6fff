"""Runs as jobs through submitit: options, ends, a pre-emption, Ctrl-C, a worker that cannot begin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from processes import wait_for
from queue_bench import PROGRAMS, Bench

from mmad.base.errors import MmadError
from mmad.scheduler.executors.slurm import minutes, parse_slurm, slurm_slots
from mmad.store.store import Store

pytest.importorskip("submitit", reason="the package submitit is not installed (pip install 'mmad[slurm]')")
MakeBench = Callable[..., Bench]


def command(bench: Bench, cluster: str = "local", options: str = "", **environment: str) -> subprocess.Popen[str]:
    program = [sys.executable, str(PROGRAMS / "slurm_command.py"), bench.database, cluster, options, *bench.keys]
    process = subprocess.Popen(
        program,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        cwd=bench.folder,
    )
    bench.started.append(process)
    return process


def rows(bench: Bench) -> list[list[int]]:
    with Store.open(bench.database, read_only=True) as store:
        return [[record.epoch for record in store.epoch_records(key)] for key in bench.keys]


def owner(bench: Bench, number: int) -> int:
    with Store.open(bench.database, read_only=True) as store:
        return store.owners()[bench.keys[number]].pid


def test_options_are_words_with_commas_or_several() -> None:
    assert parse_slurm(["partition=gpu,time=4:00:00", "gres=gpu:a100:1", "nodelist=n[1,2]"]) == {
        "partition": "gpu",
        "time": "4:00:00",
        "gres": "gpu:a100:1",
        "nodelist": "n[1,2]",
    }
    assert parse_slurm(["--mail-user=me@here"]) == {"mail_user": "me@here"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["partition"], "--slurm: 'partition' is not KEY=VALUE; as in --slurm partition=gpu,time=240"),
        (["time="], "--slurm: 'time=' is not KEY=VALUE; as in --slurm partition=gpu,time=240"),
        (["qos=a", "qos=b"], "--slurm: qos is there twice; leave one out"),
        (["signal=USR1@10"], "--slurm: signal is set by mmad; leave it out"),
    ],
)
def test_what_is_no_option_is_refused(words: list[str], line: str) -> None:
    with pytest.raises(MmadError) as refused:
        parse_slurm(words)
    assert str(refused.value) == line


@pytest.mark.parametrize(
    ("text", "found"),
    [("240", 240), ("30:00", 30), ("4:00:00", 240), ("2-0", 2880), ("1-12:30", 2190), ("0:0:30", 1), ("1-0:0:1", 1441)],
)
def test_time_limits_have_the_forms_of_slurm(text: str, found: int) -> None:
    assert minutes(text) == found


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(MmadError, match="time=tomorrow is no time limit"):
        minutes("tomorrow")


def test_gpus_are_taken_where_an_option_or_the_device_says_so() -> None:
    assert not slurm_slots(["partition=cpu"]).on_gpu
    assert slurm_slots(["gres=gpu:1"]).on_gpu
    assert slurm_slots(["gres=lscratch:100,gpu:a100:1"]).on_gpu
    assert not slurm_slots(["gres=lscratch:100"]).on_gpu
    asked = (["gres=lscratch:100,gpu:a100:2"], ["gpus_per_node=a100:4"], ["gres=gpu"], ["partition=gpu"])
    assert [slurm_slots(words, "cuda").largest for words in asked] == [2, 4, 1, None]
    assert slurm_slots(["jobs=4"], "cuda").capacity(1) == 4
    assert slurm_slots(["partition=p,jobs=4"], "cuda").describe(1) == "Slurm, partition p, a GPU each, 4 runs at once"
    with pytest.raises(MmadError, match="jobs=none is not a number of jobs"):
        slurm_slots(["jobs=none"])


@pytest.mark.slow
def test_every_run_is_a_job(bench: MakeBench) -> None:
    three = bench(runs=3)
    three.plan(s0={"pause": 0.3}, s2={"do": [[2, "fail"]]})
    out, errors = command(three, options="jobs=2").communicate(timeout=600)
    assert three.statuses() == ["finished", "finished", "failed"]
    assert rows(three) == [[1, 2, 3], [1, 2, 3], [1]]
    assert errors.splitlines() == [
        "mmad: s2 · CXR · seed 0: failed: images/7.png: the image cannot be decoded; replace it"
    ]
    assert out.splitlines()[0] == "3 runs to train on Slurm, its default partition, 2 runs at once"
    assert sum(line.startswith("s0 · CXR · seed 0: epoch ") for line in out.splitlines()) == 3


@pytest.mark.slow
def test_a_preempted_job_stops_at_a_safe_point_and_goes_on(bench: MakeBench) -> None:
    one = bench(runs=1, epochs=4)
    one.plan(s0={"do": [[3, "wait"]]})
    process = command(one)
    wait_for(lambda: len(rows(one)[0]) >= 2)
    first = owner(one, 0)
    os.kill(psutil.Process(first).ppid(), signal.SIGUSR2)  # as Slurm sends it to a job whose time is up
    out, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (0, "")
    assert one.statuses() == ["finished"]
    assert rows(one) == [[1, 2, 3, 4]]
    assert set(one.trained().values()) == {1}
    assert one.run(0).attempts == 2
    assert [int(line.split()[2]) == first for line in (one.folder / "trace").read_text().splitlines()] == [
        *[True] * 2,
        *[False] * 2,
    ]
    assert "interrupted" in one.log(0)
    assert "retrying it" not in out


@pytest.mark.slow
def test_a_lost_job_is_handed_out_again(bench: MakeBench) -> None:
    one = bench(runs=1, epochs=4)
    one.plan(s0={"do": [[3, "wait"]]})
    process = command(one)
    wait_for(lambda: len(rows(one)[0]) >= 2)
    task = psutil.Process(owner(one, 0)).parent()
    assert task is not None
    controller = task.parent()
    assert controller is not None
    controller.kill()
    task.kill()
    out, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (0, "")
    assert rows(one) == [[1, 2, 3, 4]]
    assert "was lost (interrupted), retrying it (1 of 2)" in out


@pytest.mark.slow
def test_ctrl_c_stops_the_jobs(bench: MakeBench) -> None:
    two = bench(runs=2)
    two.plan(s0={"do": [[2, "wait"]]}, s1={"do": [[2, "wait"]]})
    process = command(two)
    wait_for(lambda: all(len(epochs) >= 1 for epochs in rows(two)))
    workers = [psutil.Process(owner(two, number)) for number in (0, 1)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (130, "")
    assert two.statuses() == ["interrupted", "interrupted"]
    assert not any(worker.is_running() for worker in workers)


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """Variables under which Slurm's programs are pretended ones."""
    programs, jobs = tmp_path / "bin", tmp_path / "jobs"
    programs.mkdir()
    jobs.mkdir()
    for name in ("sbatch", "srun", "scancel", "sacct", "scontrol"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {PROGRAMS / "pretending_slurm.py"} {name} "$@"\n')
        program.chmod(0o755)
    return {"PATH": f"{programs}:{os.environ['PATH']}", "PRETEND_SLURM": str(jobs)}


@pytest.mark.slow
def test_what_is_handed_out_together_is_one_array_and_its_tasks_end_each_by_itself(
    bench: MakeBench, slurm: dict[str, str], tmp_path: Path
) -> None:
    three = bench(runs=3, epochs=4)
    three.plan(s0={"do": [[3, "wait"]]}, s1={"do": [[2, "fail"]]})
    process = command(three, "slurm", "partition=gpu,jobs=3", **slurm)
    wait_for(lambda: len(rows(three)[0]) >= 2)
    first = owner(three, 0)
    os.kill(psutil.Process(first).ppid(), signal.SIGUSR2)
    os.kill(first, signal.SIGUSR2)
    process.communicate(timeout=600)
    assert three.statuses() == ["finished", "failed", "finished"]
    assert rows(three) == [[1, 2, 3, 4], [1], [1, 2, 3, 4]]
    assert [path.name for path in (tmp_path / "jobs").glob("*.sh")] == ["1.sh"]
    assert "#SBATCH --array=0-2%3" in (tmp_path / "jobs/1.sh").read_text().splitlines()


@pytest.mark.slow
def test_sbatch_is_told_what_was_asked_and_a_preempted_job_goes_on(
    bench: MakeBench, slurm: dict[str, str], tmp_path: Path
) -> None:
    one = bench(runs=1, epochs=4)
    one.plan(s0={"do": [[3, "wait"]]})
    process = command(one, "slurm", "partition=gpu,time=4:00:00,gpus=1,jobs=3,setup=true,mem=8G", **slurm)
    wait_for(lambda: len(rows(one)[0]) >= 2)
    first = owner(one, 0)
    os.kill(psutil.Process(first).ppid(), signal.SIGUSR2)
    os.kill(first, signal.SIGUSR2)  # Slurm sends it to every process of a step
    out, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (0, "")
    assert out.splitlines()[0] == "1 run to train on Slurm, partition gpu, a GPU each, 3 runs at once"
    assert rows(one) == [[1, 2, 3, 4]]
    assert one.run(0).attempts == 2
    lines = (tmp_path / "jobs/1.sh").read_text().splitlines()
    wanted = (
        "partition=gpu",
        "time=240",
        "gpus=1",
        "signal=USR2@120",
        "requeue",
        "job-name=mmad",
        "cpus-per-task=1",
        "mem=8G",
    )
    assert {f"#SBATCH --{word}" for word in wanted} <= set(lines)
    assert "true" in lines
    assert not any("--jobs" in line or "gpus-per-node" in line for line in lines)


@pytest.mark.slow
def test_ctrl_c_cancels_jobs_at_a_safe_point(bench: MakeBench, slurm: dict[str, str]) -> None:
    one = bench(runs=1)
    one.plan(s0={"do": [[2, "wait"]]})
    process = command(one, "slurm", **slurm)
    wait_for(lambda: len(rows(one)[0]) >= 1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (130, "")
    assert one.statuses() == ["interrupted"]
