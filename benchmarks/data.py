"""What data cost: decoding X-rays of full size, feeding batches, an epoch against its bare steps, a large data set.

Everything is drawn or made up in a temporary folder. Run it with `make bench`, or `python benchmarks/data.py`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmad.base.cores import usable_cores
from mmad.config.setup import ModelSetup
from mmad.data.audit.run import audit_folder
from mmad.data.clinical import ClinicalEncoder
from mmad.data.dataset import DataSet
from mmad.data.image_cache import clear_cache, decode, image_cache
from mmad.data.loader import Batch, Studies, training_batches
from mmad.data.phantom.generate import make_phantom
from mmad.data.reader import load_dataset
from mmad.detector.build import build_detector
from mmad.detector.roi_heads import RoiMode
from mmad.training import loop
from mmad.training.device import Precision, peak_memory
from mmad.training.loop import Stepper
from mmad.training.losses import Weighing, total

WIDTH, HEIGHT = 2544, 3056  # px: a chest X-ray of a digital detector
SIDE = 256
CPU = torch.device("cpu")
MANY = 10_000


def median(rounds: int, seconds: Callable[[], float]) -> float:
    return statistics.median(seconds() for _ in range(rounds))


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def busy(work: Callable[[], object]) -> float:
    """Seconds of CPU time: what others do on the machine hardly shows."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def cache(folder: Path, films: int, rounds: int) -> None:
    """Images per second into the cache, by threads, and what Pillow's draft mode would gain and change."""
    dataset = make_phantom(folder / "films", studies=films, width=WIDTH, height=HEIGHT, format="jpeg", artefacts=True)
    dataset.fingerprint()

    def build(measure: Callable[..., float], workers: int) -> float:
        clear_cache()
        return measure(lambda: image_cache(dataset, SIDE, workers=workers))

    print(f"cache: JPEG of {WIDTH} x {HEIGHT} px to {SIDE} px, {films} films, {usable_cores()} cores")
    for workers in dict.fromkeys((1, usable_cores())):
        print(f"  {workers} thread(s) {films / median(rounds, partial(build, timed, workers)):8.1f} images/s")
    print(f"  CPU time {median(rounds, partial(build, busy, 1)) / films * 1000:.1f} ms per image")
    whole = [np.asarray(_square(decode(dataset, i)), dtype=int) for i in range(films)]
    for factor in (2, 4):
        with ThreadPoolExecutor(usable_cores()) as threads:
            work = partial(lambda f: list(threads.map(partial(_drafted, dataset, f), range(films))), factor)
            rate = films / median(rounds, lambda work=work: timed(work))
            off = [np.abs(found - plain) for found, plain in zip(work(), whole, strict=True)]
        off_by = f"grey levels off: mean {float(np.mean(off)):.2f}, most {int(np.max(off))}"
        print(f"  draft of at least {factor} x {SIDE} px {rate:8.1f} images/s, {off_by}")


def _square(image: Image.Image) -> Image.Image:
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def _drafted(dataset: DataSet, factor: int, position: int) -> np.ndarray:
    with Image.open(dataset.image_path(position)) as image:
        image.draft("L", (factor * SIDE, factor * SIDE))
        image.load()
        return np.asarray(_square(image), dtype=int)


def loader(dataset: DataSet, rounds: int) -> None:
    """Images per second out of the loader, flips and boxes and clinical values with them."""
    encoder = ClinicalEncoder.fit(dataset, dataset.columns())
    studies = Studies(dataset, SIDE, encoder)
    for size in (4, 32):
        batches = training_batches(dataset, studies, batch_size=size, seed=0)
        images = len(dataset.split("train"))
        rate = images / median(3 * rounds, lambda b=batches: timed(lambda: list(b.epoch(1))))
        print(f"loader: batches of {size:2} at {SIDE} px {rate:10.0f} images/s")


def epoch(dataset: DataSet, rounds: int) -> None:
    """An epoch as it is trained, against the bare steps on the same batches held in memory; they take turns."""
    setup = ModelSetup(pretrained=False)  # the cheapest step, so that what stands around it shows most
    encoder = ClinicalEncoder.fit(dataset, dataset.columns())
    studies = Studies(dataset, SIDE, encoder)
    batches = training_batches(dataset, studies, batch_size=setup.batch_size, seed=0)
    held = list(batches.epoch(1))
    sides = {
        "bare steps": partial(_bare, setup, dataset, held),
        "epoch without AP": partial(_whole, setup, dataset, batches.epoch, "none"),
        "epoch with AP of training": partial(_whole, setup, dataset, batches.epoch, "proposals"),
    }
    for work in sides.values():
        work()()
    times = np.array([[_both(work()) for work in sides.values()] for _ in range(rounds)])  # (rounds, sides, 2)
    ratios = np.median(times / times[:, :1], axis=0)
    each = np.median(times[..., 0], axis=0) / len(held) * 1000
    for i, name in enumerate(sides):
        wall, cpu = ratios[i]
        step = f"{each[i]:7.1f} ms per step of {setup.batch_size} images"
        print(f"{name:26} {step}, ratio {wall:.3f}, of CPU time {cpu:.3f}")


