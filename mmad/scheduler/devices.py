"""Where runs train: slots on the GPUs and CPU cores of this machine, and what its workers use. Never loads torch."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import platform
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from mmad.base.clock import seconds
from mmad.base.cores import usable_cores
from mmad.base.errors import MmadError
from mmad.base.formatting import size as in_bytes
from mmad.scheduler.process import run_python
from mmad.store.run_status import RunningRun

#: Part of a GPU's memory that may be given out, and what a run may grow beyond what was seen of its kind: in a whole
#: epoch with its evaluation, or in its first optimiser steps alone.
FILL, GROWTH, EARLY_GROWTH = 0.95, 1.1, 1.5
#: Bytes a process needs on a CUDA device beside its tensors: context and kernels.
CONTEXT = 600 * 2**20
#: Part of a GPU's memory from where on what a run was seen to take says little of what it needs.
_CACHED = 0.9
#: Where the kernel lists what NVIDIA's and AMD's drivers found.
_DRIVER = Path("/proc/driver/nvidia/gpus")
_AMD = Path("/sys/class/kfd/kfd/topology/nodes")
#: Seconds between the two samples that a first look at CPU time takes.
_SAMPLE = 0.2
#: Seconds that a look at the GPUs is good for, that the driver has to answer one, and that torch has to compute
#: something on all of them.
_FRESH, _ANSWER, _TRIAL = 2.0, 5.0, 120.0

T = TypeVar("T")


@dataclass(frozen=True)
class GpuUse:
    """One GPU, or one slice of it (MIG), at one moment.

    ``percent`` is the part of the time that it computed (None: not known), memory is in bytes, ``processes`` compute
    there now, and an ``exclusive`` one takes a single process.
    """

    index: int
    name: str
    uuid: str
    percent: float | None
    used: int
    total: int
    exclusive: bool = False
    processes: int = 0

    @property
    def free(self) -> int:
        """Bytes that nobody holds."""
        return self.total - self.used

    @property
    def taken(self) -> int:
        """Bytes that somebody holds: more than a little of a GPU that takes one process and has it."""
        return max(self.used, little(self.total) + 1) if self.exclusive and self.processes else self.used


def little(total: int) -> int:
    """Bytes of ``total`` that others may hold of a GPU which counts as free: the driver, a screen."""
    return max(512 * 2**20, total // 100)


def look_at_gpus() -> tuple[GpuUse, ...]:
    """The GPUs of this machine now, as NVIDIA's library tells, in place of one that is cut into slices its slices.

    One that does not tell its memory is left out; a driver that does not answer in time tells nothing.
    """
    return _in_time(_look_at_gpus, ())


def _look_at_gpus() -> tuple[GpuUse, ...]:
    found = []
    for index, whole in enumerate(_handles() or ()):
        for handle in _slices(whole) or (whole,):
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
                    exclusive=_ask("DeviceGetComputeMode", whole) == _EXCLUSIVE,
                    processes=len(_ask("DeviceGetComputeRunningProcesses", handle) or ()),
                )
            )
    return tuple(found)


def look_at_gpu(device: str) -> GpuUse | None:
    """The GPU that this process's torch calls ``device`` (``cuda:1``), or None where it is unknown."""
    return gpu_of(device, os.environ, look_at_gpus())


def gpu_of(device: str | None, environment: Mapping[str, str], gpus: Sequence[GpuUse]) -> GpuUse | None:
    """The GPU that a process with ``environment`` calls ``device`` (``cuda:1``); None for the CPU, or when unknown."""
    matched = re.fullmatch(r"cuda(?::(\d+))?(?:,.*)?", device or "")  # of several the first
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


#: The compute mode (NVML) of a GPU that takes a single process.
_EXCLUSIVE = 3
#: The thread that still waits for the driver; while there is one, the driver is not asked again.
_stuck: list[threading.Thread] = []


