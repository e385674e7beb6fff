"""What the detector computes: every parameter in use, and what must not change a detection."""

import doctest
import re

import pytest
import torch
from detector_samples import ARMS, CLINICAL, CXR, ERA_A, ERA_C, FPN, batch, detector

from mmad.config.setup import ModelSetup
from mmad.detector import build
from mmad.detector.build import idle_modules
from mmad.detector.roi_heads import CLEAN, SAMPLED, WITH_GROUND_TRUTH, RoiMode
from mmad.detector.weights import initialise

LOSSES = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("arm", ARMS)
def test_one_step_reaches_every_parameter_in_use(arm: str) -> None:
    model = detector(ARMS[arm]).train()
    images, targets, numeric, categorical = batch()
    output = model(images, targets, numeric, categorical, WITH_GROUND_TRUTH)
    sum(output.losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in output.losses.values())
    idle = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is None}
    assert idle == set(idle_modules(ModelSetup(**ARMS[arm])))
    assert all(p.grad.norm().isfinite() for p in model.parameters() if p.grad is not None)


@pytest.mark.slow
@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("arm", ARMS)
def test_clean_detections_never_see_the_targets(arm: str) -> None:
    model = detector(ARMS[arm]).eval()
    images, targets, numeric, categorical = batch()
    with torch.no_grad():
        given = model(images, targets, numeric, categorical, CLEAN)
        withheld = model(images, None, numeric, categorical, CLEAN)
    assert set(given.losses) == LOSSES | ({"loss_mask"} if "mask" in arm else set())
    assert not withheld.losses
    assert sum(len(d["boxes"]) for d in given.detections) > 0
    for a, b in zip(given.detections, withheld.detections, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in ("boxes", "labels", "scores"))


def test_given_boxes_are_among_the_detected_ones() -> None:
    model = detector(CXR | {"box_nms_thresh": 1.0, "box_detections_per_img": 1000}).eval()
    images, targets, _, _ = batch()
    with torch.no_grad():
        given = model(images, targets, mode=WITH_GROUND_TRUTH).detections
        sampled = model(images, targets, mode=SAMPLED).detections
    for more, fewer in zip(given[:2], sampled[:2], strict=True):
        assert len(more["boxes"]) > len(fewer["boxes"])


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("arm", ["mask", "era A", "era A FPN", "era B", "era C"])
def test_a_batch_of_one_equals_the_image_in_a_batch_of_four(arm: str) -> None:
    model = detector(ARMS[arm]).eval()
    images, _, numeric, categorical = batch()
    with torch.no_grad():
        together = model(images, None, numeric, categorical).detections
        alone = [
            model(images[i : i + 1], None, numeric[i : i + 1], categorical[i : i + 1]).detections[0] for i in range(4)
        ]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a["scores"], b["scores"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(a["boxes"], b["boxes"], rtol=1e-5, atol=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm.startswith("era")])
def test_the_clinical_vector_changes_what_is_learnt(arm: str) -> None:
    model = detector(ARMS[arm]).train()
    images, targets, numeric, categorical = batch()
    losses = []
    for vector in (numeric, numeric.roll(1, dims=0) * 2):
        torch.manual_seed(0)
        losses.append(model(images, targets, vector, categorical).losses["loss_classifier"].item())
    assert losses[0] != losses[1]


@pytest.mark.slow
def test_arms_share_initial_weights_by_name() -> None:
    plain = detector(CXR).state_dict()
    for other in (detector(ERA_A).state_dict(), detector(ERA_C).state_dict()):
        widened = {n.rpartition(".")[0] for n in plain if n in other and plain[n].shape != other[n].shape}
        shared = [n for n in plain if n in other and n.rpartition(".")[0] not in widened]
        assert widened <= {"roi_heads.box_head.fc6"}  # the clinical vector stands beside its features
        assert "roi_heads.box_head.fc7.weight" in shared
        assert all(torch.equal(plain[n], other[n]) for n in shared)


