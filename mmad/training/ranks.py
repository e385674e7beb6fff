"""One run on several devices of a machine: a process on each trains a copy of the network on its share of every batch.

The copies stay equal to the bit: gradients, running statistics and losses are summed over the ranks, weighted by how
many images each has, before anything follows from them. So the state of rank 0 is that of the run: it alone evaluates,
records and writes checkpoints, and the others hold nothing that is lost with them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmad.base.errors import RankLostError, SpecError
from mmad.base.paths import RunPaths
from mmad.config.protocol import TrainingProtocol
from mmad.config.runs import DataSource, RunSpec
from mmad.config.setup import ModelSetup
from mmad.data.loader import Batch
from mmad.detector.weights import name_seed

#: What GPUs have to answer each other in, and how long ranks wait for rank 0, which evaluates meanwhile.
_ANSWER, _PATIENCE = timedelta(minutes=10), timedelta(days=30)
#: Seconds that a rank has to end after it failed.
_LEAVES = 5.0
#: What a rank says once it stands where rank 0 stands.
_READY = "ready"


def devices_of(name: str, count: int) -> tuple[str, ...]:
    """The devices of a run's ranks: ``cuda`` is the first ``count`` GPUs, ``cuda:1,cuda:3`` names each.

    Raises:
        SpecError: another number of devices than ``count``.
    """
    named = tuple(part.strip() for part in name.split(","))
    if count == 1 or len(named) == count:
        return named
    if name == "cpu":
        return (name,) * count
    if name in ("cuda", "cuda:0"):
        return tuple(f"cuda:{number}" for number in range(count))
    raise SpecError(
        f"gpus_per_run = {count} on {name}", hint=f"name {count} GPUs, as in cuda:0,cuda:1, or cuda for the first"
    )


@dataclass(frozen=True)
class RankRequest:
    """What a rank beside rank 0 is told, as one line of JSON on its standard input.

    ``answers`` is the file descriptor that rank 0 reads two lines of at most; what else is printed goes to the log.
    """

    setup: dict[str, Any]
    protocol: dict[str, Any]
    data: dict[str, Any]
    recipe: int
    recorded_as: str | None
    dataset_path: str
    run: str
    weights_dir: str | None
    device: str
    rank: int
    size: int
    meeting: str
    answers: int = 1

    @property
    def spec(self) -> RunSpec:
        """The run to train."""
        protocol = TrainingProtocol.model_validate(self.protocol)
        setup = ModelSetup.model_validate(self.setup)
        return RunSpec(setup, protocol, DataSource(**self.data), self.recipe, self.recorded_as)

    def join(self, model: nn.Module) -> Ranks:
        """Tell rank 0 that this rank stands where it stands, and meet the others."""
        self.answer(_READY)
        device = torch.device(self.device)
        return Ranks(self.rank, self.size, model, device, self.protocol["seed"], Path(self.meeting))

    def answer(self, line: str) -> None:
        """Tell rank 0 a line."""
        os.write(self.answers, f"{line}\n".encode())

    @classmethod
    def read(cls) -> RankRequest:
        """The request on standard input; from then on this process ends with the one that sent it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 decides when a run stops
        line = sys.stdin.readline()
        if not line:
            os._exit(1)  # rank 0 is gone, or failed before it had a run to share
        request = replace(cls(**json.loads(line)), answers=os.dup(1))
        os.dup2(2, 1)
        threading.Thread(target=_end_with_sender, name="rank-0", daemon=True).start()
        return request


def _end_with_sender() -> NoReturn:
    sys.stdin.read()
    os._exit(1)


