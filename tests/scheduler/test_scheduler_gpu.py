"""What NVIDIA's library says of the GPUs: how many, how busy, which of them torch means."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from mmad.scheduler import devices
from mmad.scheduler.devices import GpuUse, gpu_of, look_at_gpu, look_at_gpus, visible_gpus


def library(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
    """Puts ``answers`` in the place of the real library's functions of these names."""
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    others = {f"nvmlDeviceGet{name}": refuse for name in ("MigMode", "ComputeMode", "ComputeRunningProcesses")}
    for name, answer in (others | answers).items():
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
    assert len(visible_gpus({})) == 0


def test_a_driver_without_its_library_is_counted_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", refuse)
    monkeypatch.setattr(devices, "_DRIVER", tmp_path)
    for name in ("0000:01:00.0", "0000:41:00.0"):
        (tmp_path / name).mkdir()
    assert len(visible_gpus({})) == 2
    assert look_at_gpus() == ()


def test_gpus_that_this_process_may_use_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(index: int) -> str:
        return refuse() if index == 1 else f"handle {index}"

    two_gpus(monkeypatch, nvmlDeviceGetHandleByIndex=handle)
    assert len(visible_gpus({})) == 1
    two_gpus(monkeypatch, nvmlDeviceGetMemoryInfo=refuse)  # one that shares the memory of its machine, say
    assert len(visible_gpus({})) == 2


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


def sliced(monkeypatch: pytest.MonkeyPatch, **other: Any) -> tuple[GpuUse, ...]:
    """Two GPUs, the first of which is cut into two slices (MIG)."""

    def part(handle: str, index: int) -> str:
        return f"part {index}" if handle == "handle 0" and index in (0, 2) else refuse()

    return two_gpus(
        monkeypatch,
        nvmlDeviceGetMigMode=lambda handle: (int(handle == "handle 0"), 0),
        nvmlDeviceGetMaxMigDeviceCount=lambda handle: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=part,
        nvmlDeviceGetUUID=lambda handle: f"{'MIG' if handle.startswith('part') else 'GPU'}-{handle[-1]}abc",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=0, total=(10 if "part" in handle else 80) * 2**30),
        nvmlDeviceGetUtilizationRates=lambda handle: refuse() if "part" in handle else SimpleNamespace(gpu=1, memory=1),
        **other,
    )


def test_slices_are_gpus_each_of_which_a_worker_is_shown_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = sliced(monkeypatch)
    assert [(gpu.uuid, gpu.total // 2**30) for gpu in gpus] == [("MIG-0abc", 10), ("MIG-2abc", 10), ("GPU-1abc", 80)]
    assert visible_gpus({}) == ("MIG-0abc", "MIG-2abc", "GPU-1abc")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "MIG-0abc,MIG-2abc"}) == ("MIG-0abc", "MIG-2abc")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == ("MIG-0abc",)  # CUDA takes the first slice
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "1"}) == ("",)
    monkeypatch.setattr(devices, "torch_knows_gpus", lambda: True)
    monkeypatch.setattr(devices, "try_gpus", lambda named: dict.fromkeys(named, ""))
    slots = devices.find_slots("cuda", None)
    assert slots.devices == ("cuda:0", "cuda:1", "cuda:2")
    taken = [slots.take(1) for _ in range(3)]
    assert [(slot.visible, slot.torch_device) for slot in taken if slot is not None] == [
        ("MIG-0abc", "cuda:0"),
        ("MIG-2abc", "cuda:0"),
        ("GPU-1abc", "cuda:0"),
    ]


def test_a_gpu_in_exclusive_mode_takes_one_run_once_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = [SimpleNamespace(pid=1)]
    answers = {
        "nvmlDeviceGetComputeMode": lambda handle: pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: processes if handle == "handle 0" else [],
    }
    two_gpus(monkeypatch, **answers)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "torch_knows_gpus", lambda: True)
    monkeypatch.setattr(devices, "try_gpus", lambda named: dict.fromkeys(named, ""))
    slots = devices.find_slots("cuda", None)
    assert slots.per_gpu == 1
    assert "cuda:0, cuda:1 in exclusive mode: one run on each GPU" in slots.describe(1)
    slot = slots.take(1)
    assert slot is not None
    assert slot.device == "cuda:1"
    assert slots.take(1) is None
    assert slots.held_by_others() == "1.0 GiB of cuda:0"
    assert slots.take(1, idle={"cuda:0": 1}) is not None  # an idle worker of ours, which goes


def test_a_driver_that_does_not_answer_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    asked: list[None] = []

    def hang() -> int:
        asked.append(None)
        answer.wait()
        return 0

    monkeypatch.setattr(devices, "_ANSWER", 0.05)
    two_gpus_answer = {"nvmlDeviceGetCount": hang}
    library(monkeypatch, **two_gpus_answer)
    assert look_at_gpus() == ()
    assert look_at_gpus() == ()
    assert visible_gpus({}) == ()
    assert len(asked) == 1
    answer.set()
    devices._stuck[0].join()
    assert visible_gpus({}) == ()
    assert len(asked) > 1
