"""Which executor trains the runs of a command, and where: by the names that ``--executor`` takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmad.base.errors import MmadError
from mmad.config.messages import nearest
from mmad.scheduler.devices import Slots, find_slots

if TYPE_CHECKING:
    from mmad.config.runs import RunSpec
    from mmad.scheduler.executors.base import Executor
    from mmad.scheduler.scheduler import Options


EXECUTORS = ("local", "ray", "slurm", "command")


@dataclass(frozen=True)
class ExecutorChoice:
    """Which executor trains, and where.

    Args:
        device: as ``find_slots`` takes it, of this machine or of a cluster's nodes.
        per_gpu: how many runs share a GPU; None for as many as fit, which this machine alone can measure.
        address: of the Ray cluster; None for the one this machine is a node of.
        slurm: options of sbatch as ``key=value`` words.
        template: the shell command that ``command`` hands runs out with, ``jobs`` of them at once.

    Raises:
        MmadError: a name that is no executor, with the nearest one, and words that belong to another one.
    """

    name: str = "local"
    device: str = "auto"
    per_gpu: int | None = 1
    address: str | None = None
    slurm: tuple[str, ...] = ()
    template: str | None = None
    jobs: int | None = None

    def __post_init__(self) -> None:
        name = self.name
        if name not in EXECUTORS:
            near = nearest(name, EXECUTORS)
            hint = f"did you mean {near}?" if near else f"use {', '.join(EXECUTORS)}"
            raise MmadError(f"no such executor {name!r}", where="--executor", hint=hint)
        if self.address is not None and name != "ray":
            raise MmadError("is for a Ray cluster", where="--address", hint="add --executor ray, or leave it out")
        if self.slurm and name != "slurm":
            raise MmadError("is for a Slurm cluster", where="--slurm", hint="add --executor slurm, or leave it out")
        for option, given in (("--template", self.template), ("--jobs", self.jobs)):
            if given is not None and name != "command":
                raise MmadError("is for --executor command", where=option, hint="add that, or leave it out")

    def slots(self, memory: Callable[[], dict[tuple[str, str], int]] = dict, *, dry: bool = False) -> Slots:
        """This machine's slots, or a cluster's.

        Args:
            memory: returns the bytes that runs were seen to take of this machine's GPUs.
            dry: nothing will be submitted, so that Slurm's programs may be missing.

        Raises:
            MmadError: no such device, a package that is not installed, no connection to the cluster.
        """
        name, per_gpu = self.name, self.per_gpu
        if name != "local" and per_gpu is None:
            raise MmadError("auto: a cluster's memory is not measured", where="--per-gpu", hint="give a number of runs")
        if name == "slurm" and per_gpu != 1:
            hint = "leave it out, or ask Slurm for a share"
            raise MmadError("a job has its GPU to itself", where="--per-gpu", hint=hint)
        if name == "command":
            from mmad.scheduler.executors.command import command_slots

            if per_gpu != 1:
                raise MmadError("a line has one run", where="--per-gpu", hint="leave it out, and say --jobs")
            return command_slots(self.template, self.jobs, self.device)
        if name == "ray":
            from mmad.scheduler.executors.ray import ray_slots

            return ray_slots(self.address or "auto", self.device, per_gpu)
        if name == "slurm":
            from mmad.scheduler.executors.slurm import require_slurm, slurm_slots

            if not dry:
                require_slurm()
            return slurm_slots(self.slurm, self.device)
        return find_slots(self.device, per_gpu, memory())

    def executor(self, database: str, slots: Slots, options: Options, runs: Sequence[RunSpec] = ()) -> Executor | None:
        """The executor on ``slots``; None for this machine's, which ``run_jobs`` makes.

        Args:
            runs: what is to be trained; nodes of a cluster are asked for its data sets and modules before.

        Raises:
            MmadError: a package that is not installed, or a node that lacks something.
        """
        if self.name == "local":
            return None
        from mmad.scheduler.executors.base import ClusterSlots
        from mmad.scheduler.scheduler import train_request

        if not isinstance(slots, ClusterSlots):
            raise MmadError("slots of this machine are no slots of a cluster", where=f"--executor {self.name}")
        if self.name == "command":
            from mmad.scheduler.executors.command import CommandExecutor, check_template

            return CommandExecutor(slots, train_request(database, options), check_template(self.template))
        if self.name == "slurm":
            from mmad.scheduler.executors.slurm import SlurmExecutor

            return SlurmExecutor(slots, train_request(database, options), self.slurm)
        from mmad.scheduler.executors.ray import RayExecutor

        executor = RayExecutor(slots, train_request(database, options), self.address or "auto")
        modules = {module.name: module for run in runs for module in run.protocol.modules}
        data = {run.data.path: run.data.fingerprint for run in runs if run.data.fingerprint is not None}
        executor.check(data, list(modules.values()))
        return executor
