"""The torch-free table of weights files, and where they are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmad.base.errors import WeightsError
from mmad.config.setup import BACKBONES
from mmad.config.weights import (
    WEIGHTS_FILES,
    WEIGHTS_MODELS,
    find_weights,
    torch_checkpoints,
    weights_file,
    weights_hash,
)


@pytest.fixture(autouse=True)
def _no_weights_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("MMAD_WEIGHTS", raising=False)


@pytest.mark.slow
def test_the_table_agrees_with_torchvision() -> None:
    from torchvision.models import get_model_weights

    assert set(WEIGHTS_FILES) == set(WEIGHTS_MODELS) == set(BACKBONES)
    for backbone, model in WEIGHTS_MODELS.items():
        url = get_model_weights(model).IMAGENET1K_V1.url
        assert WEIGHTS_FILES[backbone] == url.rsplit("/", 1)[1]


@pytest.mark.slow
def test_torch_s_own_folder_is_the_one_torch_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for variable, value in (("TORCH_HOME", tmp_path / "a"), ("XDG_CACHE_HOME", tmp_path / "b")):
        monkeypatch.delenv("TORCH_HOME", raising=False)
        monkeypatch.setenv(variable, str(value))
        assert str(torch_checkpoints()) == str(Path(torch.hub.get_dir()) / "checkpoints")


def test_the_hash_is_the_end_of_the_name() -> None:
    assert weights_hash("mobilenet_v3") == "047dcff4"
    assert weights_hash("custom2") == weights_hash("resnet18") == "f37072fd"
    with pytest.raises(WeightsError, match="no ImageNet weights are known for backbone 'x'; set pretrained"):
        weights_file("x")


def test_timms_weights_are_named_by_their_tag() -> None:
    assert weights_file("timm:resnet18.a1_in1k") == "timm-resnet18.a1_in1k.safetensors"
    assert weights_hash("timm:resnet18.a1_in1k") == "timm:resnet18.a1_in1k"
    with pytest.raises(WeightsError, match=r"does not say which of timm's weights.*add their tag"):
        weights_hash("timm:resnet18")


def test_folders_are_looked_into_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = weights_file("resnet18")
    assert find_weights("resnet18") is None
    named, own, asked = tmp_path / "named", torch_checkpoints(), tmp_path / "asked"
    for folder in (own, named, asked):
        folder.mkdir(parents=True)
    (own / name).touch()
    assert find_weights("resnet18") == own / name
    monkeypatch.setenv("MMAD_WEIGHTS", str(named))
    assert find_weights("resnet18") == own / name
    (named / name).touch()
    assert find_weights("custom1") == named / name
    assert find_weights("resnet18", asked) == named / name
    (asked / name).touch()
    assert find_weights("resnet18", asked) == asked / name
    with pytest.raises(WeightsError, match="no such folder"):
        find_weights("resnet18", tmp_path / "nowhere")