def _in_time(ask: Callable[[], T], otherwise: T) -> T:
    """What ``ask`` returns, or ``otherwise`` when the driver does not answer in time: a broken one blocks for ever."""
    _stuck[:] = [thread for thread in _stuck if thread.is_alive()]
    if _stuck:
        return otherwise
    answers: list[T] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), name="gpu-driver", daemon=True)
    thread.start()
    thread.join(_ANSWER)
    if thread.is_alive():
        _stuck.append(thread)
    return answers[0] if answers else otherwise


def _gpu_count() -> int:
    """How many GPUs there are; a container may have the driver without its library: the kernel lists them then."""
    handles = _handles()
    if handles is not None:
        return len(handles)
    if _DRIVER.is_dir():
        return sum(1 for _ in _DRIVER.iterdir())
    nodes = _AMD.glob("*/properties") if _AMD.is_dir() else ()
    return sum(1 for node in nodes if re.search(r"^simd_count [1-9]", node.read_text(), re.MULTILINE))


def _handles() -> list[Any] | None:
    """What NVIDIA's library calls the GPUs that this process may use; None where it does not answer."""
    _ask("Init")
    count = _ask("DeviceGetCount")
    if count is None:
        return None
    return [handle for index in range(count) if (handle := _ask("DeviceGetHandleByIndex", index)) is not None]


def _slices(handle: Any) -> list[Any]:
    """The slices (MIG) of a GPU that is cut; empty for one that is whole."""
    if not (_ask("DeviceGetMigMode", handle) or (0,))[0]:
        return []
    most = _ask("DeviceGetMaxMigDeviceCount", handle) or 0
    found = (_ask("DeviceGetMigDeviceHandleByIndex", handle, index) for index in range(most))
    return [part for part in found if part is not None]


def _ask(question: str, *words: Any) -> Any:
    """An answer of NVIDIA's library, or None where there is no driver, or this one or its GPU has no answer."""
    import pynvml

    try:
        return getattr(pynvml, f"nvml{question}")(*words)
    except pynvml.NVMLError:
        return None


@dataclass
class KnownMemory:
    """Bytes that runs were seen to take, by (memory key, model of GPU).

    ``whole`` is through an epoch with its evaluation, ``early`` after the first optimiser steps.
    """

    whole: dict[tuple[str, str], int] = field(default_factory=dict)
    early: dict[tuple[str, str], int] = field(default_factory=dict)

    def seen(self, memory_key: str, model: str) -> int:
        """The most that was seen of such a run; 0 where none was."""
        return max(self.whole.get((memory_key, model), 0), self.early.get((memory_key, model), 0))

    def wanted(self, memory_key: str, model: str) -> float | None:
        """What has to be free for another such run; None where none was seen."""
        whole, seen = self.whole.get((memory_key, model)), self.seen(memory_key, model)
        if not seen:
            return None
        return GROWTH * seen if whole is not None else EARLY_GROWTH * seen

    def add(self, memory_key: str, model: str, size: int, *, whole: bool) -> None:
        """A run was seen to take ``size``."""
        if memory_key:
            kept = self.whole if whole else self.early
            kept[memory_key, model] = max(size, kept.get((memory_key, model), 0))


@dataclass
class _Allocation:
    """A run on a GPU, and the bytes that it was seen to take itself: with an evaluation if ``whole``."""

    memory_key: str
    alone: bool
    threads: int
    seen: int = 0
    whole: bool = False


