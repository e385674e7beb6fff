"""Where runs train: slots on the GPUs and CPU cores of this machine, and what its workers use. Never loads torch."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from mmad.base.cores import usable_cores
from mmad.base.errors import MmadError
from mmad.store.run_status import RunningRun

#: Part of a GPU's memory that may be given out, and what a run may grow beyond what was seen of its kind.
FILL, GROWTH = 0.95, 1.1
#: Where the kernel lists what NVIDIA's driver found.
_DRIVER = Path("/proc/driver/nvidia/gpus")
#: Seconds between the two samples that a first look at CPU time takes.
_SAMPLE = 0.2


@dataclass(frozen=True)
class GpuUse:
    """One GPU at one moment; ``percent`` of the time that it computed (None: not known), memory in bytes."""

    index: int
    name: str
    uuid: str
    percent: float | None
    used: int
    total: int

    @property
    def free(self) -> int:
        """Bytes that nobody holds."""
        return self.total - self.used


def look_at_gpus() -> tuple[GpuUse, ...]:
    """The GPUs of this machine now, as NVIDIA's library tells; one that does not tell its memory is left out."""
    found = []
    for index, handle in enumerate(_handles() or ()):
        memory = _ask("DeviceGetMemoryInfo", handle)
        if memory is None:
            continue
        rates = _ask("DeviceGetUtilizationRates", handle)
        found.append(
            GpuUse(
                index=index,
                name=_ask("DeviceGetName", handle) or "",
                uuid=_ask("DeviceGetUUID", handle) or "",
                percent=None if rates is None else float(rates.gpu),
                used=int(memory.used),
                total=int(memory.total),
            )
        )
    return tuple(found)


def look_at_gpu(device: str) -> GpuUse | None:
    """The GPU that this process's torch calls ``device`` (``cuda:1``), or None where it is unknown."""
    return gpu_of(device, os.environ, look_at_gpus())


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


def _gpu_count() -> int:
    """How many GPUs there are; a container may have the driver without its library: the kernel lists them then."""
    handles = _handles()
    if handles is not None:
        return len(handles)
    return sum(1 for _ in _DRIVER.iterdir()) if _DRIVER.is_dir() else 0


def _handles() -> list[Any] | None:
    """What NVIDIA's library calls the GPUs that this process may use; None where it does not answer."""
    _ask("Init")
    count = _ask("DeviceGetCount")
    if count is None:
        return None
    return [handle for index in range(count) if (handle := _ask("DeviceGetHandleByIndex", index)) is not None]


def _ask(question: str, *words: Any) -> Any:
    """An answer of NVIDIA's library, or None where there is no driver, or this one or its GPU has no answer."""
    import pynvml

    try:
        return getattr(pynvml, f"nvml{question}")(*words)
    except pynvml.NVMLError:
        return None


@dataclass
class _Allocation:
    """A run on a GPU; ``size`` in bytes, None until it is known."""

    memory_key: str
    size: int | None
    alone: bool


class SharedGpu:
    """One GPU and the runs on it.

    With a number of runs to share it, that alone decides. Else a run that nothing is known of begins on an empty
    GPU, and nobody joins it before it was measured; one that is known joins where it fits.
    """

    def __init__(
        self,
        device: str,
        cores: int,
        per_gpu: int | None,
        memory: dict[tuple[str, str], int],
        look: Callable[[str], GpuUse | None],
    ) -> None:
        self.device = device
        self.runs: dict[int, _Allocation] = {}
        self._cores, self._per_gpu, self._memory, self._look = cores, per_gpu, memory, look
        self._model: str | None = None

    @property
    def model(self) -> str:
        """The GPU's model, or its device's name where it cannot be known."""
        if self._model is None:
            seen = self._look(self.device)
            self._model = self.device if seen is None else seen.name
        return self._model

    @property
    def capacity(self) -> int:
        """How many runs train here at once, as far as is known beforehand."""
        return self._per_gpu or max(1, len(self.runs))

    def has_room(self, memory_key: str, *, alone: bool) -> bool:
        """Whether a run may join those that are here."""
        if not self.runs:
            return True
        if alone or any(run.alone for run in self.runs.values()):
            return False
        if self._per_gpu is not None:
            return len(self.runs) < self._per_gpu
        size = self._memory.get((memory_key, self.model))
        if size is None or len(self.runs) >= self._cores:
            return False
        seen = self._look(self.device)
        given = [run.size for run in self.runs.values()]
        if seen is None or None in given:
            return False
        wanted = GROWTH * size
        return wanted + GROWTH * sum(filter(None, given)) <= FILL * seen.total and wanted <= seen.free

    def take(self, number: int, memory_key: str, *, alone: bool) -> None:
        """Puts a run here."""
        known = self._memory.get((memory_key, self.model)) if self._per_gpu is None else None
        self.runs[number] = _Allocation(memory_key, known, alone)

    def give_back(self, number: int) -> None:
        """The run is gone."""
        self.runs.pop(number, None)

    def measured(self, number: int, size: int) -> None:
        """A run here was seen to take ``size`` bytes; the next of its kind is known then."""
        if (run := self.runs.get(number)) is None:
            return
        run.size = max(size, run.size or 0)
        if run.memory_key:
            known = self._memory.get((run.memory_key, self.model), 0)
            self._memory[run.memory_key, self.model] = max(size, known)


