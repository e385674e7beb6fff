"""An exported network: a program of fixed shapes that leads to the detections of the detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.ops import nms

from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config.setup import ModelSetup
from mmad.detector.build import build_detector
from mmad.detector.export import export_network
from mmad.training.device import in_layout

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "fields",
    [
        {"backbone": "custom2", "channels_last": True},
        {"backbone": "resnet18", "using_fpn": True, "use_clinical": True, "fusion": "film"},
        {"backbone": "custom2", "use_clinical": True, "fusion": "late", "use_mask": True},
        {"backbone": "custom2", "use_clinical": True, "fusion": "cross_attention", "gradient_checkpointing": True},
    ],
    ids=["image", "pyramid", "late", "cross-attention"],
)
def test_suppressed_boxes_of_the_program_are_the_detector_s(fields: dict[str, Any], tmp_path: Path) -> None:
    setup = ModelSetup(
        pretrained=False,
        image_size=64,
        box_score_thresh=0.05,
        anchor_sizes=(4, 8, 16, 32, 64),
        rpn_post_nms_top_n_test=100,
        **fields,
    )
    model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0).eval()
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(20)  # else no score is far from another
    numbers, categories = len(DOCUMENTED_COLUMNS.numeric), len(DOCUMENTED_COLUMNS.categorical)
    numbers *= 2 if setup.missing_indicators else 1
    model = in_layout(model, setup.channels_last is True)
    torch.export.save(export_network(model, numbers, categories), tmp_path / "network.pt2")
    program = torch.export.load(tmp_path / "network.pt2").module()
    for seed in range(3):
        torch.manual_seed(seed)
        image = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
        clinical = (torch.randn(1, numbers), torch.zeros(1, categories, dtype=torch.int64))
        given = clinical if setup.use_clinical else ()
        with torch.no_grad():
            boxes, logits = program(image, *given)
            expected = model(image, None, *given).detections[0]
        assert boxes.shape == (len(logits), 5, 4)
        scores = logits.softmax(dim=1)[:, 1:]
        found = []
        for finding in range(5):
            corners, score = boxes[:, finding], scores[:, finding]
            usable = (score > setup.box_score_thresh) & ((corners[:, 2:] - corners[:, :2]) >= 1e-2).all(dim=1)
            corners, score = corners[usable], score[usable]
            found += [(float(score[i]), finding + 1, corners[i]) for i in nms(corners, score, setup.box_nms_thresh)]
        found = sorted(found, key=lambda one: -one[0])[: setup.box_detections_per_img]
        assert [label for _, label, _ in found] == expected["labels"].tolist()
        assert len(found) > 1
        torch.testing.assert_close(torch.tensor([s for s, _, _ in found]), expected["scores"], atol=1e-6, rtol=0)
        torch.testing.assert_close(torch.stack([b for _, _, b in found]), expected["boxes"], atol=1e-4, rtol=0)
    assert model.rpn.__class__.__name__ == "ProposalNetwork"  # the detector itself is as it was
