"""What this version builds, and the words for what it does not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mmad.spec.nearest import did_you_mean, nearest
from mmad.spec.setup import BACKBONES, ModelSetup
from mmad.spec.support import BUILT_BACKBONES, unsupported


@pytest.mark.parametrize("backbone", BUILT_BACKBONES)
def test_built_backbones_are_known_and_supported(backbone: str) -> None:
    assert backbone in BACKBONES
    assert unsupported(ModelSetup(backbone=backbone)) is None


@pytest.mark.parametrize(
    "setup",
    [
        {"backbone": "resnet50"},
        {"backbone": "timm:convnext_tiny"},
        {"using_fpn": True},
        {"use_mask": True},
        {"use_custom_model": False},
        {"dataset_mode": "normal"},
        {"use_clinical": True, "era": "B"},
    ],
)
def test_what_cannot_be_built_is_named_with_its_mend(setup: dict[str, Any]) -> None:
    found = unsupported(ModelSetup(**setup))
    assert found is not None
    field, what, mend = found
    assert field in setup
    assert "yet" in what
    assert mend


def test_an_idle_clinical_branch_is_no_obstacle() -> None:
    assert unsupported(ModelSetup(era="B")) is None
    assert unsupported(ModelSetup(use_clinical=True)) is None
    assert unsupported(ModelSetup(use_clinical=True, clinical_expand_conv_channels=16)) is None


def test_the_nearest_word() -> None:
    assert nearest("Epochs", ["epochs", "seed"]) == "epochs"
    assert nearest("zzz", ["epochs", "seed"]) is None
    assert nearest("learning_rate", ["momentum", "lr"]) == "lr"
    assert nearest("patience", ["lr", "reduceLROnPlateau_patience"]) == "reduceLROnPlateau_patience"
    assert did_you_mean("sed", ["epochs", "seed"]) == "did you mean seed?"
    assert did_you_mean("zzz", ["epochs", "seed"]) == "expected one of epochs, seed"
    assert did_you_mean("zzz", []) == "none is known"
    assert "20" in did_you_mean("zzz", [f"word {i}" for i in range(20)])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("anchor_sizes", ()),
        ("anchor_sizes", (32, 0)),
        ("anchor_ratios", (0.5, -1.0)),
        ("multiStepLR_milestones", (0, 30)),
        ("multiStepLR_milestones", -1),
    ],
)
def test_anchors_and_milestones_that_cannot_be_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=rf"{field} = "):
        ModelSetup.model_validate({field: value})
