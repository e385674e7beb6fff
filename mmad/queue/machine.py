"""What the worker processes of this machine use of it: CPU, memory, GPUs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from mmad.queue.gpu import Gpus, GpuUse, gpu_of
from mmad.store.standing import RunningStanding

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

    def look(self, running: Sequence[RunningStanding], *, settle: bool = False) -> MachineUse:
        """What the workers of ``running`` use; ``settle`` takes a moment so that CPU is measured at the first look."""
        here = {run.key: run for run in running if run.alive and run.owner is not None and run.owner.here}
        if settle and here:
            for run in here.values():
                self._worker(run, ())
            time.sleep(_SAMPLE)
        gpus = self._gpus.look()
        found = {key: use for key, run in here.items() if (use := self._worker(run, gpus)) is not None}
        return MachineUse(gpus, found)

    def _worker(self, run: RunningStanding, gpus: Sequence[GpuUse]) -> WorkerUse | None:
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
