"""Runs as tasks of a Ray cluster: each a command line on whichever node has room for it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmad.base.errors import MmadError
from mmad.base.formatting import short_key
from mmad.base.paths import StorePaths, without_secrets
from mmad.config.protocol import OwnModule
from mmad.scheduler.devices import Slot, Slots
from mmad.scheduler.executors import node_process
from mmad.scheduler.executors.base import (
    GRACE,
    ClusterSlots,
    Event,
    require,
    unwritable,
    worker_arguments,
    worker_environment,
)
from mmad.scheduler.executors.node_check import Needs
from mmad.scheduler.executors.polling import PolledExecutor, explained
from mmad.scheduler.jobs import JobState
from mmad.scheduler.process import WORKER, Exited
from mmad.scheduler.supervisor_link import TrainRequest
from mmad.store.store import Store

#: Before Ray is imported: it sends no statistics, and does not copy a project that ``uv run`` started to its nodes.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
#: Seconds that a node may take to read the data sets for the first time.
_CHECK_SECONDS = 1800.0
#: Where Ray notes the cluster that this machine belongs to, and seconds to reach its head.
_CURRENT, _CONNECT_SECONDS = Path("/tmp/ray/ray_current_cluster"), 10.0
_SIGKILL = -9

log = logging.getLogger(__name__)


@dataclass
class _RayAttempt:
    """A task, its slot, and whether it was cancelled."""

    task: Any
    slot: Slot
    cancelled: bool = False


def connect(address: str) -> Any:
    """Ray, connected to the cluster at ``address`` (``HOST:PORT``, or ``auto``: the one this machine belongs to).

    Raises:
        MmadError: Ray is not installed, there is no cluster, or one of another version of Ray or Python.
    """
    require("ray", "ray")
    os.environ.update(_QUIET)
    import ray

    if ray.is_initialized():
        return ray
    _require_listener(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, namespace="mmad")
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise _unconnected(address, " ".join(str(error).split())[:300] or type(error).__name__) from None
    inner = sys.modules.get("ray._private.worker")
    if hasattr(inner, "print_to_stdstream"):  # else a lost node prints its logs between our lines
        inner.print_to_stdstream = lambda *_, **__: None  # type: ignore[union-attr]
    return ray


def _require_listener(address: str) -> None:
    """Refuses an address that nobody listens at: Ray would try it for many minutes."""
    found = address
    if address == "auto":
        with contextlib.suppress(OSError):
            found = os.environ.get("RAY_ADDRESS") or _CURRENT.read_text(encoding="utf-8").strip()
        if found == "auto":
            raise _unconnected(address, "this machine is no node of one")
    host, _, port = found.rpartition(":")
    if "://" in found or not host or not port.isdecimal():
        raise _unconnected(address, f"{without_secrets(found)} is not HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unconnected(address, f"{found}: {error.args[-1] if error.args else error}") from None


def _unconnected(address: str, why: str) -> MmadError:
    return MmadError(
        f"no connection to a Ray cluster ({why})",
        where=f"--address {without_secrets(address)}",
        hint="run this on a node of it (ray start --address=HEAD:6379), or name its head as HOST:PORT",
    )


def ray_slots(address: str, device: str = "auto", per_gpu: int | None = 1) -> ClusterSlots:
    """The slots of the cluster: its GPUs (``auto``, ``cuda``) where it has any, else its CPU cores (``cpu``).

    Raises:
        MmadError: no cluster, or one without the device.
    """
    ray = connect(address)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    total = ray.cluster_resources()
    gpus, cores = int(total.get("GPU", 0)), int(total.get("CPU", 0))
    word = device.strip().lower()
    if word not in ("auto", "cpu", "cuda"):
        raise MmadError(f"{device}: a cluster places runs by itself", where="--device", hint="use auto, cpu or cuda")
    if word == "cuda" and not gpus:
        raise MmadError(f"{device}: no node of the cluster has a GPU", where="--device", hint="use --device cpu")
    if word != "cpu" and gpus:
        name = f"a Ray cluster of {_nodes(nodes)}, {gpus} GPU{'s' * (gpus > 1)}"
        largest = int(max(node["Resources"].get("GPU", 0) for node in nodes))
        return ClusterSlots(name, gpus=gpus, cores=cores, per_gpu=per_gpu or 1, largest=largest)
    if not cores:
        raise MmadError(
            "the cluster has no CPU", where=f"--address {without_secrets(address)}", hint="add a node with ray start"
        )
    return ClusterSlots(f"a Ray cluster of {_nodes(nodes)}, {cores} core{'s' * (cores > 1)}", cores=cores)


@dataclass
class RayExecutor(PolledExecutor):
    """Implements ``mmad.scheduler.executors.base.Executor`` with tasks of a Ray cluster.

    Args:
        slots: the cluster's.
        template: the request of every run, but for its key, device and data; every node reaches the database under
            its name.
        address: the cluster.
        program: the worker, as a node's Python takes it.
    """

    slots: Slots
    template: TrainRequest
    address: str = "auto"
    program: Sequence[str] = WORKER
    _attempts: dict[str, _RayAttempt] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ray = connect(self.address)
        self._task = self._ray.remote(max_retries=0, scheduling_strategy="SPREAD")(node_process.run)

    def check(self, data: Mapping[str, str], modules: Sequence[OwnModule] = ()) -> None:
        """Asks every node that has places whether it could train runs.

        Args:
            data: folder → fingerprint of their data sets.
            modules: of the user's own that they name.

        Raises:
            MmadError: names the first node that could not, and what it lacks.
        """
        database = self.template.database
        with _mark(database) as (mark, word):
            Store.open(database).close()  # a node looks for it
            needs = Needs(
                _absolute(database),
                mark,
                word,
                dict(data),
                _text(self.template.weights_dir),
                [module.model_dump() for module in modules],
            )
            asked = {}
            for node in self._ray.nodes():
                if node["Alive"] and (node["Resources"].get("CPU") or node["Resources"].get("GPU")):
                    task = self._task.options(num_cpus=0, scheduling_strategy=self._only(node["NodeID"]))
                    line = ("-P", "-m", "mmad.scheduler.executors.node_check", needs.line())
                    asked[task.remote(line, worker_environment(database, 1), GRACE)] = node
            for task, node in asked.items():
                lacks = self._answer(task)
                if lacks is not None:
                    raise MmadError(lacks, where=f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})")

    def submit(self, state: JobState) -> bool:
        """Queues the run as a task where the cluster has room for it."""
        slot = self.slots.take(state.job.threads, state.job.memory_key, gpus=state.job.gpus, alone=state.alone)
        if slot is None:
            return False
        whole = state.alone or state.job.gpus > 1 or not self.slots.on_gpu  # a task's GPUs are all of one node
        share = float(state.job.gpus) if whole else 1 / (self.slots.per_gpu or 1)
        takes = {"num_cpus": 0, "num_gpus": share} if self.slots.on_gpu else {"num_cpus": slot.cores}
        self._poller.follow(state)
        line = [*self.program, *worker_arguments(self.template, state, slot)]
        task = self._task.options(name=f"mmad {short_key(state.job.key)}", **takes)
        found = task.remote(line, worker_environment(self.template.database, state.job.threads), GRACE)
        self._attempts[state.job.key] = _RayAttempt(found, slot)
        state.device = "the cluster"
        return True

    def poll(self, seconds: float) -> Iterator[Event]:
        """What the store says of the runs, and which tasks are over."""
        if not self._attempts:
            time.sleep(seconds)
            return
        over, _ = self._ray.wait([attempt.task for attempt in self._attempts.values()], timeout=seconds)
        yield from self._poller.poll()
        for key in [key for key, attempt in self._attempts.items() if attempt.task in over]:
            attempt = self._attempts.pop(key)
            self.slots.give_back(attempt.slot)
            exited, lines = self._outcome(attempt.task)
            yield from self._poller.ended(key, lines, explained(exited, lines), cancelled=attempt.cancelled)

    def cancel(self, key: str, *, now: bool) -> None:
        """Interrupts the run's task, which has its worker stop after its present step; or kills it."""
        attempt = self._attempts.get(key)
        if attempt is not None:
            attempt.cancelled = True
            self._ray.cancel(attempt.task, force=now)

    def close(self) -> None:
        """Kills what still runs, and leaves the cluster."""
        with contextlib.suppress(Exception):
            for attempt in self._attempts.values():
                self._ray.cancel(attempt.task, force=True)
        self._ray.shutdown()
        self._close_store()

    def _outcome(self, task: Any) -> tuple[Exited, Sequence[str]]:
        """How a task that is over went, and the last lines of its worker."""
        errors = self._ray.exceptions
        try:
            result: node_process.ProcessResult = self._ray.get(task)
            return Exited(result["code"]), result["lines"]
        except errors.TaskCancelledError:
            return Exited(_SIGKILL, why="it was cancelled"), ()
        except errors.OutOfMemoryError:
            return Exited(_SIGKILL, why="its node was out of memory and Ray ended it"), ()
        except errors.NodeDiedError:
            return Exited(_SIGKILL, why="its node was lost"), ()
        except errors.RayTaskError as error:
            return Exited(1, why=f"its node could not start it ({_last_line(error)})"), ()
        except errors.RayError as error:
            log.debug("a task was lost: %s", error)
            return Exited(_SIGKILL, why="its task was lost"), ()

    def _answer(self, task: Any) -> str | None:
        """What a node says it lacks."""
        try:
            result: node_process.ProcessResult = self._ray.get(task, timeout=_CHECK_SECONDS)
            missing = json.loads(result["lines"][-1])["missing"]
            return None if missing is None else str(missing)
        except (IndexError, KeyError, TypeError, ValueError):
            last = next(iter(reversed(result["lines"])), "no output")
            return f"mmad does not run there ({last[:200]}); install it into the Python that Ray uses"
        except self._ray.exceptions.GetTimeoutError:
            return f"did not answer within {_CHECK_SECONDS / 60:.0f} minutes"
        except self._ray.exceptions.RayError as error:
            return f"mmad does not run there ({_last_line(error)}); install it into the Python that Ray uses"

    def _only(self, node: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=False)


@contextlib.contextmanager
def _mark(database: str) -> Iterator[tuple[str, str]]:
    """A file in the folder of the runs, for as long as nodes look for it; where it is, and what it says."""
    folder = StorePaths(database).runs.absolute()
    word = secrets.token_hex(16)
    mark = folder / f".shared-{word[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(word, encoding="utf-8")
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        yield str(mark), word
    finally:
        mark.unlink(missing_ok=True)


def _absolute(database: str) -> str:
    file = StorePaths(database).file
    return database if file is None else str(file.absolute())


def _text(path: Any) -> str | None:
    return None if path is None else str(path.absolute())


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]


def _nodes(nodes: Sequence[Any]) -> str:
    count = sum(1 for node in nodes if node["Resources"].get("CPU") or node["Resources"].get("GPU"))
    return f"{count} node{'s' * (count != 1)}"
