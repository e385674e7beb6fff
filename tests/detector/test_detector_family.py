"""Every documented architecture trains a step and is evaluated, on small images."""

from __future__ import annotations

import json

import pytest
import torch
from detector_samples import FEW_BOXES

from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config.protocol import TrainingProtocol
from mmad.config.runs import NO_DATA, RunSpec
from mmad.config.setup import ModelSetup
from mmad.detector.build import build_detector, idle_modules
from mmad.detector.roi_heads import WITH_GROUND_TRUTH
from mmad.experiment_log.shipped import entries, setup_of

pytestmark = pytest.mark.usefixtures("drawn_once")


def _distinct() -> dict[str, ModelSetup]:
    """One entry per architecture: what is idle in an entry, or decides the training alone, makes none of its own."""
    found: dict[str, tuple[str, ModelSetup]] = {}
    for entry in entries():
        if entry.has_setup:
            run = RunSpec(setup_of(entry), TrainingProtocol(), NO_DATA)
            modules = json.dumps(run.affecting("architecture"))
            found.setdefault(modules, (entry.id, run.setup))
    return dict(found.values())


DISTINCT = _distinct()


def test_the_entries_make_about_thirty_architectures() -> None:
    assert 30 <= len(DISTINCT) <= 40


@pytest.mark.slow
@pytest.mark.parametrize("entry", DISTINCT)
def test_an_entrys_detector_trains_and_is_evaluated(entry: str) -> None:
    check_a_step(DISTINCT[entry].model_copy(update={"image_size": 64}))


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["e030", "e099"])
def test_so_it_does_on_images_of_its_own_side(entry: str) -> None:
    check_a_step(DISTINCT[entry])


def check_a_step(setup: ModelSetup) -> None:
    setup = setup.model_copy(update=FEW_BOXES)
    size = setup.image_size
    torch.use_deterministic_algorithms(True)
    try:
        model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0, weights="none").train()
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (1, 1, size, size), dtype=torch.uint8, generator=generator)
        box = torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.4, 0.4, 0.9, 0.9]]) * size
        targets = [{"boxes": box, "labels": torch.tensor([1, 3])}]
        clinical = (torch.rand((1, 9), generator=generator) * 100, torch.zeros((1, 1), dtype=torch.long))
        losses = model(pixels, targets, *clinical, WITH_GROUND_TRUTH).losses
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())
        idle = tuple(f"{name}." for name in idle_modules(setup))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.startswith(idle or "\0"):
                assert parameter.grad is not None, name
                assert parameter.grad.norm().isfinite(), name
            else:
                assert parameter.grad is None, name
        torch.optim.SGD([p for p in model.parameters() if p.grad is not None], lr=setup.lr).step()
        with torch.no_grad():
            judged = model.eval()(pixels, targets, *clinical)
        assert all(torch.isfinite(loss) for loss in judged.losses.values())
        assert len(judged.detections) == 1
    finally:
        torch.use_deterministic_algorithms(False)