class SharedGpu:
    """One GPU and the runs on it.

    With a number of runs to share it, that alone decides who joins. Else a run that nothing is known of begins on an
    empty GPU, and nobody joins it before it was measured; one that is known joins where it fits. What other programs
    hold is never given out.
    """

    def __init__(
        self,
        device: str,
        per_gpu: int | None,
        memory: KnownMemory,
        look: Callable[[str], GpuUse | None],
    ) -> None:
        self.device = device
        self.runs: dict[int, _Allocation] = {}
        self._per_gpu, self._memory, self._ask = per_gpu, memory, look
        self._model: str | None = None
        self._seen: tuple[float, GpuUse | None] | None = None

    @property
    def model(self) -> str:
        """The GPU's model, or its device's name where it cannot be known."""
        if self._model is None:
            seen = self._look()
            if seen is None:
                return self.device
            self._model = seen.name
        return self._model

    @property
    def capacity(self) -> int:
        """How many runs train here at once, as far as is known beforehand."""
        return self._per_gpu or max(1, len(self.runs))

    @property
    def full(self) -> bool:
        """Whether nobody can join, whatever it takes."""
        runs = self.runs.values()
        if any(run.alone for run in runs) or (self._per_gpu is not None and len(runs) >= self._per_gpu):
            return True
        return self._per_gpu is None and any(self._wanted(run) is None for run in runs)

    def has_room(self, memory_key: str, *, alone: bool, needs: int = 0, idle: int = 0) -> bool:
        """Whether a run may join those that are here.

        Args:
            memory_key: equal for runs that take equally much memory.
            alone: with nobody beside it.
            needs: bytes without which it is known to fail.
            idle: workers of ours that hold a context here and go when it begins.
        """
        if self.full or (alone and self.runs):
            return False
        wanted = self._memory.wanted(memory_key, self.model)
        seen = self._look()
        if seen is None:  # of a GPU that tells nothing nothing can be shared, but for a number of runs
            return not self.runs or self._per_gpu is not None
        if seen.exclusive and (self.runs or seen.processes > idle):
            return False
        free = seen.free + idle * CONTEXT
        if not self.runs:
            known = self._memory.seen(memory_key, self.model)
            if known > _CACHED * seen.total:  # torch fills an empty GPU with memory that it could do without
                known = 0
            return max(needs, known) <= free or seen.used - idle * CONTEXT <= little(seen.total)
        if self._per_gpu is not None:
            return needs <= free
        if wanted is None:
            return False
        given = [(self._wanted(run) or 0, run.seen) for run in self.runs.values()]
        coming = sum(max(0, most - now) for most, now in given)
        within = wanted + sum(most for most, _ in given) <= FILL * seen.total
        return within and max(wanted, needs) + coming <= free

    def held_by_others(self, idle: int = 0) -> int:
        """Bytes that other programs hold here while none of our runs is here; 0 where that is little, or unknown."""
        seen = None if self.runs else self._look()
        if seen is None:
            return 0
        held = seen.used - idle * CONTEXT if idle else seen.taken
        return held if held > little(seen.total) else 0

    def take(self, number: int, memory_key: str, *, alone: bool, threads: int = 1) -> None:
        """Puts a run here."""
        self.runs[number] = _Allocation(memory_key, alone, threads)

    def give_back(self, number: int) -> None:
        """The run is gone."""
        self.runs.pop(number, None)
        self._seen = None

    def measured(self, number: int, size: int, *, whole: bool) -> None:
        """A run here was seen to take ``size`` bytes; the next of its kind is known then."""
        if (run := self.runs.get(number)) is None:
            return
        run.seen, run.whole = max(size, run.seen), run.whole or whole
        self._memory.add(run.memory_key, self.model, size, whole=whole)
        self._seen = None

    def _wanted(self, run: _Allocation) -> float | None:
        """What a run here may come to take; None until that is known."""
        known = self._memory.wanted(run.memory_key, self.model)
        if known is None and run.seen:  # of no kind
            return (GROWTH if run.whole else EARLY_GROWTH) * run.seen
        return known

    def _look(self) -> GpuUse | None:
        """The GPU as of a moment ago: asking the driver takes a while."""
        if self._seen is None or seconds() - self._seen[0] >= _FRESH:
            self._seen = (seconds(), self._ask(self.device))
        return self._seen[1]


