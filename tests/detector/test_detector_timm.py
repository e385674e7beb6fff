"""timm's backbones: their maps, their pyramids, their weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detector_samples import FEW_BOXES, batch, detector
from safetensors.torch import save_file

from mmad.base.errors import SpecError, WeightsError
from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config.setup import ModelSetup
from mmad.detector.build import build_detector, parameter_counts
from mmad.detector.roi_heads import WITH_GROUND_TRUTH
from mmad.detector.timm_body import TimmBody

timm = pytest.importorskip("timm")
FIELDS = {"image_size": 64, "pretrained": False}
#: A convolutional network, one whose maps are (B, h, w, C), one whose first map has stride 2.
NAMES = ("convnext_atto", "swin_tiny_patch4_window7_224", "resnet10t")


@pytest.mark.parametrize("name", ["convnext_atto", "resnet10t"])
def test_the_last_map_is_read(name: str) -> None:
    with torch.device("meta"):
        body = TimmBody(name, 64, pyramid=False)
        found = body(torch.zeros((1, 3, 64, 64)))
    assert body.strides == (32,)
    assert found.shape == (1, body.widths[0], 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_pyramid_stands_on_four_maps(name: str) -> None:
    with torch.device("meta"):
        body = TimmBody(name, 64, pyramid=True)
        maps = body(torch.zeros((1, 3, 64, 64)))
    assert body.strides == (4, 8, 16, 32)
    sides = {level: (m.shape[1], m.shape[2]) for level, m in maps.items()}
    assert sides == {str(i): (body.widths[i], 16 >> i) for i in range(4)}


PLAIN = "vit_small_patch14_dinov2"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """A file of the weights of a plain transformer of another grid, and the first of them."""
    whole = timm.create_model(PLAIN, img_size=224, num_classes=0)  # timm resamples the positions
    file = tmp_path_factory.mktemp("plain") / "chest.safetensors"
    save_file(whole.state_dict(), str(file))
    return file, whole.blocks[0].attn.qkv.weight


@pytest.mark.slow
@pytest.mark.parametrize("pyramid", [False, True])
def test_a_plain_transformer_has_maps_by_the_image_s_pixels_whatever_its_patch(
    pyramid: bool, plain: tuple[Path, torch.Tensor]
) -> None:
    file, first = plain
    setup = ModelSetup(backbone=f"timm:{PLAIN}", image_size=64, using_fpn=pyramid)
    model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0, weights=str(file))
    body = model.backbone.body
    assert body.strides == ((4, 8, 16, 32) if pyramid else (16,))
    found = body(torch.rand((1, 3, 64, 64)))
    maps = list(found.values()) if isinstance(found, dict) else [found]
    assert [m.shape[1:] for m in maps] == [
        (width, 64 // stride, 64 // stride) for width, stride in zip(body.widths, body.strides, strict=True)
    ]
    state = body.network.state_dict()
    loaded = next(value for key, value in state.items() if key.endswith("blocks.0.attn.qkv.weight"))
    assert torch.equal(loaded, first)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["timm:resnet10t", "timm:vit_tiny_patch16_224"])
def test_it_trains_and_counts_with_a_pyramid_and_clinical_data(backbone: str) -> None:
    fields = FIELDS | {"backbone": backbone, "using_fpn": True, "use_clinical": True, "fuse_depth": 1}
    model = detector(fields | FEW_BOXES | {"clinical_expand_conv_channels": 8}).train()
    images, targets, numeric, categorical = batch()
    sum(model(images, targets, numeric, categorical, WITH_GROUND_TRUTH).losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    counted = parameter_counts(ModelSetup(**fields, clinical_expand_conv_channels=8))[0].count
    assert counted == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"backbone": "timm:resnet18x"}, "timm has no such network; did you mean resnet18"),
        ({"backbone": "timm:vit_small_patch32_224", "using_fpn": True}, r"its maps have strides \[32, 32, 32\]"),
        ({"backbone": "timm:resnet10t.c3_in1kk"}, r"timm has no such weights; did you mean resnet10t\.c3_in1k"),
        (
            {"backbone": "timm:resnet10t", "image_size": 128, "use_clinical": True}
            | {"fuse_depth": 1, "fuse_stride": 2, "fusion_strategy": "add", "fusion_residule": True},
            "the fused map has 2 cells a side and the image's 4, which cannot be added; set fuse_stride = 1",
        ),
    ],
)
def test_what_timm_has_not_is_refused_with_the_mend(fields: dict, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parameter_counts(ModelSetup(**FIELDS | fields))


@pytest.mark.slow
def test_weights_reach_both_networks(tmp_path: Path) -> None:
    whole = timm.create_model("resnet10t", pretrained=False)
    save_file(whole.state_dict(), str(tmp_path / "timm-resnet10t.c3_in1k.safetensors"))
    setup = ModelSetup(
        backbone="timm:resnet10t.c3_in1k", image_size=64, use_clinical=True, clinical_expand_conv_channels=8
    )
    model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0, weights_dir=tmp_path)
    for network in (model.backbone, model.clinical_convs):
        assert torch.equal(network.body.network.layer1[0].conv1.weight, whole.layer1[0].conv1.weight)


@pytest.mark.slow
def test_reading_weights_leaves_the_random_state_alone(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet10t").state_dict(), str(tmp_path / "timm-resnet10t.c3_in1k.safetensors"))
    setup = ModelSetup(backbone="timm:resnet10t.c3_in1k", image_size=64)
    before = torch.get_rng_state()
    build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0, weights_dir=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("damage", ["bytes", "another network", "a tensor is missing"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "timm-resnet10t.c3_in1k.safetensors"
    state = timm.create_model("convnext_atto" if damage == "another network" else "resnet10t").state_dict()
    state.pop("layer4.0.conv2.weight", None)
    save_file(state, str(file))
    if damage == "bytes":
        file.write_bytes(b"not weights")
    setup = ModelSetup(backbone="timm:resnet10t.c3_in1k", image_size=64)
    line = "cannot be read as weights" if damage == "bytes" else "the weights do not fit backbone timm:resnet10t"
    with pytest.raises(WeightsError, match=line):
        build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0, weights_dir=tmp_path)


@pytest.mark.slow
def test_two_builds_of_one_seed_are_equal() -> None:
    one, other = (detector(FIELDS | {"backbone": "timm:convnext_atto"}) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_network_that_cannot_read_images_of_that_size_is_refused() -> None:
    with pytest.raises(SpecError, match="with image_size = 64: it cannot read such images"):
        TimmBody("efficientformer_l1", 64, pyramid=False)


@pytest.mark.slow
def test_what_no_map_depends_on_stays_fixed() -> None:
    body = TimmBody("hrnet_w18_small", 64, pyramid=False)
    body(torch.randn((2, 3, 64, 64))).sum().backward()
    fixed = [name for name, p in body.named_parameters() if not p.requires_grad]
    assert fixed
    assert all((p.grad is None) == (name in fixed) for name, p in body.named_parameters())


def test_one_image_whose_map_is_one_cell_trains() -> None:
    body = TimmBody("resnet10t", 32, pyramid=False).train()
    body(torch.randn((1, 3, 32, 32))).sum().backward()
    assert body.network.training
    assert all(torch.isfinite(p.grad).all() for p in body.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["timm:resnet10t", "swin_t"])
def test_bodies_are_drawn_by_name_whatever_stands_beside_them(backbone: str) -> None:
    fields = FIELDS | {"backbone": backbone, "use_clinical": True, "clinical_expand_conv_channels": 8}
    one, other = (detector(fields | {"clinical_input_channels": n, "fuse_depth": 1}) for n in (12, 20))
    for mine, theirs in ((one.backbone, other.backbone), (one.clinical_convs, other.clinical_convs)):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    first, second = next(one.backbone.body.parameters()), next(one.clinical_convs.body.parameters())
    assert not torch.equal(first, second)
