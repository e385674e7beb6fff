"""How often a training step waits for its device, on one that is pretended: its numbers are the CPU's, bit by bit."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from device_behind import DEVICE, Behind, device_behind, moved

from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config.setup import ModelSetup
from mmad.data.loader import Batch
from mmad.detector.boxes import suppress
from mmad.detector.build import build_detector
from mmad.detector.roi_heads import RoiMode
from mmad.training.device import Precision
from mmad.training.loop import PassResult, Stepper, train_pass
from mmad.training.losses import Weighing
from mmad.training.schedules import build_optimiser

SIDE, MOST = 64, 4
SMALL = {"backbone": "custom1", "image_size": SIDE, "pretrained": False, "box_score_thresh": 0.0}
PYRAMID = SMALL | {"backbone": "resnet18", "using_fpn": True, "anchor_sizes": (8, 16, 32, 48, 64)}
PYRAMID |= {"box_batch_size_per_image": 32, "rpn_post_nms_top_n_train": 64}
CLINICAL = {"use_clinical": True, "clinical_input_channels": 12, "clinical_conv_channels": 8}
MASKS = {"use_mask": True, "mask_hidden_layers": 8}
SETUPS = {
    "CXR": SMALL,
    "masks, training without AP": SMALL | MASKS | {"record_training_performance": False},
    "clipped, learned weights": SMALL | {"gradient_clip_norm": 0.5, "learned_loss_weights": True},
    "two batches a step": SMALL | {"gradient_accumulation": 2, "optimiser": "adamw"},
    "era A": SMALL | CLINICAL,
    "era C": SMALL | CLINICAL | {"clinical_expand_conv_channels": 8, "fuse_depth": 0, "fusion_strategy": "add"},
    "late fusion": SMALL | {"use_clinical": True, "clinical_input_channels": 12, "fusion": "late"},
    "pyramid": PYRAMID,
}
DATASET = SimpleNamespace(
    studies=[SimpleNamespace(study=f"s{n}", patient=f"p{n}") for n in range(9)], labels=tuple("abcde")
)


def batches(count: int, images: int = 3) -> list[Batch]:
    """Noise with two boxes, one and none."""
    chance = torch.Generator().manual_seed(5)
    boxes = [torch.tensor([[8.0, 8, 40, 50], [20, 30, 60, 60]]), torch.tensor([[5.0, 10, 30, 30]]), torch.zeros(0, 4)]
    return [
        Batch(
            images=torch.randint(0, 256, (images, 1, SIDE, SIDE), dtype=torch.uint8, generator=chance),
            targets=[{"boxes": b, "labels": torch.arange(1, len(b) + 1)} for b in boxes],
            numeric=torch.randn((images, 9), generator=chance),
            categorical=torch.tensor([[0], [1], [-1]]),
            positions=list(range(step * images, (step + 1) * images)),
        )
        for step in range(count)
    ]


def trained(setup: ModelSetup, device: torch.device, waited: list[int], count) -> tuple[torch.nn.Module, PassResult]:  # type: ignore[no-untyped-def]
    """A detector after three steps; ``waited`` gets what ``count`` says after each."""
    model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0)
    weighing = Weighing.of(setup)
    if device == DEVICE:
        moved(model)
        if weighing.learned is not None:
            moved(weighing.learned)
    learned = [] if weighing.learned is None else list(weighing.learned.parameters())
    stepper = Stepper(
        build_optimiser(setup, [*model.parameters(), *learned]),
        Precision(device),
        accumulation=setup.gradient_accumulation,
        clip_norm=setup.gradient_clip_norm,
    )

    def stop() -> bool:
        waited.append(count())
        return False

    torch.manual_seed(0)
    result = train_pass(
        model,
        batches(3),
        stepper,
        DATASET,  # type: ignore[arg-type]
        weighing=weighing,
        mode=RoiMode(True, "proposals" if setup.record_training_performance else "none"),
        device=device,
        epoch=1,
        report=lambda step, loss: None,
        stop=stop,
    )
    return model, result


@pytest.mark.slow
@pytest.mark.parametrize("name", SETUPS)
def test_a_step_waits_four_times_at_most_and_computes_what_the_cpu_does(name: str) -> None:
    setup = ModelSetup(lr=1e-3, **SETUPS[name])
    plain, expected = trained(setup, torch.device("cpu"), [], lambda: 0)
    waited: list[int] = []
    with device_behind() as device:
        model, result = trained(setup, DEVICE, waited, lambda: sum(device.waits.values()))
    assert expected.losses == result.losses
    assert expected.scores == result.scores
    assert expected.weights == result.weights
    theirs = model.state_dict(keep_vars=True)
    for which, value in plain.state_dict().items():
        assert torch.equal(value, theirs[which].values), which
    steps = [after - before for before, after in zip([0, *waited], waited, strict=False)]
    assert max(steps[1:]) <= MOST, dict(device.waits)  # the first makes the anchors


def test_groups_moved_apart_keep_what_one_group_after_another_keeps() -> None:
    chance = torch.Generator().manual_seed(0)
    sizes = [40, 0, 70, 1]
    corners = torch.rand((sum(sizes), 2, 2), generator=chance) * 30
    boxes = torch.cat((corners.amin(1), corners.amax(1) + 1), dim=1)
    scores, valid = torch.rand(len(boxes), generator=chance), torch.rand(len(boxes), generator=chance) < 0.9
    boxes[~valid] = torch.nan
    image = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    group = image * 2 + torch.randint(0, 2, (len(boxes),), generator=chance)
    given = (boxes, scores, image, group)
    limits = {"nms_thresh": 0.4, "top_n": 9}
    plain = suppress(*given, sizes, valid=valid, **limits)
    with pytest.MonkeyPatch.context() as patch:
        for most in (2**15, 50):
            patch.setattr("mmad.detector.boxes.MOST_SUPPRESSED", most)
            with device_behind() as device:
                kept = suppress(*map(Behind, given), sizes, valid=Behind(valid), **limits)
                assert kept.counts.tolist() == plain.counts.tolist()
                rows = [row[:n] for row, n in zip(kept.rows.values, plain.counts, strict=True)]
            assert sum("nms" in place for place in device.waits.elements()) == (1 if most > 50 else 3)
            for mine, theirs, n in zip(rows, plain.rows, plain.counts, strict=True):
                assert torch.equal(mine, theirs[:n])


#: What makes the process wait for a GPU, and the functions that may.
_WAITING = {"item", "tolist", "nonzero", "bincount", "unique", "masked_select", "argwhere", "cpu", "numpy"}
_MAY = {
    "read",  # the one transfer of sizes
    "_best_of_groups",  # what is on the CPU
    "_check_targets",  # which are on the CPU
    "values",  # of the learned weights: once an epoch
    "evaluation_pass",  # once, when it is over
    "_masks", "augmented_truth", "_stack", "_stacked", "_parted", "pending_gradients", "tensors",  # after an epoch
    "detections",
}  # fmt: skip
_STEP = ("detector/boxes", "detector/pooling", "detector/rpn", "detector/roi_heads", "detector/model", "training/loop")
_STEP += ("detector/fusions", "detector/clinical", "detector/backbones", "training/losses")


@pytest.mark.parametrize("name", _STEP)
def test_the_source_of_a_step_waits_nowhere_else(name: str) -> None:
    tree = ast.parse((Path(__file__).parents[2] / "mmad" / f"{name}.py").read_text())
    found = []
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name not in _MAY]:
        for call in [node for node in ast.walk(function) if isinstance(node, ast.Call)]:
            named = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            placed = any(word.arg == "device" for word in call.keywords)
            if named in _WAITING or (named in ("tensor", "as_tensor") and placed):
                found.append(f"{function.name}:{call.lineno} {named}")
    assert found == []
