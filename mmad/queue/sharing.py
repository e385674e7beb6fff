"""Several runs on one GPU: who fits beside whom, by the memory that was seen of runs of their kind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Part of a GPU's memory that may be given out, and what a run may grow beyond what was seen of its kind.
FILL, GROWTH = 0.95, 1.1


@dataclass(frozen=True)
class GpuMemory:
    """A GPU's model, and the bytes of its memory: all, and those nobody holds at present."""

    model: str
    total: int
    free: int


@dataclass
class _Held:
    """A run on the GPU; ``size`` in bytes, None until it is known."""

    need: str
    size: int | None
    alone: bool


class Share:
    """One GPU and the runs on it.

    With a number of runs to share it, that alone decides. Else a run that nothing is known of begins on an empty
    GPU, and nobody joins it before it was measured; one that is known joins where it fits.
    """

    def __init__(
        self,
        device: str,
        cores: int,
        per_gpu: int | None,
        needs: dict[tuple[str, str], int],
        look: Callable[[str], GpuMemory | None],
    ) -> None:
        self.device = device
        self.held: dict[int, _Held] = {}
        self._cores, self._per_gpu, self._needs, self._look = cores, per_gpu, needs, look
        self._model: str | None = None

    @property
    def model(self) -> str:
        """The GPU's model, or its device's name where it cannot be known."""
        if self._model is None:
            seen = self._look(self.device)
            self._model = self.device if seen is None else seen.model
        return self._model

    @property
    def places(self) -> int:
        """How many runs stand here at once, as far as is known beforehand."""
        return self._per_gpu or max(1, len(self.held))

    def has_room(self, need: str, *, alone: bool) -> bool:
        """Whether a run may join those that are here."""
        if not self.held:
            return True
        if alone or any(held.alone for held in self.held.values()):
            return False
        if self._per_gpu is not None:
            return len(self.held) < self._per_gpu
        size = self._needs.get((need, self.model))
        if size is None or len(self.held) >= self._cores:
            return False
        seen = self._look(self.device)
        given = [held.size for held in self.held.values()]
        if seen is None or None in given:
            return False
        wanted = GROWTH * size
        return wanted + GROWTH * sum(filter(None, given)) <= FILL * seen.total and wanted <= seen.free

    def take(self, number: int, need: str, *, alone: bool) -> None:
        """Puts a run here."""
        known = self._needs.get((need, self.model)) if self._per_gpu is None else None
        self.held[number] = _Held(need, known, alone)

    def give_back(self, number: int) -> None:
        """The run is gone."""
        self.held.pop(number, None)

    def measured(self, number: int, size: int) -> None:
        """A run here was seen to need ``size`` bytes; the next of its kind is known then."""
        if (held := self.held.get(number)) is None:
            return
        held.size = max(size, held.size or 0)
        if held.need:
            self._needs[held.need, self.model] = max(size, self._needs.get((held.need, self.model), 0))


def gpu_memory(device: str, environment: Mapping[str, str] = os.environ) -> GpuMemory | None:
    """What ``nvidia-smi`` says of torch's ``cuda:N``, or None where it says nothing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    number = device.partition(":")[2] or "0"
    visible = [word.strip() for word in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    name = visible[int(number)] if int(number) < len(visible) else number
    query = ["--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits", "-i", name]
    try:
        answer = subprocess.run([program, *query], capture_output=True, text=True, timeout=20, check=True)
        model, total, free = (word.strip() for word in answer.stdout.strip().rsplit(",", 2))
        return GpuMemory(model, int(total) * 2**20, int(free) * 2**20)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
