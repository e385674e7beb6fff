"""A database with queued runs, and workers that pretend to train them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from processes import children_of

from mmad.base.records import EpochRecord, Metric, RunRecord
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.scheduler import scheduler
from mmad.scheduler.jobs import Job
from mmad.scheduler.scheduler import Options
from mmad.store.store import Store

PROGRAMS = Path(__file__).parent / "programs"


@dataclass
class Bench:
    """A database of pretended runs; ``plan`` says what happens in which epoch."""

    folder: Path
    keys: list[str]
    epochs: int
    url: str = ""
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def database(self) -> str:
        return self.url or str(self.folder / "mmad.sqlite")

    def jobs(self) -> list[Job]:
        return [Job(key, "a", f"s{i}", "CXR", 0, self.epochs) for i, key in enumerate(self.keys)]

    def plan(self, **plans: dict[str, object]) -> None:
        """``plan(s0={"do": [[2, "fail"]]})``: the first run fails in its second epoch."""
        content = {self.keys[int(name[1:])]: plan for name, plan in plans.items()}
        (self.folder / "plan.json").write_text(json.dumps(content))

    def run(self, number: int) -> RunRecord:
        with Store.open(self.database, read_only=True) as store:
            return store.run(self.keys[number])

    def statuses(self) -> list[str]:
        with Store.open(self.database, read_only=True) as store:
            return [store.run(key).status for key in self.keys]

    def log(self, number: int) -> str:
        from mmad.base.paths import StorePaths

        return StorePaths(self.database).run(self.keys[number]).log.read_text()

    def trained(self) -> Counter[tuple[str, int]]:
        """How often each epoch of each run was trained to its end."""
        trace = self.folder / "trace"
        lines = trace.read_text().splitlines() if trace.exists() else []
        return Counter((line.split()[0], int(line.split()[1])) for line in lines)

    def undisturbed(self) -> bool:
        """Whether every run was trained once, by one attempt, and has the rows of one that nothing happened to."""
        rows = []
        for epoch in range(1, self.epochs + 1):
            numbers = (("train", "loss", 1.0 / epoch), ("val", "loss", 2.0 / epoch), ("val", "ap_iou", 0.1))
            rows.append(EpochRecord(epoch, 0.01, 0.05, 1000, tuple(Metric(*number) for number in numbers)))
        with Store.open(self.database, read_only=True) as store:
            found = store.run_records()
            return (
                {(run.status, run.attempts) for run in found} == {("finished", 1)}
                and all(store.epoch_records(run.key) == rows for run in found)
                and self.trained() == Counter((key, row.epoch) for key in self.keys for row in rows)
            )

    def options(self) -> Options:
        """Workers that pretend."""
        return Options(command=(sys.executable, str(PROGRAMS / "pretending_worker.py"), "--serve"))

    def command(self, cores: int = 2, within: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
        """A scheduler in its own process, like a command that a user started (by the program ``within``)."""
        program = [
            *within,
            sys.executable,
            str(PROGRAMS / "pretending_command.py"),
            self.database,
            str(cores),
            *self.keys,
        ]
        process = subprocess.Popen(
            program,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "WARM" or not (within or environment)}
            | environment,
            cwd=self.folder,
        )
        self.started.append(process)
        return process


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The living workers that the command ``process`` started."""
    return children_of(process.pid)


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []
    if request.node.get_closest_marker("slow"):  # it starts workers
        for name, value in request.getfixturevalue("warm").items():
            monkeypatch.setenv(name, value)

    monkeypatch.setattr(scheduler, "BACK_OFF", 0.2)  # as tests/warm/server.py has it
    monkeypatch.setattr(scheduler, "_LOOK", 0.2)

    def make(runs: int = 2, epochs: int = 3, url: str = "") -> Bench:
        monkeypatch.setenv("PRETEND", str(tmp_path))
        source = DataSource("/nowhere", "phantom", "f" * 64)
        members = []
        for number in range(runs):
            protocol = TrainingProtocol(epochs=epochs, seed=number, weights="none")
            run = RunSpec(ModelSetup(backbone="custom1"), protocol, source)
            members.append(Member("a", f"s{number}", "CXR", 0, run, EvaluationProtocol()))
        one = Bench(tmp_path, [member.run.key for member in members], epochs, url)
        one.plan()
        with Store.open(one.database) as store:
            store.add_ablation(Ablation("a", "a.toml", "A", "", "", ("CXR",), (), tuple(members)))
        made.append(one)
        return one

    yield make
    for one in made:
        for process in one.started:
            for child in workers_of(process):
                child.send_signal(signal.SIGKILL)
            process.kill()
            process.communicate()
