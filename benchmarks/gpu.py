"""Everything about a GPU that cannot be known without one, in at most eight minutes on one card.

Each stage is a process with a time limit of its own, and its figures are printed and written as soon as it ends, so
that a stage that hangs or fails costs no other one. Run it with `python benchmarks/gpu.py`; with `--device cpu --tiny`
it goes through the same stages on any machine, where the figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from step import SETUPS
from support.torchvision_twin import Twin, plain

from mmad.base.errors import StoreError
from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config.setup import ModelSetup
from mmad.detector.build import build_detector
from mmad.detector.roi_heads import CLEAN, RoiMode
from mmad.scheduler.worker import retry_of, shortage
from mmad.training.device import (
    channels_last,
    describe_environment,
    in_layout,
    open_device,
    peak_memory,
    prepare_process,
    reset_peak_memory,
)

ROOT = Path(__file__).resolve().parents[1]
TINY = {"image_size": 64}
#: Runs at once, and seconds that they are counted for.
TOGETHER = (1, 2, 4, 8)
SAMPLED = RoiMode(add_ground_truth=True, detect="none")

Losses = dict[str, torch.Tensor]


class Bench:
    """What every stage is given: the device, and whether all is tiny."""

    def __init__(self, device: str, *, tiny: bool) -> None:
        self.name, self.tiny = device, tiny
        self.device = open_device(device)

    def setups(self) -> dict[str, tuple[dict[str, Any], int]]:
        """The log's four main setups with images per batch; the first alone, smaller, when tiny."""
        if not self.tiny:
            return {name: (fields, 8) for name, (fields, _) in SETUPS.items()}
        name, (fields, _) = next(iter(SETUPS.items()))
        return {name: (fields | TINY, 2)}

    def ready(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Steps:
    """Optimiser steps of one detector on images that are the same everywhere."""

    def __init__(
        self,
        device: torch.device,
        fields: dict[str, Any],
        images: int,
        *,
        twin: bool = False,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.setup = ModelSetup(pretrained=False, **fields)
        prepare_process(1, 0, device, tf32=self.setup.tf32)
        self.device, self.autocast, self.twin, side = device, autocast, twin, self.setup.image_size
        chance = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (images, 1, side, side), dtype=torch.uint8, generator=chance)
        held = device if twin else torch.device("cpu")  # where each wants its targets
        box = torch.tensor([[0.1, 0.2, 0.4, 0.6], [0.5, 0.3, 0.9, 0.8]], device=held) * side
        labels = torch.tensor([1, 4], device=held)
        self.targets = [{"boxes": box.clone(), "labels": labels} for _ in range(images)]
        numbers = 18 if self.setup.missing_indicators else 9
        self.clinical = torch.randn((images, numbers), generator=chance), torch.zeros((images, 1), dtype=torch.long)
        self.clinical = self.clinical[0].to(device), self.clinical[1].to(device)
        model = build_detector(self.setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0)
        self.model = in_layout(model.train().to(device), channels_last(self.setup, device))
        self.called = Twin(self.model).train().to(device) if twin else self.model
        self.pixels = plain(pixels.to(device)) if twin else pixels.to(device)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.SGD(trained, lr=1e-4, momentum=0.9)

    def _half(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.autocast is None else torch.autocast(self.device.type, dtype=self.autocast)

    def losses(self, mode: RoiMode = SAMPLED) -> Losses:
        """The loss components of the batch as the model is now."""
        with self._half():
            if self.twin:
                return dict(self.called(self.pixels, self.targets, *self.clinical))
            return dict(self.called(self.pixels, self.targets, *self.clinical, mode).losses)

    def step(self, mode: RoiMode = SAMPLED) -> torch.Tensor:
        """One optimiser step; the loss before it, on the device."""
        self.optimiser.zero_grad(set_to_none=True)
        loss = torch.stack([one.float() for one in self.losses(mode).values()]).sum()
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    @torch.no_grad()
    def detections(self) -> list[dict[str, torch.Tensor]]:
        """What the model finds in the batch."""
        self.model.eval()
        found = self.model(self.pixels, self.targets, *self.clinical, CLEAN).detections
        self.model.train()
        return [{key: value.cpu() for key, value in one.items()} for one in found]


def agreement(bench: Bench) -> dict[str, Any]:
    """Detections of the device against the CPU's, and losses without sampling's random numbers: to 1e-4."""
    found: dict[str, Any] = {}
    for name, (fields, _) in bench.setups().items():
        mine = Steps(bench.device, fields, 2)
        theirs = Steps(torch.device("cpu"), fields, 2)
        theirs.model.load_state_dict({key: value.cpu() for key, value in mine.model.state_dict().items()})
        here, there = mine.detections(), theirs.detections()
        counts = [(len(a["boxes"]), len(b["boxes"])) for a, b in zip(here, there, strict=True)]
        close = all(
            a["boxes"].shape == b["boxes"].shape
            and torch.allclose(a["scores"], b["scores"], atol=1e-4)
            and torch.allclose(a["boxes"], b["boxes"], rtol=1e-4, atol=1e-2)
            for a, b in zip(here, there, strict=True)
        )
        with torch.no_grad():
            pairs = [
                (float(a), float(b)) for a, b in zip(mine.losses().values(), theirs.losses().values(), strict=True)
            ]
        found[name] = {"counts": counts, "close": close, "losses": pairs}
    return found


def precision(bench: Bench) -> dict[str, Any]:
    """The loss of ten steps in each precision, against single precision: the largest relative difference."""
    fields, images = next(iter(bench.setups().values()))
    kinds: dict[str, dict[str, Any]] = {"float32": {}, "again": {}, "bfloat16": {"autocast": torch.bfloat16}}
    if bench.device.type == "cuda":
        kinds |= {"float16": {"autocast": torch.float16}, "tf32": {"more": {"tf32": True}}}
    curves: dict[str, list[float]] = {}
    for kind, given in kinds.items():
        steps = Steps(bench.device, fields | given.get("more", {}), images, autocast=given.get("autocast"))
        curves[kind] = [float(steps.step()) for _ in range(2 if bench.tiny else 10)]
    plain_losses = curves["float32"]
    return {
        kind: max(abs(a - b) / max(abs(b), 1e-9) for a, b in zip(curve, plain_losses, strict=True))
        for kind, curve in curves.items()
        if kind != "float32"
    }


def speed(bench: Bench) -> dict[str, Any]:
    """Images a second and peak memory of the four setups, and torchvision's own detector in the same process."""
    kinds: dict[str, dict[str, Any]] = {"float32": {}, "torchvision": {"twin": True}}
    if bench.device.type == "cuda":
        kinds |= {
            "AMP": {"autocast": torch.float16},
            "torchvision AMP": {"twin": True, "autocast": torch.float16},
            "AMP channels_last": {"autocast": torch.float16, "more": {"channels_last": True}},
        }
    found: dict[str, Any] = {}
    for name, (fields, images) in bench.setups().items():
        rows = found[name] = {}
        for kind, given in kinds.items():
            options = {key: value for key, value in given.items() if key != "more"}
            steps = Steps(bench.device, fields | given.get("more", {}), images, **options)
            rate = _steps_per_second(bench, steps, 3.0)
            reset_peak_memory(bench.device)
            steps.step()
            rows[kind] = {"images_per_s": images * rate, "peak_mib": peak_memory(bench.device) / 2**20}
            del steps
    return found


def _steps_per_second(bench: Bench, steps: Steps, limit: float) -> float:
    rounds, warm = (1, 1) if bench.tiny else (200, 5)
    for _ in range(warm):
        steps.step()
    bench.ready()
    begun, done = time.perf_counter(), 0
    while done < rounds and time.perf_counter() - begun < limit:
        steps.step()
        done += 1
    bench.ready()
    return done / (time.perf_counter() - begun)


def synchronisations(bench: Bench) -> dict[str, Any]:
    """How often the process waits for the device in one step with its detections, and where: at most four times."""
    if bench.device.type != "cuda":
        return {"skipped": "needs a GPU"}
    found: dict[str, Any] = {}
    for name, (fields, images) in bench.setups().items():
        steps = Steps(bench.device, fields, images)
        steps.step()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                steps.step(RoiMode(add_ground_truth=True, detect="proposals"))
            finally:
                torch.cuda.set_sync_debug_mode("default")
        places = sorted({f"{Path(one.filename).name}:{one.lineno}" for one in caught})
        found[name] = {"count": len(caught), "places": places}
    return found


def together(bench: Bench) -> dict[str, Any]:
    """Steps a second of 1, 2, 4 and 8 processes at once, as a multiple of one's."""
    counts = TOGETHER[:2] if bench.tiny else TOGETHER
    rates: dict[int, float] = {}
    for count in counts:
        words = [sys.executable, __file__, "--device", bench.name, "--stage", "_alone", *["--tiny"] * bench.tiny]
        started = [
            subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) for _ in range(count)
        ]
        for process in started:  # each is warm when it says so
            assert process.stdout is not None
            process.stdout.readline()
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        rates[count] = sum(float(process.communicate()[0]) for process in started)
    return {str(count): {"steps_per_s": rate, "times_one": rate / rates[1]} for count, rate in rates.items()}


def _alone(bench: Bench) -> None:
    fields, images = next(iter(bench.setups().values()))
    steps = Steps(bench.device, fields, images)
    steps.step()
    bench.ready()
    print("warm", flush=True)
    sys.stdin.readline()
    print(_steps_per_second(bench, steps, 6.0))


def memory(bench: Bench) -> dict[str, Any]:
    """Out of memory for real: what mmad makes of it, and that a smaller batch trains afterwards."""
    if bench.device.type != "cuda":
        return {"skipped": "needs a GPU"}
    fields, images = next(iter(bench.setups().values()))
    total = torch.cuda.get_device_properties(bench.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2**30 / total), bench.device)
    try:
        Steps(bench.device, fields | {"image_size": 1024}, 64).step()
    except Exception as error:
        torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
        answer = {"message": str(error)[:200], "retry": retry_of(error), "shortage": str(shortage(error, bench.name))}
        error.__traceback__ = None
    else:
        return {"failed": "64 images of 1024 pixels fitted into 1 GiB"}
    torch.cuda.empty_cache()
    return answer | {"afterwards": float(Steps(bench.device, fields, images).step())}


