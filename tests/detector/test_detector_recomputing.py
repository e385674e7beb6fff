"""Gradient checkpointing: the same to the bit, with less kept between the two passes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from detector_samples import FEW_BOXES
from torch import Tensor

from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config.setup import ModelSetup
from mmad.detector.build import build_detector
from mmad.detector.model import MultimodalRCNN

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawn_once")]


def passes(model: MultimodalRCNN, images: Tensor, targets: list[dict[str, Tensor]]) -> tuple[Any, int]:
    """Two training steps: losses, gradients, buffers and random state; and the bytes kept for the gradients."""
    kept = 0

    def keep(value: Tensor) -> Tensor:
        nonlocal kept
        kept += value.numel() * value.element_size()
        return value

    torch.manual_seed(0)
    found: list[Any] = []
    for _ in range(2):
        numbers = torch.zeros(len(images), len(DOCUMENTED_COLUMNS.numeric))
        categories = torch.zeros(len(images), len(DOCUMENTED_COLUMNS.categorical), dtype=torch.int64)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            losses = model(images, targets, numbers, categories).losses
        sum(losses.values()).backward()  # type: ignore[union-attr]
        found += [value.detach() for value in losses.values()]
    found += [p.grad for p in model.parameters() if p.grad is not None]
    return [*found, *model.buffers(), torch.get_rng_state()], kept


@pytest.mark.parametrize(
    ("fields", "images"),
    [
        ({"backbone": "mobilenet_v3"}, 1),
        ({"backbone": "resnet18", "using_fpn": True, "frozen_norm": False}, 2),
        ({"backbone": "swin_t"}, 2),
        ({"backbone": "timm:resnet18"}, 2),
    ],
    ids=lambda value: value["backbone"] if isinstance(value, dict) else str(value),
)
def test_losses_gradients_statistics_and_random_numbers_are_the_same_to_the_bit(
    fields: dict[str, Any], images: int
) -> None:
    base = (
        {
            "pretrained": False,
            "image_size": 64,
            "use_clinical": True,
            "era": "C",
            "clinical_expand_conv_channels": 4,
        }
        | FEW_BOXES
        | fields
    )
    shown = torch.randint(0, 256, (images, 1, base["image_size"], base["image_size"]), dtype=torch.uint8)
    targets = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 50.0]]), "labels": torch.tensor([1])}] * images
    results = []
    for recomputed in (False, True):
        setup = ModelSetup(gradient_checkpointing=recomputed, **base)
        model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0).train()
        if recomputed:
            model = copy.deepcopy(model)  # as an average of the weights is begun
        results.append(passes(model, shown, targets))
    (plain, much), (again, little) = results
    assert len(plain) == len(again)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert little < 0.8 * much
