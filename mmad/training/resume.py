"""Everything that a run's next step depends on: written into each checkpoint, restored from the newest one.

A run that continues another begins with the state of that one's checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mmad.base.errors import CheckpointError
from mmad.base.files import write_atomically
from mmad.base.formatting import short_key
from mmad.base.paths import RunPaths
from mmad.base.recorder import Recorder
from mmad.base.records import CheckpointRecord
from mmad.config.protocol import Continues
from mmad.config.runs import RunSpec
from mmad.detector.model import MultimodalRCNN
from mmad.detector.weights import name_seed
from mmad.training import checkpoint
from mmad.training.device import begun_layout, in_layout, layout_facts
from mmad.training.history import RunHistory
from mmad.training.loop import PartialEpoch, Stepper
from mmad.training.losses import LearnedWeights
from mmad.training.schedules import Schedule


@dataclass(frozen=True)
class Resumed:
    """Where a run resumes: after ``epoch`` (0: from the start), in the middle of the next one where ``partial``.

    ``over`` says that no epoch follows.
    """

    epoch: int = 0
    over: bool = False
    partial: PartialEpoch | None = None


def averaged_weights(model: nn.Module, decay: float) -> AveragedModel:
    """A moving average of the weights and running statistics of ``model``: the share ``decay`` stays at each step."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class TrainingState:
    """The parts of one run that change while it trains, and ``device``, whose random numbers it draws.

    ``averaged`` holds the moving average of the weights, where a run evaluates that; then it is the ``model`` of a
    checkpoint, and the weights themselves are its ``trained``.
    """

    model: nn.Module
    learned: LearnedWeights | None
    stepper: Stepper
    schedule: Schedule
    history: RunHistory
    device: torch.device
    averaged: AveragedModel | None = None

    @property
    def evaluated(self) -> MultimodalRCNN:
        """The detector that is evaluated, and that checkpoints keep."""
        return cast("MultimodalRCNN", self.model if self.averaged is None else self.averaged.module)

    def content(
        self, key: str, *, over: bool, clinical: dict[str, Any], partial: dict[str, Any] | None = None
    ) -> checkpoint.Content:
        """What a checkpoint of the run ``key`` holds.

        Args:
            over: whether no epoch follows.
            clinical: the statistics that clinical values are read with.
            partial: inside an epoch, ``facts`` and ``tensors`` of how far it is.
        """
        tensors: dict[str, Any] = {
            "model": checkpoint.module_tensors(self.evaluated),
            "optimiser": self.stepper.optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }
        if self.averaged is not None:
            tensors["trained"] = checkpoint.module_tensors(self.model)
            tensors["averaged_steps"] = self.averaged.n_averaged.cpu()
        if self.learned is not None:
            tensors["learned_loss_weights"] = checkpoint.module_tensors(self.learned)
        if self.device.type == "cuda":
            tensors["random_cuda"] = torch.cuda.get_rng_state(self.device)
        if self.device.type == "mps":
            tensors["random_mps"] = torch.mps.get_rng_state()
        facts = {
            "key": key,
            "over": over,
            "schedule": self.schedule.state(),
            "clinical": clinical,
            "ledger": self.history.state(),
            "plan": self.schedule.plan(),
            **layout_facts(self.model),
        }
        if scaler := self.stepper.precision.state():
            facts["scaler"] = scaler
        if partial is not None:
            tensors["running"] = partial["tensors"] | {"gradients": self.stepper.pending_gradients()}
            facts["running"] = partial["facts"] | {"waiting": self.stepper.pending_batches}
        elif self.history.detections:
            tensors["detections"] = {
                path: torch.frombuffer(bytearray(data), dtype=torch.uint8)
                for path, data in self.history.detections.items()
            }
        return checkpoint.Content(tensors, facts)

    def resume(self, run: RunPaths, key: str, warn: Callable[[str], None] = lambda text: None) -> Resumed:
        """Restore the newest whole checkpoint; ``warn`` hears of damaged ones.

        Raises:
            CheckpointError: when it belongs to another run.
        """
        found = checkpoint.latest(run, warn)
        if found is None:
            return Resumed()
        file, content = found
        checkpoint.require_key(file, content, key)
        self.restore(content)
        if not self._random_of_device(content):
            warn(
                f"resumed on {self.device.type} after training on another kind of device: from here on the sampling "
                "draws other random numbers"
            )
            torch.manual_seed(name_seed(0, f"{key} {file.epoch} {file.step}"))
        if file.step is None:
            self.history.set_file(file)
            return Resumed(file.epoch, bool(content.facts["over"]))
        facts, tensors = content.facts["running"], content.tensors["running"]
        self.stepper.restore_pending(facts["waiting"], tensors["gradients"])
        return Resumed(file.epoch - 1, False, PartialEpoch.of(facts, tensors, self.device))

    def initialise_from(self, content: checkpoint.Content, *, over: bool) -> None:
        """Begin where another run's ``content`` stands.

        Weights, random numbers, epochs and best checkpoints are taken over. So are the optimiser's memory where both
        have the same kind, and the schedule where both have the same; else they begin anew. Its final epoch is
        final here only where nothing follows (``over``).
        """
        optimiser, facts = self.stepper.optimiser, content.facts
        theirs, mine = facts.get("plan", {}), self.schedule.plan()
        begun, scheduled = optimiser.state_dict(), self.schedule.state()
        if self.learned is not None and "learned_loss_weights" not in content.tensors:
            weights = checkpoint.module_tensors(self.learned)
            content = replace(content, tensors={**content.tensors, "learned_loss_weights": weights})
        same = theirs == mine
        if theirs.get("optimiser") != mine["optimiser"] or not _same_sizes(content.tensors["optimiser"], begun):
            content = replace(content, tensors={**content.tensors, "optimiser": begun})
        if not same:
            content = replace(content, facts={**facts, "schedule": scheduled})
        self.restore(content)
        for group, own in zip(optimiser.param_groups, begun["param_groups"], strict=True):
            kept = {"lr": group["lr"]} if same else {}
            group.update({name: value for name, value in own.items() if name != "params"} | kept)
        self.schedule.be_patient_again()
        self.history.adopt(over=over)

    def restore(self, content: checkpoint.Content) -> None:
        """Restore ``content``, as far as every checkpoint holds it."""
        tensors, facts = content.tensors, content.facts
        last = begun_layout(self.evaluated.setup, facts)
        in_layout(self.model, last).load_state_dict(tensors["model"])
        if self.averaged is not None:  # of a run without an average the first step begins one
            in_layout(self.averaged.module, last).load_state_dict(tensors["model"])
            self.model.load_state_dict(tensors.get("trained", tensors["model"]))
            self.averaged.n_averaged.copy_(tensors.get("averaged_steps", torch.zeros(())))
        if self.learned is not None:
            self.learned.load_state_dict(tensors["learned_loss_weights"])
        self.stepper.optimiser.load_state_dict(tensors["optimiser"])
        self.stepper.precision.load_state(facts.get("scaler", {}))
        self.schedule.load_state(facts["schedule"])
        self.history.load_state(facts["ledger"])
        torch.set_rng_state(tensors["random"])
        if self.device.type == "cuda" and "random_cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random_cuda"], self.device)
        if self.device.type == "mps" and "random_mps" in tensors:
            torch.mps.set_rng_state(tensors["random_mps"])

    def _random_of_device(self, content: checkpoint.Content) -> bool:
        """Whether ``content`` has the random state of the kind of device that the run trains on now."""
        kept = [kind for kind in ("cuda", "mps") if f"random_{kind}" in content.tensors]
        return (kept or ["cpu"]) == [self.device.type]


