"""A run on several devices: the numbers of one process, the bits of a run without interruption, a clean end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from training_runs import Notes, specification

from mmad.base.errors import RankLostError, SpecError
from mmad.base.paths import RunPaths
from mmad.base.records import Progress
from mmad.config.setup import ModelSetup, problems
from mmad.data.dataset import DataSet
from mmad.detector.clinical import BatchNorm
from mmad.detector.roi_heads import RoiMode
from mmad.training import checkpoint
from mmad.training.ranks import RankProcesses, Ranks, devices_of, synchronised
from mmad.training.trainer import Unrecorded, _Training, never, train

#: Everything that stands between a batch's gradients and its step.
FIELDS: Mapping[str, object] = {
    "gpus_per_run": 2,
    "record_training_performance": False,
    "learned_loss_weights": True,
    "gradient_accumulation": 2,
    "gradient_clip_norm": 0.5,
    "measure_test": False,
}


class Alone(Ranks):
    """A rank that meets no other: a test shows every rank's share in one process."""

    def __init__(self, rank: int, seed: int) -> None:
        self.rank, self.size, self._seed = rank, 2, seed


def statistics(model: torch.nn.Module) -> list[torch.Tensor]:
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [b for norm in norms for b in (norm.running_mean, norm.running_var) if b is not None]


def in_one_process(dataset: DataSet, folder: Path, epochs: int) -> tuple[dict[str, torch.Tensor], float]:
    """Weights, and the last epoch's loss, of the run by its definition: the shares of each batch in turn."""
    spec = specification(dataset, epochs, **FIELDS)
    torch.set_num_threads(1)
    training = _Training(spec, dataset, RunPaths(folder), Unrecorded(), torch.device("cpu"), never, None, None, None)
    model, optimiser, seed = training.model, training.state.stepper.optimiser, spec.protocol.seed
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    model.train()
    for epoch in range(1, epochs + 1):
        pending, loss = 0, 0.0
        batches = list(training.batches.epoch(epoch))
        for step, batch in enumerate(batches, start=1):
            if not pending:
                optimiser.zero_grad()
            before, after = [value.clone() for value in statistics(model)], list[list[torch.Tensor]]()
            for rank in (Alone(0, seed), Alone(1, seed)):
                for value, was in zip(statistics(model), before, strict=True):
                    value.copy_(was)
                shown = rank.share(batch, epoch, step)
                mode = RoiMode(add_ground_truth=True, detect="none")
                output = model(shown.images, shown.targets, shown.numeric, shown.categorical, mode)
                plain, objective = training.weighing.both(output.losses)
                (objective * rank._weight).backward()  # type: ignore[no-untyped-call]
                loss += float(plain.detach()) * rank._weight * len(batch.positions)
                after.append([value * rank._weight for value in statistics(model)])
            for value, first, second in zip(statistics(model), *after, strict=True):
                value.copy_(first + second)
            pending += 1
            if pending == 2 or step == len(batches):
                for parameter in parameters:
                    parameter.grad = None if parameter.grad is None else parameter.grad / pending
                torch.nn.utils.clip_grad_norm_(parameters, 0.5)
                optimiser.step()
                pending = 0
    return model.state_dict(), loss / sum(len(batch.positions) for batch in batches)


def other_ranks() -> list[psutil.Process]:
    """The living processes of ranks that this process started."""
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if "mmad.training.rank_process" in child.cmdline()]


class Watching(Notes):
    """A recorder that does something at a training step."""

    def __init__(self, step: int = 0, kill: bool = False) -> None:
        super().__init__()
        self.at, self.kill = step, kill

    def progress(self, progress: Progress) -> None:
        super().progress(progress)
        if self.kill and progress.phase == "train" and self.steps == self.at:
            for rank in other_ranks():
                rank.kill()


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = checkpoint.latest(RunPaths(folder))
    assert found is not None
    return dict(found[1].tensors["model"])


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    assert not other_ranks()


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_two_processes_train_as_one_and_resume_to_the_bit(dataset: DataSet, tmp_path: Path) -> None:
    spec = specification(dataset, 2, **FIELDS)
    whole, parts = Notes(), Watching(4, kill=True)

    def run(name: str, notes: Notes, stop_after: int | None = None) -> str:
        return train(
            spec,
            dataset_path=dataset.root,
            run=RunPaths(tmp_path / name),
            recorder=notes,
            checkpoint_every=1,
            stop=lambda: stop_after is not None and notes.steps >= stop_after,
        )

    assert run("whole", whole) == "finished"
    assert whole.environments[0].device.startswith("2 processes, the first on cpu")
    (expected, loss), found = in_one_process(dataset, tmp_path / "one", 2), tensors(tmp_path / "whole")
    for name, value in expected.items():
        if not name.endswith("num_batches_tracked"):  # which counts passes
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5, msg=name)
    assert whole.numbers()[2, "train", "loss"] == pytest.approx(loss, rel=1e-5)
    with pytest.raises(RankLostError, match="rank 1 of 2 on cpu was killed by SIGKILL"):
        run("parts", parts)
    parts.kill = False
    assert run("parts", parts, stop_after=parts.steps + 1) == "interrupted"
    assert run("parts", parts) == "finished"
    assert {name: value.numpy().tobytes() for name, value in tensors(tmp_path / "parts").items()} == {
        name: value.numpy().tobytes() for name, value in found.items()
    }
    assert parts.numbers() == whole.numbers()


