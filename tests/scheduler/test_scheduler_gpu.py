"""What NVIDIA's library says of the GPUs, and silence where there is none."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mmad.scheduler.devices import Gpus, GpuUse, gpu_of


def library(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
    """Puts ``answers`` in the place of the real library's functions of these names."""
    pynvml = pytest.importorskip("pynvml")
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)  # refuses a name that the library does not have


def refuse(*words: object) -> Any:
    import pynvml

    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def two_gpus(monkeypatch: pytest.MonkeyPatch, **other: Any) -> tuple[GpuUse, ...]:
    answers = {
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: f"handle {index}",
        "nvmlDeviceGetName": lambda handle: b"NVIDIA T4" if handle == "handle 0" else "NVIDIA T4",
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle[-1]}abc",
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=87, memory=3),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=2**30, total=16 * 2**30, free=15 * 2**30),
    }
    library(monkeypatch, **(answers | other))
    return Gpus().look()


def test_every_gpu_tells_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert two_gpus(monkeypatch) == (
        GpuUse(0, "NVIDIA T4", "GPU-0abc", 87.0, 2**30, 16 * 2**30),
        GpuUse(1, "NVIDIA T4", "GPU-1abc", 87.0, 2**30, 16 * 2**30),
    )


def test_a_gpu_that_tells_less_is_shown_with_less(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = two_gpus(monkeypatch, nvmlDeviceGetUtilizationRates=refuse, nvmlDeviceGetUUID=refuse)
    assert [(gpu.percent, gpu.uuid) for gpu in gpus] == [(None, ""), (None, "")]
    assert two_gpus(monkeypatch, nvmlDeviceGetMemoryInfo=refuse) == ()


@pytest.mark.parametrize("missing", [True, False])
def test_without_the_package_or_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch, missing: bool) -> None:
    broken = ModuleType("pynvml")
    broken.nvmlInit = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", None if missing else broken)
    assert Gpus().look() == ()


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
