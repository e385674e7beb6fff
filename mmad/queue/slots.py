"""Device slots: how many runs train at once, and where. Looks for GPUs without loading torch."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import MmadError
from mmad.queue.cores import usable_cores
from mmad.queue.sharing import GpuMemory, Share, gpu_memory


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
        return _on_gpus(tuple(f"cuda:{i}" for i in range(count)), per_gpu, needs)
    if int(matched[1]) >= count:
        there = ", ".join(f"cuda:{i}" for i in range(count))
        raise MmadError(f"no device {device}", where="--device", mend=f"there is {there}, or cpu")
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