def test_seeds_differ_and_the_global_random_state_stays() -> None:
    before = torch.get_rng_state()
    model = detector(CXR, seed=1)
    initialise(model, 1)
    torch.rand(1)
    other = detector(CXR, seed=2)
    assert not torch.equal(model.rpn.head.cls_logits.weight, other.rpn.head.cls_logits.weight)
    torch.set_rng_state(before)
    initialise(model, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_norm_momentum_reaches_every_running_statistic() -> None:
    model = detector(CXR | {"norm_momentum": 0.25})
    found = [m.momentum for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert found
    assert set(found) == {0.25}


def test_a_detector_with_clinical_data_insists_on_it() -> None:
    with pytest.raises(ValueError, match="numeric and categorical"):
        detector(ERA_C).eval()(batch()[0])


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        (CXR | {"rpn_score_thresh": 0.9}, CLEAN),  # no proposal at all
        (CXR, WITH_GROUND_TRUTH),  # none sampled, once the samplers below take none
        (CXR, CLEAN),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_losses_of_nothing_are_zero(fields: dict, mode: RoiMode, training: bool) -> None:
    images, targets, numeric, categorical = batch(2)
    model = detector(fields).train(training)
    if fields is CXR:
        model.rpn.sampler.batch_size_per_image = model.rpn.sampler.max_positives = 0
        model.roi_heads.sampler.batch_size_per_image = model.roi_heads.sampler.max_positives = 0
    losses = model(images, targets, numeric, categorical, mode).losses
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert 0 in [loss.item() for loss in losses.values()]


@pytest.mark.parametrize("backbone", ["mobilenet_v3", "mobilenet_v2", "resnet18", "resnet50 FPN"])
def test_one_image_trains_where_its_last_map_is_one_cell(backbone: str) -> None:
    fields = {"backbone": backbone.removesuffix(" FPN"), "image_size": 32, "frozen_norm": False}
    model = detector(CXR | fields | {"using_fpn": "FPN" in backbone, "anchor_sizes": (4, 8, 16, 24, 32)}).train()
    images, targets, numeric, categorical = batch(1, side=32)
    assert all(torch.isfinite(loss) for loss in model(images, targets, numeric, categorical).losses.values())


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["add", "concat"])
def test_era_a_with_a_pyramid_has_a_fuse_convolution_per_level_whatever_the_depth(strategy: str) -> None:
    fields = FPN | CLINICAL | {"era": "A", "fuse_depth": 0, "fusion_strategy": strategy}
    fields |= {"fusion_residule": strategy == "add"}
    images, targets, numeric, categorical = batch(2)
    assert detector(fields)(images, targets, numeric[:2], categorical[:2]).losses
    with pytest.raises(ValueError, match="which cannot be added; set fuse_stride = 1"):
        ModelSetup(**fields | {"fusion_strategy": "add", "fusion_residule": True}, fuse_stride=2)


def targets_with(**changes: object) -> list[dict]:
    _, targets, *_ = batch(2)
    return [targets[0], targets[1] | changes]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": torch.zeros(4)}, '["boxes"] to be a float tensor of shape [N, 4], got float32 [4]'),
        ({"boxes": torch.zeros((1, 5))}, '["boxes"] to be a float tensor of shape [N, 4], got float32 [1, 5]'),
        (
            {"boxes": torch.zeros((1, 4), dtype=torch.int64)},
            '["boxes"] to be a float tensor of shape [N, 4], got int64 [1, 4]',
        ),
        ({"boxes": [[0, 0, 1, 1]]}, '["boxes"] to be a tensor, got list'),
        ({"labels": None}, '["labels"] to be a tensor, got NoneType'),
        ({"labels": torch.ones(2, dtype=torch.int64)}, '["labels"] to be an int64 tensor of shape [1], got int64 [2]'),
        ({"labels": torch.ones(1)}, '["labels"] to be an int64 tensor of shape [1], got float32 [1]'),
        (
            {"boxes": torch.tensor([[9.0, 4, 9, 20]])},
            '["boxes"][0] to be finite with x1 < x2 and y1 < y2, got [9.0, 4.0, 9.0, 20.0]',
        ),
        ({"boxes": torch.tensor([[9.0, 20, 30, 4]])}, '["boxes"][0] to be finite with x1 < x2 and y1 < y2'),
        ({"boxes": torch.tensor([[9.0, 4, torch.inf, 20]])}, '["boxes"][0] to be finite'),
        ({"boxes": torch.tensor([[9.0, 4, 30, torch.nan]])}, '["boxes"][0] to be finite'),
        ({"labels": torch.tensor([0])}, '["labels"][0] to be a finding, 1 to 5, got 0'),
        ({"labels": torch.tensor([6])}, '["labels"][0] to be a finding, 1 to 5, got 6'),
        ({"masks": torch.zeros((1, 9, 9))}, '["masks"] to be a tensor of shape [1, 64, 64], got float32 [1, 9, 9]'),
    ],
)
def test_targets_of_another_form_are_refused_by_name(changes: dict[str, object], message: str) -> None:
    images = batch(2)[0]
    with pytest.raises(ValueError, match=re.escape(f"Expected targets[1]{message}")):
        detector(CXR)(images, targets_with(**changes))


def test_images_of_another_form_and_missing_targets_are_refused() -> None:
    images, targets, *_ = batch(2)
    model = detector(CXR)
    with pytest.raises(ValueError, match="Expected targets for each of 2 images, got 1"):
        model(images, targets[:1])
    with pytest.raises(ValueError, match="Expected targets for every image in training mode, got None"):
        model.train()(images)
    for wrong in (images[0], images[:, :, :32], images.repeat(1, 2, 1, 1)):
        with pytest.raises(ValueError, match=r"^Expected images to be a tensor of shape \[B, 1 or 3, S, S\], got \["):
            model(wrong)


def test_the_example_of_build_detector_runs() -> None:
    found = doctest.testmod(build)
    assert (found.failed, found.attempted > 5) == (0, True)
