"""Device slots: how many runs train at once, and where. Looks for GPUs without loading torch."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import MmadError

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Slot:
    """A place for one run: the torch device, and how many CPU cores the run keeps busy."""

    device: str
    cores: int


class Slots:
    """The places of one command: CPU cores shared by threads, or one run per GPU.

    Args:
        devices: torch names of GPUs (``cuda:0`` …), or empty for the CPU.
        cores: CPU cores that may be used; a run that wants more than all of them gets them all.
    """

    def __init__(self, devices: tuple[str, ...] = (), cores: int = 1) -> None:
        self.devices = devices
        self.cores = max(1, cores)
        self._free = list(devices)
        self._used = 0

    @property
    def on_gpu(self) -> bool:
        """Whether the places are GPUs."""
        return bool(self.devices)

    def places(self, threads: int) -> int:
        """How many runs of ``threads`` threads fit at once."""
        return len(self.devices) if self.on_gpu else max(1, self.cores // max(1, threads))

    def take(self, threads: int) -> Slot | None:
        """A free place for a run of ``threads`` threads, or None while there is none."""
        if self.on_gpu:
            return Slot(self._free.pop(0), 0) if self._free else None
        wanted = min(max(1, threads), self.cores)
        if self._used + wanted > self.cores:
            return None
        self._used += wanted
        return Slot("cpu", wanted)

    def give_back(self, slot: Slot) -> None:
        """Frees ``slot`` for the next run."""
        if slot.device == "cpu":
            self._used -= slot.cores
        else:
            self._free.append(slot.device)
            self._free.sort(key=self.devices.index)

    def describe(self, threads: int) -> str:
        """The places in words, for the first line of a view."""
        if self.on_gpu:
            return (
                f"{len(self.devices)} GPU{'s' * (len(self.devices) > 1)} ({', '.join(self.devices)}), one run on each"
            )
        places = self.places(threads)
        return f"CPU, {self.cores} core{'s' * (self.cores > 1)}, {places} run{'s' * (places > 1)} at once"


def find_slots(device: str = "auto") -> Slots:
    """The places that ``--device`` names: ``auto``, ``cpu``, ``cuda`` (every GPU) or ``cuda:1``.

    Raises:
        MmadError: the word is no device, or this machine has not got it.
    """
    word = device.strip().lower()
    if word == "cpu":
        return Slots(cores=usable_cores())
    if word == "auto":
        count = cuda_count() if torch_knows_cuda() else 0
        return Slots(tuple(f"cuda:{i}" for i in range(count)), usable_cores())
    matched = re.fullmatch(r"cuda(?::(\d+))?", word)
    if matched is None:
        raise MmadError(f"no such device {device!r}", where="--device", mend="use auto, cpu, cuda or cuda:N")
    count = cuda_count()
    if count == 0:
        raise MmadError(f"{device}: this machine shows no CUDA GPU", where="--device", mend="use --device cpu")
    if not torch_knows_cuda():
        raise MmadError(
            f"{device}: the installed torch is built without CUDA",
            where="--device",
            mend="install a CUDA build of torch, or use --device cpu",
        )
    if matched[1] is None:
        return Slots(tuple(f"cuda:{i}" for i in range(count)), usable_cores())
    if int(matched[1]) >= count:
        there = ", ".join(f"cuda:{i}" for i in range(count))
        raise MmadError(f"no device {device}", where="--device", mend=f"there is {there}, or cpu")
    return Slots((f"cuda:{int(matched[1])}",), usable_cores())


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