def resume(bench: Bench) -> dict[str, Any]:
    """A training killed in its second epoch is finished by the same command."""
    with _database() as database:
        words = _ablate(bench, database, epochs=3)
        first = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while first.poll() is None and not _epochs(database):
            time.sleep(0.2)
        killed = first.poll() is None
        if killed:
            os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        before = _epochs(database)
        done = subprocess.run(words, capture_output=True, text=True)
        found = {"killed": killed, "epochs_before": before, "epochs": _epochs(database), "rc": done.returncode}
        return found | ({"failed": (done.stderr or done.stdout)[-500:]} if done.returncode else {})


def quickstart(bench: Bench) -> dict[str, Any]:
    """`mmad ablate ablations/quickstart.toml --device cuda` and its report."""
    with _database() as database:
        begun = time.perf_counter()
        done = subprocess.run(_ablate(bench, database, epochs=1 if bench.tiny else 3), capture_output=True, text=True)
        page = Path(database).with_name("report.html")
        words = [sys.executable, "-m", "mmad", "report", "--db", database, "--out", str(page)]
        report = subprocess.run(words, capture_output=True, text=True)
        found = {
            "rc": [done.returncode, report.returncode],
            "report_bytes": page.stat().st_size if page.exists() else 0,
            "seconds": time.perf_counter() - begun,
        }
        said = [one.stderr or one.stdout for one in (done, report) if one.returncode]
        return found | ({"failed": said[0][-500:]} if said else {})


