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
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmad.base import clock
from mmad.base.errors import RankLostError, SpecError
from mmad.base.paths import RunPaths
from mmad.config.protocol import TrainingProtocol
from mmad.config.runs import DataSource, RunSpec
from mmad.config.setup import ModelSetup
from mmad.data.loader import Batch
from mmad.detector.clinical import BatchNorm, VectorNorm
from mmad.detector.weights import name_seed

ModuleT = TypeVar("ModuleT", bound=nn.Module)
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
    if len(named) == count:
        return named
    if name == "cpu":
        return (name,) * count
    if name in ("cuda", "cuda:0"):
        return tuple(f"cuda:{number}" for number in range(count))
    hint = f"name {count} GPUs, as in cuda:0,cuda:1, or cuda for the first" if count > 1 else "name one device"
    raise SpecError(f"gpus_per_run = {count} on {name}", hint=hint)


def synchronised(model: ModuleT) -> ModuleT:
    """``model`` with every BatchNorm over the whole batch.

    A rank without an image of a short last batch shows that batch's first one, which counts there once more.

    Raises:
        SpecError: a BatchNorm of another kind, whose own ``forward`` would be lost.
    """
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNorm, VectorNorm)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and type(module) not in plain:
            raise SpecError(
                f"sync_batch_norm = true, and {name} is a {type(module).__name__}, which does more than normalise",
                hint="set sync_batch_norm = false",
            )
    converted: ModuleT = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return converted


@dataclass(frozen=True)
class RankRequest:
    """What a rank beside rank 0 gets, as one line of JSON on its standard input.

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

    def answer_failure(self, error: Exception) -> None:
        """Tell rank 0 why this rank ends."""
        text = " ".join(str(error).split())
        number = error.errno if isinstance(error, OSError) else None
        self.answer(json.dumps({"kind": type(error).__name__, "text": text, "errno": number}))

    @classmethod
    def read(cls) -> RankRequest:
        """The request on standard input; from then on this process ends with the one that sent it."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # rank 0 decides when a run stops
            signal.signal(number, signal.SIG_IGN)
        line = sys.stdin.readline()
        if not line:
            os._exit(1)  # rank 0 is gone, or failed before it had a run to share
        request = replace(cls(**json.loads(line)), answers=os.dup(1))
        os.dup2(2, 1)
        threading.Thread(target=request._end_with_sender, name="rank-0", daemon=True).start()
        return request

    def _end_with_sender(self) -> NoReturn:
        sys.stdin.read()
        shutil.rmtree(Path(self.meeting).parent, ignore_errors=True)
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
        # ranks of one machine need no name service; macOS calls the interface lo0
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=dist.FileStore(str(meeting), size),  # type: ignore[attr-defined]
            rank=rank,
            world_size=size,
            timeout=_ANSWER,
        )
        self._words: Any = dist.new_group(backend="gloo", timeout=_PATIENCE)

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

        A gradient that no rank has stays None. Other buffers that a module keeps become those of rank 0.
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
        batch_norms = set(map(id, norms))
        others = [b for m in self._model.modules() if id(m) not in batch_norms for b in m.buffers(recurse=False)]
        for kind in sorted({value.dtype for value in others if value.is_floating_point()}, key=str):
            alike = [value for value in others if value.dtype == kind]
            flat = torch.cat([value.flatten() for value in alike])
            dist.broadcast(flat, 0)
            for value, same in zip(alike, torch.split(flat, [value.numel() for value in alike]), strict=True):
                value.copy_(same.view(value.shape))

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
        self._answers: dict[int, str] = {}
        self._ending = threading.Event()
        self._processes: list[subprocess.Popen[str]] = []
        try:
            for _ in devices[1:]:
                self._processes.append(
                    subprocess.Popen(
                        [sys.executable, "-P", "-m", "mmad.training.rank_process"],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
        except OSError:
            self.end()
            raise

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
                self._answers[rank] = said
                raise RankLostError(f"{self._who(rank)} did not begin")
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()
        return Ranks(0, len(self._devices), model, device, spec.protocol.seed, meeting)

    def _watch(self) -> None:
        """Frees rank 0 from waiting for a rank that failed, where the GPUs' library would wait for minutes."""
        while not self._ending.wait(1.0):
            if any(process.poll() for process in self._processes):
                if not self._ending.wait(_LEAVES) and dist.is_initialized() and dist.get_backend() == "nccl":
                    dist.distributed_c10d._abort_process_group()
                return

    def cause(self, error: Exception) -> Exception:
        """Why rank 0 failed with ``error``: what ended another rank, if one is gone; else the error itself.

        Of several ranks one that was killed counts first, then one that failed by itself: the others lost these.
        """
        until = clock.seconds() + (_LEAVES if _of_group(error) else 0.0)
        while not (gone := self._gone()) and clock.seconds() < until:
            time.sleep(0.05)
        if gone:
            time.sleep(0.2)  # what another rank's end was the cause of is a moment later
        causes = [self._failure(rank) for rank in self._gone()]
        killed = [cause for cause in causes if isinstance(cause, RankLostError)]
        own = [cause for cause in causes if not _of_group(cause)]
        return next(iter((*killed, *own, *causes)), error)

    def _gone(self) -> list[int]:
        """The ranks whose processes ended otherwise than rank 0 ordered."""
        return [rank for rank, process in enumerate(self._processes, start=1) if process.poll()]

    def _who(self, rank: int) -> str:
        return f"rank {rank} of {len(self._devices)} on {self._devices[rank]}"

    def _failure(self, rank: int) -> Exception:
        process, who = self._processes[rank - 1], self._who(rank)
        assert process.stdout is not None
        code, said = process.returncode, self._answers.setdefault(rank, process.stdout.read().strip())
        if code < 0:
            try:
                return RankLostError(f"{who} was killed by {signal.Signals(-code).name}")
            except ValueError:
                return RankLostError(f"{who} was killed by signal {-code}")
        try:
            message = json.loads(said.splitlines()[-1])
            kind, text, number = str(message["kind"]), str(message["text"]), message["errno"]
        except (IndexError, KeyError, TypeError, ValueError):
            return RuntimeError(f"{who} ended with exit code {code}")
        if number is not None:
            return OSError(number, f"{who}: {text}")
        return (MemoryError if kind == "MemoryError" else RuntimeError)(f"{who}: {kind}: {text}")

    def end(self) -> None:
        """End the ranks, which hold nothing that rank 0 does not, and leave the group."""
        self._ending.set()
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


def _of_group(error: Exception) -> bool:
    """Whether ``error`` says no more than that another rank cannot be reached."""
    words = ("gloo", "NCCL", "ProcessGroup", "Connection", "did not begin")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


def _leave() -> None:
    """Leave the process group without waiting for ranks that are gone, as NCCL's orderly end would."""
    if dist.get_backend() == "nccl":
        dist.distributed_c10d._abort_process_group()
    else:
        dist.destroy_process_group()
