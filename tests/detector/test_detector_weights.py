"""Loading ImageNet weights: from a file made here, or refused with the hint."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from mmad.base.errors import SpecError, WeightsError
from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config.setup import ModelSetup
from mmad.config.weights import content_hash, weights_file
from mmad.detector.build import build_detector


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the weights of a ResNet18."""
    return saved(models.resnet18(weights=None), tmp_path_factory.mktemp("resnet18") / "own.pth")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch"))
    monkeypatch.delenv("MMAD_WEIGHTS", raising=False)
    return tmp_path


def build(backbone: str, weights: Path | str = "imagenet", digest: str = "", **fields: object) -> torch.nn.Module:
    setup = ModelSetup(backbone=backbone, image_size=64, pretrained=True, **fields)
    return build_detector(
        setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0, weights=str(weights), weights_hash=digest
    )


def saved(model: torch.nn.Module, file: Path) -> Path:
    torch.save(model.state_dict(), file)
    return file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "maker"),
    [("mobilenet_v3", models.mobilenet_v3_small), ("mobilenet_v2", models.mobilenet_v2), ("custom2", models.resnet18)],
)
def test_a_classifiers_weights_reach_both_networks(folder: Path, backbone: str, maker: object) -> None:
    classifier = maker(weights=None)
    file = saved(classifier, folder / "own.pth")
    model = build(backbone, file, use_clinical=True, clinical_expand_conv_channels=8)
    first = next(p for p in classifier.parameters())
    for network in (model.backbone, model.clinical_convs):
        assert torch.equal(next(network.body.parameters()), first)


PYRAMIDS = {"resnet18": models.resnet18, "resnet50": models.resnet50, "swin_t": models.swin_t}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", PYRAMIDS)
def test_a_classifiers_weights_reach_both_pyramids(folder: Path, backbone: str) -> None:
    classifier = PYRAMIDS[backbone](weights=None)
    given, file = classifier.state_dict(), saved(classifier, folder / "own.pth")
    model = build(backbone, file, using_fpn=True, use_clinical=True, clinical_expand_conv_channels=8)
    for network in (model.backbone, model.clinical_convs):
        body = network.body.state_dict()
        assert len(body) >= 100
        assert all(torch.equal(tensor, given[name]) for name, tensor in body.items())


FIXED = {None: "conv1 layer1", 0: "conv1 layer1 layer2 layer3 layer4", 4: "conv1", 5: ""}


@pytest.mark.slow
@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("wanted", FIXED)
def test_the_first_parts_below_a_pyramid_are_fixed(resnet18: Path, wanted: int | None) -> None:
    for norm in (True, False):
        model = build("resnet18", resnet18, using_fpn=True, trainable_layers=wanted, frozen_norm=norm)
        fixed = {name.split(".")[0] for name, p in model.backbone.body.named_parameters() if not p.requires_grad}
        norms = {"bn1"} if not norm and wanted != 5 else set()  # a fixed norm has no parameters
        assert fixed == {*FIXED[wanted].split(), *norms}
        assert all(p.requires_grad for p in model.backbone.fpn.parameters())


def test_from_scratch_everything_trains_and_the_signal_stays_in_bounds(folder: Path) -> None:
    model = build("resnet18", "none", using_fpn=True)
    assert all(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        maps = model.backbone(torch.randn((2, 3, 64, 64)))
    assert all(0.01 < float(m.std()) < 20 for m in maps.values())


def test_missing_weights_are_refused_with_the_mend(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"mobilenet_v3_small-047dcff4\.pth.*--weights none"):
        build("mobilenet_v3")


def test_none_trains_from_scratch(folder: Path) -> None:
    drawn = build("custom1", "none")
    again = build("custom1", "none")
    assert all(torch.equal(a, b) for a, b in zip(drawn.parameters(), again.parameters(), strict=True))


def test_a_damaged_file_is_named(folder: Path) -> None:
    for name in ("own.pth", "own.safetensors"):
        (folder / name).write_bytes(b"not weights")
        with pytest.raises(WeightsError, match=f"{name}: cannot be read as weights"):
            build("custom1", folder / name)


def test_a_file_that_runs_code_is_refused(folder: Path) -> None:
    torch.save({"state_dict": Path("/")}, folder / "own.pth")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        build("custom1", folder / "own.pth")


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    file = saved(models.mobilenet_v3_small(weights=None), folder / "own.pth")
    with pytest.raises(SpecError, match="do not fit backbone custom1: missing"):
        build("custom1", file)


@pytest.mark.slow
def test_other_bytes_than_planned_are_refused(resnet18: Path, folder: Path) -> None:
    file = folder / "own.pth"
    file.write_bytes(resnet18.read_bytes())
    planned = content_hash(file)
    build("custom1", file, planned)
    state = torch.load(file, weights_only=True)
    state["fc.bias"][0] += 1
    torch.save(state, file)
    with pytest.raises(WeightsError, match=f"own.pth: has changed since the run was queued: .*, not {planned[:12]}"):
        build("custom1", file, planned)


def test_a_file_named_by_a_hash_has_to_have_it(resnet18: Path, folder: Path) -> None:
    (folder / weights_file("custom1")).symlink_to(resnet18)
    setup = ModelSetup(backbone="custom1", image_size=64)
    with pytest.raises(WeightsError, match="is not what its name says"):
        build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0, weights_dir=folder)


@pytest.mark.slow
def test_weights_from_another_program_are_read(resnet18: Path, folder: Path) -> None:
    state = torch.load(resnet18, weights_only=True)
    save_file(state, str(folder / "plain.safetensors"))
    wrapped = {"state_dict": {f"module.encoder.{name}": tensor for name, tensor in state.items()}, "epoch": 3}
    torch.save(wrapped, folder / "wrapped.pt")
    for name in ("plain.safetensors", "wrapped.pt"):
        body = build("custom1", folder / name).backbone.body.state_dict()
        assert all(torch.equal(tensor, state[key]) for key, tensor in body.items())
