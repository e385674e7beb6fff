"""Where a run is trained: process, device, data set, precision, environment and memory."""

from __future__ import annotations

import platform
import random
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mmad.base import clock
from mmad.base.errors import DataError, SpecError
from mmad.base.formatting import short_key
from mmad.base.paths import command_line
from mmad.base.records import EnvironmentRecord
from mmad.config.runs import RunSpec
from mmad.config.setup import ModelSetup
from mmad.data.dataset import DataSet, samples
from mmad.data.reader import load_dataset

ModuleT = TypeVar("ModuleT", bound=nn.Module)
#: Packages whose version can change a result.
DECIDING_PACKAGES = ("mmad", "torch", "torchvision", "timm", "numpy", "pillow", "pycocotools")


def prepare_process(threads: int, seed: int, device: torch.device) -> None:
    """Seed every generator; on the CPU fix the number of threads and ask for deterministic kernels."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - whatever a library draws from it must repeat too
    torch.manual_seed(seed)
    if device.type == "cpu":
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # no kernel here reads what it did not write
    else:
        torch.backends.cudnn.benchmark = False


def open_device(name: str) -> torch.device:
    """The device called ``name``, which has to be there.

    Raises:
        SpecError: another word than ``cpu``, ``cuda`` or ``cuda:N``; a GPU that this machine does not have.
    """
    if re.fullmatch(r"cpu|cuda(:\d+)?", name) is None:
        raise SpecError(f"no device is called {name!r}", hint="name cpu, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cpu":
        return device
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        raise SpecError(f"device {name}: PyTorch finds no CUDA GPU here", hint="look at nvidia-smi, or name cpu")
    if (device.index or 0) >= found:
        has = "cuda:0 alone" if found == 1 else f"cuda:0 to cuda:{found - 1}"
        raise SpecError(f"device {name}: this machine has {has}", hint="name one of these")
    return device


def in_layout(model: ModuleT, setup: ModelSetup) -> ModuleT:
    """``model`` with its weights in the layout that ``setup`` asks for; its maps follow."""
    if setup.channels_last:
        model.to(memory_format=torch.channels_last)
    return model


def open_dataset(spec: RunSpec, path: Path) -> DataSet:
    """The data set at ``path`` as the setup's ``dataset_mode`` asks for it.

    Raises:
        DataError: when it is not the one that ``spec`` was queued for, or has no such samples.
    """
    dataset = load_dataset(path)
    fingerprint = dataset.fingerprint(anew=True)
    if spec.data.fingerprint is not None and fingerprint != spec.data.fingerprint:
        raise DataError(
            f"the data set changed: the run was queued for {short_key(spec.data.fingerprint)}, the folder now holds "
            f"{short_key(fingerprint)}",
            where=path,
            hint="restore the folder, or run the ablation again to queue new runs for the changed data",
        )
    return samples(dataset, spec.setup.dataset_mode)


# Precision.


def require_device(mixed_precision: bool, device: torch.device) -> None:
    """Refuse half precision where it would only be slow.

    Raises:
        SpecError: ``mixed_precision`` on a device that is not CUDA.
    """
    if mixed_precision and device.type != "cuda":
        raise SpecError("mixed_precision needs a CUDA device", hint="set mixed_precision = false or use --device cuda")


class Precision:
    """Single precision, which leaves everything as it is, or float16 through autocast with a gradient scaler.

    Micikevicius et al., arXiv:1710.03740.

    Args:
        device: where the model computes.
        half: compute in float16 where it is safe.
    """

    def __init__(self, device: torch.device, *, half: bool = False) -> None:
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type) if half else None

    @property
    def half(self) -> bool:
        """Whether float16 is used at all."""
        return self.scaler is not None

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        if self.scaler is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.float16)

    def full(self, losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The loss components in at least single precision."""
        return losses if self.scaler is None else {name: loss.float() for name, loss in losses.items()}

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled up in half precision."""
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimiser: Optimizer) -> None:
        """Bring the gradients back to their true size."""
        if self.scaler is not None:
            self.scaler.unscale_(optimiser)

    def step(self, optimiser: Optimizer) -> None:
        """Step; in half precision a step whose gradients overflowed is left out and the scale is lowered."""
        if self.scaler is None:
            optimiser.step()
        else:
            self.scaler.step(optimiser)
            self.scaler.update()

    @property
    def scale(self) -> float | None:
        """What the loss is multiplied by; None in single precision."""
        return None if self.scaler is None else float(self.scaler.get_scale())

    def state(self) -> dict[str, Any]:
        """The scaler's plain numbers; empty in single precision."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)


# Environment: enough to explain a number months later.


def describe_environment(device: torch.device, threads: int, from_epoch: int) -> EnvironmentRecord:
    """The machine, the versions, the code's git commit and the command line, as of now."""
    commit, dirty = _git_state(Path(__file__).resolve().parent)
    return EnvironmentRecord(
        started=clock.now(),
        host=socket.gethostname(),
        platform=platform.platform(),
        python=platform.python_version(),
        versions=_versions(),
        device=_device_name(device),
        threads=threads,
        git_commit=commit,
        git_dirty=dirty,
        command=command_line(sys.argv),
        from_epoch=from_epoch,
    )


def _versions() -> dict[str, str]:
    """Of the packages that are here; ``cpu`` names the instructions that torch uses, which decide bits too."""
    found = {}
    for package in DECIDING_PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found | {"cpu": torch.backends.cpu.get_cpu_capability()}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda})"
    return f"cpu ({torch.backends.cpu.get_cpu_capability()})"


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    """The commit of the checkout this package runs from, and whether it was changed; None outside one."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no", "--", "."))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


# Memory, in bytes.


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new measurement where the device can; the CPU's peak is that of the process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Most bytes held: allocated on a CUDA device, resident of the process on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.exists():  # the other figure is inherited from whoever started this process
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if line is not None:
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