def _ablate(bench: Bench, database: str, *, epochs: int) -> list[str]:
    fields = [f"epochs={epochs}", *(["image_size=64"] if bench.tiny else [])]
    settings = [word for field in fields for word in ("--set", field)]
    file = str(ROOT / "ablations" / "quickstart.toml")
    return [sys.executable, "-m", "mmad", "ablate", file, "--device", bench.name, "--db", database, *settings]


def _epochs(database: str) -> int:
    from mmad.store.store import Store

    if not Path(database).exists():
        return 0
    try:
        with Store.open(database, read_only=True) as store:
            return sum(record.epochs_done for record in store.run_records())
    except StoreError:  # it is just being made
        return 0


@contextmanager
def _database() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield str(Path(folder) / "mmad.sqlite")


#: The stages in their order, each with the most seconds that it may take: eight minutes together.
STAGES: dict[str, tuple[Callable[[Bench], dict[str, Any]], int]] = {
    "agreement": (agreement, 60),
    "precision": (precision, 40),
    "synchronisations": (synchronisations, 30),
    "speed": (speed, 120),
    "together": (together, 90),
    "memory": (memory, 30),
    "resume": (resume, 60),
    "quickstart": (quickstart, 50),
}


def run_stage(name: str, device: str, *, tiny: bool, factor: float) -> dict[str, Any]:
    """The figures of a stage, or how it failed; a stage that takes too long is killed with what it started."""
    words = [sys.executable, __file__, "--device", device, "--stage", name, *["--tiny"] * tiny]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    begun = time.perf_counter()
    try:
        out, _ = process.communicate(timeout=STAGES[name][1] * factor)
        result = json.loads(out.splitlines()[-1]) if process.returncode == 0 else {"failed": process.returncode}
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        result = {"failed": f"it took more than {STAGES[name][1] * factor:g} s"}
    return {"stage": name, "wall_s": round(time.perf_counter() - begun, 1), **result}


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--device", default="cuda:0")
    words.add_argument("--tiny", action="store_true", help="small images, few steps: for trying the script itself")
    words.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")) / "gpu.jsonl")
    words.add_argument("--only", nargs="*", choices=STAGES, default=list(STAGES))
    words.add_argument("--limits", type=float, default=1.0, help="times every stage's limit")
    words.add_argument("--stage", help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.stage == "_alone":
        _alone(Bench(given.device, tiny=given.tiny))
        return 0
    if given.stage:
        print(json.dumps(STAGES[given.stage][0](Bench(given.device, tiny=given.tiny))))
        return 0
    place = describe_environment(open_device(given.device), 1, 0)
    head = {"device": place.device, "versions": dict(place.versions), "host": platform.platform()}
    failed = False
    with given.out.open("w", encoding="utf-8") as out:

        def write(row: dict[str, Any]) -> None:
            line = json.dumps(row)
            print(line, flush=True)
            out.write(f"{line}\n")
            out.flush()

        write(head)
        for name in given.only:
            row = run_stage(name, given.device, tiny=given.tiny, factor=given.limits)
            failed |= "failed" in row
            write(row)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
