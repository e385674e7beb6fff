"""Loading ImageNet weights: from a file made here, or refused with the mend."""

from pathlib import Path

import pytest
import torch
from torchvision import models

from mmad.base.errors import SpecError, WeightsError
from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.detector import build_detector
from mmad.spec.setup import ModelSetup
from mmad.spec.weights import weights_file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch"))
    monkeypatch.delenv("MMAD_WEIGHTS", raising=False)
    return tmp_path


def build(backbone: str, folder: Path | None, weights: str = "imagenet", **fields: object) -> torch.nn.Module:
    setup = ModelSetup(backbone=backbone, image_size=64, pretrained=True, **fields)
    return build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0, weights=weights, weights_dir=folder)


@pytest.mark.parametrize(
    ("backbone", "maker"), [("mobilenet_v3", models.mobilenet_v3_small), ("custom2", models.resnet18)]
)
def test_a_classifiers_weights_reach_both_networks(folder: Path, backbone: str, maker: object) -> None:
    classifier = maker(weights=None)
    torch.save(classifier.state_dict(), folder / weights_file(backbone))
    model = build(backbone, folder, use_clinical=True, clinical_expand_conv_channels=8)
    first = next(p for p in classifier.parameters())
    for network in (model.backbone, model.clinical_convs):
        assert torch.equal(next(network.body.parameters()), first)


def test_missing_weights_are_refused_with_the_mend(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"mobilenet_v3_small-047dcff4\.pth.*--weights none"):
        build("mobilenet_v3", folder)


def test_none_trains_from_scratch(folder: Path) -> None:
    drawn = build("custom1", None, weights="none")
    again = build("custom1", None, weights="none")
    assert all(torch.equal(a, b) for a, b in zip(drawn.parameters(), again.parameters(), strict=True))


def test_a_damaged_file_is_named(folder: Path) -> None:
    (folder / weights_file("custom1")).write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        build("custom1", folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    torch.save(models.mobilenet_v3_small(weights=None).state_dict(), folder / weights_file("custom1"))
    with pytest.raises(SpecError, match="do not fit backbone custom1: missing"):
        build("custom1", folder)
