"""What stands ready before a training begins: the process's random state and threads, and the data set."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from mmad.base.errors import DataError
from mmad.data.dataset import DataSet, load_dataset
from mmad.data.readings import samples
from mmad.spec.runs import RunSpec


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
