"""Where and with what a run is trained: enough to explain a number months later."""

from __future__ import annotations

import platform
import shlex
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mmad.base import clock
from mmad.base.records import EnvironmentRecord

#: Packages whose version can change a result.
DECIDING_PACKAGES = ("mmad", "torch", "torchvision", "numpy", "pillow", "pycocotools")


def describe_environment(device: torch.device, threads: int, from_epoch: int) -> EnvironmentRecord:
    """The machine, the versions, the code's git commit and the command line, as of now."""
    commit, dirty = _git_state(Path(__file__).resolve().parent)
    return EnvironmentRecord(
        started=clock.now(),
        host=socket.gethostname(),
        platform=platform.platform(),
        python=platform.python_version(),
        versions={name: _version(name) for name in DECIDING_PACKAGES},
        device=_device_name(device),
        threads=threads,
        git_commit=commit,
        git_dirty=dirty,
        command=shlex.join(sys.argv),
        from_epoch=from_epoch,
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


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
