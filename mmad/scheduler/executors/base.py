"""What trains the runs that a scheduler hands out: processes of this machine, or a cluster's."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from mmad.base.errors import MmadError
from mmad.base.paths import StorePaths
from mmad.scheduler.devices import Slot, Slots, too_few
from mmad.scheduler.jobs import JobState
from mmad.scheduler.process import Exited, environment
from mmad.scheduler.supervisor_link import Message, TrainRequest
from mmad.scheduler.worker import arguments_of

#: A run's key, and what was heard of its attempt. The last of an attempt is ``Ended`` or ``Exited``.
Event = tuple[str, Message | Exited]
#: Seconds that a node gives a worker for its present step and the checkpoint after it.
GRACE = 60.0


class Executor(Protocol):
    """Takes runs (as a command line that names a key, never an object of ours) and reports how they do."""

    slots: Slots

    def submit(self, state: JobState) -> bool:
        """Begins an attempt at the run of ``state`` and notes its device there; False while there is no room.

        Raises:
            MmadError: the attempt cannot be begun at all.
        """

    def poll(self, seconds: float) -> Iterable[Event]:
        """What was heard since the last call, waiting at most ``seconds`` for the first event."""

    def cancel(self, key: str, *, now: bool) -> None:
        """Ends the attempt at ``key`` at its next safe point, or now. It ends like any other, in ``poll``."""

    def close(self) -> None:
        """Ends whatever still runs, and leaves no process behind."""


class ClusterSlots(Slots):
    """Slots of a cluster: GPUs that ``per_gpu`` runs share, or CPU cores, or a number of jobs.

    Args:
        name: what the slots are called in words.
        gpus: GPUs of the whole cluster; 0 for the CPU.
        cores: CPU cores of the whole cluster.
        jobs: how many runs at once, whatever they take; None for as many as fit.
        largest: GPUs of the node that has most; None where that is not known.
    """

    def __init__(
        self,
        name: str,
        *,
        gpus: int = 0,
        cores: int = 1,
        per_gpu: int = 1,
        jobs: int | None = None,
        largest: int | None = None,
    ) -> None:
        super().__init__((), cores, per_gpu=per_gpu)
        self.name, self.gpus, self.jobs, self.largest = name, gpus, jobs, largest
        self._taken = 0

    @property
    def on_gpu(self) -> bool:
        return self.gpus > 0

    @property
    def by_memory(self) -> bool:
        return False

    def capacity(self, threads: int, gpus: int = 1) -> int:
        if self.jobs is not None:
            return self.jobs
        if self.on_gpu:
            return self.gpus * (self.per_gpu or 1) if gpus == 1 else max(1, self.gpus // gpus)
        return super().capacity(threads, gpus)

    def require(self, gpus: int) -> None:
        if self.on_gpu and self.largest is not None and gpus > self.largest:
            raise too_few(gpus, "a node of the cluster", self.largest)

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
        if self.jobs is None and not self.on_gpu:
            return super().take(threads, gpus=gpus)
        share = 1 if gpus == 1 or self.jobs is not None else gpus * (self.per_gpu or 1)
        if self._taken + share > self.capacity(threads):
            return None
        self._taken += share
        return Slot("cpu" if not self.on_gpu else "cuda:0" if gpus == 1 else "cuda", 0, share)

    def give_back(self, slot: Slot) -> None:
        if self.jobs is None and not self.on_gpu:
            super().give_back(slot)
        else:
            self._taken -= slot.number

    def shared(self, device: str) -> bool:
        return self.on_gpu and self.per_gpu != 1

    def describe(self, threads: int, gpus: int = 1) -> str:
        runs = self.capacity(threads, gpus)
        return f"{self.name}, {runs} run{'s' * (runs > 1)} at once"


def worker_arguments(template: TrainRequest, state: JobState, slot: Slot) -> list[str]:
    """The worker's options for the run of ``state``, with paths that hold wherever it starts."""
    file = StorePaths(template.database).file
    return arguments_of(
        replace(
            template,
            database=template.database if file is None else str(file.absolute()),
            key=state.job.key,
            device=slot.device,
            data=None if state.job.data is None else Path(state.job.data).absolute(),
            weights_dir=None if template.weights_dir is None else template.weights_dir.absolute(),
        )
    )


def worker_environment(database: str, threads: int) -> dict[str, str]:
    """The worker's own variables on a node: its threads, and the one folder where runs keep their files."""
    return {**environment(threads), "MMAD_RUNS": str(StorePaths(database).runs.absolute())}


def unwritable(folder: Path, error: OSError) -> MmadError:
    """What to say of a folder of the runs that cannot be written."""
    return MmadError(f"cannot be written ({error.strerror})", where=folder, hint="name another as MMAD_RUNS")


def require(package: str, executor: str) -> None:
    """Refuses an executor whose package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise MmadError(
            f"the package {package} is not installed",
            where=f"--executor {executor}",
            hint=f"install it into this environment (pip install 'mmad[{executor}]'), or leave out --executor",
        )
