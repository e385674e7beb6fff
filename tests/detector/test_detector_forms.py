"""The forms that the clinical branch had over time, layer by layer."""

from __future__ import annotations

import pytest
import torch
from detector_samples import ARMS, CLINICAL, CXR, ERA_A, ERA_C, FPN, REPEAT, batch, detector
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

from mmad.config.setup import ModelSetup
from mmad.detector.backbones import FrozenNorm
from mmad.detector.build import parameter_counts
from mmad.detector.model import MultimodalRCNN
from mmad.detector.roi_heads import RoiMode

DROPOUTS = {"clinical_expand_dropout_rate": 0.2, "clinical_conv_dropout_rate": 0.2, "fuse_dropout_rate": 0.2}


def test_dropout_takes_whole_channels_but_in_the_box_head() -> None:
    model = detector(ERA_A | DROPOUTS | {"box_head_dropout_rate": 0.2})
    for name in ("clinical_expand", "clinical_convs", "fuse_convs"):
        kinds = {type(m) for m in getattr(model, name).modules() if "Dropout" in type(m).__name__}
        assert kinds == {nn.Dropout2d}, name
    assert type(model.roi_heads.box_head.dropout) is nn.Dropout


def _last(module: nn.Module) -> nn.Module:
    return [m for m in module.modules() if not list(m.children())][-1]


@pytest.mark.parametrize("last_relu", [True, False])
def test_era_a_ends_in_relu_and_dropout_or_in_neither(last_relu: bool) -> None:
    model = detector(ERA_A | DROPOUTS | {"clinical_last_relu": last_relu})
    for module in (model.clinical_expand, model.clinical_convs.levels["0"]):
        assert isinstance(_last(module), nn.Dropout2d if last_relu else nn.BatchNorm2d)
    assert isinstance(_last(model.fuse_convs), nn.Dropout2d)


def test_a_residual_adds_the_images_and_the_clinical_map() -> None:
    model = detector(ARMS["era A add residual"]).eval()
    plain = detector(ERA_A | {"fusion_strategy": "add"}).eval()
    images, _, numeric, categorical = batch()
    inner: dict[str, torch.Tensor] = {}
    model.clinical_convs.register_forward_hook(lambda *call: inner.update(call[2]))
    with torch.no_grad():
        fused, without = (one.feature_maps(images, numeric, categorical)["0"] for one in (model, plain))
        image = model.backbone(model.transform(images))["0"]
    torch.testing.assert_close(fused, without + image + inner["0"])


def _clinical_inputs(model: MultimodalRCNN) -> tuple[torch.Tensor, torch.Tensor]:
    """What the vector becomes, and what is joined to the RoIs."""
    seen: list[torch.Tensor] = []
    model.clinical_mix.register_forward_hook(lambda *call: seen.append(call[2]))
    model.roi_heads.box_head.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    images, targets, numeric, categorical = batch()
    model(images, targets, numeric, categorical)
    return seen[0], seen[1]


def test_layers_before_the_map_are_a_stack_whose_output_goes_to_the_rois_too() -> None:
    model = detector(ERA_C | {"pre_spatialised_layer": 2}).train()
    assert [type(m).__name__ for m in model.clinical_mix] == [
        *("Linear", "VectorNorm", "LeakyReLU"), *("Linear", "VectorNorm", "LeakyReLU"), "Linear",
    ]  # fmt: skip
    mixed, joined = _clinical_inputs(model)
    assert {tuple(row.tolist()) for row in joined} <= {tuple(row.tolist()) for row in mixed}


def test_one_reading_trains_through_layers_before_the_map() -> None:
    model = detector(ERA_C | {"pre_spatialised_layer": 1}).train()
    images, targets, numeric, categorical = batch(1)
    assert all(loss.isfinite() for loss in model(images, targets, numeric, categorical).losses.values())


def test_a_vector_that_is_repeated_has_a_linear_layer_per_map() -> None:
    assert {name: m.out_features for name, m in detector(REPEAT).clinical_repeat.levels.items()} == {"0": 16}
    pyramid = detector(FPN | CLINICAL | ARMS["era C FPN repeat"]).clinical_repeat.levels
    widths = {name: (m.in_features, m.out_features) for name, m in pyramid.items()}
    assert widths == dict.fromkeys(("0", "1", "2", "3", "pool"), (12, 256))
    images, _, numeric, categorical = batch()
    model = detector(REPEAT).eval()
    with torch.no_grad():
        joined = model.feature_maps(images, numeric, categorical)["0"]
        added = joined - model.backbone(model.transform(images))["0"]
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added))


def test_what_nothing_reads_can_be_left_out() -> None:
    alone = ERA_C | {"spatialise_clinical": False}
    counts, without = (
        {c.module: c.count for c in parameter_counts(ModelSetup(**alone, clinical_idle_network=idle))}
        for idle in (True, False)
    )
    second = counts.pop("model.clinical_convs")
    assert counts | {"model": counts["model"] - second} == without


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"use_clinical": True, "fuse_stride": 2}, "BatchNorm of the fused map"),
        ({"use_clinical": True, "image_size": 32}, "BatchNorm of the image's map and the clinical map and the fused"),
        ({"use_clinical": True, "era": "C", "pre_spatialised_layer": 1}, "BatchNorm of the clinical vector"),
        ({"image_size": 32}, "BatchNorm of the image's map"),
        ({}, None),
        ({"use_clinical": True}, None),
        (FPN | {"image_size": 32, "anchor_sizes": (4, 8, 16, 24, 32)}, None),
    ],
)
def test_a_batch_of_one_image_is_warned_of(fields: dict, said: str | None) -> None:
    warning = detector(CXR | {"backbone": "mobilenet_v3"} | {"image_size": 256} | fields).warning()
    assert (said is None) == (warning is None)
    assert said is None or said in str(warning)


def test_norms_that_do_not_train_are_torchvisions_and_keep_the_type_of_their_maps() -> None:
    theirs, ours = FrozenBatchNorm2d(6), FrozenNorm(6)
    for name, value in theirs.state_dict().items():
        value.copy_(torch.rand(6, generator=torch.Generator().manual_seed(len(name))) + 0.1)
    ours.load_state_dict(theirs.state_dict())
    maps = torch.randn((2, 6, 5, 5), generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(maps), theirs(maps))
    assert ours(maps.bfloat16()).dtype is torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("detect", ["none", "proposals"])
def test_in_half_precision_every_weight_is_trained_with_detections_or_without(detect: str) -> None:
    model = detector(FPN).train()
    images, targets, _, _ = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(images, targets, mode=RoiMode(True, detect)).losses
    sum(loss.float() for loss in losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
