"""Optimisers and what changes from epoch to epoch, as the documented log means its fields."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import MultiStepLR, ReduceLROnPlateau

from mmad.config.field_effects import later, reading
from mmad.config.named_parts import is_own, part_arguments, part_name
from mmad.config.setup import ModelSetup
from mmad.detector.parts import make_part

#: The documented log's value of ``gt_in_train_till`` for a run of any length.
ALWAYS = 999
#: What a schedule begins with, and the fields that say how the rate continues.
_PLAN = {"optimiser", "lr", "lr_scheduler", *reading(ModelSetup, "lr_scheduler")}


class OptimiserMaker(Protocol):
    """A ``torch.optim.Optimizer``, whose state holds tensors and plain numbers."""

    def __init__(self, parameters: Iterable[Parameter], *, lr: float, weight_decay: float) -> None: ...


class OwnSchedule(Protocol):
    """What sets the learning rate after each epoch, such as a scheduler of ``torch.optim.lr_scheduler``."""

    def __init__(self, optimiser: Optimizer) -> None: ...

    def step(self) -> None:
        """Set the rate of the optimiser's groups for the next epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON to resume from."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""


def build_optimiser(setup: ModelSetup, parameters: Iterable[Parameter]) -> Optimizer:
    """The optimiser over the trainable ``parameters``.

    In half precision a fused one, which leaves out a step whose gradients overflowed without asking the process.
    """
    trainable = [p for p in parameters if p.requires_grad]
    facts: dict[str, Any] = {"lr": setup.lr, "weight_decay": setup.weight_decay}
    given = part_arguments(setup.optimiser)
    if part_name(setup.optimiser) == "sgd" and "momentum" not in given:
        facts["momentum"] = setup.momentum
    if setup.mixed_precision and not is_own(setup.optimiser) and "fused" not in given:
        facts["fused"] = True
    made: Optimizer = make_part("optimiser", setup.optimiser, trainable, **facts)
    return made


def joins_ground_truth(setup: ModelSetup, epoch: int) -> bool:
    """Whether ground-truth boxes are among the training proposals of ``epoch`` (from 1): till 999 means always."""
    return setup.gt_in_train_till == ALWAYS or epoch <= setup.gt_in_train_till


