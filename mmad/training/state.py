"""Everything that a run's next step depends on: written into each checkpoint, taken back from the newest one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmad.base.paths import RunPaths
from mmad.training import checkpoint
from mmad.training.ledger import Ledger
from mmad.training.losses import LearnedWeights
from mmad.training.schedules import Schedule
from mmad.training.stepper import Stepper


@dataclass(frozen=True)
class State:
    """The parts of one run that change while it trains, and ``device``, whose random numbers it draws."""

    model: nn.Module
    learned: LearnedWeights | None
    stepper: Stepper
    schedule: Schedule
    ledger: Ledger
    device: torch.device

    def content(self, key: str, *, over: bool, clinical: dict[str, Any]) -> checkpoint.Content:
        """What a checkpoint of the run ``key`` holds; ``over`` when no epoch follows."""
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
        }
        if scaler := self.stepper.precision.state():
            facts["scaler"] = scaler
        return checkpoint.Content(tensors, facts)

    def resume(self, run: RunPaths, key: str) -> tuple[int, bool]:
        """Take the newest whole checkpoint in: the epoch it ends, and whether none follows; (0, False) without one.

        Raises:
            CheckpointError: when it belongs to another run.
        """
        found = checkpoint.latest(run)
        if found is None:
            return 0, False
        file, content = found
        checkpoint.require_key(file, content, key)
        tensors, facts = content.tensors, content.facts
        self.model.load_state_dict(tensors["model"])
        if self.learned is not None:
            self.learned.load_state_dict(tensors["learned_loss_weights"])
        self.stepper.optimiser.load_state_dict(tensors["optimiser"])
        self.stepper.precision.load_state(facts.get("scaler", {}))
        self.schedule.load_state(facts["schedule"])
        self.ledger.load_state(facts["ledger"])
        self.ledger.written(file)
        torch.set_rng_state(tensors["random"])
        if self.device.type == "cuda" and "random_cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random_cuda"], self.device)
        return file.epoch, bool(facts["over"])