@dataclass(frozen=True)
class Slot:
    """A slot for one run: torch's device, or ``cuda:0,cuda:2`` of a run on two, and how many CPU cores it keeps busy.

    ``visible`` is the one GPU that its worker may see (``CUDA_VISIBLE_DEVICES``), which is its ``cuda:0``; empty
    where the worker sees all of them.
    """

    device: str
    cores: int
    number: int = 0
    visible: str = ""

    @property
    def devices(self) -> tuple[str, ...]:
        """The torch devices one by one."""
        return tuple(self.device.split(","))

    @property
    def torch_device(self) -> str:
        """What the worker's torch calls the device."""
        return "cuda:0" if self.visible else self.device


def too_few(gpus: int, place: str, there: int) -> MmadError:
    """What to say of a run on ``gpus`` GPUs where ``place`` has ``there``."""
    has = "one GPU" if there == 1 else f"{there} GPUs"
    return MmadError(
        f"gpus_per_run = {gpus}, and {place} has {has}", hint=f"set gpus_per_run to {there} or less, or use another"
    )


class Slots:
    """The slots of one command: CPU cores shared by threads, or GPUs shared by runs.

    Args:
        devices: names of GPUs (``cuda:0`` …), or empty for the CPU.
        cores: CPU cores that may be used; a run that wants more than all of them gets them all.
        per_gpu: how many runs share a GPU; None for as many as memory and cores allow.
        memory: bytes that runs were seen to take, by (memory key, model of GPU); what is measured is added.
        look: a GPU now; None where nothing can be known of it.
        visible: by device, the one GPU that a worker there may see; for those whose torch shows one at a time.
        note: what a reader should know of the choice.
    """

    def __init__(
        self,
        devices: tuple[str, ...] = (),
        cores: int = 1,
        *,
        per_gpu: int | None = 1,
        memory: dict[tuple[str, str], int] | None = None,
        look: Callable[[str], GpuUse | None] = look_at_gpu,
        visible: Mapping[str, str] | None = None,
        note: str = "",
    ) -> None:
        self.devices = devices
        self.cores = max(1, cores)
        self.per_gpu = per_gpu
        self.note = note
        known = KnownMemory({} if memory is None else memory)
        self._shared = {device: SharedGpu(device, per_gpu, known, look) for device in devices}
        self._visible = visible or {}
        self._used = 0
        self._numbers = itertools.count(1)

    @property
    def on_gpu(self) -> bool:
        """Whether the slots are on GPUs."""
        return bool(self.devices)

    @property
    def by_memory(self) -> bool:
        """Whether memory decides, so that a run may find no room where the next one would."""
        if not self.on_gpu:
            return False
        gpus = self._shared.values()
        return not all(gpu.full for gpu in gpus) if self.per_gpu is None else any(not gpu.runs for gpu in gpus)

    def capacity(self, threads: int, gpus: int = 1) -> int:
        """How many runs of ``gpus`` processes with ``threads`` threads fit at once, as far as is known beforehand."""
        if self.on_gpu and gpus > 1:
            return max(1, len(self.devices) // gpus)
        if self.on_gpu:
            return sum(gpu.capacity for gpu in self._shared.values())
        return max(1, self.cores // (max(1, threads) * gpus))

    def require(self, gpus: int) -> None:
        """Refuse a run on ``gpus`` devices that no wait would give it.

        Raises:
            MmadError: with how many there are.
        """
        if gpus == 1 or not self.on_gpu:
            return
        if gpus > len(self.devices):
            raise too_few(gpus, "this machine", len(self.devices))
        if self._visible:
            raise MmadError(
                f"gpus_per_run = {gpus}: a GPU that is cut into slices (MIG) trains with no other",
                hint="set gpus_per_run = 1, or use whole GPUs",
            )

    def take(
        self,
        threads: int,
        memory_key: str = "",
        *,
        gpus: int = 1,
        alone: bool = False,
        needs: int = 0,
        idle: Mapping[str, int] | None = None,
    ) -> Slot | None:
        """A free slot for a run of ``threads`` threads, or None while there is none.

        Args:
            threads: CPU threads of each of the run's processes.
            gpus: how many processes, each with a GPU to itself where there are several.
            memory_key: equal for runs that take equally much memory.
            alone: on a GPU of its own.
            needs: bytes of a GPU without which it is known to fail.
            idle: by device, workers that hold a context there and go when the run begins.
        """
        wanted = min(max(1, threads) * gpus, self.cores)
        if self.on_gpu and gpus > 1:
            return self._take_several(gpus, wanted, memory_key, needs, idle or {})
        if self.on_gpu:
            busy = sum(run.threads for gpu in self._shared.values() for run in gpu.runs.values())
            # the emptiest first: two GPUs train two runs faster than one
            for gpu in sorted(self._shared.values(), key=lambda gpu: len(gpu.runs)):
                if gpu.runs and self.per_gpu is None and busy + wanted > self.cores:
                    return None
                there = (idle or {}).get(gpu.device, 0)
                if gpu.has_room(memory_key, alone=alone, needs=needs, idle=there):
                    slot = Slot(gpu.device, 0, next(self._numbers), self._visible.get(gpu.device, ""))
                    gpu.take(slot.number, memory_key, alone=alone, threads=wanted)
                    return slot
            return None
        if self._used + wanted > self.cores:
            return None
        self._used += wanted
        return Slot("cpu", wanted, next(self._numbers))

    def _take_several(
        self, count: int, threads: int, memory_key: str, needs: int, idle: Mapping[str, int]
    ) -> Slot | None:
        """``count`` GPUs that have no other run."""
        free = [
            gpu
            for gpu in self._shared.values()
            if gpu.has_room(memory_key, alone=True, needs=needs, idle=idle.get(gpu.device, 0))
        ]
        if len(free) < count:
            return None
        slot = Slot(",".join(gpu.device for gpu in free[:count]), 0, next(self._numbers))
        for gpu in free[:count]:
            gpu.take(slot.number, memory_key, alone=True, threads=threads)
        return slot

    def give_back(self, slot: Slot) -> None:
        """Frees ``slot`` for the next run."""
        if slot.device == "cpu":
            self._used -= slot.cores
        else:
            for device in slot.devices:
                self._shared[device].give_back(slot.number)

    def shared(self, device: str) -> bool:
        """Whether several runs may train on ``device`` at once."""
        return device in self._shared and self.per_gpu != 1

    def measured(self, slot: Slot, size: int, *, whole: bool = True) -> None:
        """The run on ``slot`` was seen to take ``size`` bytes, an evaluation included if ``whole``."""
        if slot.devices[0] in self._shared:
            self._shared[slot.devices[0]].measured(slot.number, size, whole=whole)

    def held_by_others(self, idle: Mapping[str, int] | None = None) -> str:
        """In words, what other programs hold of GPUs on which none of our runs is; empty where that is little."""
        held = {name: gpu.held_by_others((idle or {}).get(name, 0)) for name, gpu in self._shared.items()}
        return ", ".join(f"{in_bytes(size)} of {name}" for name, size in held.items() if size)

    def model(self, slot: Slot) -> str:
        """The model of the slot's GPU, or its device's name."""
        first = slot.devices[0]
        return self._shared[first].model if first in self._shared else slot.device

    def describe(self, threads: int, gpus: int = 1) -> str:
        """The slots in words, for the first line of a view."""
        note = f" ({self.note})" if self.note else ""
        if self.on_gpu:
            each = {None: "as many runs on each as fit", 1: "one run on each"}.get(
                self.per_gpu, f"{self.per_gpu} runs on each"
            )
            count = len(self.devices)
            return f"{count} GPU{'s' * (count > 1)} ({', '.join(self.devices)}), {each}{note}"
        runs = self.capacity(threads, gpus)
        return f"CPU, {self.cores} core{'s' * (self.cores > 1)}, {runs} run{'s' * (runs > 1)} at once{note}"


def find_slots(
    device: str = "auto", per_gpu: int | None = 1, memory: dict[tuple[str, str], int] | None = None
) -> Slots:
    """The slots that ``--device`` names: ``auto``, ``cpu``, ``cuda`` (every GPU), ``cuda:1`` or ``mps``.

    Each GPU has to compute something first: a driver too old for the installed torch, or a GPU that it carries no
    kernels for, is left out of ``auto`` and refused by name elsewhere.

    Raises:
        MmadError: the word is no device, or this machine has not got it, or torch cannot use it.
    """
    word = device.strip().lower()
    if word == "cpu":
        return Slots(cores=usable_cores())
    if word == "mps":
        return _on_mps(device)
    matched = re.fullmatch(r"cuda(?::(\d+))?", word)
    if matched is None and word != "auto":
        raise MmadError(f"no such device {device!r}", where="--device", hint="use auto, cpu, cuda, cuda:N or mps")
    gpus = visible_gpus()
    if matched is None:
        return _auto(gpus, per_gpu, memory) if torch_knows_gpus() else Slots(cores=usable_cores())
    if not gpus:
        raise MmadError(f"{device}: this machine shows no GPU", where="--device", hint="use --device cpu")
    if not torch_knows_gpus():
        raise MmadError(
            f"{device}: the installed torch is built without CUDA or ROCm",
            where="--device",
            hint="install a build of torch for this GPU, or use --device cpu",
        )
    if matched[1] is not None and int(matched[1]) >= len(gpus):
        there = ", ".join(f"cuda:{i}" for i in range(len(gpus)))
        raise MmadError(f"no device {device}", where="--device", hint=f"there is {there}, or cpu")
    chosen = {name: gpu for name, gpu in _named(gpus).items() if matched[1] is None or name == word}
    if broken := {name: why for name, why in try_gpus(chosen).items() if why}:
        name, why = next(iter(broken.items()))
        raise MmadError(
            f"{name}: torch cannot use this GPU ({why})",
            where="--device",
            hint="update its driver, install a build of torch for it, or use --device cpu",
        )
    return _on_gpus(chosen, per_gpu, memory)


def _auto(gpus: Sequence[str], per_gpu: int | None, memory: dict[tuple[str, str], int] | None) -> Slots:
    """The GPUs that work, or the CPU where none does."""
    named = _named(gpus)
    tried = try_gpus(named) if named else {}
    broken = {name: why for name, why in tried.items() if why}
    note = "; ".join(f"{name} is not used: {why}" for name, why in broken.items())
    chosen = {name: gpu for name, gpu in named.items() if name not in broken}
    return _on_gpus(chosen, per_gpu, memory, note) if chosen else Slots(cores=usable_cores(), note=note)


def _named(gpus: Sequence[str]) -> dict[str, str]:
    return {f"cuda:{number}": visible for number, visible in enumerate(gpus)}


def _on_gpus(
    chosen: Mapping[str, str], per_gpu: int | None, memory: dict[tuple[str, str], int] | None, note: str = ""
) -> Slots:
    visible = {name: gpu for name, gpu in chosen.items() if gpu}

    def look(device: str) -> GpuUse | None:
        gpus = look_at_gpus()
        if device in visible:
            return next((gpu for gpu in gpus if gpu.uuid == visible[device]), None)
        return gpu_of(device, os.environ, gpus)

    exclusive = [name for name in chosen if (gpu := look(name)) is not None and gpu.exclusive]
    if exclusive and per_gpu != 1:
        note = "; ".join(filter(None, (note, f"{', '.join(exclusive)} in exclusive mode: one run on each GPU")))
        per_gpu = 1
    return Slots(tuple(chosen), usable_cores(), per_gpu=per_gpu, memory=memory, look=look, visible=visible, note=note)


def _on_mps(device: str) -> Slots:
    if sys.platform != "darwin" or platform.machine() != "arm64":
        raise MmadError(f"{device}: this machine has no Apple GPU", where="--device", hint="use auto, cpu or cuda")
    if why := try_gpus({"mps": ""})["mps"]:
        raise MmadError(f"{device}: torch cannot use this GPU ({why})", where="--device", hint="use --device cpu")
    return Slots(("mps",), usable_cores(), look=lambda name: None)


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The GPUs that workers can be given: those found, narrowed by ``CUDA_VISIBLE_DEVICES``, in torch's order.

    Returns:
        For each, the UUID that its worker has to be shown alone; empty where torch sees them all side by side. CUDA
        shows a process one slice (MIG) only: with a slice among them each worker is shown its own.
    """
    return _in_time(lambda: _visible_gpus(environment), ())


def _visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    found = _gpu_count()
    handles = _handles() or []
    slices = {
        index: [uuid for part in _slices(handle) if (uuid := _ask("DeviceGetUUID", part))]
        for index, handle in enumerate(handles)
    }
    whole = {index: _ask("DeviceGetUUID", handle) or "" for index, handle in enumerate(handles)}
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    chosen: list[str] = []
    if visible is None:
        for index in range(found):
            chosen += slices.get(index) or [whole.get(index, "")]
    for entry in (word.strip() for word in (visible or "").split(",")) if found and visible is not None else ():
        # CUDA stops reading its list at the first entry that names no GPU
        if re.fullmatch(r"\d+", entry):
            if int(entry) >= found:
                break
            chosen.append((slices.get(int(entry)) or [whole.get(int(entry), "")])[0])
        elif entry.upper().startswith(("GPU-", "MIG-")):
            chosen.append(entry)
        else:
            break
    return tuple(chosen) if any(gpu.startswith("MIG-") for gpu in chosen) else ("",) * len(chosen)


def torch_knows_gpus() -> bool:
    """Whether the installed torch carries kernels for GPUs (CUDA or ROCm), going by its files."""
    found = importlib.util.find_spec("torch")
    places = found.submodule_search_locations if found is not None else None
    libraries = (file for place in places or () for file in (Path(place) / "lib").glob("*torch_*"))
    return any("torch_cuda" in file.name or "torch_hip" in file.name for file in libraries)


_TRY = """
import json, sys, torch
answers = {}
for name in sys.argv[1:]:
    try:
        ones = torch.ones(8, 8, device=name)
        answers[name] = "" if float((ones @ ones).sum()) == 512 else "it computes wrong numbers"
    except Exception as error:
        answers[name] = (str(error).splitlines() or [type(error).__name__])[0]
print(json.dumps(answers))
"""
#: What a GPU says that works, but that others use at present.
_PASSING = ("out of memory", "busy or unavailable")


def try_gpus(gpus: Mapping[str, str]) -> dict[str, str]:
    """By device, why torch cannot compute on it; empty where it can.

    Tried in processes of their own: this one never loads torch, and a broken driver may end or block its process.

    Args:
        gpus: by device, the UUID of the one GPU that its process may see, or empty.
    """
    found: dict[str, str] = {}
    together = [name for name, visible in gpus.items() if not visible]
    groups: list[tuple[dict[str, str], list[str], list[str]]] = [({}, together, together)] if together else []
    groups += [({"CUDA_VISIBLE_DEVICES": gpu}, [name], ["cuda:0"]) for name, gpu in gpus.items() if gpu]
    for environment, names, called in groups:
        answer = run_python(_TRY, called, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **environment}, _TRIAL)
        try:
            answers = json.loads((answer or "").strip().splitlines()[-1])
        except (ValueError, IndexError):
            answers = {}
        lost = "its driver does not answer" if answer is None else "a process that uses it ends at once"
        for name, word in zip(names, called, strict=True):
            why = str(answers.get(word, lost))
            found[name] = "" if any(passing in why for passing in _PASSING) else why[:160]
    return found


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
