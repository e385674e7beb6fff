"""Runs on a real Ray cluster of two nodes: their ends, Ctrl-C, what nodes lack, and a node killed in mid-run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from postgresql_server import programs
from processes import wait_for
from queue_bench import PROGRAMS, Bench

from mmad.store.store import Store

# Whether it is there is asked of its files: to import it takes a second of every process that collects this file.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed (pip install 'mmad[ray]')"),
]
MakeBench = Callable[..., Bench]

CHECK = """
import sys
from mmad.base.errors import MmadError
from mmad.scheduler.supervisor_link import TrainRequest
from mmad.scheduler.executors.ray import RayExecutor, ray_slots
database, address = sys.argv[1:]
executor = RayExecutor(ray_slots(address, "cpu"), TrainRequest(database, ""), address)
try:
    executor.check({"/nowhere": "f" * 64})
except MmadError as error:
    print(error)
executor.check({})
print("fine")
executor.close()
"""


class Cluster:
    """A process that is the cluster, with ``variables`` for what its nodes start."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / "ray_cluster.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | variables,
        )
        self.address = self._heard("address ").split()[1]

    def replace_node_of(self, pid: int) -> None:
        """Kills the node of the process ``pid``; another one joins the cluster."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"replace {pid}\n")
        self._process.stdin.flush()
        self._heard("replaced")

    def close(self) -> None:
        try:
            self._process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _heard(self, beginning: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(beginning):
                return line
        raise AssertionError("the cluster did not start")


@pytest.fixture(scope="module")
def cluster(warm: dict[str, str]) -> Iterator[Cluster]:
    one = Cluster(warm)
    yield one
    one.close()


def command(bench: Bench, cluster: Cluster) -> subprocess.Popen[str]:
    program = [sys.executable, str(PROGRAMS / "ray_command.py"), bench.database, cluster.address, *bench.keys]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ), cwd=bench.folder
    )
    bench.started.append(process)
    return process


def rows(bench: Bench) -> list[list[int]]:
    with Store.open(bench.database, read_only=True) as store:
        return [[record.epoch for record in store.epoch_records(key)] for key in bench.keys]


def mmad(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from mmad.cli.app import main; main()", *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_every_run_is_trained_on_the_cluster_without_noise(bench: MakeBench, cluster: Cluster) -> None:
    three = bench(runs=3)
    three.plan(s0={"pause": 0.3}, s2={"do": [[2, "fail"]]})
    out, errors = command(three, cluster).communicate(timeout=600)
    assert three.statuses() == ["finished", "finished", "failed"]
    assert rows(three) == [[1, 2, 3], [1, 2, 3], [1]]
    assert "images/7.png: the image cannot be decoded" in errors
    lines = out.splitlines()
    assert lines[0] == "3 runs to train on a Ray cluster of 2 nodes, 2 cores, 2 runs at once"
    assert sum(line.startswith("s0 · CXR · seed 0: epoch ") for line in lines) == 3
    assert all(line.startswith(("3 runs", "s")) for line in lines)
    assert len(errors.splitlines()) == 1


def test_the_first_ctrl_c_stops_at_a_safe_point(bench: MakeBench, cluster: Cluster) -> None:
    two = bench(runs=2, epochs=4)
    two.plan(s0={"do": [[3, "wait"]]}, s1={"do": [[3, "wait"]]})
    process = command(two, cluster)
    wait_for(lambda: len(rows(two)[0]) >= 2)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (130, "")
    assert two.statuses() == ["interrupted", "interrupted"]
    assert "stopping" in out
    with Store.open(two.database, read_only=True) as store:
        assert store.owners() == {}


def test_the_second_ctrl_c_kills_the_workers(bench: MakeBench, cluster: Cluster) -> None:
    one = bench(runs=1)
    one.plan(s0={"do": [[2, "hang"]]})
    process = command(one, cluster)
    wait_for(lambda: len(rows(one)[0]) == 1)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert any(line.startswith("stopping") for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (130, "")
    assert one.statuses() == ["interrupted"]


def test_a_pair_is_trained_from_the_command_line(
    cluster: Cluster, tmp_path: Path, write_tiny: Callable[[Path], None], warm: dict[str, str]
) -> None:
    write_tiny(tmp_path)
    words = ("ablate", "tiny.toml", "--executor", "ray", "--address", cluster.address, "--set", "steps_per_epoch=2")
    done = mmad(tmp_path, *words, **warm)
    assert done.returncode == 0, done.stderr
    assert "2 runs to train on a Ray cluster of 2 nodes, 2 cores, 2 runs at once" in done.stdout
    assert "2 of 2 runs finished" in done.stdout
    assert "raylet" not in done.stdout + done.stderr
    with Store.open(tmp_path / "db/mmad.sqlite", read_only=True) as store:
        assert [[one.epoch for one in store.epoch_records(run.key)] for run in store.run_records()] == [[1, 2], [1, 2]]
    assert not list((tmp_path / "db/runs/mmad.sqlite").glob(".shared-*"))


def test_nodes_that_lack_something_are_named_before_anything_is_queued(bench: MakeBench, cluster: Cluster) -> None:
    one = bench(runs=1)
    said = subprocess.run(
        [sys.executable, "-c", CHECK, one.database, cluster.address], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said[0].startswith("node ")
    assert said[0].endswith(
        ": the data set /nowhere is not there; put it on shared storage, or copy it to the same path"
    )
    assert said[1:] == ["fine"]


def test_a_worker_vanishes_with_its_killed_command_and_the_next_one_resumes(bench: MakeBench, cluster: Cluster) -> None:
    one = bench(runs=1, epochs=4)
    one.plan(s0={"do": [[3, "hang"]]})
    process = command(one, cluster)
    wait_for(lambda: rows(one) == [[1, 2]])
    with Store.open(one.database, read_only=True) as store:
        (worker,) = (owner.pid for owner in store.owners().values())
    process.kill()
    process.communicate()
    wait_for(lambda: not psutil.pid_exists(worker))
    again = command(one, cluster)
    out, errors = again.communicate(timeout=600)
    assert (again.returncode, errors) == (0, "")
    assert "resumes after epoch 2 of 4" in out
    assert one.statuses() == ["finished"]
    assert rows(one) == [[1, 2, 3, 4]]
    assert set(one.trained().values()) == {1}


def test_neither_a_killed_command_nor_a_node_that_is_replaced_costs_an_epoch(
    bench: MakeBench, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    """In a database of a server, where one is installed."""
    two = bench(runs=2, epochs=6, url=request.getfixturevalue("postgresql") if programs() is not None else "")
    two.plan(s0={"do": [[3, "hang"], [5, "wait"]]})

    def holder() -> int:
        with Store.open(two.database, read_only=True) as store:
            return store.owners()[two.keys[0]].pid

    driver = command(two, cluster)
    wait_for(lambda: len(rows(two)[0]) == 2)
    worker = holder()
    driver.kill()
    driver.communicate()
    wait_for(lambda: not psutil.pid_exists(worker))
    driver = command(two, cluster)
    wait_for(lambda: len(rows(two)[0]) == 4)
    cluster.replace_node_of(holder())
    out, errors = driver.communicate(timeout=600)
    assert (driver.returncode, errors) == (0, "")
    assert "resumes after epoch 2 of 6" in out
    assert "its node was lost, retrying it (1 of 2)" in out
    assert two.statuses() == ["finished", "finished"]
    assert rows(two) == [[1, 2, 3, 4, 5, 6]] * 2
    assert set(two.trained().values()) == {1}
