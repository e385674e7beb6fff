"""One training step of the detector against torchvision's own over the same modules: time and peak memory.

Both run in one process and take turns, so that only their ratio counts; memory is measured in a process of its
own each. Run it with `make bench`, or `python benchmarks/step.py --rounds 7`. With `--forms` mmad's own forms take
turns instead, in training and in evaluation: layouts, bfloat16, and freed memory kept or returned.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from support.torchvision_twin import Twin, plain
from torch import nn

from mmad.base.paths import shipped_ablations
from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config.named_parts import PARTS
from mmad.config.setup import ModelSetup
from mmad.detector.build import build_detector
from mmad.detector.model import MultimodalRCNN
from mmad.detector.roi_heads import CLEAN, RoiMode
from mmad.training.device import (
    Precision,
    _keep_freed_memory,
    _return_freed_memory,
    in_layout,
    peak_memory,
    settings_restored,
)

LARGE = {"image_size": 512, "backbone_out_channels": 64, "representation_size": 64, "clinical_input_channels": 64}
QUICKSTART = tomllib.loads((shipped_ablations() / "quickstart.toml").read_text("utf-8"))["setup"]
#: The quickstart, the documented log's four main setups, the published fusions beside era C, and the images per batch
#: that a CPU bears.
SETUPS: dict[str, tuple[dict, int]] = {
    "CXR mobilenet_v3 256 C=16 R=32": ({}, 4),
    "CXR+Clinical era A 256": ({"use_clinical": True}, 4),
    "CXR+Clinical era C 512 C=64": (
        LARGE
        | {
            "use_clinical": True,
            "clinical_expand_conv_channels": 64,
            "fuse_depth": 0,
            "fusion_strategy": "add",
        },
        2,
    ),
    "CXR+Clinical quickstart 128": (QUICKSTART | {"use_clinical": True}, 2),
    "CXR ResNet50-FPN 512": (
        {"backbone": "resnet50", "using_fpn": True, "image_size": 512, "representation_size": 256},
        1,
    ),
    **{
        f"CXR+Clinical {word} 512 C=64": (LARGE | {"use_clinical": True, "fusion": word}, 2)
        for word in PARTS["fusion"].words
    },
}
SIDES = ("mmad", "torchvision")
#: Channels last, bfloat16, freed memory kept.
FORMS = {
    "rows": (False, False, False),
    "channels_last": (True, False, False),
    "and memory kept": (True, False, True),
    "and bf16": (True, True, True),
}


def given(name: str, device: str) -> tuple[ModelSetup, torch.Tensor, list[dict], tuple[torch.Tensor, torch.Tensor]]:
    """The setup, and a batch: images with two boxes each, and clinical values."""
    fields, images = SETUPS[name]
    setup = ModelSetup(**{**fields, "pretrained": False})
    generator = torch.Generator().manual_seed(0)
    side = setup.image_size
    pixels = torch.randint(0, 256, (images, 1, side, side), dtype=torch.uint8, generator=generator).to(device)
    box = torch.tensor([[0.1, 0.2, 0.4, 0.6], [0.5, 0.3, 0.9, 0.8]], device=device) * side
    targets = [{"boxes": box.clone(), "labels": torch.tensor([1, 4], device=device)} for _ in range(images)]
    clinical = (
        torch.randn((images, 18 if setup.missing_indicators else 9), generator=generator).to(device),
        torch.zeros((images, 1), dtype=torch.long).to(device),
    )
    return setup, pixels, targets, clinical


def steppers(name: str, device: str, sides: tuple[str, ...] = SIDES) -> dict[str, Callable[[], None]]:
    """One optimiser step per call, of equal detectors on equal images with two boxes each."""
    setup, pixels, targets, clinical = given(name, device)
    mode = RoiMode(add_ground_truth=True, detect="none")
    found: dict[str, Callable[[], None]] = {}
    for which in sides:
        model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0).train().to(device)
        if which == "mmad":
            found[which] = _stepper(model, partial(_losses, model, pixels, targets, *clinical, mode))
        else:
            found[which] = _stepper(model, partial(Twin(model).train().to(device), plain(pixels), targets, *clinical))
    return found


def _losses(model: MultimodalRCNN, *given: Any) -> dict[str, torch.Tensor]:
    return dict(model(*given).losses)


def _stepper(model: nn.Module, losses: Callable[[], dict[str, torch.Tensor]]) -> Callable[[], None]:
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4, momentum=0.9)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        sum(losses().values()).backward()
        optimiser.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return step


def compare_forms(name: str, rounds: int) -> None:
    """Print what each of ``FORMS`` takes on the CPU, against the first of them in the same round."""
    setup, pixels, targets, clinical = given(name, "cpu")
    steps: dict[str, dict[str, Callable[[], None]]] = {}
    for form, (last, bf16, _) in FORMS.items():
        model = in_layout(build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0), last)
        precision = Precision(torch.device("cpu"), bf16=bf16)
        steps[form] = {
            "train": _stepper(model, partial(_in_precision, precision, model, pixels, targets, *clinical)),
            "evaluate": partial(_evaluate, precision, model, pixels, targets, *clinical),
        }
    for what in ("train", "evaluate"):
        taken: dict[str, list[float]] = {form: [] for form in FORMS}
        for turn in range(rounds + 1):  # the first does not count
            for form, (_, _, kept) in FORMS.items():
                (_keep_freed_memory if kept else _return_freed_memory)()
                steps[form][what](), steps[form][what]()
                spent = seconds(steps[form][what], "cpu")
                if turn:
                    taken[form].append(spent)
        rows = taken["rows"]
        ratios = [statistics.median(a / b for a, b in zip(spent, rows, strict=True)) for spent in taken.values()]
        words = "   ".join(f"{form} {ratio:.3f}" for form, ratio in zip(FORMS, ratios, strict=True))
        print(f"{name:32} {what:8} {statistics.median(rows) * 1000 / len(pixels):7.1f} ms   {words}", flush=True)


def _in_precision(precision: Precision, model: MultimodalRCNN, *batch: Any) -> dict[str, torch.Tensor]:
    model.train()
    with precision.autocast():
        losses = _losses(model, *batch, RoiMode(add_ground_truth=True, detect="none"))
    return dict(precision.full(losses))


@torch.no_grad()
def _evaluate(precision: Precision, model: MultimodalRCNN, *batch: Any) -> None:
    model.eval()
    with precision.autocast():
        model(*batch, CLEAN)


def seconds(step: Callable[[], None], device: str) -> float:
    """CPU time on a CPU, whatever else is at work there; wall time on a GPU."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    begun = clock()
    step()
    return clock() - begun


