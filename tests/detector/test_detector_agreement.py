"""Agreement with torchvision's own detectors: equal weights and inputs, equal losses and detections."""

from __future__ import annotations

import pytest
import torch
from detector_samples import ARMS, CXR, FPN, batch, detector, torchvision_twin, without_chance
from support.torchvision_twin import Twin, plain
from torch import Tensor
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.roi_heads import paste_masks_in_image

from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config.setup import ModelSetup
from mmad.detector.build import build_detector
from mmad.detector.model import MultimodalRCNN
from mmad.detector.roi_heads import RoiMode, filled_boxes
from mmad.detector.undrawn import Undrawn

pytestmark = pytest.mark.usefixtures("drawn_once")

LOG = {"rpn_nms_thresh": 0.3, "box_nms_thresh": 0.2, "box_detections_per_img": 10}
MASK = {"use_mask": True, "mask_hidden_layers": 16}
NETWORKS = {
    "one map": CXR,
    "one map, masks": CXR | MASK,
    "pyramid": FPN,
    "pyramid, masks": FPN | MASK,
    "pyramid, log's thresholds": FPN | LOG | {"box_score_thresh": 0.05},
    "one map, one anchor size": CXR | {"anchor_sizes": (16,), "anchor_ratios": (1.0,)},
}
#: Batches: all four images, only one without boxes, only one with one box.
BATCHES = {"mixed": slice(0, 4), "empty": slice(2, 3), "one box": slice(1, 2), "empty ones": slice(2, 4)}
TRAINING = RoiMode(add_ground_truth=True, detect="none")


def compare_losses(model: MultimodalRCNN, twin: torch.nn.Module, which: slice) -> None:
    images, targets, _, _ = batch()
    images, targets = images[which], targets[which]
    model.train()
    twin.train()
    given = [t | {"masks": filled_boxes(t["boxes"], images.shape[-1])} for t in targets]
    ours = model(images, targets, mode=TRAINING).losses
    theirs = twin(plain(images), given)
    assert set(ours) == set(theirs)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-5, msg=name)
    sum(ours.values()).backward()


def compare_detections(ours: list[dict[str, Tensor]], theirs: list[dict[str, Tensor]], side: int) -> None:
    assert sum(len(t["boxes"]) for t in theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine["labels"], other["labels"])
        torch.testing.assert_close(mine["boxes"], other["boxes"], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(mine["scores"], other["scores"], rtol=1e-5, atol=1e-5)
        assert ("masks" in mine) == ("masks" in other)
        if "masks" in mine:
            pasted = paste_masks_in_image(mine["masks"], mine["boxes"], (side, side))
            torch.testing.assert_close(pasted, other["masks"], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("images", BATCHES)
@pytest.mark.parametrize("network", NETWORKS)
def test_losses_equal_torchvisions(network: str, images: str) -> None:
    model = detector(NETWORKS[network])
    compare_losses(model, torchvision_twin(model), BATCHES[images])


@pytest.mark.parametrize("network", NETWORKS)
def test_detections_equal_torchvisions(network: str) -> None:
    model = detector(NETWORKS[network]).eval()
    twin = torchvision_twin(model).eval()
    images, _, _, _ = batch()
    with torch.no_grad():
        compare_detections(model(images).detections, twin(plain(images)), images.shape[-1])


@pytest.mark.slow
def test_the_stock_model_is_torchvisions_mask_rcnn() -> None:
    setup = ModelSetup(use_custom_model=False, pretrained=False, image_size=64, box_score_thresh=0.0, frozen_norm=False)
    model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0)
    with Undrawn():  # they take ours
        theirs = maskrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=6,
            min_size=64,
            max_size=64,
            rpn_nms_thresh=0.3,
            box_nms_thresh=0.2,
            box_score_thresh=0.0,
            box_detections_per_img=10,
        )
    own = model.state_dict()
    twin = theirs.state_dict()
    assert {name: v.shape for name, v in own.items()} == {name: v.shape for name, v in twin.items()}
    theirs.load_state_dict(own)
    without_chance(model, theirs)
    images, targets, _, _ = batch()
    model.train()
    theirs.train()
    given = [t | {"masks": filled_boxes(t["boxes"], 64)} for t in targets]
    ours, other = model(images, targets, mode=TRAINING).losses, theirs(plain(images), given)
    assert set(ours) == set(other)
    for name in other:
        torch.testing.assert_close(ours[name], other[name], rtol=1e-5, atol=1e-5)
    model.eval()
    theirs.eval()
    with torch.no_grad():
        compare_detections(model(images).detections, theirs(plain(images)), 64)


@pytest.mark.parametrize("arm", ["era A", "era B", "era C", "era C heads only"])
def test_arms_equal_torchvision_over_the_same_modules(arm: str) -> None:
    model = detector(ARMS[arm])
    twin = Twin(model)
    without_chance(model, twin.detector)
    model.train()
    images, targets, numeric, categorical = batch()
    ours = model(images, targets, numeric, categorical, TRAINING).losses
    theirs = twin(plain(images), targets, numeric, categorical)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-5, msg=name)
