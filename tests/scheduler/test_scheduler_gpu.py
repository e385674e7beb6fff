"""What NVIDIA's library says of the GPUs: how many, how busy, which of them torch means."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from mmad.scheduler import devices
from mmad.scheduler.devices import GpuUse, cuda_count, gpu_of, look_at_gpu, look_at_gpus


def library(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
    """Puts ``answers`` in the place of the real library's functions of these names."""
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)  # refuses a name that the library does not have


def refuse(*words: object) -> Any:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def two_gpus(monkeypatch: pytest.MonkeyPatch, **other: Any) -> tuple[GpuUse, ...]:
    answers = {
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: f"handle {index}",
        "nvmlDeviceGetName": lambda handle: "NVIDIA T4",
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle[-1]}abc",
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=87, memory=3),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=2**30, total=16 * 2**30, free=15 * 2**30),
    }
    library(monkeypatch, **(answers | other))
    return look_at_gpus()


def test_every_gpu_tells_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert two_gpus(monkeypatch) == (
        GpuUse(0, "NVIDIA T4", "GPU-0abc", 87.0, 2**30, 16 * 2**30),
        GpuUse(1, "NVIDIA T4", "GPU-1abc", 87.0, 2**30, 16 * 2**30),
    )


def test_a_gpu_that_tells_less_is_shown_with_less(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = two_gpus(monkeypatch, nvmlDeviceGetUtilizationRates=refuse, nvmlDeviceGetUUID=refuse)
    assert [(gpu.percent, gpu.uuid) for gpu in gpus] == [(None, ""), (None, "")]
    assert two_gpus(monkeypatch, nvmlDeviceGetMemoryInfo=refuse) == ()


def test_without_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", refuse)
    monkeypatch.setattr(devices, "_DRIVER", tmp_path / "none")
    assert look_at_gpus() == ()
    assert look_at_gpu("cuda:0") is None
    assert cuda_count({}) == 0


def test_a_driver_without_its_library_is_counted_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", refuse)
    monkeypatch.setattr(devices, "_DRIVER", tmp_path)
    for name in ("0000:01:00.0", "0000:41:00.0"):
        (tmp_path / name).mkdir()
    assert cuda_count({}) == 2
    assert look_at_gpus() == ()


def test_gpus_that_this_process_may_use_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(index: int) -> str:
        return refuse() if index == 1 else f"handle {index}"

    two_gpus(monkeypatch, nvmlDeviceGetHandleByIndex=handle)
    assert cuda_count({}) == 1
    two_gpus(monkeypatch, nvmlDeviceGetMemoryInfo=refuse)  # one that shares the memory of its machine, say
    assert cuda_count({}) == 2


def test_the_gpu_is_the_one_that_torch_means(monkeypatch: pytest.MonkeyPatch) -> None:
    two_gpus(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-1")
    found = look_at_gpu("cuda:1")
    assert found is not None
    assert (found.name, found.index, found.free, found.total) == ("NVIDIA T4", 1, 15 * 2**30, 16 * 2**30)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    found = look_at_gpu("cuda:0")
    assert found is not None
    assert found.index == 0


@pytest.mark.parametrize(
    ("device", "visible", "index"),
    [
        ("cuda:1", None, 1),
        ("cuda", None, 0),
        ("cuda:0", "1", 1),
        ("cuda:1", "1,0", 0),
        ("cuda:0", "GPU-1ab", 1),
        ("cuda:1", "1", None),
        ("cuda:0", "", None),
        ("cuda:7", None, None),
        ("cpu", None, None),
        (None, None, None),
    ],
)
def test_a_worker_s_device_is_found(device: str | None, visible: str | None, index: int | None) -> None:
    gpus = [GpuUse(i, "T4", f"GPU-{i}abc", 0.0, 0, 1) for i in range(2)]
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found = gpu_of(device, environment, gpus)
    assert (None if found is None else found.index) == index