class Schedule:
    """What happens to the learning rate after each epoch, and whether the run ends early.

    ``warmup_epochs`` only holds the schedule back. With ``reduceLROnPlateau_full_stop`` the run ends when
    the patience is used up; the bad epochs are counted before this epoch's value is, as documented, so
    the run ends ``patience + 1`` epochs after the best one and the rate is never lowered. With
    ``plateau_metric = "previous_val_ap"`` every number comes one epoch late, and 0 before the first, as in the
    documented log until May 2022; then it watched ``val_loss_last_20``, the plain mean over the last 20 batches.
    The cosine (torch's ``CosineAnnealingLR``, after a ramp) says the rate of each epoch of ``epochs``.
    """

    def __init__(self, setup: ModelSetup, optimiser: Optimizer, epochs: int = 1) -> None:
        self.setup, self.epochs = setup, epochs
        self.optimiser = optimiser
        self.plateau: ReduceLROnPlateau | None = None
        self.steps: MultiStepLR | None = None
        self.own: OwnSchedule | None = None
        self.previous_ap = 0.0
        if setup.lr_scheduler == "ReduceLROnPlateau":
            self.plateau = ReduceLROnPlateau(
                optimiser,
                mode="min" if setup.plateau_metric.startswith("val_loss") else "max",
                factor=setup.reduceLROnPlateau_factor,
                patience=setup.reduceLROnPlateau_patience,
                min_lr=1e-10,
            )
        elif setup.lr_scheduler == "MultiStepLR":
            self.steps = MultiStepLR(optimiser, sorted(setup.milestones), gamma=setup.multiStepLR_gamma)
        elif is_own(setup.lr_scheduler):
            self.own = make_part("lr_scheduler", setup.lr_scheduler, optimiser)
        elif setup.lr_scheduler == "CosineAnnealingLR":
            self._set_cosine(1)

    def _set_cosine(self, epoch: int) -> None:
        """The rate of ``epoch``: lr × epoch / ramp, then down half a cosine, whose end no epoch has."""
        setup, ramp = self.setup, min(self.setup.cosine_ramp_epochs, self.epochs)
        if epoch <= ramp:
            factor = epoch / ramp
        else:
            passed = min((epoch - ramp - 1) / max(1, self.epochs - ramp), 1.0)
            last = setup.cosine_last_factor
            factor = last + (1 - last) * (1 + math.cos(math.pi * passed)) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = setup.lr * factor

    @property
    def lr(self) -> float:
        """The learning rate now."""
        return float(self.optimiser.param_groups[0]["lr"])

    def ends(self, epoch: int) -> bool:
        """Whether ``epoch`` is the last one by the patience, whatever its numbers; changes nothing."""
        full_stop = self.plateau is not None and self.setup.reduceLROnPlateau_full_stop
        return bool(full_stop) and epoch > self.setup.warmup_epochs and self._patience_used_up(self.plateau)

    def after_epoch(self, epoch: int, val_loss: float, val_ap: float, last_20: float = math.nan) -> bool:
        """Take this epoch's validation numbers in; True when the patience is used up and the run ends here.

        Args:
            epoch: from 1.
            val_loss: mean over all images.
            val_ap: AP.
            last_20: plain mean of the loss over the last 20 batches.
        """
        watched = self._watched(val_loss, val_ap, last_20)
        self.previous_ap = val_ap
        if self.setup.lr_scheduler == "CosineAnnealingLR":
            self._set_cosine(epoch + 1)
            return False
        if epoch <= self.setup.warmup_epochs:
            return False
        if self.steps is not None:
            self.steps.step()
        if self.own is not None:
            self.own.step()
        if self.plateau is not None:
            if self.ends(epoch):
                return True
            self.plateau.step(watched)
        return False

    def _watched(self, val_loss: float, val_ap: float, last_20: float) -> float:
        return {
            "val_loss": val_loss,
            "val_loss_last_20": last_20,
            "val_ap": val_ap,
            "previous_val_ap": self.previous_ap,
        }[self.setup.plateau_metric]

    def _patience_used_up(self, plateau: ReduceLROnPlateau | None) -> bool:
        return plateau is not None and int(plateau.num_bad_epochs) >= self.setup.reduceLROnPlateau_patience

    def plan(self) -> dict[str, Any]:
        """Plain JSON of the fields that say how the learning rate goes: equal ones go on from each other."""
        before = later(ModelSetup)
        named = {n for n in _PLAN if n not in before or getattr(self.setup, n) != before[n]}
        return self.setup.model_dump(mode="json", include=named)

    def be_patient_again(self) -> None:
        """Forget a patience that is used up: a run that is continued does not end at once."""
        if self.setup.reduceLROnPlateau_full_stop and self.plateau is not None and self._patience_used_up(self.plateau):
            self.plateau.num_bad_epochs = 0

    def state(self) -> dict[str, Any]:
        """Plain numbers to resume from."""
        state: dict[str, Any] = {"previous_ap": self.previous_ap}
        if self.plateau is not None:
            names = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
            state["plateau"] = {name: getattr(self.plateau, name) for name in names}
        if self.steps is not None:
            state["steps"] = {"last_epoch": self.steps.last_epoch}
        if self.own is not None:
            state["own"] = self.own.state_dict()
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; the learning rate itself is the optimiser's."""
        self.previous_ap = state["previous_ap"]
        if self.own is not None:
            self.own.load_state_dict(state["own"])
        for name in ("plateau", "steps"):
            for field, value in state.get(name, {}).items():
                setattr(getattr(self, name), field, value)
