"""Multiply-adds and activations of a detector, against arithmetic by hand and torchvision's own figures."""

from __future__ import annotations

import dataclasses
import time

import pytest
from torchvision.models import MobileNet_V3_Small_Weights, ResNet50_Weights

from mmad.base.records import ClinicalColumns
from mmad.config.setup import ModelSetup
from mmad.detector.build import idle_modules, parameter_counts
from mmad.detector.cost import PARTS, DetectorCost, ModuleCost, detector_cost
from mmad.experiment_log.shipped import entry, setup_of

SHAPES = ("e002", "e030", "e080", "e082", "e083", "e099")
#: Fields of a setup per name: forms of the clinical branch that no entry has.
OTHERS = {
    "repeat": {"era": "C", "spatialise_method": "repeat"},
    "repeat, layer": {"era": "C", "spatialise_method": "repeat", "pre_spatialised_layer": 2},
    "layer": {"era": "C", "pre_spatialised_layer": 2},
    "stock": {"use_clinical": False, "use_custom_model": False},
}


def by_name(cost: DetectorCost) -> dict[str, ModuleCost]:
    return {row.module: row for row in cost.modules}


def built_setup(name: str) -> ModelSetup:
    if name not in OTHERS:
        return setup_of(entry(name))
    return ModelSetup(**{"use_clinical": True, "backbone": "custom1", "image_size": 64, **OTHERS[name]})


def test_multiply_adds_equal_arithmetic() -> None:
    cost = detector_cost(ModelSetup(), proposals=10)
    rows = by_name(cost)
    places, channels, anchors = 8 * 8, 16, 15
    assert rows["model.backbone.reduce"].flops == places * channels * 576 * 9
    assert rows["model.rpn"].flops == places * (channels * channels * 9 + channels * anchors * 5)
    assert rows["model.rpn"].activations == places * (channels + anchors * 5)
    assert rows["model.roi_heads.box_head.fc6"].flops == 10 * 16 * 49 * 32
    assert rows["model.roi_heads.box_predictor"].flops == 10 * 32 * (6 + 24)
    assert (cost.proposals, cost.masks, cost.idle, cost.flops["clinical"]) == (10, 0, (), 0)


@pytest.mark.slow
def test_bodies_cost_what_torchvision_tells() -> None:
    for backbone, fpn, weights, head in (
        ("mobilenet_v3", False, MobileNet_V3_Small_Weights.IMAGENET1K_V1, 576 * 1024 + 1024 * 1000),
        ("resnet50", True, ResNet50_Weights.IMAGENET1K_V1, 2048 * 1000),
    ):
        rows = by_name(detector_cost(ModelSetup(backbone=backbone, using_fpn=fpn, image_size=256)))
        told = weights.value.meta["_ops"] * 1e9 - head  # at 224 px
        # squeeze-and-excitation does not grow with the image, so MobileNet stays a little below
        assert rows["model.backbone.body"].flops == pytest.approx(told * (256 / 224) ** 2, rel=0.03)


def test_an_expansion_costs_arithmetic() -> None:
    setup = ModelSetup(use_clinical=True, backbone="custom1", image_size=32, clinical_conv_channels=32)
    cost = detector_cost(setup, columns=ClinicalColumns(numeric=("age",)))
    sides = [2, 4, 8, 16, 32]
    # each input place is spread to 2×2, then a 3×3 convolution
    expansion = sum((s // 2) ** 2 * 32 * 32 * 4 + s * s * 32 * 32 * 9 for s in sides)
    assert by_name(cost)["model.clinical_expand"].flops == expansion
    assert by_name(cost)["model.clinical_expand"].activations == sum(2 * s * s * 32 for s in sides)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SHAPES, *OTHERS])
def test_parts_and_modules_add_up(name: str) -> None:
    setup = built_setup(name)
    cost = detector_cost(setup)
    rows = by_name(cost)
    assert set(cost.flops) == set(cost.activations) == set(PARTS)
    assert sum(cost.flops.values()) == rows["model"].flops
    assert sum(cost.activations.values()) == rows["model"].activations
    assert cost.flops["backbone"] == rows["model.backbone"].flops > 0
    assert cost.flops["rpn"] == rows["model.rpn"].flops > 0
    assert cost.flops["heads"] == rows["model.roi_heads"].flops > 0
    assert cost.proposals == setup.rpn_post_nms_top_n_test
    assert set(cost.idle) == {f"model.{module}" for module in idle_modules(setup)}
    assert bool(cost.masks) == setup.has_masks
    counted = {c.module: c.count for c in parameter_counts(setup) if c.count}
    assert counted == {module: rows[module].parameters for module in counted}
    children = [row for module, row in rows.items() if module.count(".") == 1]
    assert sum(row.parameters for row in children) == rows["model"].parameters


def test_an_idle_network_costs_nothing() -> None:
    idle = detector_cost(setup_of(entry("e093")))
    assert idle.idle == ("model.clinical_convs",)
    assert idle.flops["clinical"] == 0
    assert by_name(idle)["model.clinical_convs"].flops == 0


def test_frozen_parameters_are_told_apart() -> None:
    rows = by_name(detector_cost(setup_of(entry("e097"))))
    assert rows["model.backbone.body.layer1"].trainable == 0
    assert rows["model.backbone.body.layer2"].trainable == rows["model.backbone.body.layer2"].parameters
    assert rows["model"].parameters - rows["model"].trainable == 2 * (9408 + 212_992)  # stem and layer 1, twice


@pytest.mark.slow
def test_only_the_heads_follow_the_proposals() -> None:
    few, many = (detector_cost(setup_of(entry("e030")), proposals=n) for n in (100, 200))
    assert 2 * few.flops["heads"] == many.flops["heads"]
    assert dataclasses.replace(few, modules=(), flops={}, activations={}, proposals=0) == dataclasses.replace(
        many, modules=(), flops={}, activations={}, proposals=0
    )
    assert few.flops["clinical"] == many.flops["clinical"]
    masks = [detector_cost(setup_of(entry("e004")), proposals=n) for n in (5, 100)]
    assert [cost.masks for cost in masks] == [5, 10]


@pytest.mark.slow
def test_the_largest_detector_is_measured_within_a_second() -> None:
    setup = setup_of(entry("e097"))
    detector_cost(setup)  # what is imported and looked up once
    start = time.process_time()
    detector_cost(setup)
    assert time.process_time() - start < 1
