"""What the detector computes: agreement with torchvision, and what must not change a detection."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.detector import CLEAN, SAMPLED, WITH_GROUND_TRUTH, MultimodalRCNN, RoiMode, build_detector
from mmad.detector.initial import initialise
from mmad.detector.model import IMAGENET_DEVIATION, IMAGENET_MEAN
from mmad.spec.setup import ModelSetup

SIDE = 64
CXR = {"backbone": "custom1", "image_size": SIDE, "pretrained": False, "box_score_thresh": 0.0}
ERA_A = CXR | {"use_clinical": True, "clinical_input_channels": 12, "clinical_conv_channels": 8}
ERA_C = CXR | {
    "use_clinical": True,
    "clinical_input_channels": 12,
    "clinical_expand_conv_channels": 8,
    "fuse_depth": 0,
    "fusion_strategy": "add",
}
ARMS = {"CXR": CXR, "era A": ERA_A, "era A add residual": ERA_A | {"fusion_strategy": "add", "fusion_residule": True}}
ARMS |= {
    "era A stride 2": ERA_A | {"fuse_stride": 2, "fusion_residule": True},
    "era C": ERA_C,
    "era C heads only": ERA_C | {"spatialise_clinical": False},
    "era C map only": ERA_C | {"add_clinical_to_roi_heads": False},
}


def detector(fields: dict, seed: int = 0) -> MultimodalRCNN:
    return build_detector(ModelSetup(**fields), labels=5, columns=DOCUMENTED_COLUMNS, seed=seed)


def batch(size: int = 4) -> tuple[Tensor, list[dict[str, Tensor]], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (size, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    boxes = [
        torch.tensor([[8.0, 8.0, 40.0, 50.0], [20.0, 30.0, 60.0, 60.0]]),
        torch.tensor([[5.0, 10.0, 30.0, 30.0]]),
        torch.zeros((0, 4)),
        torch.tensor([[0.0, 0.0, 64.0, 64.0]]),
    ][:size]
    targets = [{"boxes": b, "labels": torch.arange(1, len(b) + 1)} for b in boxes]
    numeric = torch.randn((size, 9), generator=generator)
    return images, targets, numeric, torch.tensor([[0], [1], [-1], [0]])[:size]


class Plain(torch.nn.Module):
    """The detector's image network as torchvision expects one."""

    def __init__(self, model: MultimodalRCNN) -> None:
        super().__init__()
        self.network = model.backbone
        self.out_channels = model.backbone.out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.network(images)


def torchvision_twin(model: MultimodalRCNN, setup: ModelSetup) -> FasterRCNN:
    twin = FasterRCNN(
        Plain(model),
        num_classes=None,
        min_size=SIDE,
        max_size=SIDE,
        image_mean=list(IMAGENET_MEAN),
        image_std=list(IMAGENET_DEVIATION),
        rpn_anchor_generator=AnchorGenerator((setup.anchor_sizes,), (setup.anchor_ratios,)),
        rpn_nms_thresh=setup.rpn_nms_thresh,
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        box_head=torch.nn.Identity(),
        box_predictor=model.roi_heads.box_predictor,
        box_score_thresh=setup.box_score_thresh,
        box_nms_thresh=setup.box_nms_thresh,
        box_detections_per_img=setup.box_detections_per_img,
    )
    twin.rpn.head = model.rpn.head
    twin.rpn._pre_nms_top_n = {"training": 2000, "testing": 1000}
    twin.rpn._post_nms_top_n = {"training": 2000, "testing": 1000}

    class Head(torch.nn.Module):
        def forward(self, pooled: Tensor) -> Tensor:
            return model.roi_heads.box_head(pooled, None)

    twin.roi_heads.box_head = Head()
    twin.transform.torch_choice = lambda sizes: sizes[0]  # draws a random number for its one size otherwise
    return twin


def test_losses_equal_torchvisions() -> None:
    setup = ModelSetup(**CXR)
    model = detector(CXR)
    twin = torchvision_twin(model, setup)
    images, targets, _, _ = batch()
    model.train()
    twin.train()
    torch.manual_seed(3)
    ours = model(images, targets, mode=RoiMode(add_ground_truth=True, detect="none")).losses
    torch.manual_seed(3)  # the samplers draw in the same order
    theirs = twin([image.expand(3, -1, -1) / 255 for image in images], targets)
    assert set(ours) == set(theirs)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


def test_detections_equal_torchvisions() -> None:
    model = detector(CXR).eval()
    twin = torchvision_twin(model, ModelSetup(**CXR)).eval()
    images, _, _, _ = batch()
    with torch.no_grad():
        ours = model(images).detections
        theirs = twin([image.expand(3, -1, -1) / 255 for image in images])
    assert sum(len(t["boxes"]) for t in theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine["labels"], other["labels"])
        torch.testing.assert_close(mine["boxes"], other["boxes"], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(mine["scores"], other["scores"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arm", ARMS)
def test_one_step_reaches_every_parameter_in_use(arm: str) -> None:
    model = detector(ARMS[arm]).train()
    images, targets, numeric, categorical = batch()
    output = model(images, targets, numeric, categorical, WITH_GROUND_TRUTH)
    sum(output.losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in output.losses.values())
    idle = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is None}
    expected = {"clinical_convs"} if arm == "era C heads only" else set()
    assert idle == expected
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("arm", ARMS)
def test_clean_detections_never_see_the_targets(arm: str) -> None:
    model = detector(ARMS[arm]).eval()
    images, targets, numeric, categorical = batch()
    with torch.no_grad():
        given = model(images, targets, numeric, categorical, CLEAN)
        withheld = model(images, None, numeric, categorical, CLEAN)
    assert set(given.losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
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


def test_a_batch_of_one_equals_the_image_in_a_batch_of_four() -> None:
    model = detector(ERA_C).eval()
    images, _, numeric, categorical = batch()
    with torch.no_grad():
        together = model(images, None, numeric, categorical).detections
        alone = [
            model(images[i : i + 1], None, numeric[i : i + 1], categorical[i : i + 1]).detections[0] for i in range(4)
        ]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a["scores"], b["scores"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(a["boxes"], b["boxes"], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("arm", ["era A", "era C", "era C heads only", "era C map only"])
def test_the_clinical_vector_changes_what_is_learnt(arm: str) -> None:
    model = detector(ARMS[arm]).train()
    images, targets, numeric, categorical = batch()
    losses = []
    for vector in (numeric, numeric.roll(1, dims=0) * 2):
        torch.manual_seed(0)
        losses.append(model(images, targets, vector, categorical).losses["loss_classifier"].item())
    assert losses[0] != losses[1]


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