def _both(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    begun = time.perf_counter()
    cpu = busy(work)
    return time.perf_counter() - begun, cpu


def _model(setup: ModelSetup, dataset: DataSet) -> tuple[Any, Stepper]:
    model = build_detector(setup, labels=len(dataset.labels), columns=dataset.columns(), seed=0).train()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4, momentum=0.9)
    return model, Stepper(optimiser, Precision(CPU, half=False))


def _bare(setup: ModelSetup, dataset: DataSet, held: Iterable[Batch]) -> Callable[[], None]:
    model, stepper = _model(setup, dataset)
    mode = RoiMode(add_ground_truth=True, detect="none")

    def run() -> None:
        for batch in held:
            stepper.add(total(model(batch.images, batch.targets, batch.numeric, batch.categorical, mode).losses))

    return run


def _whole(setup: ModelSetup, dataset: DataSet, batches: Callable[[int], Any], detect: Any) -> Callable[[], object]:
    model, stepper = _model(setup, dataset)
    how = {"weighing": Weighing.of(setup), "device": CPU, "epoch": 1}
    mode = RoiMode(add_ground_truth=True, detect=detect)
    rest = {"mode": mode, "report": lambda step, loss: None, "stop": lambda: False}
    return lambda: loop.train_pass(model, batches(1), stepper, dataset, **how, **rest)


STEPS = ("read", "cache", "loader", "check")


def many(folder: Path, studies: int, steps: Iterable[str]) -> None:
    """CPU seconds and peak memory of each step on many small images, no two alike, in processes of their own."""
    made = make_phantom(folder / "many", studies=40, image_size=64)
    root = made.root
    bases = np.stack([np.asarray(decode(made, i), dtype=np.float32) for i in range(len(made.studies))])
    header, *rows = (root / "studies.csv").read_text("utf-8").splitlines()
    cells = [row.split(",") for row in rows]
    lines = []
    for i in range(studies):
        rng = np.random.default_rng(i)
        shares = rng.dirichlet(np.full(len(bases), 0.05)).astype(np.float32)
        pixels = np.tensordot(shares, bases, 1) + rng.normal(0, 8, bases.shape[1:])
        pixels = np.roll(pixels, rng.integers(-6, 7, 2), (0, 1)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"s{i:06d}.png", compress_level=1)
        row = [f"s{i:06d}", f"images/s{i:06d}.png", "64", "64", f"p{i}", *cells[i % len(cells)][5:]]
        lines.append(",".join(row))
    (root / "studies.csv").write_text("\n".join([header, *lines, ""]), "utf-8")
    boxes = (
        f"s{i:06d},1,{i % 30},2,{i % 30 + 9.5},40,Atelectasis," for i in chain(range(studies), range(0, studies, 2))
    )
    head = (root / "boxes.csv").read_text("utf-8").splitlines()[0]
    (root / "boxes.csv").write_text("\n".join([head, *boxes, ""]), "utf-8")
    for step in steps:
        run = [sys.executable, __file__, "--step", step, "--load", str(root)]
        print(subprocess.run(run, check=True, capture_output=True, text=True).stdout, end="", flush=True)


def load(root: Path, step: str) -> None:
    dataset = None if step == "read" else load_dataset(root)
    before, begun = peak_memory(CPU), time.process_time()
    if dataset is None:
        load_dataset(root)
    elif step == "cache":
        image_cache(dataset, 64)
    elif step == "loader":
        encoder = ClinicalEncoder.fit(dataset, dataset.columns())
        for _ in training_batches(dataset, Studies(dataset, 64, encoder), batch_size=32, seed=0).epoch(1):
            pass
    else:
        audit_folder(root)
    seconds = time.process_time() - begun
    grown, whole = (peak_memory(CPU) - before) / 2**20, peak_memory(CPU) / 2**20
    print(f"{step:6} {seconds:8.1f} s of CPU time, peak {whole:6.0f} MiB, {grown:.0f} MiB more than before")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions, of which the median counts")
    parser.add_argument("--films", type=int, default=24, help="films of full size")
    parser.add_argument("--only", choices=("cache", "loader", "epoch", "many"))
    parser.add_argument("--studies", type=int, default=MANY, help="of the large data set")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, help="what is done with it")
    parser.add_argument(
        "--load", type=Path, metavar="DIR", help="do one --step with this data set, and print what it took"
    )
    parser.add_argument("--step", choices=STEPS, default="read")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.load:
        load(options.load, options.step)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MMAD_CACHE"] = str(folder / "cache")
        if options.only in (None, "cache"):
            cache(folder, options.films, options.rounds)
        if options.only in (None, "loader", "epoch"):
            dataset = make_phantom(folder / "phantom", studies=64)
            if options.only != "epoch":
                loader(dataset, options.rounds)
            if options.only != "loader":
                epoch(dataset, options.rounds)
        if options.only in (None, "many"):
            many(folder, options.studies, options.steps)


if __name__ == "__main__":
    main()
