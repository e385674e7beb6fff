"""The torch-free table of weights files, and where they are looked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mmad.base.errors import WeightsError
from mmad.config.load import load_ablation
from mmad.config.runs import Ablation, DataSource
from mmad.config.setup import BACKBONES
from mmad.config.weights import (
    TORCHVISION,
    WEIGHTS_MODELS,
    content_hash,
    find_weights,
    hub_folder,
    torch_checkpoints,
    weights_file,
    with_weights,
)


@pytest.fixture(autouse=True)
def _no_weights_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("MMAD_WEIGHTS", raising=False)


@pytest.mark.slow
def test_the_table_agrees_with_torchvision() -> None:
    from torchvision.models import get_model_weights

    assert set(WEIGHTS_MODELS) == set(BACKBONES)
    assert set(WEIGHTS_MODELS.values()) == set(TORCHVISION)
    for model, members in TORCHVISION.items():
        assert members == {str(member): member.url.rsplit("/", 1)[1] for member in get_model_weights(model)}
    for backbone in BACKBONES:
        assert weights_file(backbone) == get_model_weights(WEIGHTS_MODELS[backbone]).IMAGENET1K_V1.url.rsplit("/", 1)[1]


@pytest.mark.slow
def test_torch_s_own_folder_is_the_one_torch_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for variable, value in (("TORCH_HOME", tmp_path / "a"), ("XDG_CACHE_HOME", tmp_path / "b")):
        monkeypatch.delenv("TORCH_HOME", raising=False)
        monkeypatch.setenv(variable, str(value))
        assert str(torch_checkpoints()) == str(Path(torch.hub.get_dir()) / "checkpoints")


def test_weights_are_named_for_their_backbone() -> None:
    assert weights_file("custom2") == weights_file("resnet18") == "resnet18-f37072fd.pth"
    assert weights_file("resnet50", "ResNet50_Weights.IMAGENET1K_V2") == "resnet50-11ad3fa6.pth"
    assert weights_file("resnet50", "/own/chest.safetensors") == "/own/chest.safetensors"
    with pytest.raises(WeightsError, match=r"no weights 'ResNet50_Weights.IMAGENET1K_V2' are known for .*'resnet18'"):
        weights_file("resnet18", "ResNet50_Weights.IMAGENET1K_V2")
    with pytest.raises(WeightsError, match=r"no weights 'imagnet' .*did you mean imagenet\?"):
        weights_file("resnet18", "imagnet")
    with pytest.raises(WeightsError, match=r"no weights 'hf-hub:lab/net' are known for backbone 'resnet18'"):
        weights_file("resnet18", "hf-hub:lab/net")
    with pytest.raises(WeightsError, match="no ImageNet weights are known for backbone 'x'; set pretrained"):
        weights_file("x")


def test_timms_weights_are_named_by_their_tag() -> None:
    assert weights_file("timm:resnet18.a1_in1k") == "timm-resnet18.a1_in1k.safetensors"
    assert weights_file("timm:resnet18", "hf-hub:lab/net") == "hf-hub:lab/net"
    with pytest.raises(WeightsError, match=r"does not say which of timm's weights.*add their tag"):
        weights_file("timm:resnet18")


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


def test_what_the_hub_s_cache_holds_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert hub_folder() == tmp_path / "hub"
    assert find_weights("timm:resnet18", None, "hf-hub:lab/net") is None
    for repository in ("lab--net", "timm--resnet18.a1_in1k"):
        folder = tmp_path / "hub" / f"models--{repository}"
        (folder / "snapshots" / "abc").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("abc")
        (folder / "snapshots" / "abc" / "model.safetensors").touch()
    found = find_weights("timm:resnet18", None, "hf-hub:lab/net")
    assert found == tmp_path / "hub" / "models--lab--net" / "snapshots" / "abc" / "model.safetensors"
    assert find_weights("timm:resnet18.a1_in1k", None) is not None


def _ablation(folder: Path, text: str) -> Ablation:
    (folder / "a.toml").write_text(text)
    return load_ablation(folder / "a.toml").on(DataSource("/data", "made up", "f" * 64))


def test_the_content_of_the_weights_is_in_the_key_and_their_place_is_not(tmp_path: Path) -> None:
    (tmp_path / "one.pth").write_bytes(b"one")
    (tmp_path / "two.pth").write_bytes(b"two")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "other.pth").write_bytes(b"one")
    keys = {}
    for name in ("one.pth", "two.pth", "copy/other.pth"):
        text = f'[setup]\nbackbone = "resnet18"\n[protocol]\nweights = "{name}"\n'
        ablation = with_weights(_ablation(tmp_path, text))
        run = ablation.members[0].run
        assert run.protocol.weights == str(tmp_path / name)
        assert run.protocol.weights_hash == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert not run.provisional
        keys[name] = run.key
    assert keys["one.pth"] == keys["copy/other.pth"] != keys["two.pth"]


def test_a_key_without_the_weights_is_provisional(tmp_path: Path) -> None:
    ablation = with_weights(_ablation(tmp_path, '[setup]\nbackbone = "resnet18"\n'))
    assert ablation.members[0].run.provisional
    assert not with_weights(_ablation(tmp_path, "[setup]\npretrained = false\n")).members[0].run.provisional


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    file = tmp_path / weights_file("resnet18")
    file.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth: is not what its name says: its SHA-256 begins "):
        content_hash(file)
    with pytest.raises(WeightsError, match="is not what its name says"):
        with_weights(_ablation(tmp_path, '[setup]\nbackbone = "custom1"\n'), tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.raises(WeightsError, match="cannot be read"):
        content_hash(file)


def test_a_rewritten_file_is_hashed_anew(tmp_path: Path) -> None:
    file = tmp_path / "own.pt"
    file.write_bytes(b"before")
    before = content_hash(file)
    file.write_bytes(b"afterwards")
    assert content_hash(file) == hashlib.sha256(b"afterwards").hexdigest() != before