class Ranks:
    """The ranks of a run as one of them sees them.

    Args:
        rank: this one's number; 0 leads.
        size: how many there are.
        model: this one's copy of the network.
        device: where it computes.
        seed: of the run.
        meeting: a file in which ranks find each other.
    """

    def __init__(self, rank: int, size: int, model: nn.Module, device: torch.device, seed: int, meeting: Path) -> None:
        self.rank, self.size, self._model, self._seed = rank, size, model, seed
        self._weight = 1.0 / size
        on_gpu = device.type == "cuda"
        # ranks of one machine need no name service; macOS calls the interface lo0
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=dist.FileStore(str(meeting), size),  # type: ignore[attr-defined]
            rank=rank,
            world_size=size,
            timeout=_ANSWER if on_gpu else _PATIENCE,
        )
        self._words: dist.ProcessGroup | None = None  # what is on the CPU; the group of all where that is, too
        if on_gpu:
            self._words = dist.new_group(backend="gloo", timeout=_PATIENCE)  # type: ignore[assignment]

    def share(self, batch: Batch, epoch: int, step: int) -> Batch:
        """This rank's part of a batch, every ``size``-th study; the random numbers of ``step`` (from 1) begin here.

        A rank that has none shows the first study, which then counts nothing.
        """
        mine = range(self.rank, len(batch.positions), self.size)
        self._weight = len(mine) / len(batch.positions)
        rows = list(mine) or [0]
        torch.manual_seed(name_seed(self._seed, f"epoch {epoch} step {step} rank {self.rank}"))
        return replace(
            batch,
            images=batch.images[rows],
            targets=[batch.targets[row] for row in rows],
            numeric=batch.numeric[rows],
            categorical=batch.categorical[rows],
            positions=[batch.positions[row] for row in rows],
        )

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the images of the whole batch of what each rank has for its own (n,)."""
        weighted = values.detach() * self._weight
        dist.all_reduce(weighted)
        return weighted

    def weigh(self, loss: Tensor) -> Tensor:
        """The part () of the whole batch's loss that this rank's images make."""
        return loss * self._weight

    def divide(self, parameters: Iterable[Tensor]) -> None:
        """Prepare the gradients of earlier batches, equal on all ranks, for being summed once more."""
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.div_(self.size)

    @torch.no_grad()
    def agree(self, parameters: Sequence[Tensor]) -> None:
        """After a batch's backward pass: the gradients of the whole batch, and the mean of the running statistics.

        A gradient that no rank has stays None.
        """
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        known = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32)
        dist.all_reduce(known, dist.ReduceOp.MAX, group=self._words)
        gradients = []
        for parameter, needed in zip(trained, known.tolist(), strict=True):
            if needed:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                gradients.append(parameter.grad)
        self._replace(gradients)
        norms = [module for module in self._model.modules() if isinstance(module, _BatchNorm) and module.training]
        found = [b for norm in norms for b in (norm.running_mean, norm.running_var) if b is not None]
        self._replace(found, self._weight)

    def _replace(self, values: Sequence[Tensor], weight: float = 1.0) -> None:
        """Each of ``values`` by the sum over all ranks of it times their ``weight``, in one message a type."""
        for kind in sorted({value.dtype for value in values}, key=str):
            alike = [value for value in values if value.dtype == kind]
            flat = torch.cat([value.flatten() for value in alike])
            dist.all_reduce(flat.mul_(weight) if weight != 1.0 else flat)
            for value, summed in zip(alike, torch.split(flat, [value.numel() for value in alike]), strict=True):
                value.copy_(summed.view(value.shape))

    def tell(self, *numbers: float) -> None:
        """Send ``numbers`` from rank 0 to the others, which wait in ``hear``."""
        dist.broadcast(torch.tensor(numbers, dtype=torch.float64), 0, group=self._words)

    def hear(self, count: int) -> list[float]:
        """The ``count`` numbers that rank 0 tells."""
        numbers = torch.zeros(count, dtype=torch.float64)
        dist.broadcast(numbers, 0, group=self._words)
        return list(numbers.tolist())


class RankProcesses:
    """The processes of the ranks beside rank 0, which starts, watches and ends them.

    Args:
        devices: of all ranks.

    Raises:
        SpecError: this process is a rank of something else.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        if dist.is_initialized():
            raise SpecError(
                f"gpus_per_run = {len(devices)} in a process of a group already",
                hint="call train outside torchrun: it starts the other ranks itself",
            )
        self._devices = devices
        self._folder = Path(tempfile.mkdtemp(prefix="mmad-ranks-"))
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-P", "-m", "mmad.training.rank_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in devices[1:]
        ]

    def join(
        self,
        spec: RunSpec,
        model: nn.Module,
        device: torch.device,
        *,
        dataset_path: Path,
        run: RunPaths,
        weights_dir: Path | None,
    ) -> Ranks:
        """Have every rank resume ``spec`` where rank 0 stands, with ``model`` on ``device``; then meet them.

        Raises:
            RankLostError: one of them was killed.
            RuntimeError: one of them failed.
        """
        meeting = self._folder / "ranks"
        request = RankRequest(
            setup=spec.setup.model_dump(mode="json"),
            protocol=spec.protocol.model_dump(mode="json"),
            data=asdict(spec.data),
            recipe=spec.recipe,
            recorded_as=spec.recorded_as,
            dataset_path=str(dataset_path.absolute()),
            run=str(run.folder.absolute()),
            weights_dir=None if weights_dir is None else str(weights_dir.absolute()),
            device="",
            rank=0,
            size=len(self._devices),
            meeting=str(meeting),
        )
        for rank, process in enumerate(self._processes, start=1):
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # one that is gone does not answer either
                process.stdin.write(json.dumps(asdict(replace(request, rank=rank, device=self._devices[rank]))) + "\n")
                process.stdin.flush()
        for rank, process in enumerate(self._processes, start=1):
            assert process.stdout is not None
            if (said := process.stdout.readline().strip()) != _READY:
                raise self._failure(rank, said)
        return Ranks(0, len(self._devices), model, device, spec.protocol.seed, meeting)

    def lost(self) -> Exception | None:
        """Why a rank is not there any more, after rank 0 failed to reach it; None where all are."""
        for rank, process in enumerate(self._processes, start=1):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LEAVES)
                assert process.stdout is not None
                return self._failure(rank, process.stdout.read().strip())
        return None

    def _failure(self, rank: int, said: str) -> Exception:
        process = self._processes[rank - 1]
        who = f"rank {rank} of {len(self._devices)} on {self._devices[rank]}"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LEAVES)
        code = process.returncode
        if said or code is None or code >= 0:
            return RuntimeError(f"{who}: {said or f'it ended with exit code {code}'}")
        with contextlib.suppress(ValueError):
            return RankLostError(f"{who} was killed by {signal.Signals(-code).name}")
        return RankLostError(f"{who} was killed by signal {-code}")

    def end(self) -> None:
        """End the ranks, which hold nothing that rank 0 does not, and leave the group."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
        if dist.is_initialized():
            _leave()
        shutil.rmtree(self._folder, ignore_errors=True)


def _leave() -> None:
    """Leave the process group without waiting for ranks that are gone, as NCCL's orderly end would."""
    if dist.get_backend() == "nccl":
        dist.distributed_c10d._abort_process_group()
    else:
        dist.destroy_process_group()