def _same_sizes(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
    """Whether two optimisers hold as many parameters."""
    sizes = [[len(group["params"]) for group in state["param_groups"]] for state in (theirs, mine)]
    return sizes[0] == sizes[1]


# A run that continues another: that one's epochs, best checkpoints and state become its own.


@dataclass(frozen=True)
class Continuation:
    """Where a continued run begins, before anything of it is on the disk."""

    spec: RunSpec
    state: TrainingState
    run: RunPaths
    parent: RunPaths
    resumed: Resumed
    clinical: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        spec: RunSpec,
        continues: Continues,
        state: TrainingState,
        run: RunPaths,
        parent: RunPaths,
        clinical: dict[str, Any],
    ) -> Continuation:
        """Initialise ``state`` from the checkpoint that ``continues`` names.

        Raises:
            CheckpointError: the parent is not finished here, its checkpoint is damaged or does not fit.
        """
        content = _parent_checkpoint(continues, parent)
        epochs = content.facts["ledger"].get("history", ())
        epoch = int(content.facts["ledger"]["record"]["epoch"])
        if [record["epoch"] for record in epochs] != list(range(1, epoch + 1)):
            raise CheckpointError(
                "was written by an earlier version, which kept no history of its epochs",
                where=f"run {short_key(continues.key)}",
                hint="train that run anew in another database, or leave continue_from out",
            )
        try:
            state.initialise_from(content, over=epoch >= spec.protocol.epochs)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"its checkpoint does not fit this detector ({' '.join(str(error).split())[:120]})",
                where=f"run {short_key(continues.key)}",
                hint="give both runs the same network",
            ) from error
        return cls(spec, state, run, parent, Resumed(epoch, epoch >= spec.protocol.epochs), clinical)

    def write(self, recorder: Recorder) -> None:
        """Record the parent's epochs as this run's own, then write its first checkpoint.

        Interrupted anywhere, the next start does it again: copies are distinct from the run's own checkpoints.
        """
        history, epoch = self.state.history, self.resumed.epoch
        for record in history.epochs[:-1]:
            recorder.epoch(record, (), ())
        for name in {row.detections for row in history.current_evaluations if row.detections is not None}:
            self._copy_detections(name)
        files: dict[str, CheckpointRecord] = {}
        for kind, row in history.checkpoints.items():
            if row.path:
                files[row.path] = files.get(row.path) or self._copied(row)
                history.checkpoints[kind] = replace(files[row.path], kind=kind)
        content = self.state.content(self.spec.key, over=self.resumed.over, clinical=dict(self.clinical))
        history.set_file(checkpoint.save(self.run, epoch, content))

    def _copied(self, row: CheckpointRecord) -> CheckpointRecord:
        _, content = checkpoint.load(self.parent.inner(row.path))
        mine = checkpoint.Content(content.tensors, {**content.facts, "key": self.spec.key, "copy": True})
        file = checkpoint.save(self.run, row.epoch, mine)
        return replace(row, path=self.run.relative(file.path), sha256=file.sha256, size=file.size)

    def _copy_detections(self, name: str) -> None:
        try:
            write_atomically(self.run.folder / name, (self.parent.folder / name).read_bytes())
        except OSError as error:
            raise CheckpointError(
                f"detections of the run that this one continues cannot be copied ({error.strerror or error})",
                where=self.parent.folder / name,
                hint="free some space, or train that run again",
            ) from error


def _parent_checkpoint(continues: Continues, parent: RunPaths) -> checkpoint.Content:
    """The checkpoint of the finished run that is continued."""
    newest = checkpoint.newest_whole(parent)
    short = f"run {short_key(continues.key)}"
    if newest is None:
        raise CheckpointError(
            "this run continues it, but it has no checkpoint here",
            where=f"{short} ({parent.checkpoints})",
            hint="train that run first with mmad ablate, in the same database",
        )
    file, content = newest
    checkpoint.require_key(file, content, continues.key)
    if not content.facts["over"]:
        raise CheckpointError(
            f"this run continues it, but it is not trained to its end (epoch {file.epoch} is the newest)",
            where=short,
            hint="let mmad ablate finish that run first",
        )
    rows = {row["kind"]: row for row in content.facts["ledger"]["checkpoints"]}
    if continues.checkpoint not in rows:
        raise CheckpointError(
            f"kept no {continues.checkpoint} checkpoint (use_early_stop_model = false)",
            where=short,
            hint='continue from its checkpoint = "final"',
        )
    path = rows[continues.checkpoint]["path"]
    return content if not path else checkpoint.load(parent.folder / path)[1]
