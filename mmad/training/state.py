"""Everything that a run's next step depends on: written into each checkpoint, taken back from the newest one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from mmad.base.paths import RunPaths
from mmad.training import checkpoint
from mmad.training.ledger import Ledger
from mmad.training.losses import LearnedWeights
from mmad.training.running import Running
from mmad.training.schedules import Schedule
from mmad.training.stepper import Stepper


def _fits(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
    """Whether two optimisers hold as many parameters."""
    sizes = [[len(group["params"]) for group in state["param_groups"]] for state in (theirs, mine)]
    return sizes[0] == sizes[1]


@dataclass(frozen=True)
class Resumed:
    """Where a run goes on: after ``epoch`` (0: from the start), in the middle of the next one where ``running``.

    ``over`` says that no epoch follows.
    """

    epoch: int = 0
    over: bool = False
    running: Running | None = None


@dataclass(frozen=True)
class State:
    """The parts of one run that change while it trains, and ``device``, whose random numbers it draws."""

    model: nn.Module
    learned: LearnedWeights | None
    stepper: Stepper
    schedule: Schedule
    ledger: Ledger
    device: torch.device

    def content(
        self, key: str, *, over: bool, clinical: dict[str, Any], running: dict[str, Any] | None = None
    ) -> checkpoint.Content:
        """What a checkpoint of the run ``key`` holds.

        Args:
            over: whether no epoch follows.
            clinical: the statistics that clinical values are read with.
            running: inside an epoch, ``facts`` and ``tensors`` of how far it is.
        """
        tensors: dict[str, Any] = {
            "model": checkpoint.module_tensors(self.model),
            "optimiser": self.stepper.optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }
        if self.learned is not None:
            tensors["learned_loss_weights"] = checkpoint.module_tensors(self.learned)
        if self.device.type == "cuda":
            tensors["random_cuda"] = torch.cuda.get_rng_state(self.device)
        facts = {
            "key": key,
            "over": over,
            "schedule": self.schedule.state(),
            "clinical": clinical,
            "ledger": self.ledger.state(),
            "plan": self.schedule.plan(),
        }
        if scaler := self.stepper.precision.state():
            facts["scaler"] = scaler
        if running is not None:
            tensors["running"] = running["tensors"] | {"gradients": self.stepper.waiting()}
            facts["running"] = running["facts"] | {"waiting": self.stepper.batches_waiting}
        elif self.ledger.detections:
            tensors["detections"] = {
                path: torch.frombuffer(bytearray(data), dtype=torch.uint8)
                for path, data in self.ledger.detections.items()
            }
        return checkpoint.Content(tensors, facts)

    def resume(self, run: RunPaths, key: str, warn: Callable[[str], None] = lambda text: None) -> Resumed:
        """Take the newest whole checkpoint in; ``warn`` hears of damaged ones.

        Raises:
            CheckpointError: when it belongs to another run.
        """
        found = checkpoint.latest(run, warn)
        if found is None:
            return Resumed()
        file, content = found
        checkpoint.require_key(file, content, key)
        self.take(content)
        if file.step is None:
            self.ledger.written(file)
            return Resumed(file.epoch, bool(content.facts["over"]))
        facts, tensors = content.facts["running"], content.tensors["running"]
        self.stepper.wait(facts["waiting"], tensors["gradients"])
        return Resumed(file.epoch - 1, False, Running.of(facts, tensors, self.device))

    def go_on_from(self, content: checkpoint.Content, *, over: bool) -> None:
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
        if theirs.get("optimiser") != mine["optimiser"] or not _fits(content.tensors["optimiser"], begun):
            content = replace(content, tensors={**content.tensors, "optimiser": begun})
        if not same:
            content = replace(content, facts={**facts, "schedule": scheduled})
        self.take(content)
        for group, own in zip(optimiser.param_groups, begun["param_groups"], strict=True):
            kept = {"lr": group["lr"]} if same else {}
            group.update({name: value for name, value in own.items() if name != "params"} | kept)
        self.schedule.be_patient_again()
        self.ledger.adopt(over=over)

    def take(self, content: checkpoint.Content) -> None:
        """Go on from ``content``, as far as every checkpoint holds it."""
        tensors, facts = content.tensors, content.facts
        self.model.load_state_dict(tensors["model"])
        if self.learned is not None:
            self.learned.load_state_dict(tensors["learned_loss_weights"])
        self.stepper.optimiser.load_state_dict(tensors["optimiser"])
        self.stepper.precision.load_state(facts.get("scaler", {}))
        self.schedule.load_state(facts["schedule"])
        self.ledger.load_state(facts["ledger"])
        torch.set_rng_state(tensors["random"])
        if self.device.type == "cuda" and "random_cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random_cuda"], self.device)
