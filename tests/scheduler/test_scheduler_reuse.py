"""Workers that are kept: what they train second equals what a fresh process trains, and none outlives its scheduler."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from processes import wait_for
from queue_bench import Bench, workers_of
from queue_training import member, phantom, queue_small, results, weights

from mmad.base.paths import StorePaths
from mmad.scheduler.devices import Slots
from mmad.scheduler.executors.local import LocalExecutor
from mmad.scheduler.jobs import Job, JobState
from mmad.scheduler.process import Exited
from mmad.scheduler.progress import PlainView
from mmad.scheduler.scheduler import Options, run_jobs
from mmad.scheduler.supervisor_link import Ended, TrainRequest
from mmad.store.store import Store

pytestmark = pytest.mark.slow
MakeBench = Callable[..., Bench]


def trained_by(database: str, key: str) -> int:
    """The number of the process that trained the run, as its log says."""
    found = re.findall(r"worker (\d+) for run", StorePaths(database).run(key).log.read_text())
    assert len(found) == 1
    return int(found[0])


def train_one_after_the_other(database: str, jobs: list[Job], *, isolate: bool = False) -> None:
    out, errors = io.StringIO(), io.StringIO()
    summary = run_jobs(database, jobs, Slots(cores=1), PlainView(out, errors), Options(isolate=isolate))
    assert summary.exit_code == 0, errors.getvalue()


@pytest.mark.usefixtures("warm_workers")
def test_what_a_worker_trains_second_equals_what_a_fresh_one_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # two threads that wait for each other on a busy machine
    before = psutil.Process().children()
    dataset = phantom(tmp_path / "phantom")
    wanted = [member(dataset, n, arm, threads) for threads in (1, 2) for n, arm in enumerate(("CXR+Clinical", "CXR"))]
    kept, fresh = str(tmp_path / "kept.sqlite"), str(tmp_path / "fresh.sqlite")
    train_one_after_the_other(kept, queue_small(kept, wanted))
    train_one_after_the_other(fresh, queue_small(fresh, wanted[1::2]), isolate=True)
    keys = [one.run.key for one in wanted]
    by = [trained_by(kept, key) for key in keys]
    assert (by[0], by[2]) == (by[1], by[3])
    assert by[0] != by[2]  # of another number of threads
    second = keys[1::2]
    assert len({trained_by(fresh, key) for key in second}) == 2
    assert results(kept, second) == results(fresh, second)
    for key in second:
        one, other = weights(kept, key), weights(fresh, key)
        assert len(one) > 10
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    with Store.open(kept, read_only=True) as store:
        assert [store.environments(key)[0].threads for key in keys] == [1, 1, 2, 2]
    children = [child for child in psutil.Process().children() if child not in before]
    assert not [child for child in children if child.status() != psutil.STATUS_ZOMBIE]


def pids(bench: Bench) -> list[set[int]]:
    """The processes that trained each run."""
    lines = [line.split() for line in (bench.folder / "trace").read_text().splitlines()]
    return [{int(pid) for key, _, pid in lines if key == wanted} for wanted in bench.keys]


def run_off(bench: Bench, options: Options | None = None) -> None:
    view = PlainView(io.StringIO(), io.StringIO())
    run_jobs(bench.database, bench.jobs(), Slots(cores=1), view, options or bench.options())


def test_a_worker_goes_on_with_the_next_run(bench: MakeBench) -> None:
    three = bench(runs=3)
    run_off(three)
    (first,), (second,), (third,) = pids(three)
    assert first == second == third
    assert not psutil.pid_exists(first)


def test_every_run_has_a_process_of_its_own_when_asked(bench: MakeBench) -> None:
    three = bench(runs=3)
    run_off(three, replace(three.options(), isolate=True))
    assert three.statuses() == ["finished"] * 3
    assert len(set.union(*pids(three))) == 3


@pytest.mark.parametrize("deed", ["fail", "crash", "memory", "leave"])
def test_no_run_follows_one_that_did_not_finish(bench: MakeBench, deed: str) -> None:
    three = bench(runs=3)
    three.plan(s1={"do": [[2, deed]]})
    run_off(three)
    assert three.statuses() == ["finished", "failed", "finished"]
    (first,), (second,), (third,) = pids(three)
    assert first == second != third


def test_no_run_follows_one_that_was_stopped_by_hand(bench: MakeBench) -> None:
    two = bench(runs=2)
    two.plan(s0={"do": [[2, "wait"]]})
    command = two.command(cores=1)
    wait_for(lambda: two.trained().total() >= 1)
    with Store.open(two.database) as store:
        store.stop(two.keys[:1])
    out, errors = command.communicate(timeout=600)
    assert two.statuses() == ["stopped", "finished"], (out, errors)
    (first,), (second,) = pids(two)
    assert first != second


def test_idle_workers_vanish_with_their_killed_scheduler(bench: MakeBench) -> None:
    three = bench(runs=3)
    three.plan(s1={"do": [[1, "hang"]]}, s2={"do": [[2, "hang"]]})
    command = three.command(cores=3)
    wait_for(lambda: three.statuses()[0] == "finished" and len(three.trained()) == 4)
    workers = workers_of(command)
    assert len(workers) == 3  # one of them idle
    command.kill()
    wait_for(lambda: not any(_alive(worker) for worker in workers))


def test_an_idle_worker_that_was_killed_costs_its_next_run_one_attempt(bench: MakeBench) -> None:
    two = bench(runs=2, epochs=1)
    command = two.options().command
    executor = LocalExecutor(Slots(cores=1), TrainRequest(two.database, ""), command=tuple(command))
    try:
        first, second = (JobState(job) for job in two.jobs())
        assert executor.submit(first)
        assert _last(executor).status == "finished"  # type: ignore[union-attr]
        (worker,) = executor._all
        os.kill(worker.pid, signal.SIGKILL)
        assert executor.submit(second)
        gone = _last(executor)
        assert isinstance(gone, Exited)
        assert gone.signal_name == "SIGKILL"
        assert executor.submit(second)
        assert _last(executor).status == "finished"  # type: ignore[union-attr]
    finally:
        executor.close()
    assert two.statuses() == ["finished"] * 2


def _last(executor: LocalExecutor) -> Ended | Exited:
    """What an attempt ends with."""
    heard: list[Ended | Exited] = []
    wait_for(lambda: heard.extend(e for _, e in executor.poll(0.1) if isinstance(e, Ended | Exited)) or bool(heard))
    return heard[-1]


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