def ended(*codes: str) -> RankProcesses:
    """Ranks whose processes ran ``codes`` and are over."""
    ranks = RankProcesses(["cpu"])
    ranks._devices = ["cpu"] * (1 + len(codes))
    ranks._processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        for code in codes
    ]
    for process in ranks._processes:
        process.wait()
    return ranks


def failed(kind: str, text: str, errno: int | None = None) -> str:
    return f"print({json.dumps(json.dumps({'kind': kind, 'text': text, 'errno': errno}))}); raise SystemExit(1)"


LOST = failed("RuntimeError", "[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    ("codes", "kind", "said"),
    [
        ((LOST, KILLED), RankLostError, "rank 2 of 3 on cpu was killed by SIGKILL"),
        (
            (LOST, failed("OutOfMemoryError", "CUDA out of memory")),
            RuntimeError,
            "rank 2 of 3 on cpu: OutOfMemoryError",
        ),
        ((failed("OSError", "Stale file handle", 116), LOST), OSError, "rank 1 of 3 on cpu: Stale file handle"),
        (("raise SystemExit(3)",), RuntimeError, "rank 1 of 2 on cpu ended with exit code 3"),
        (("pass",), RuntimeError, "gloo: mine"),
    ],
)
def test_a_run_ends_by_what_ended_it_first(codes: tuple[str, ...], kind: type[Exception], said: str) -> None:
    ranks = ended(*codes)
    try:
        mine = RuntimeError("gloo: mine") if codes != ("pass",) else RuntimeError("mine alone, gloo: mine")
        cause = ranks.cause(mine)
        assert isinstance(cause, kind)
        assert said in str(cause)
    finally:
        ranks.end()


class Activated(torch.nn.BatchNorm2d):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return super().forward(maps).relu()


def test_a_layer_that_does_more_than_normalise_is_not_synchronised() -> None:
    plain = synchronised(torch.nn.Sequential(BatchNorm(3), torch.nn.BatchNorm1d(3)))
    assert [type(layer) for layer in plain] == [torch.nn.SyncBatchNorm] * 2
    with pytest.raises(SpecError, match="sync_batch_norm = true, and 0 is a Activated, which does more than normalise"):
        synchronised(torch.nn.Sequential(Activated(3)))


def test_a_run_names_as_many_devices_as_it_has_ranks() -> None:
    assert devices_of("cuda:1", 1) == ("cuda:1",)
    assert devices_of("cpu", 2) == ("cpu", "cpu")
    assert devices_of("cuda", 2) == ("cuda:0", "cuda:1")
    assert devices_of("cuda:1,cuda:3", 2) == ("cuda:1", "cuda:3")
    with pytest.raises(SpecError, match="gpus_per_run = 2 on cuda:1; name 2 GPUs"):
        devices_of("cuda:1", 2)
    with pytest.raises(SpecError, match="gpus_per_run = 1 on cpu,cpu; name one device"):
        devices_of("cpu,cpu", 1)


def test_what_several_gpus_cannot_do_is_refused() -> None:
    def first(**fields: object) -> str:
        return next(problems(ModelSetup.model_construct(**fields)), "")

    assert "set batch_size to 4 or more" in first(gpus_per_run=4, batch_size=2, record_training_performance=False)
    assert "set record_training_performance = false" in first(gpus_per_run=2, batch_size=2)
    assert not first(gpus_per_run=2, batch_size=2, record_training_performance=False)


def test_synchronised_statistics_need_gpus(dataset: DataSet, tmp_path: Path) -> None:
    spec = specification(dataset, 1, **FIELDS, sync_batch_norm=True)
    with pytest.raises(SpecError, match="sync_batch_norm needs GPUs"):
        train(spec, dataset_path=dataset.root, run=RunPaths(tmp_path / "run"), recorder=Notes())
