"""A worker whose database stays locked, or has no room left: the same command goes on, to equal numbers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmad.api.loading import load_with_data
from mmad.base.records import EpochRecord
from mmad.scheduler.submit import queue_up
from mmad.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_workers")]

#: A real worker that waits a fifth of a second in place of a minute, and meets trouble when it commits its third epoch.
WORKER = """
import sqlite3, sys
from sqlalchemy import event
from mmad.store.store import Store
Store.open.__func__.__kwdefaults__["timeout"] = 0.2
trouble, honest, held = sys.argv[1], Store.commit_epoch, []

def lock(store):
    other = sqlite3.connect(sys.argv[3], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    held.append(other)  # until the worker is gone

def fill(store):
    with store.database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    words = f"PRAGMA max_page_count = {pages}"
    event.listen(store.database.engine, "checkout", lambda raw, *_: raw.execute(words))  # the heartbeat's one too
    for text in ("x" * 1000, "x"):  # and what is free within the pages
        try:
            while True:
                store.add_warning(sys.argv[5], text)
        except Exception:
            pass

def commit(store, key, record, *rest):
    if record.epoch == 3:
        {"locked": lock, "full": fill}[trouble](store)
    return honest(store, key, record, *rest)

Store.commit_epoch = commit
from mmad.scheduler.worker import main
sys.exit(main(sys.argv[2:]))
"""


def epochs(database: Path) -> list[EpochRecord]:
    with Store.open(database, read_only=True) as store:
        (run,) = store.run_records()
        assert run.status == "finished"
        return store.epoch_records(run.key)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, write_tiny: Callable[..., None]) -> Path:
    """A folder with the file."""
    folder = tmp_path_factory.mktemp("stuck")
    write_tiny(folder, epochs=16, pair=False)  # some still fit into what is left of the last pages
    with (folder / "tiny.toml").open("a") as file:
        file.write("steps_per_epoch = 1\n")
    return folder


@pytest.fixture(scope="module")
def undisturbed(world: Path, warm_workers: None) -> Path:
    """The database of the same run without trouble."""
    program = [
        sys.executable,
        "-c",
        "from mmad.cli.app import main; main()",
        "ablate",
        "tiny.toml",
        "--db",
        "calm.sqlite",
    ]
    subprocess.run(program, cwd=world, check=True, capture_output=True)
    return world / "calm.sqlite"


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        ("locked", "another program has kept the database locked; close it or wait"),
        ("full", "no space is left on the disk; free some space"),
    ],
)
def test_the_same_command_goes_on(
    world: Path,
    undisturbed: Path,
    run_mmad: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
    line: str,
) -> None:
    monkeypatch.chdir(world)
    ablation, _ = load_with_data(Path("tiny.toml"), data=None, create=True)
    database = world / f"{trouble}.sqlite"
    (job,) = queue_up([ablation], str(database))
    words = ["--database", str(database), "--key", job.key]
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, trouble, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        said = worker.stdout.read()  # while its standard input stays open: its end would stop the training
        assert worker.wait() == 1
    assert line in said
    with Store.open(database, read_only=True) as store:
        run = store.run(job.key)
        # where not even the status could be written, the run is held by a process that is gone
        assert run.status == "running" or (run.status, line in (run.error or "")) == ("failed", True)
        assert 2 <= run.epochs_done < 16

    again = run_mmad("ablate", "tiny.toml", "--db", database, cwd=world)
    assert again.returncode == 0, again.stderr
    numbers = [[(e.epoch, e.lr, e.metrics) for e in epochs(file)] for file in (database, undisturbed)]
    assert numbers[0] == numbers[1]
    assert [number for number, _, _ in numbers[0]] == list(range(1, 17))


def test_a_database_that_is_deleted_ends_the_command_within_an_epoch(
    tmp_path: Path, write_tiny: Callable[..., None]
) -> None:
    write_tiny(tmp_path, epochs=1000, pair=False)
    words = ["ablate", "tiny.toml", "--db", "db/mmad.sqlite"]
    program = [sys.executable, "-u", "-c", "from mmad.cli.app import main; main()", *words]
    with subprocess.Popen(
        program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as command:
        assert command.stdout is not None
        said: list[str] = []
        for line in command.stdout:
            said.append(line)
            if "epoch 2" in line or " 2/1000" in line:
                break
        for file in (tmp_path / "db").glob("mmad.sqlite*"):
            file.unlink()
        after = command.stdout.read()
        assert command.wait() == 2, "".join(said) + after
    (last,) = (line for line in after.splitlines() if "was deleted or replaced" in line)
    assert last.startswith("mmad: db/mmad.sqlite: was deleted or replaced while it was in use"), last
    assert "finished" not in after
    assert after.count("/1000") + after.count("epoch ") <= 2, after
    assert not (tmp_path / "db" / "mmad.sqlite").exists()
