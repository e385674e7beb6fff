"""Parameter counts against the documented log's printed numbers."""

import pytest

from mmad.config.setup import ModelSetup
from mmad.detector.build import parameter_counts

SMALL = {"backbone_out_channels": 16, "representation_size": 32}
PAPER = {
    "image_size": 512,
    "backbone_out_channels": 64,
    "representation_size": 64,
    "clinical_input_channels": 64,
    "clinical_expand_conv_channels": 64,
    "fuse_depth": 0,
    "fusion_strategy": "add",
}

DOCUMENTED = {
    "e069 CXR": (SMALL, {"model": 1040729, "model.backbone": 1009968, "model.rpn": 3595, "model.roi_heads": 27166}),
    "e070 era A, concat": (
        SMALL | {"use_clinical": True},
        {"model": 1223303, "model.clinical_convs": 41904, "model.fuse_convs": 32592},
    ),
    "e043 era A, add": (SMALL | {"use_clinical": True, "fusion_strategy": "add"}, {"model.fuse_convs": 27984}),
    "e052 era A, depth 20": (
        SMALL | {"use_clinical": True, "fusion_strategy": "add", "fuse_depth": 20},
        {"model": 1367687},
    ),
    "e009 custom1": (SMALL | {"backbone": "custom"}, {"model": 197497, "model.backbone": 166736}),
    "e010 custom2": (SMALL | {"backbone": "custom2"}, {"model": 732281, "model.backbone": 701520}),
    "e094 era C, both": (
        PAPER | {"use_clinical": True},
        {"model": 3217952, "model.roi_heads.box_head.fc6": 204864, "model.fuse_convs": 0},
    ),
    "e098 CXR 512": (PAPER, {"model": 1507529, "model.roi_heads.box_predictor": 1950}),
    "e099 era C, fusion 1": (
        PAPER | {"use_clinical": True, "add_clinical_to_roi_heads": False},
        {"model": 3213856, "model.clinical_convs": 1258848},
    ),
    "e100 era C, fusion 2": (
        PAPER | {"use_clinical": True, "spatialise_clinical": False},
        {"model": 2770583, "model.clinical_convs": 1258848, "model.roi_heads": 210974},
    ),
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_counts_equal_the_documented_ones(name: str) -> None:
    setup, printed = DOCUMENTED[name]
    counted = {c.module: c.count for c in parameter_counts(ModelSetup(**setup))}
    assert {module: counted[module] for module in printed} == printed


def test_the_block_stands_in_the_logs_order() -> None:
    modules = [c.module for c in parameter_counts(ModelSetup(use_clinical=True))]
    assert modules == [
        "model",
        "model.backbone",
        "model.rpn",
        "model.roi_heads",
        "model.roi_heads.box_head",
        "model.roi_heads.box_head.fc6",
        "model.roi_heads.box_head.fc7",
        "model.roi_heads.box_predictor",
        "model.clinical_convs",
        "model.fuse_convs",
    ]
