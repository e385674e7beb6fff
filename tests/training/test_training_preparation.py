"""Devices, layouts and data sets: what is refused before anything is trained, and what reaches a GPU how."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
import torch
from torch import Tensor, nn
from training_runs import Notes, Start, specification

from mmad.base.errors import DataError, SpecError
from mmad.base.paths import RunPaths
from mmad.config.setup import ModelSetup
from mmad.data.dataset import DataSet
from mmad.data.reader import load_dataset
from mmad.training import checkpoint, device, loop
from mmad.training.device import (
    _single_precision,
    begun_layout,
    channels_last,
    describe_environment,
    in_layout,
    layout_facts,
    open_device,
    prepare_process,
    settings_restored,
)
from mmad.training.trainer import train


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "mps:1", "meta", "", "cuda 1"])
def test_a_word_that_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(SpecError) as refused:
        open_device(name)
    assert str(refused.value) == f"no device is called {name!r}; name cpu, cuda, cuda:N or mps"


def test_a_gpu_that_is_not_there_is_refused_and_one_that_is_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SpecError, match=r"^device cuda: PyTorch finds no GPU here; look at nvidia-smi or rocm-smi"):
        open_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for number, has in ((1, "cuda:0 alone"), (2, "cuda:0 to cuda:1")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda number=number: number)
        with pytest.raises(SpecError, match=f"^device cuda:7: this machine has {has}; name one of these"):
            open_device("cuda:7")
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name, word in (("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
        assert open_device("cuda:1") == torch.device("cuda:1")
        assert os.environ[name] == word
    assert set(chosen) == {torch.device("cuda:1")}
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SpecError, match=r"^device mps: PyTorch finds no Apple GPU here; name cpu, or cuda"):
        open_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert open_device("mps") == torch.device("mps")
    assert open_device("cpu") == torch.device("cpu")


def test_training_asks_for_the_device_before_it_reads_anything(tmp_path: Path, dataset: DataSet) -> None:
    how = {"dataset_path": tmp_path / "nowhere", "run": RunPaths(tmp_path / "run"), "recorder": Notes()}
    with pytest.raises(SpecError, match="no device is called 'tpu'"):
        train(specification(dataset, 1), device="tpu", **how)


def test_images_are_pinned_for_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: (pinned.append(self), self)[1])
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    assert loop._pinned(images, torch.device("cpu")) is images
    assert pinned == []
    assert loop._pinned(images, torch.device("cuda:1")) is images
    assert len(pinned) == 1


def test_every_device_gets_its_own_settings_and_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def settings() -> tuple[bool, bool, bool, str, str]:
        backends = torch.backends
        return (
            torch.are_deterministic_algorithms_enabled(),
            backends.cudnn.deterministic,
            backends.cudnn.benchmark,
            *_single_precision(),
        )

    before = settings()
    with settings_restored():
        prepare_process(1, 0, torch.device("cpu"))
        assert settings()[0]
        prepare_process(1, 0, torch.device("cuda:0"))
        assert settings() == (False, True, False, "ieee", "ieee")
        prepare_process(1, 0, torch.device("cuda:0"), tf32=True)
        assert settings() == (False, True, False, "tf32", "tf32")
    assert settings() == before


def test_a_gpu_is_described_by_model_uuid_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12ab"))
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92000)
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "580.1")
    with settings_restored():
        prepare_process(1, 0, torch.device("cuda:1"))
        found = describe_environment(torch.device("cuda:1"), 1, 0)
    assert found.device == f"cuda:1 (NVIDIA H200, CUDA {torch.version.cuda}, GPU-12ab)"
    assert {name: found.versions[name] for name in ("cudnn", "driver", "float32")} == {
        "cudnn": "92000",
        "driver": "580.1",
        "float32": "ieee",
    }
    assert "driver" not in describe_environment(torch.device("cpu"), 1, 0).versions


def test_the_cpu_keeps_freed_memory_until_settings_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    libc = SimpleNamespace(mallopt=lambda *two: asked.append(two) or 1, malloc_trim=lambda pad: asked.append((pad,)))
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: libc)
    monkeypatch.setattr(device.sys, "platform", "linux")
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    with settings_restored():
        prepare_process(1, 0, torch.device("cuda"))
        assert not asked
        prepare_process(1, 0, torch.device("cpu"))
        assert asked == [(-4, 0), (-1, -1)]  # M_MMAP_MAX, M_TRIM_THRESHOLD
        asked.clear()
    assert asked == [(-4, 65536), (-3, 2**25), (-1, 2**26), (0,)]
    asked.clear()
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")  # a user's own choice stays
    with settings_restored():
        prepare_process(1, 0, torch.device("cpu"))
    assert not asked


def test_the_layout_of_weights_follows_the_setup_else_what_is_faster_on_the_device() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for side, fpn, place, faster in (
        (128, False, cpu, True), (64, False, cpu, False), (128, True, cpu, False), (128, False, cuda, False),
    ):  # fmt: skip
        for asked, last in ((None, faster), (True, True), (False, False)):
            setup = ModelSetup(backbone="resnet18", image_size=side, using_fpn=fpn, channels_last=asked)
            assert channels_last(setup, place) is last
    for own in ({"backbone": {"use": "mine:Body"}}, {"use_clinical": True, "fusion": {"use": "mine:Fusion"}}):
        assert channels_last(ModelSetup(**own), cpu) is False, "it may rely on rows"
    for last in (True, False):
        conv = in_layout(nn.Conv2d(3, 4, 3), last)
        assert layout_facts(conv) == ({"channels_last": True} if last else {})
        assert begun_layout(ModelSetup(), layout_facts(conv)) is last
        for asked in (True, False):
            assert begun_layout(ModelSetup(channels_last=asked), layout_facts(conv)) is asked


def test_weights_without_such_a_layout_keep_theirs() -> None:
    """A part of one's own may have convolutions over volumes, and weights that are another's transposed."""
    for last in (True, False):
        own = nn.Sequential(nn.Conv3d(2, 3, 3), nn.Linear(2, 3))
        own.register_parameter("turned", nn.Parameter(torch.ones(3, 2).t()))
        assert layout_facts(in_layout(own, last)) == {}
        assert own[0].weight.is_contiguous()
        assert own.turned.stride() == (1, 2)


@pytest.mark.slow
def test_a_run_keeps_the_layout_it_began_in(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints of runs that began before the device chose a layout name none, as those of rows do."""
    fields = {"epochs": 2, "ema_decay": 0.7, "gradient_clip_norm": 0.5}
    begun = {}
    for layout, smallest in (("rows", 64), ("channels_last", 32)):
        whole, parts = Notes(), Notes()
        monkeypatch.setattr(device, "_CHANNELS_LAST_SIDE", smallest)
        start(whole, f"{layout} whole", **fields)
        start(parts, f"{layout} parts", stop_after=5, **fields)
        monkeypatch.setattr(device, "_CHANNELS_LAST_SIDE", 96 - smallest)  # a new run would begin in the other one
        start(parts, f"{layout} parts", **fields)
        assert parts.numbers() == whole.numbers()
        assert {one.versions.get("layout", "rows") for one in parts.environments} == {layout}
        newest = checkpoint.latest(RunPaths(tmp_path / f"{layout} parts"))
        assert newest is not None
        assert newest[1].facts.get("channels_last", False) is (layout == "channels_last")
        begun[layout] = whole.numbers()
    rows, last = begun.values()
    assert rows != last
    assert rows[1, "train", "loss"] == pytest.approx(last[1, "train", "loss"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [2, 5])
def test_a_data_set_that_changed_since_the_run_began_is_refused_by_both_names(
    dataset: DataSet, tmp_path: Path, stop_after: int
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(dataset.root, folder)
    spec, notes = specification(load_dataset(folder), 2), Notes()
    how = {"dataset_path": folder, "run": RunPaths(tmp_path / "run"), "recorder": notes}
    assert train(spec, stop=lambda: notes.steps >= stop_after, **how) == "interrupted"
    rows = (folder / "boxes.csv").read_text("utf-8").splitlines()
    (folder / "boxes.csv").write_text("\n".join([*rows[:-1], ""]), "utf-8")
    now = load_dataset(folder).fingerprint()
    with pytest.raises(DataError) as refused:
        train(spec, **how)
    assert str(refused.value) == (
        f"{folder}: the data set changed: the run was queued for {dataset.fingerprint()[:12]}, the folder now holds "
        f"{now[:12]}; restore the folder, or run the ablation again to queue new runs for the changed data"
    )