def peak(name: str, which: str, device: str) -> float:
    """MiB that three steps reach above what the imports took: of the device, or of this process."""
    place = torch.device(device)
    before = peak_memory(place)
    step = steppers(name, device, (which,))[which]
    for _ in range(3):
        step()
    return (peak_memory(place) - before) / 2**20


def peak_apart(name: str, which: str, options: argparse.Namespace) -> float:
    words = ["--peak", name, which, "--device", options.device, "--threads", str(options.threads)]
    run = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
    return float(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="alternations that count")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="setups whose name holds this")
    parser.add_argument("--peak", nargs=2, metavar=("SETUP", "SIDE"), help="print the peak memory of one side, in MiB")
    parser.add_argument("--forms", action="store_true", help="layouts, bfloat16 and kept memory, on the CPU")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print(peak(*options.peak, options.device))
        return
    if options.forms:
        with settings_restored():
            for name in SETUPS:
                if options.only in name:
                    compare_forms(name, options.rounds)
        return
    print(f"median of {options.rounds} alternations on {options.device}, {options.threads} thread(s)")
    print(f"{'setup':32} {'mmad':>9} {'torchvision':>12} {'ratio':>7}   {'peak mmad':>10} {'torchvision':>12}")
    for name, (_, images) in SETUPS.items():
        if options.only not in name:
            continue
        both = steppers(name, options.device)
        for step in both.values():
            step(), step()
        pairs = [[seconds(both[which], options.device) for which in SIDES] for _ in range(options.rounds)]
        mine, others = (statistics.median(column) * 1000 / images for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        del both
        ours, theirs = (peak_apart(name, which, options) for which in SIDES)
        print(f"{name:32} {mine:6.1f} ms {others:9.1f} ms {ratio:7.3f}   {ours:6.0f} MiB {theirs:8.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
