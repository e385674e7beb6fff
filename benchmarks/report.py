"""What a report costs: 200 (or 1,000) runs of 100 epochs cold, warm and with one run changed; importing a log.

Everything is made up in a temporary folder. Run it with `make bench`, or `python benchmarks/report.py --runs 1000`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import delete, select, update
from support.report_store import make_store

from mmad.data.phantom.generate import make_phantom
from mmad.store.schema import analyses, metric_names, run_metrics, runs
from mmad.store.store import Store

MMAD = (sys.executable, "-c", "import sys; from mmad.cli.app import main; sys.exit(main())")
STUDIES, SIDE = 1000, 64


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds of a command and its helpers, and the largest resident set among them in MiB."""

    wall: float
    cpu: float
    peak: float

    def line(self, name: str, target: float | None = None) -> str:
        aim = "" if target is None else f"   {self.wall / target:5.2f} of the {target:g} s aimed at"
        return f"  {name:28} {self.wall:7.1f} s wall {self.cpu:7.1f} s CPU {self.peak:7.0f} MiB{aim}"


def mmad(folder: Path, *words: str) -> Cost:
    """Runs ``mmad`` in ``folder`` and measures it."""
    begun = time.perf_counter()
    silent = os.open(os.devnull, os.O_WRONLY)
    way = [(os.POSIX_SPAWN_DUP2, silent, 1)]
    environment = {"PYTHONPATH": str(Path.cwd())} | os.environ
    child = os.posix_spawn(MMAD[0], [*MMAD, *words], environment, file_actions=way)
    _, status, used = os.wait4(child, 0)
    os.close(silent)
    if status:
        raise SystemExit(f"mmad {' '.join(words)} failed")
    return Cost(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def size(path: Path) -> float:
    """Megabytes of a file, or of a folder's files."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files) / 1e6


def cold(database: Path) -> None:
    """Forgets every interval."""
    with Store.open(database) as store, store.database.writing() as connection:
        connection.execute(delete(analyses))


def change(database: Path, key: str) -> None:
    """Gives one run another course of its validation loss."""
    with Store.open(database) as store, store.database.writing() as connection:
        c, name = run_metrics.c, metric_names.c
        run = select(runs.c.id).where(runs.c.key == key).scalar_subquery()
        loss = select(name.id).where(name.split == "val", name.name == "loss").scalar_subquery()
        shifted = c.value + 0.01 * np.random.default_rng().random()
        connection.execute(update(run_metrics).where(c.run == run, c.metric == loss).values(value=shifted))


def report(folder: Path, runs: int, epochs: int) -> None:
    """One store; its report cold, warm, and with one run changed, as one file or as pages."""
    dataset = make_phantom(folder / "phantom", studies=STUDIES, image_size=SIDE)
    database = folder / "db" / "mmad.sqlite"
    begun = time.perf_counter()
    keys = make_store(database, dataset, runs, epochs)
    print(f"{runs} runs x {epochs} epochs, {len(dataset.split('test'))} test studies", end="")
    print(f" (made in {time.perf_counter() - begun:.0f} s, {size(database):.0f} MB)")
    many = runs > 300
    form = ("--pages",) if many else ("--one-file",)
    out = folder / "reports" / "index.html"
    words = ("report", *form, "--db", str(database), "--out", str(out))
    cold(database)
    print(mmad(folder, *words).line("cold", 240 if many else 60))
    print(mmad(folder, *words).line("warm", 10 if many else 8))
    change(database, keys[len(keys) // 2])
    print(mmad(folder, *words).line("one run changed", 3))
    whole, largest = size(out.parent), max(map(size, out.parent.rglob("*.html")))
    aim = "" if many else f" ({whole / 25:.2f} of the 25 MB aimed at)"
    print(f"  report of {whole:.1f} MB{aim}, the largest file {largest:.1f} MB")


def log(folder: Path, file: Path) -> None:
    """Importing an experiment log."""
    cost = mmad(folder, "log", "import", str(file), "--db", str(folder / "log.sqlite"))
    print(f"{file.name} ({file.stat().st_size / 1e6:.1f} MB)")
    print(cost.line("mmad log import", 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="a multiple of 20")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--log", type=Path, metavar="FILE", help="an experiment log to import")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this new folder, and keep it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        report(folder, options.runs, options.epochs)
        if options.log is not None:
            log(folder, options.log)


if __name__ == "__main__":
    main()
