"""Every documented architecture trains a step and is evaluated at its own image size."""

from __future__ import annotations

import pytest
import torch

from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config.checks import architecture
from mmad.config.setup import ModelSetup
from mmad.detector import WITH_GROUND_TRUTH, build_detector, idle_modules
from mmad.experiment_log.shipped import entries, setup_of

#: Without effect on what a detector computes at all, or on its memory alone.
_UNREAD = {"fuse_conv_channels", "clinical_num_len", "trainable_layers", "frozen_norm"}


def _distinct() -> dict[str, ModelSetup]:
    """One entry per architecture: what idle fields of image-only entries say makes none of its own."""
    found: dict[str, tuple[str, ModelSetup]] = {}
    for entry in entries():
        if not entry.has_setup:
            continue
        setup = setup_of(entry)
        reads = setup if setup.use_clinical else _image_only(setup)
        if reads.using_fpn:
            reads = reads.model_copy(update={"backbone_out_channels": 16})
        if not reads.use_mask:
            reads = reads.model_copy(update={"mask_hidden_layers": 256})
        if reads.resolved_era == "C":
            reads = reads.model_copy(update={"clinical_conv_channels": 32})
        found.setdefault(architecture(reads.model_copy(update=dict.fromkeys(_UNREAD))), (entry.id, setup))
    return dict(found.values())


def _image_only(setup: ModelSetup) -> ModelSetup:
    clinical = [n for n in ModelSetup.model_fields if n.startswith(("clinical_", "fus", "spatialise", "add_", "era"))]
    return setup.model_copy(update={name: ModelSetup.model_fields[name].default for name in clinical})


DISTINCT = _distinct()


def test_the_entries_make_about_thirty_architectures() -> None:
    assert 30 <= len(DISTINCT) <= 40


@pytest.mark.slow
@pytest.mark.parametrize("entry", DISTINCT)
def test_an_entrys_detector_trains_and_is_evaluated(entry: str) -> None:
    setup = DISTINCT[entry]
    size = setup.image_size
    images = 1 if setup.image_size > 256 or setup.backbone == "resnet50" else setup.batch_size
    torch.use_deterministic_algorithms(True)
    try:
        model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0, weights="none").train()
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (images, 1, size, size), dtype=torch.uint8, generator=generator)
        box = torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.4, 0.4, 0.9, 0.9]]) * size
        targets = [{"boxes": box, "labels": torch.tensor([1, 3])} for _ in range(images)]
        clinical = (torch.rand((images, 9), generator=generator) * 100, torch.zeros((images, 1), dtype=torch.long))
        losses = model(pixels, targets, *clinical, WITH_GROUND_TRUTH).losses
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())
        idle = tuple(f"{name}." for name in idle_modules(setup))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.startswith(idle or "\0"):
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name
            else:
                assert parameter.grad is None, name
        torch.optim.SGD([p for p in model.parameters() if p.grad is not None], lr=setup.lr).step()
        with torch.no_grad():
            judged = model.eval()(pixels, targets, *clinical)
        assert all(torch.isfinite(loss) for loss in judged.losses.values())
        assert len(judged.detections) == images
    finally:
        torch.use_deterministic_algorithms(False)
