"""Which engine trains the runs of a command, and where: by the names that ``--engine`` takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mmad.base.errors import MmadError
from mmad.config.messages import nearest
from mmad.scheduler.devices import Slots, find_slots

if TYPE_CHECKING:
    from mmad.config.runs import RunSpec
    from mmad.scheduler.executors.base import Executor
    from mmad.scheduler.scheduler import Options


ENGINES = ("local", "ray", "slurm")


def check_engine(name: str, address: str | None = None, slurm: Sequence[str] = ()) -> None:
    """Refuses a name that is no engine, and words that belong to another one.

    Raises:
        MmadError: with the nearest name.
    """
    if name not in ENGINES:
        near = nearest(name, ENGINES)
        hint = f"did you mean {near}?" if near else f"use {', '.join(ENGINES)}"
        raise MmadError(f"no such engine {name!r}", where="--engine", hint=hint)
    if address is not None and name != "ray":
        raise MmadError("is for a Ray cluster", where="--address", hint="add --engine ray, or leave it out")
    if slurm and name != "slurm":
        raise MmadError("is for a Slurm cluster", where="--slurm", hint="add --engine slurm, or leave it out")


def engine_slots(
    name: str,
    device: str = "auto",
    per_gpu: int | None = 1,
    address: str | None = None,
    slurm: Sequence[str] = (),
    *,
    needs: Callable[[], dict[tuple[str, str], int]] = dict,
) -> Slots:
    """The places of an engine: this machine's, or a cluster's.

    Args:
        per_gpu: how many runs share a GPU; None for as many as fit, which this machine alone can tell.
        needs: tells what runs were seen to need of this machine's GPUs.

    Raises:
        MmadError: no such engine or device, a package that is not installed, no connection to the cluster.
    """
    check_engine(name, address, slurm)
    if name != "local" and per_gpu is None:
        raise MmadError("auto: a cluster's memory is not measured", where="--per-gpu", hint="give a number of runs")
    if name == "slurm" and per_gpu != 1:
        raise MmadError("a job has its GPU to itself", where="--per-gpu", hint="leave it out, or ask Slurm for a share")
    if name == "ray":
        from mmad.scheduler.executors.ray import ray_slots

        return ray_slots(address or "auto", device, per_gpu)
    if name == "slurm":
        from mmad.scheduler.executors.slurm import require_slurm, slurm_slots

        require_slurm()
        return slurm_slots(slurm, device)
    return find_slots(device, per_gpu, needs())


def make_engine(
    name: str,
    database: str,
    slots: Slots,
    options: Options,
    address: str | None = None,
    slurm: Sequence[str] = (),
    *,
    runs: Sequence[RunSpec] = (),
) -> Executor | None:
    """The engine ``name`` on ``slots`` (of ``engine_slots``); None for this machine's, which ``work_off`` makes.

    Args:
        runs: what is to be trained; nodes of a cluster are asked for its data sets before anything is queued.

    Raises:
        MmadError: no such engine, a package that is not installed, or a node that lacks something.
    """
    check_engine(name, address, slurm)
    if name == "local":
        return None
    from mmad.scheduler.executors.base import ClusterSlots
    from mmad.scheduler.scheduler import order_of

    if not isinstance(slots, ClusterSlots):
        raise MmadError("places of this machine are no places of a cluster", where=f"--engine {name}")
    if name == "slurm":
        from mmad.scheduler.executors.slurm import SlurmEngine

        return SlurmEngine(database, slots, order_of(database, options), slurm)
    from mmad.scheduler.executors.ray import RayEngine

    engine = RayEngine(database, slots, order_of(database, options), address or "auto")
    engine.check({run.data.path: run.data.fingerprint for run in runs if run.data.fingerprint is not None})
    return engine
