"""How busy the GPUs of this machine are, asked of NVIDIA's library; nothing where it or a GPU is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GpuUse:
    """One GPU at one moment; ``percent`` of the time that it computed (None: not told), memory in bytes."""

    index: int
    name: str
    uuid: str
    percent: float | None
    used: int
    total: int


class Gpus:
    """The GPUs of this machine, through ``nvidia-ml-py`` (the extra ``gpu``); none where that is missing."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
        except Exception:  # not installed, no driver, a driver that does not answer: nothing is shown
            return
        self._nvml = pynvml
        for index in range(int(_answer(pynvml.nvmlDeviceGetCount) or 0)):
            if (handle := _answer(pynvml.nvmlDeviceGetHandleByIndex, index)) is not None:
                self._handles.append(handle)

    def look(self) -> tuple[GpuUse, ...]:
        """Every GPU now; one that does not answer is left out."""
        found = []
        for index, handle in enumerate(self._handles):
            memory = _answer(self._nvml.nvmlDeviceGetMemoryInfo, handle)
            if memory is None:
                continue
            rates = _answer(self._nvml.nvmlDeviceGetUtilizationRates, handle)
            found.append(
                GpuUse(
                    index=index,
                    name=_text(_answer(self._nvml.nvmlDeviceGetName, handle)),
                    uuid=_text(_answer(self._nvml.nvmlDeviceGetUUID, handle)),
                    percent=None if rates is None else float(rates.gpu),
                    used=int(memory.used),
                    total=int(memory.total),
                )
            )
        return tuple(found)


def gpu_of(device: str | None, environment: Mapping[str, str], gpus: Sequence[GpuUse]) -> GpuUse | None:
    """The GPU that a process with ``environment`` calls ``device`` (``cuda:1``); None for the CPU, or when unknown."""
    matched = re.fullmatch(r"cuda(?::(\d+))?", device or "")
    if matched is None:
        return None
    number = int(matched[1] or 0)
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return next((gpu for gpu in gpus if gpu.index == number), None)
    names = [name.strip() for name in visible.split(",")]
    if number >= len(names):
        return None
    name = names[number]
    return next((gpu for gpu in gpus if name == str(gpu.index) or (len(name) > 4 and gpu.uuid.startswith(name))), None)


def _answer(question: Callable[..., Any], *words: Any) -> Any:
    """What the library says, or None where this GPU or driver does not support the question."""
    try:
        return question(*words)
    except Exception:
        return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