@dataclass(frozen=True)
class Slot:
    """A slot for one run: the torch device, and how many CPU cores the run keeps busy there."""

    device: str
    cores: int
    number: int = 0


class Slots:
    """The slots of one command: CPU cores shared by threads, or GPUs shared by runs.

    Args:
        devices: torch names of GPUs (``cuda:0`` …), or empty for the CPU.
        cores: CPU cores that may be used; a run that wants more than all of them gets them all.
        per_gpu: how many runs share a GPU; None for as many as their memory allows.
        memory: bytes that runs were seen to take, by (memory key, model of GPU); what is measured is added.
        look: a GPU now; None where nothing can be known of it.
    """

    def __init__(
        self,
        devices: tuple[str, ...] = (),
        cores: int = 1,
        *,
        per_gpu: int | None = 1,
        memory: dict[tuple[str, str], int] | None = None,
        look: Callable[[str], GpuUse | None] = look_at_gpu,
    ) -> None:
        self.devices = devices
        self.cores = max(1, cores)
        self.per_gpu = per_gpu
        memory = {} if memory is None else memory
        self._shared = {device: SharedGpu(device, self.cores, per_gpu, memory, look) for device in devices}
        self._used = 0
        self._numbers = itertools.count(1)

    @property
    def on_gpu(self) -> bool:
        """Whether the slots are on GPUs."""
        return bool(self.devices)

    @property
    def by_memory(self) -> bool:
        """Whether memory decides, so that a run may find no room where the next one would."""
        return self.on_gpu and self.per_gpu is None

    def capacity(self, threads: int) -> int:
        """How many runs of ``threads`` threads fit at once, as far as is known beforehand."""
        if self.on_gpu:
            return sum(gpu.capacity for gpu in self._shared.values())
        return max(1, self.cores // max(1, threads))

    def take(self, threads: int, memory_key: str = "", *, alone: bool = False) -> Slot | None:
        """A free slot for a run of ``threads`` threads, or None while there is none.

        Args:
            memory_key: equal for runs that take equally much memory.
            alone: on a GPU of its own.
        """
        if self.on_gpu:
            # the emptiest first: two GPUs train two runs faster than one
            for gpu in sorted(self._shared.values(), key=lambda gpu: len(gpu.runs)):
                if gpu.has_room(memory_key, alone=alone):
                    slot = Slot(gpu.device, 0, next(self._numbers))
                    gpu.take(slot.number, memory_key, alone=alone)
                    return slot
            return None
        wanted = min(max(1, threads), self.cores)
        if self._used + wanted > self.cores:
            return None
        self._used += wanted
        return Slot("cpu", wanted, next(self._numbers))

    def give_back(self, slot: Slot) -> None:
        """Frees ``slot`` for the next run."""
        if slot.device == "cpu":
            self._used -= slot.cores
        else:
            self._shared[slot.device].give_back(slot.number)

    def shared(self, device: str) -> bool:
        """Whether several runs may train on ``device`` at once."""
        return device in self._shared and self.per_gpu != 1

    def measured(self, slot: Slot, size: int) -> None:
        """The run on ``slot`` was seen to take ``size`` bytes."""
        if slot.device in self._shared:
            self._shared[slot.device].measured(slot.number, size)

    def model(self, slot: Slot) -> str:
        """The model of the slot's GPU, or its device's name."""
        return self._shared[slot.device].model if slot.device in self._shared else slot.device

    def describe(self, threads: int) -> str:
        """The slots in words, for the first line of a view."""
        if self.on_gpu:
            each = {None: "as many runs on each as fit", 1: "one run on each"}.get(
                self.per_gpu, f"{self.per_gpu} runs on each"
            )
            return f"{len(self.devices)} GPU{'s' * (len(self.devices) > 1)} ({', '.join(self.devices)}), {each}"
        runs = self.capacity(threads)
        return f"CPU, {self.cores} core{'s' * (self.cores > 1)}, {runs} run{'s' * (runs > 1)} at once"


def find_slots(
    device: str = "auto", per_gpu: int | None = 1, memory: dict[tuple[str, str], int] | None = None
) -> Slots:
    """The slots that ``--device`` names: ``auto``, ``cpu``, ``cuda`` (every GPU) or ``cuda:1``.

    Raises:
        MmadError: the word is no device, or this machine has not got it.
    """
    word = device.strip().lower()
    if word == "cpu":
        return Slots(cores=usable_cores())
    if word == "auto":
        count = cuda_count() if torch_knows_cuda() else 0
        return _on_gpus(range(count), per_gpu, memory)
    matched = re.fullmatch(r"cuda(?::(\d+))?", word)
    if matched is None:
        raise MmadError(f"no such device {device!r}", where="--device", hint="use auto, cpu, cuda or cuda:N")
    count = cuda_count()
    if count == 0:
        raise MmadError(f"{device}: this machine shows no CUDA GPU", where="--device", hint="use --device cpu")
    if not torch_knows_cuda():
        raise MmadError(
            f"{device}: the installed torch is built without CUDA",
            where="--device",
            hint="install a CUDA build of torch, or use --device cpu",
        )
    if matched[1] is None:
        return _on_gpus(range(count), per_gpu, memory)
    if int(matched[1]) >= count:
        there = ", ".join(f"cuda:{i}" for i in range(count))
        raise MmadError(f"no device {device}", where="--device", hint=f"there is {there}, or cpu")
    return _on_gpus((int(matched[1]),), per_gpu, memory)


def _on_gpus(numbers: Sequence[int], per_gpu: int | None, memory: dict[tuple[str, str], int] | None) -> Slots:
    return Slots(tuple(f"cuda:{i}" for i in numbers), usable_cores(), per_gpu=per_gpu, memory=memory)


def cuda_count(environment: Mapping[str, str] = os.environ) -> int:
    """How many CUDA GPUs torch would see: those found, narrowed by ``CUDA_VISIBLE_DEVICES``."""
    found = _gpu_count()
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None or found == 0:
        return found
    count = 0
    for entry in (word.strip() for word in visible.split(",")):
        # CUDA stops reading its list at the first entry that names no GPU
        if re.fullmatch(r"\d+", entry):
            if int(entry) >= found:
                break
        elif not entry.upper().startswith(("GPU-", "MIG-")):
            break
        count += 1
    return count


def torch_knows_cuda() -> bool:
    """Whether the installed torch carries CUDA kernels, going by its files."""
    found = importlib.util.find_spec("torch")
    places = found.submodule_search_locations if found is not None else None
    return any(next((Path(place) / "lib").glob("*torch_cuda*"), None) is not None for place in places or ())


@dataclass(frozen=True)
class WorkerUse:
    """One worker with all it started: ``cpu`` in percent of one core (None before it is measured), ``memory``
    resident bytes, ``gpu`` the one it trains on."""

    cpu: float | None
    memory: int
    gpu: GpuUse | None


@dataclass(frozen=True)
class MachineUse:
    """This machine now: its GPUs, and the workers by their runs' keys."""

    gpus: tuple[GpuUse, ...] = ()
    workers: Mapping[str, WorkerUse] = field(default_factory=dict)


class Machine:
    """Looks at the workers of this machine again and again; their CPU time is that since the look before."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, float], psutil.Process] = {}

    def look(self, running: Sequence[RunningRun], *, settle: bool = False) -> MachineUse:
        """What the workers of ``running`` use; ``settle`` takes a moment so that CPU is measured at the first look."""
        here = {run.key: run for run in running if run.alive and run.owner is not None and run.owner.here}
        if settle and here:
            for run in here.values():
                self._worker(run, ())
            time.sleep(_SAMPLE)
        gpus = look_at_gpus()
        found = {key: use for key, run in here.items() if (use := self._worker(run, gpus)) is not None}
        return MachineUse(gpus, found)

    def _worker(self, run: RunningRun, gpus: Sequence[GpuUse]) -> WorkerUse | None:
        assert run.owner is not None
        try:
            main = psutil.Process(run.owner.pid)
            family = [main, *main.children(recursive=True)]
            environment = main.environ() if gpus and (run.device or "").startswith("cuda") else {}
        except psutil.Error:
            return None
        cpu: float | None = None
        memory = 0
        for process in family:
            try:
                identity = (process.pid, process.create_time())
                known = self._seen.get(identity)
                share = self._seen.setdefault(identity, process).cpu_percent()
                memory += process.memory_info().rss
            except psutil.Error:
                continue
            if known is not None:  # the first figure of a process means nothing
                cpu = (cpu or 0.0) + share
        return WorkerUse(cpu, memory, gpu_of(run.device, environment, gpus))
