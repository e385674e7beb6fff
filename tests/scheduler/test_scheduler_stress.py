"""Two commands on one database, with workers, schedulers, or both killed all the time: every number comes out the same.

``make stress`` does it for longer. In the environment: ``MMAD_STRESS_RUNS`` (how many), ``MMAD_STRESS_KILLS`` (at
least so many), ``MMAD_STRESS_SECONDS`` (then nothing is killed any more) and ``MMAD_STRESS_SEED`` (of who is killed
when).
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from processes import one_core, wait_for
from queue_bench import workers_of
from queue_training import processes_that_name, results

from mmad.store.store import Store

RUNS = int(os.environ.get("MMAD_STRESS_RUNS", "4"))
KILLS = int(os.environ.get("MMAD_STRESS_KILLS", "4"))
SECONDS = float(os.environ.get("MMAD_STRESS_SECONDS", "0"))
SEED = int(os.environ.get("MMAD_STRESS_SEED", "0"))
EPOCHS = 3

FILE = f"""\
title = "Stress"
[phantom]
studies = 16
image_size = 64
[setup]
backbone = "custom1"
pretrained = false
image_size = 64
batch_size = 2
backbone_out_channels = 4
representation_size = 8
clinical_expand_conv_channels = 4
box_head_dropout_rate = 0.2
lr = 0.01
[arms.CXR]
use_clinical = false
[arms."CXR+Clinical"]
use_clinical = true
[protocol]
epochs = {EPOCHS}
steps_per_epoch = 3
seeds = {list(range(RUNS // 2))}
"""
DATABASE = "db/mmad.sqlite"


class Commands:
    """``mmad ablate`` in processes of their own in ``folder``, known by ``mark`` with all that they start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = f"stress-{uuid.uuid4()}"
        self.log = folder / "commands.log"

    def start(self) -> subprocess.Popen[str]:
        program = [sys.executable, "-m", "mmad", "ablate", "stress.toml"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MMAD_")}
        with self.log.open("a") as log:
            return subprocess.Popen(
                [*program, "--device", "cpu", "--db", DATABASE],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                cwd=self.folder,
                env=kept | {"STRESS": self.mark, "TERM": "dumb", "MMAD_CACHE": os.environ["MMAD_CACHE"]},
                preexec_fn=one_core,
            )

    def everybody_gone(self) -> bool:
        return not processes_that_name(self.mark)


def statuses(database: Path) -> Counter[str]:
    with Store.open(database, read_only=True) as store:
        return Counter(run.status for run in store.run_records())


def committed(database: Path) -> int:
    with Store.open(database, read_only=True) as store:
        return sum(map(len, store.all_epochs([run.key for run in store.run_records()]).values()))


def torment(commands: Commands, database: Path, chance: random.Random) -> Counter[str]:
    """Kills until the budget is used up and starts again what it killed, until all runs are finished."""
    running = [commands.start(), commands.start()]
    wait_for(lambda: database.exists() and _answers(database) and statuses(database).total() == RUNS)
    killed: Counter[str] = Counter()
    end = time.monotonic() + SECONDS
    while statuses(database)["finished"] < RUNS:
        if time.monotonic() < end or killed.total() < KILLS:
            _wait_a_little(database, chance)
            killed[_kill(running, chance)] += 1
        else:
            time.sleep(0.2)
        running = [one if one.poll() is None else commands.start() for one in running]
    for one in running:
        assert one.wait(600) == 0, commands.log.read_text()[-4000:]
    return killed


def _answers(database: Path) -> bool:
    try:
        return bool(statuses(database)) or True
    except Exception:
        return False


def _wait_a_little(database: Path, chance: random.Random) -> None:
    """Mostly until another epoch is committed, so that there is an end; sometimes in the middle of a start."""
    end = time.monotonic() + chance.uniform(0.0, 3.0)
    before, patience = committed(database), time.monotonic() + 30
    if chance.random() < 0.7:
        while committed(database) == before and time.monotonic() < patience and statuses(database)["finished"] < RUNS:
            time.sleep(0.05)
        end = time.monotonic() + chance.uniform(0.0, 0.4)
    time.sleep(max(0.0, end - time.monotonic()))


def _kill(running: list[subprocess.Popen[str]], chance: random.Random) -> str:
    """SIGKILL for a worker, a scheduler, or everybody; what it was."""
    victim = chance.choice(["worker", "worker", "scheduler", "everybody"])
    chosen = running if victim == "everybody" else [chance.choice(running)]
    workers = [worker for one in chosen for worker in workers_of(one)]
    if victim == "worker":
        for worker in workers[:1]:
            worker.send_signal(signal.SIGKILL)
        return victim if workers else "nobody"
    for one in chosen:
        one.send_signal(signal.SIGKILL)
    if victim == "everybody":
        for worker in workers:
            try:
                worker.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
    for one in chosen:
        one.wait()
    return victim


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
@pytest.mark.timeout(max(1200, 4 * SECONDS))
def test_whatever_is_killed_every_number_is_that_of_an_undisturbed_queue(tmp_path: Path) -> None:
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    for folder in (calm, stormy):
        folder.mkdir()
        (folder / "stress.toml").write_text(FILE)
    reference = Commands(calm)
    assert reference.start().wait(600) == 0, reference.log.read_text()[-4000:]

    commands, database = Commands(stormy), stormy / DATABASE
    killed = torment(commands, database, random.Random(SEED))
    print(f"killed: {dict(killed)}")
    assert killed.total() >= min(KILLS, 1)

    with Store.open(database, read_only=True) as store:
        runs = store.run_records()
        owners, held = store.owners(), [run.key for run in runs if run.stop_asked]
    keys = [run.key for run in runs]
    assert {run.status for run in runs} == {"finished"}
    assert (owners, held) == ({}, [])
    assert results(str(database), keys) == results(str(calm / DATABASE), keys)
    with closing(sqlite3.connect(database)) as bare, bare:
        assert bare.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = Counter(bare.execute("SELECT run_key, epoch FROM epochs").fetchall())
        assert rows == {(key, epoch): 1 for key in keys for epoch in range(1, EPOCHS + 1)}
        assert bare.execute("SELECT max(replaced) FROM epochs").fetchone() == (0,)
        assert bare.execute("SELECT count(*) FROM runs WHERE heartbeat IS NOT NULL").fetchone() == (0,)
    wait_for(commands.everybody_gone)
    wait_for(reference.everybody_gone)
