"""What a store of many runs takes: the disk, and the CPU seconds of the commands that a person waits for.

Run it with `make bench`, or `python benchmarks/store.py`. The size is that of 1,000 runs of 100 epochs, beside that of
the same rows in the schema before, which repeated the run's key in each.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from alembic import command
from support.rows import put_epochs

from mmad.base.clock import now
from mmad.base.records import LOSS_COMPONENTS, SPLITS, EpochRecord, Metric
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.data.phantom.generate import make_phantom
from mmad.store.migrate import _config
from mmad.store.store import Store

MMAD = (sys.executable, "-c", "import sys; from mmad.cli.app import main; sys.exit(main())")
ARMS = ("CXR", "CXR+Clinical")


def ablation(name: str, count: int, shift: int = 0) -> Ablation:
    """``count`` members: a pair of arms, and as many seeds as it takes."""
    source = DataSource("/data/set", "set", "f" * 64)
    members = []
    for number in range(count):
        arm = ARMS[number % 2]
        protocol = TrainingProtocol(epochs=100, seed=shift + number // 2, weights_hash="a" * 64)
        run = RunSpec(ModelSetup(use_clinical=arm != ARMS[0]), protocol, source)
        members.append(Member(name, "default", arm, shift + number // 2, run, EvaluationProtocol()))
    return Ablation(name, f"{name}.toml", name, "", "", ARMS, (ARMS,), tuple(members))


def epoch(number: int) -> EpochRecord:
    """All that a training with every split records."""
    values = [Metric(split, name, 0.5 / number) for split in SPLITS for name in ("loss", *LOSS_COMPONENTS)]
    values += [Metric(s, n, 0.5) for s in SPLITS for n in ("ap_iou", "ar_iou", "ap_iobb", "ar_iobb")]
    return EpochRecord(number, 1e-3, 20.0 + number, 2**30, tuple(values))


def bench_size(folder: Path, runs: int, epochs: int) -> None:
    database = folder / "size.sqlite"
    with Store.open(database) as store:
        store.add_ablation(ablation("size", runs))
        records = [epoch(number) for number in range(1, epochs + 1)]
        with store.database.writing() as connection:
            for run in store.run_records():
                put_epochs(connection, run.key, records, now())
    size = database.stat().st_size / 1e6
    with Store.open(database) as store, store.database.upgrading() as connection:
        command.downgrade(_config(connection), "0005")
    with closing(sqlite3.connect(database)) as bare:
        bare.execute("VACUUM")
    used = time.process_time()
    Store.open(database).close()
    print(f"{runs} runs of {epochs} epochs, {len(records[0].metrics)} metrics each")
    print(f"  size                   {size:8.1f} MB (target: 100)")
    print(f"  size before            {(folder / 'size.sqlite.0005.backup').stat().st_size / 1e6:8.1f} MB")
    after, used = database.stat().st_size / 1e6, time.process_time() - used
    print(f"  size after the upgrade {after:8.1f} MB, which took {used:.1f} s of CPU time")


def spent(*words: str) -> float:
    """CPU seconds of ``mmad``, the least of three."""
    return min(_spent(words) for _ in range(3))


def _spent(words: tuple[str, ...]) -> float:
    silent = os.open(os.devnull, os.O_WRONLY)
    environment = {"PYTHONPATH": str(Path.cwd())} | os.environ
    child = os.posix_spawn(MMAD[0], [*MMAD, *words], environment, file_actions=[(os.POSIX_SPAWN_DUP2, silent, 1)])
    _, status, used = os.wait4(child, 0)
    os.close(silent)
    if status:
        raise SystemExit(f"mmad {' '.join(words)} failed")
    return used.ru_utime + used.ru_stime


FILE = """title = "Many"
description = "As many members as seeds and arms."
[setup]
backbone = "custom1"
pretrained = false
[arms.CXR]
use_clinical = false
[arms."CXR+Clinical"]
use_clinical = true
[protocol]
epochs = 100
seeds = {seeds}
"""


def bench_commands(folder: Path, runs: int) -> None:
    """Queued runs, and an ablation of four among them."""
    with Store.open(folder / "many.sqlite") as store:
        store.add_ablation(ablation("many", runs))
        store.add_ablation(ablation("few", 4, shift=runs))
    dataset = make_phantom(folder / "phantom", studies=24, image_size=64)
    file = folder / "file.toml"
    file.write_text(FILE.format(seeds=list(range(runs // 2))))
    print(f"{runs:,} runs, CPU time of a command from start to end, the least of 3")
    here = ("--db", str(folder / "many.sqlite"))
    for words in (("runs",), ("runs", "--ablation", "few"), ("runs", "--json"), ("status",)):
        print(f"  mmad {' '.join(words):24} {spent(*words, *here):6.2f} s")
    print(f"  mmad plan                     {spent('plan', str(file), '--data', str(dataset.root), *here):6.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--sized", type=int, default=1_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench_size(folder, given.sized, 100)
        bench_commands(folder, given.runs)


if __name__ == "__main__":
    main()
