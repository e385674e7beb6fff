"""A server that crashes and is stopped again and again under working commands: no command ends, no row is lost.

``make stress`` does it for longer. In the environment: ``MMAD_STRESS_RESTARTS`` (how many) and ``MMAD_STRESS_WRITERS``
(commands that train at once).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from postgresql_server import Server
from processes import wait_for
from queue_bench import Bench
from queue_training import numbers

from mmad.store.store import Store

RESTARTS = int(os.environ.get("MMAD_STRESS_RESTARTS", "2"))
WRITERS = int(os.environ.get("MMAD_STRESS_WRITERS", "2"))
EPOCHS = 3 + 2 * RESTARTS
#: How the server ends: as in a crash, or with a word to everybody.
MODES = ("immediate", "fast")


@pytest.fixture
def readers(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command that reads all the time, in a process of its own."""
    started = []

    def start(*words: str) -> subprocess.Popen[str]:
        program = [sys.executable, "-c", "from mmad.cli.app import main; main()", *words]
        files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(program, text=True, cwd=tmp_path, **files))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def epochs_trained(one: Bench) -> int:
    return sum(one.trained().values())


@pytest.mark.slow
@pytest.mark.timeout(300 + 60 * RESTARTS)
def test_no_command_ends_and_no_row_is_lost_in_a_storm_of_restarts(
    server: Server,
    postgresql: str,
    bench: Callable[..., Bench],
    readers: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    one = bench(runs=WRITERS, epochs=EPOCHS, url=postgresql)
    allow = (tmp_path / "allowed").write_text
    allow("1")
    commands = [one.command(cores=1) for _ in range(WRITERS)]
    watch = readers("watch", "--until-done", "--db", postgresql)
    report = readers(
        "report", "--html", "--out", "page.html", "--watch", "--until-done", "--every", "1", "--db", postgresql
    )
    wait_for(lambda: (tmp_path / "page.html").exists() and epochs_trained(one) == WRITERS, 240)
    with Store.open(postgresql, read_only=True) as store:
        for number in range(RESTARTS):
            allow(str(3 + 2 * number))  # the first of them is being recorded when the server ends, the second later
            wait_for(lambda number=number: epochs_trained(one) > WRITERS * (1 + 2 * number), 240)
            with ExitStack() as again:
                again.callback(server.start)
                server.stop(MODES[number % 2])
            assert store.status().ablations
            wait_for(lambda number=number: epochs_trained(one) == WRITERS * (3 + 2 * number), 240)
        assert {run.status for run in store.run_records()} == {"running"}
        allow(str(EPOCHS))
        for process in (*commands, watch, report):
            said = process.communicate(timeout=300)
            assert process.returncode == 0, said
        assert {run.status for run in store.run_records()} == {"finished"}
        assert store.owners() == {}
        rows = {key: [numbers(record) for record in store.epoch_records(key)] for key in one.keys}
    assert set(one.trained().values()) == {1}  # no epoch was trained a second time
    assert all([row[0] for row in of_run] == list(range(1, EPOCHS + 1)) for of_run in rows.values())
    assert len({str(of_run) for of_run in rows.values()}) == 1  # equal to one another, bit for bit
