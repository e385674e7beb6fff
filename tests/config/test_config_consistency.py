"""Which fields go together, and how large the maps are."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mmad.config.setup import ModelSetup, fused_side, map_sides
from mmad.config.setup_checks import shrunken

CLINICAL = {"use_clinical": True}
ERA_C = CLINICAL | {"clinical_expand_conv_channels": 8}
ADD = {"fuse_depth": 0, "fusion_strategy": "add"}
R50 = {"backbone": "resnet50", "using_fpn": True}
DETACHED = dict.fromkeys(("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"), "detach")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"image_size": 250}, "image_size = 250: must be a power of two, such as 128 or 256"),
        ({"anchor_sizes": ()}, r"anchor_sizes = \[\]: expected at least one"),
        ({"anchor_sizes": (32, 0)}, "anchor_sizes = "),
        ({"anchor_ratios": (0.5, -1.0)}, "anchor_ratios = "),
        ({"multiStepLR_milestones": (0, 30)}, "multiStepLR_milestones = "),
        ({"multiStepLR_milestones": -1}, "multiStepLR_milestones = "),
        ({"rpn_bg_iou_thresh": 0.8}, "set rpn_bg_iou_thresh to 0.7 or less"),
        ({"box_fg_iou_thresh": 0.4}, "set box_bg_iou_thresh to 0.4 or less"),
        ({"anchor_sizes": (10**20,)}, "expected numbers up to 16384"),
        ({"clinical_numeric": ("age", "age")}, "names a column twice"),
        ({"box_batch_size_per_image": 2}, "set box_batch_size_per_image to 4 or more"),
        (R50 | {"backbone": "swin_t", "trainable_layers": 3}, "only a ResNet's parts are counted"),
        (R50 | {"trainable_layers": 0, "pretrained": False}, "drawn at random would stay so"),
        ({"backbone": "resnet19"}, "expected one of mobilenet_v3"),
        ({"backbone": "timm:"}, "or timm:NAME"),
        ({"backbone": "timm:../x"}, "or timm:NAME"),
        ({"using_fpn": True}, "it has no feature pyramid; use one of resnet18, resnet50, swin_t"),
        ({"using_fpn": True, "backbone": "custom3"}, "it has no feature pyramid"),
        (R50 | {"anchor_sizes": (32, 64)}, "expected 5 sizes, one per level"),
        (CLINICAL | {"use_custom_model": False}, "reads no clinical data; set use_custom_model = true"),
        ({"loss_weights": {"loss_total": 2}}, "loss_weights.loss_total: expected one of loss_classifier"),
        ({"loss_weights": DETACHED}, "nothing would be trained"),
        (CLINICAL | {"dataset_mode": "full"}, 'set dataset_mode = "normal", or use_clinical = false'),
        (CLINICAL | {"fuse_depth": 0}, 'fusion_strategy = "concat" with fuse_depth = 0'),
        (ERA_C | {"fuse_depth": 0}, 'fusion_strategy = "concat" with fuse_depth = 0'),
        (
            ERA_C | {"spatialise_clinical": False, "add_clinical_to_roi_heads": False},
            "nothing would read the clinical data; set one of them true",
        ),
        (CLINICAL | {"clinical_numeric": (), "clinical_categorical": ()}, "no clinical column is left"),
        (CLINICAL | {"clinical_records": "missing"}, "set clinical_missing_indicators = true"),
        (CLINICAL | {"spatialise_method": "repeat"}, "spatialise_method belongs to era C"),
        (CLINICAL | R50 | ADD | {"pre_spatialised_layer": 1}, "pre_spatialised_layer belongs to era C"),
        (CLINICAL | {"fusion_residule": True}, 'use fusion_strategy = "add", or fusion_residule = false'),
        (
            CLINICAL | {"fusion_residule": True, "fusion_strategy": "add", "fuse_stride": 2, "fuse_depth": 1},
            "the fused map has 4 cells a side and the image's 8",
        ),
        (CLINICAL | {"fusion": {"width": 3}}, r'the table has no use; write fusion = \{ use = "mymodule:MyClass" \}'),
        (CLINICAL | {"fusion": {"use": "flim"}}, "neither MODULE:CLASS nor one of film.*did you mean film?"),
        (CLINICAL | {"fusion": {"use": "a b:C"}}, "neither MODULE:CLASS"),
        (CLINICAL | {"fusion": {"use": "mine:C", "width": {"a": 1}}}, "fusion.width: expected a number, a text"),
        (CLINICAL | {"fusion": "cross_attention", "clinical_encoder": "vector"}, "it attends to tokens"),
        (CLINICAL | {"fusion": "film", "clinical_encoder": "tokens"}, "it reads one vector"),
        (CLINICAL | {"fusion": "cross_attention", "clinical_input_channels": 20}, "a multiple of its 8 heads"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ModelSetup.model_validate(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"fuse_depth": 0},  # idle without clinical data
        {"spatialise_method": "repeat", "spatialise_clinical": False, "add_clinical_to_roi_heads": False},
        ERA_C | {"spatialise_clinical": False, "fuse_depth": 0},  # nothing is joined
        CLINICAL
        | {"fusion_residule": True, "fusion_strategy": "add", "fuse_stride": 2},  # one cell, repeated over the map
        CLINICAL | {"clinical_numeric": ()},
        {"loss_weights": {"loss_mask": 2}},  # idle without a mask head
        {"loss_weights": DETACHED | {"loss_classifier": 1}},
        {"backbone": "timm:swin_tiny_patch4_window7_224.ms_in1k", "using_fpn": True},
        ERA_C | ADD | {"spatialise_method": "repeat", "clinical_input_channels": 16},
    ],
)
def test_fields_that_go_together_are_taken(fields: dict[str, Any]) -> None:
    ModelSetup.model_validate(fields)


def test_maps_and_what_the_fuse_convolutions_leave_of_them() -> None:
    assert map_sides(ModelSetup()) == (8,)
    assert map_sides(ModelSetup(backbone="custom1")) == (64,)
    assert map_sides(ModelSetup(**R50)) == (64, 32, 16, 8, 4)
    assert map_sides(ModelSetup(use_custom_model=False, image_size=512)) == (128, 64, 32, 16, 8)
    assert map_sides(ModelSetup(backbone="timm:resnet18")) is None
    halved = ModelSetup(use_clinical=True, fuse_stride=2, fuse_depth=2)
    assert fused_side(halved, 8) == 2
    assert fused_side(ModelSetup(use_clinical=True, fuse_stride=2, fuse_depth=4, **R50), 64) == 32
    assert fused_side(ModelSetup(fuse_stride=2), 8) == 8


def test_a_map_of_one_cell_is_warned_of() -> None:
    said = shrunken(ModelSetup(use_clinical=True, fuse_stride=2), (8,))
    assert said is not None
    assert "fuse_stride = 1" in said
    assert shrunken(ModelSetup(use_clinical=True), (8,)) is None
    pyramid = ModelSetup(use_clinical=True, fuse_stride=2, image_size=64, **R50)
    some = shrunken(pyramid, map_sides(pyramid))
    assert some is not None
    assert "of 2 and fewer cells" in some
    assert shrunken(ModelSetup(use_clinical=True, image_size=32), (1,)) is None  # the image's map has one cell too


def test_torchvisions_own_model_is_a_setup_too() -> None:
    own = ModelSetup(use_custom_model=False, representation_size=32, rpn_nms_thresh=0.6)
    stock = own.stock()
    assert own.image_backbone == stock.backbone == "resnet50"
    assert (stock.using_fpn, stock.use_mask, stock.representation_size) == (True, True, 1024)
    assert stock.rpn_nms_thresh == 0.6
    assert ModelSetup().stock() == ModelSetup()
