"""Device slots: how many runs train at once, and where. Looks for GPUs without loading torch."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mmad.base.errors import MmadError
from mmad.store.run_status import RunningRun

# Several runs on one GPU: who fits beside whom, by the memory that was seen of runs of their kind.


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


# How many CPU cores this process may use.


_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """CPU cores this process may use: its affinity, narrowed by the control group's quota; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, affinity if quota is None else min(affinity, int(quota)))


def _cgroup_quota(root: Path = _CGROUP, membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """The smallest CPU quota, in cores, of the control groups above this process (versions 1 and 2)."""
    quotas: list[float] = []
    for folder in _cgroup_folders(root, membership):
        for read in (_quota_v2, _quota_v1):
            try:
                quota = read(folder)
            except (OSError, ValueError):
                continue
            if quota is not None:
                quotas.append(quota)
    return min(quotas, default=None)


def _cgroup_folders(root: Path, membership: Path) -> set[Path]:
    folders = {root, root / "cpu", root / "cpu,cpuacct"}
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return folders
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        base = root / controllers if controllers else root
        relative = Path(path.lstrip("/"))
        if ".." in relative.parts:
            continue
        folders.update(base / part for part in (relative, *relative.parents))
    return folders


def _quota_v2(folder: Path) -> float | None:
    limit, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    return None if limit == "max" else int(limit) / int(period)


def _quota_v1(folder: Path) -> float | None:
    limit = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
    return None if limit <= 0 else limit / int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Slot:
    """A place for one run: the torch device, and how many CPU cores the run keeps busy there."""

    device: str
    cores: int
    number: int = 0


class Slots:
    """The places of one command: CPU cores shared by threads, or GPUs shared by runs.

    Args:
        devices: torch names of GPUs (``cuda:0`` …), or empty for the CPU.
        cores: CPU cores that may be used; a run that wants more than all of them gets them all.
        per_gpu: how many runs share a GPU; None for as many as their memory allows.
        needs: bytes that were seen, by (need, model of GPU); goes on to learn.
        look: tells of a GPU its model and its memory; None where nothing can be known of it.
    """

    def __init__(
        self,
        devices: tuple[str, ...] = (),
        cores: int = 1,
        *,
        per_gpu: int | None = 1,
        needs: dict[tuple[str, str], int] | None = None,
        look: Callable[[str], GpuMemory | None] = gpu_memory,
    ) -> None:
        self.devices = devices
        self.cores = max(1, cores)
        self.per_gpu = per_gpu
        self.shares = {
            device: Share(device, self.cores, per_gpu, {} if needs is None else needs, look) for device in devices
        }
        self._used = 0
        self._numbers = itertools.count(1)

    @property
    def on_gpu(self) -> bool:
        """Whether the places are GPUs."""
        return bool(self.devices)

    @property
    def picky(self) -> bool:
        """Whether a run may find no place where the next one would."""
        return self.on_gpu and self.per_gpu is None

    def places(self, threads: int) -> int:
        """How many runs of ``threads`` threads fit at once, as far as is known beforehand."""
        if self.on_gpu:
            return sum(share.places for share in self.shares.values())
        return max(1, self.cores // max(1, threads))

    def take(self, threads: int, need: str = "", *, alone: bool = False) -> Slot | None:
        """A free place for a run of ``threads`` threads, or None while there is none.

        Args:
            need: names what decides the memory that the run takes.
            alone: on a GPU of its own.
        """
        if self.on_gpu:
            # the emptiest first: two GPUs train two runs faster than one
            for share in sorted(self.shares.values(), key=lambda share: len(share.held)):
                if share.has_room(need, alone=alone):
                    slot = Slot(share.device, 0, next(self._numbers))
                    share.take(slot.number, need, alone=alone)
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
            self.shares[slot.device].give_back(slot.number)

    def shared(self, device: str) -> bool:
        """Whether other runs may stand on ``device`` beside one."""
        return device in self.shares and self.per_gpu != 1

    def measured(self, slot: Slot, size: int) -> None:
        """The run on ``slot`` was seen to need ``size`` bytes."""
        if slot.device in self.shares:
            self.shares[slot.device].measured(slot.number, size)

    def model(self, slot: Slot) -> str:
        """The model of the slot's GPU, or its device's name."""
        return self.shares[slot.device].model if slot.device in self.shares else slot.device

    def describe(self, threads: int) -> str:
        """The places in words, for the first line of a view."""
        if self.on_gpu:
            each = {None: "as many runs on each as fit", 1: "one run on each"}.get(
                self.per_gpu, f"{self.per_gpu} runs on each"
            )
            return f"{len(self.devices)} GPU{'s' * (len(self.devices) > 1)} ({', '.join(self.devices)}), {each}"
        places = self.places(threads)
        return f"CPU, {self.cores} core{'s' * (self.cores > 1)}, {places} run{'s' * (places > 1)} at once"


def find_slots(device: str = "auto", per_gpu: int | None = 1, needs: dict[tuple[str, str], int] | None = None) -> Slots:
    """The places that ``--device`` names: ``auto``, ``cpu``, ``cuda`` (every GPU) or ``cuda:1``.

    Raises:
        MmadError: the word is no device, or this machine has not got it.
    """
    word = device.strip().lower()
    if word == "cpu":
        return Slots(cores=usable_cores())
    if word == "auto":
        count = cuda_count() if torch_knows_cuda() else 0
        return _on_gpus(tuple(f"cuda:{i}" for i in range(count)), per_gpu, needs)
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
        return _on_gpus(tuple(f"cuda:{i}" for i in range(count)), per_gpu, needs)
    if int(matched[1]) >= count:
        there = ", ".join(f"cuda:{i}" for i in range(count))
        raise MmadError(f"no device {device}", where="--device", hint=f"there is {there}, or cpu")
    return _on_gpus((f"cuda:{int(matched[1])}",), per_gpu, needs)


def _on_gpus(devices: tuple[str, ...], per_gpu: int | None, needs: dict[tuple[str, str], int] | None) -> Slots:
    return Slots(devices, usable_cores(), per_gpu=per_gpu, needs=needs)


def cuda_count(environment: Mapping[str, str] = os.environ) -> int:
    """How many CUDA GPUs torch would see: those found, narrowed by ``CUDA_VISIBLE_DEVICES``."""
    found = _gpus_found()
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


def _gpus_found() -> int:
    program = shutil.which("nvidia-smi")
    if program is not None:
        try:
            answer = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            answer = None
        if answer is not None and answer.returncode == 0:
            return sum(line.startswith("GPU ") for line in answer.stdout.splitlines())
    folder = Path("/proc/driver/nvidia/gpus")
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def torch_knows_cuda() -> bool:
    """Whether the installed torch carries CUDA kernels, judged by its files."""
    found = importlib.util.find_spec("torch")
    places = found.submodule_search_locations if found is not None else None
    return any(next((Path(place) / "lib").glob("*torch_cuda*"), None) is not None for place in places or ())


# How busy the GPUs of this machine are, asked of NVIDIA's library; nothing where it or a GPU is missing.


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


# What the worker processes of this machine use of it: CPU, memory, GPUs.


#: Seconds between the two samples that a first look at CPU time takes.
_SAMPLE = 0.2


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
    workers: dict[str, WorkerUse] | None = None

    def of(self, key: str) -> WorkerUse | None:
        return (self.workers or {}).get(key)


class Machine:
    """Looks at the workers of this machine again and again; CPU is that since the look before."""

    def __init__(self, gpus: Gpus | None = None) -> None:
        self._gpus = gpus or Gpus()
        self._seen: dict[tuple[int, float], psutil.Process] = {}

    def look(self, running: Sequence[RunningRun], *, settle: bool = False) -> MachineUse:
        """What the workers of ``running`` use; ``settle`` takes a moment so that CPU is measured at the first look."""
        here = {run.key: run for run in running if run.alive and run.owner is not None and run.owner.here}
        if settle and here:
            for run in here.values():
                self._worker(run, ())
            time.sleep(_SAMPLE)
        gpus = self._gpus.look()
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
