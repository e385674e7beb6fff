"""What this version builds, and the words for what it does not."""

from __future__ import annotations

import pytest

from mmad.config.messages import did_you_mean, nearest
from mmad.config.setup import BACKBONES, ModelSetup
from mmad.config.setup_checks import unsupported


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_can_be_trained(backbone: str) -> None:
    assert unsupported(ModelSetup(backbone=backbone)) is None


@pytest.mark.parametrize("mode", ["normal", "unified", "full"])
def test_every_kind_of_sample_can_be_trained(mode: str) -> None:
    assert unsupported(ModelSetup(dataset_mode=mode)) is None


def test_a_timm_backbone_needs_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = ModelSetup(backbone="timm:resnet18", pretrained=False)
    assert unsupported(setup) is None
    monkeypatch.setattr("mmad.config.setup_checks.find_spec", lambda name: None)
    assert unsupported(setup) == ("backbone", "timm is not installed", "install it with pip install 'mmad[timm]'")


def test_the_nearest_word() -> None:
    assert nearest("Epochs", ["epochs", "seed"]) == "epochs"
    assert nearest("zzz", ["epochs", "seed"]) is None
    assert nearest("learning_rate", ["momentum", "lr"]) == "lr"
    assert nearest("patience", ["lr", "reduceLROnPlateau_patience"]) == "reduceLROnPlateau_patience"
    assert did_you_mean("sed", ["epochs", "seed"]) == "did you mean seed?"
    assert did_you_mean("zzz", ["epochs", "seed"]) == "expected one of epochs, seed"
    assert did_you_mean("zzz", []) == "none is known"
    assert "20" in did_you_mean("zzz", [f"word {i}" for i in range(20)])
