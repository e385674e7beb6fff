"""What the queue and the record cost: runs that do nothing, epochs, 10,000 queued runs, and a real training.

Run it with `make bench`, or `python benchmarks/scheduling.py`. Runs that do nothing go through the real scheduler,
worker, store and log; only their training is pretended. Beside them stand trials that do nothing in Optuna and in Ray
Tune, where these are installed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmad.base.records import CheckpointRecord, EpochRecord, EvaluationRecord, Metric
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.scheduler.devices import Slots
from mmad.scheduler.jobs import Job
from mmad.scheduler.progress import PlainView
from mmad.scheduler.scheduler import Options, run_jobs
from mmad.store.claims import Owner
from mmad.store.store import Store

ROOT = Path(__file__).resolve().parents[1]
PRETENDING = ROOT / "tests/scheduler/programs/pretending_worker.py"
TRAINING = {
    "backbone": "custom1",
    "image_size": 64,
    "pretrained": False,
    "batch_size": 4,
    "use_clinical": False,
    "lr": 0.01,
}


def members(count: int, epochs: int = 1) -> list[Member]:
    source = DataSource("/nowhere", "set", "f" * 64)
    setup = ModelSetup(backbone="custom1")
    protocols = [TrainingProtocol(epochs=epochs, seed=seed, weights="none") for seed in range(count)]
    return [
        Member("many", "s", "CXR", seed, RunSpec(setup, protocol, source), EvaluationProtocol())
        for seed, protocol in enumerate(protocols)
    ]


def queued(database: Path, wanted: Sequence[Member]) -> list[Job]:
    with Store.open(database) as store:
        store.add_ablation(Ablation("many", "many.toml", "Many", "", "", ("CXR",), (), tuple(wanted)))
    return [Job(m.run.key, "many", "s", "CXR", m.seed, m.run.protocol.epochs) for m in wanted]


def epoch(number: int) -> tuple[EpochRecord, list[CheckpointRecord], list[EvaluationRecord]]:
    """All that is committed with an epoch that becomes the best."""
    from mmad.base.clock import now

    names = ("loss", "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg")
    values = [Metric(split, name, 0.5) for split in ("train", "val", "test") for name in names]
    values += [Metric(s, n, 0.5) for s in ("val", "test") for n in ("ap_iou", "ar_iou", "ap_iobb", "ar_iobb")]
    file = CheckpointRecord("best_ap", number, f"checkpoints/{number}.pt", "c" * 64, 10**6, now())
    judged = [
        EvaluationRecord("best_ap", number, split, overlap, 0.5, 10, "clean", 0.5, 0.5)
        for split in ("val", "test")
        for overlap in ("iou", "iobb")
    ]
    return EpochRecord(number, 1e-3, 1.0, 2**30, tuple(values)), [file], judged


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def fsyncs(folder: Path, times: int = 60) -> list[float]:
    """Seconds that one page and its fsync take on the disk of ``folder``."""
    took = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            file.flush()
            took.append(timed(lambda: os.fsync(file.fileno())))
    return took


def bench_epochs(folder: Path, epochs: int) -> None:
    wanted = members(1, epochs)
    queued(folder / "epochs.sqlite", wanted)
    key, me = wanted[0].run.key, Owner.current()
    disk, took = [], []
    with Store.open(folder / "epochs.sqlite") as store:
        store.claim([key], me)
        for number in range(1, epochs + 1):
            record, files, judged = epoch(number)
            took.append(timed(lambda: store.commit_epoch(key, record, files, judged, me)))  # noqa: B023
            if number % 5 == 0:
                disk += fsyncs(folder, 2)
    wait, each = statistics.median(disk), statistics.median(took)
    print(f"fsync of this disk            {1000 * wait:6.2f} ms")
    print(f"an epoch committed            {1000 * each:6.2f} ms: {(each - 1e-3) / wait:.2f} fsyncs + 1 ms (target: 3)")


@contextlib.contextmanager
def pretended(folder: Path, plan: dict[str, Any]) -> Iterator[Options]:
    (folder / "plan.json").write_text(json.dumps(plan))
    os.environ["PRETEND"] = str(folder)
    try:
        yield Options(command=(sys.executable, str(PRETENDING), "--serve"))
    finally:
        del os.environ["PRETEND"]


class Clocked(PlainView):
    """A view that notes when runs end."""

    def __init__(self) -> None:
        super().__init__(io.StringIO(), io.StringIO())
        self.moments: list[float] = []

    def ended(self, state: Any) -> None:
        self.moments.append(time.perf_counter())
        super().ended(state)


def bench_runs(folder: Path, count: int, places: int) -> None:
    jobs = queued(folder / "runs.sqlite", members(count))
    view, used = Clocked(), time.process_time()
    with pretended(folder, {job.key: {"steps": 0} for job in jobs}) as options:
        begun = time.perf_counter()
        run_jobs(str(folder / "runs.sqlite"), jobs, Slots(cores=places), view, options)
        whole = time.perf_counter() - begun
    with Store.open(folder / "runs.sqlite", read_only=True) as store:
        assert {run.status for run in store.run_records()} == {"finished"}
    started = len({line.split()[2] for line in (folder / "trace").read_text().splitlines()})
    steady = (count - places) / (view.moments[-1] - view.moments[places - 1])
    print(f"runs that do nothing          {steady:6.1f} per second on {places} places (target: 20)")
    print(f"  with the start of workers   {count / whole:6.1f} per second over {count} runs, {started} processes")
    print(f"  the scheduler's CPU time    {1000 * (time.process_time() - used) / count:6.2f} ms per run")


def bench_many(folder: Path, count: int) -> None:
    database = folder / "many.sqlite"
    jobs = queued(database, members(count))
    took, keyed, waits, me = [], [], [], Owner.current()
    with Store.open(database, create=False) as store:
        for number in range(20):
            took.append(timed(lambda: store.claim(None, me)))
            keyed.append(timed(lambda: store.claim([jobs[100 + number].key], me)))  # noqa: B023
            waits += fsyncs(folder, 2)
    wait = 1000 * statistics.median(waits)
    print(f"of {count:,} queued runs one is claimed")
    for name, values in (("whichever is next", took), ("by its key", keyed)):
        each = 1000 * statistics.median(values)
        print(f"  {name:27} {each:5.2f} ms, of which the disk has {wait:.2f} ms (target: 5)")
    words = [sys.executable, "-c", "from mmad.cli.app import main; main()", "status", "--db", str(database)]
    seconds = [timed(lambda: subprocess.run(words, check=True, capture_output=True, cwd=folder)) for _ in range(3)]
    print(f"mmad status, start to end     {min(seconds):6.2f} s, best of 3 (target: 1)")
    stub = _NoRoom()
    view = Clocked()
    from mmad.scheduler.scheduler import Scheduler

    with Store.open(database, create=False) as store:
        used = time.process_time()
        scheduler = Scheduler(store, jobs, stub, view, stub.interrupts, Options())  # type: ignore[arg-type]
        scheduler.run()
        busy = (time.process_time() - used) / stub.seconds
    print(f"a scheduler of {count:,} runs that waits takes {100 * busy:.1f} % of a core")


class _NoRoom:
    """An executor that never has room; after some seconds the user presses Ctrl-C."""

    def __init__(self) -> None:
        self.slots = Slots(cores=1)
        self.seconds, self._begun = 10.0, time.perf_counter()

    def interrupts(self) -> int:
        return int(time.perf_counter() - self._begun > self.seconds)

    def submit(self, state: Any) -> bool:
        return False

    def poll(self, seconds: float) -> list[Any]:
        time.sleep(seconds)
        return []


def bench_training(folder: Path, epochs: int, rounds: int) -> None:
    """The same training called from Python, and as a worker does it: claimed, recorded, with a heartbeat."""
    from mmad.base.paths import RunPaths
    from mmad.data.phantom.generate import make_phantom
    from mmad.scheduler.supervisor_link import SupervisorLink, TrainRequest
    from mmad.scheduler.worker import carry_out
    from mmad.training.trainer import train

    dataset = make_phantom(folder / "phantom", studies=48, image_size=64)
    source = DataSource(str(dataset.root), dataset.name, dataset.fingerprint())
    silence = SupervisorLink(os.open(os.devnull, os.O_WRONLY))
    figures: dict[str, list[tuple[float, float]]] = {"python": [], "queue": []}
    for number in range(rounds + 1):
        protocol = TrainingProtocol(epochs=epochs if number else 1, seed=number, weights="none")
        spec = RunSpec(ModelSetup(**TRAINING), protocol, source)  # type: ignore[arg-type]
        database = folder / f"training-{number}.sqlite"
        queued(database, [Member("many", "s", "CXR", 0, spec, EvaluationProtocol())])
        request = TrainRequest(str(database), spec.key)
        run = RunPaths(folder / f"alone-{number}")
        ways: dict[str, Callable[[], Any]] = {
            "python": lambda: train(spec, dataset_path=dataset.root, run=run, recorder=_Silent()),  # noqa: B023
            "queue": lambda: carry_out(request, silence),  # noqa: B023
        }
        for name in sorted(ways, reverse=number % 2 == 0):
            used, begun = time.process_time(), time.perf_counter()
            ended = ways[name]()
            if number:  # the first one warms up
                figures[name].append((time.perf_counter() - begun, time.process_time() - used))
            assert name == "python" or ended.status == "finished", ended
    wall = [q[0] / p[0] for p, q in zip(figures["python"], figures["queue"], strict=True)]
    cpu = [q[1] / p[1] for p, q in zip(figures["python"], figures["queue"], strict=True)]
    took = statistics.median(p[0] for p in figures["python"])
    print(f"training of {epochs} epochs ({took:.1f} s) under the queue against called from Python (target: 1.03)")
    print(
        f"  wall time {statistics.median(wall):.3f} ({_all(wall)}), CPU time {statistics.median(cpu):.3f} ({_all(cpu)})"
    )


def _all(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


class _Silent:
    """A recorder that keeps nothing."""

    def started(self, environment: Any, counts: Any) -> None: ...

    def epoch(self, record: Any, checkpoints: Any, evaluations: Any) -> None: ...

    def warning(self, text: str) -> None: ...

    def progress(self, progress: Any) -> None: ...


def bench_optuna(folder: Path, count: int) -> None:
    if importlib.util.find_spec("optuna") is None:
        print("Optuna is not installed")
        return
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{folder}/optuna.sqlite")

    def trial(trial: Any) -> float:
        trial.suggest_float("lr", 0.0, 1.0)
        trial.report(0.5, 1)
        return 0.5

    seconds = timed(lambda: study.optimize(trial, n_trials=count))
    name = f"Optuna {optuna.__version__}, SQLite, 1 thread"
    print(f"trials that do nothing        {count / seconds:6.1f} per second in {name}")


def bench_ray(folder: Path, count: int, places: int) -> None:
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("ray.tune") is None:
        print("Ray Tune is not installed")
        return
    import ray
    from ray import tune

    def trial(config: dict[str, Any]) -> None:
        tune.report({"ap": 0.5})

    ray.init(num_cpus=places, include_dashboard=False, log_to_driver=False)
    space = {"lr": tune.uniform(0.0, 1.0)}
    settings = tune.TuneConfig(num_samples=count)
    tuner = tune.Tuner(
        trial, param_space=space, tune_config=settings, run_config=tune.RunConfig(storage_path=str(folder))
    )
    seconds = timed(tuner.fit)
    ray.shutdown()
    print(
        f"trials that do nothing        {count / seconds:6.1f} per second in Ray Tune {ray.__version__}, {places} CPUs"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="runs that do nothing")
    parser.add_argument("--places", type=int, default=2)
    parser.add_argument("--many", type=int, default=10_000, help="queued runs")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of the real training")
    parser.add_argument("--rounds", type=int, default=3, help="how often it is trained each way")
    parser.add_argument("--ray", type=int, default=0, metavar="N", help="beside N trials in Ray Tune")
    parser.add_argument("--folder", type=Path, default=ROOT, help="on which disk")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix=".bench-") as name:
        folder = Path(name)
        bench_epochs(folder, 50)
        bench_runs(folder, given.runs, given.places)
        bench_optuna(folder, given.runs)
        if given.ray:
            bench_ray(folder, given.ray, given.places)
        bench_many(folder, given.many)
        if given.rounds:
            bench_training(folder, given.epochs, given.rounds)


if __name__ == "__main__":
    main()
