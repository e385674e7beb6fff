"""What stands ready before a training begins: the process's random state and threads, and the data set."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from mmad.base.errors import DataError, SpecError
from mmad.data.dataset import DataSet, load_dataset
from mmad.data.readings import samples
from mmad.spec.runs import RunSpec
from mmad.spec.setup import ModelSetup

ModuleT = TypeVar("ModuleT", bound=nn.Module)


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
        SpecError: another word than ``cpu``, ``cuda`` or ``cuda:N``; a GPU that this machine has not.
    """
    if re.fullmatch(r"cpu|cuda(:\d+)?", name) is None:
        raise SpecError(f"no device is called {name!r}", mend="name cpu, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cpu":
        return device
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        raise SpecError(f"device {name}: PyTorch finds no CUDA GPU here", mend="look at nvidia-smi, or name cpu")
    if (device.index or 0) >= found:
        has = "cuda:0 alone" if found == 1 else f"cuda:0 to cuda:{found - 1}"
        raise SpecError(f"device {name}: this machine has {has}", mend="name one of these")
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
    fingerprint = dataset.fingerprint()
    if spec.data.fingerprint is not None and fingerprint != spec.data.fingerprint:
        raise DataError(
            f"the data set changed: the run was queued for {spec.data.fingerprint[:12]}, the folder now holds "
            f"{fingerprint[:12]}",
            where=path,
            mend="restore the folder, or run the ablation again to queue new runs for the changed data",
        )
    return samples(dataset, spec.setup.dataset_mode)
