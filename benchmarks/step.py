"""One training step of the detector against torchvision's own Faster R-CNN over the same modules.

Both run in one process and take turns, so that only their ratio counts. Run it with `make bench`, or
`python benchmarks/step.py --rounds 7`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.detector import MultimodalRCNN, RoiMode, build_detector
from mmad.detector.model import IMAGENET_DEVIATION, IMAGENET_MEAN
from mmad.spec.setup import ModelSetup

SETUPS = {
    "CXR mobilenet_v3 256 C=16 R=32": {"backbone": "mobilenet_v3"},
    "CXR custom2 128 C=16 R=64": {"backbone": "custom2", "image_size": 128, "representation_size": 64},
}
BATCH = 4


class _Network(nn.Module):
    """The detector's image network in the form torchvision's Faster R-CNN takes."""

    def __init__(self, model: MultimodalRCNN) -> None:
        super().__init__()
        self.network = model.backbone
        self.out_channels = model.backbone.out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.network(images)


class _Head(nn.Module):
    def __init__(self, model: MultimodalRCNN) -> None:
        super().__init__()
        self.head = model.roi_heads.box_head

    def forward(self, pooled: Tensor) -> Tensor:
        return self.head(pooled, None)


def twin(model: MultimodalRCNN, setup: ModelSetup) -> FasterRCNN:
    """torchvision's Faster R-CNN made of a copy's modules."""
    side = setup.image_size
    other = FasterRCNN(
        _Network(model),
        min_size=side,
        max_size=side,
        image_mean=list(IMAGENET_MEAN),
        image_std=list(IMAGENET_DEVIATION),
        rpn_anchor_generator=AnchorGenerator((setup.anchor_sizes,), (setup.anchor_ratios,)),
        rpn_nms_thresh=setup.rpn_nms_thresh,
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        box_head=_Head(model),
        box_predictor=model.roi_heads.box_predictor,
    )
    other.rpn.head = model.rpn.head
    return other


def stepper(model: nn.Module, losses: Callable[[], dict[str, Tensor]]) -> Callable[[], None]:
    """One optimiser step of ``model`` per call."""
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        sum(losses().values()).backward()
        optimiser.step()

    return step


def batch(side: int) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Noise with two boxes per image."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 1, side, side), dtype=torch.uint8, generator=generator)
    box = torch.tensor([[0.1, 0.2, 0.4, 0.6], [0.5, 0.3, 0.9, 0.8]]) * side
    return images, [{"boxes": box.clone(), "labels": torch.tensor([1, 4])} for _ in range(BATCH)]


def seconds(step: Callable[[], None]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="alternations that count")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'setup':34} {'mmad ms/image':>14} {'torchvision':>12} {'ratio':>7}   (medians of {options.rounds})")
    for name, fields in SETUPS.items():
        setup = ModelSetup(pretrained=False, **fields)
        ours, other = (build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0).train() for _ in range(2))
        theirs = twin(other, setup).train()
        images, targets = batch(setup.image_size)
        plain = [image.expand(3, -1, -1) / 255 for image in images]
        mode = RoiMode(add_ground_truth=True, detect="none")
        steps = (
            stepper(ours, lambda m=ours, x=images, t=targets, how=mode: m(x, t, mode=how).losses),
            stepper(theirs, lambda m=theirs, x=plain, t=targets: m(x, t)),
        )
        for step in steps:
            step(), step()
        pairs = [(seconds(steps[0]), seconds(steps[1])) for _ in range(options.rounds)]
        mine, others = (statistics.median(column) * 1000 / BATCH for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{name:34} {mine:14.1f} {others:12.1f} {ratio:7.3f}")


if __name__ == "__main__":
    main()
