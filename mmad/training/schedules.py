"""Optimisers and learning-rate schedules, as the documented log means its fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.nn import Parameter
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import MultiStepLR, ReduceLROnPlateau

from mmad.spec.setup import ModelSetup


def build_optimiser(setup: ModelSetup, parameters: Iterable[Parameter]) -> Optimizer:
    """SGD with momentum, or AdamW, over the trainable ``parameters``."""
    trainable = [p for p in parameters if p.requires_grad]
    if setup.optimiser == "adamw":
        return AdamW(trainable, lr=setup.lr, weight_decay=setup.weight_decay)
    return SGD(trainable, lr=setup.lr, momentum=setup.momentum, weight_decay=setup.weight_decay)


class Schedule:
    """What happens to the learning rate after each epoch, and whether the run ends early.

    ``warmup_epochs`` only holds the schedule back. With ``reduceLROnPlateau_full_stop`` the run ends when
    the patience is used up; the bad epochs are counted before this epoch's value is, as documented, so
    the run ends ``patience + 1`` epochs after the best one and the rate is never lowered.
    """

    def __init__(self, setup: ModelSetup, optimiser: Optimizer) -> None:
        self.setup = setup
        self.optimiser = optimiser
        self.plateau: ReduceLROnPlateau | None = None
        self.steps: MultiStepLR | None = None
        if setup.lr_scheduler == "ReduceLROnPlateau":
            self.plateau = ReduceLROnPlateau(
                optimiser,
                mode="max" if setup.plateau_metric == "val_ap" else "min",
                factor=setup.reduceLROnPlateau_factor,
                patience=setup.reduceLROnPlateau_patience,
                min_lr=1e-10,
            )
        elif setup.lr_scheduler == "MultiStepLR":
            self.steps = MultiStepLR(optimiser, sorted(setup.milestones), gamma=setup.multiStepLR_gamma)

    @property
    def lr(self) -> float:
        """The learning rate now."""
        return float(self.optimiser.param_groups[0]["lr"])

    def after_epoch(self, epoch: int, val_loss: float, val_ap: float) -> bool:
        """Take this epoch's validation numbers in; True when the run should end here."""
        if epoch <= self.setup.warmup_epochs:
            return False
        if self.steps is not None:
            self.steps.step()
        if self.plateau is not None:
            if self.setup.reduceLROnPlateau_full_stop and self._patience_used_up(self.plateau):
                return True
            self.plateau.step(val_ap if self.setup.plateau_metric == "val_ap" else val_loss)
        return False

    def _patience_used_up(self, plateau: ReduceLROnPlateau) -> bool:
        return int(plateau.num_bad_epochs) >= self.setup.reduceLROnPlateau_patience

    def state(self) -> dict[str, Any]:
        """Plain numbers to resume from."""
        if self.plateau is not None:
            return {
                "best": self.plateau.best,
                "num_bad_epochs": self.plateau.num_bad_epochs,
                "cooldown_counter": self.plateau.cooldown_counter,
                "last_epoch": self.plateau.last_epoch,
            }
        if self.steps is not None:
            return {"last_epoch": self.steps.last_epoch}
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`; the learning rate itself is the optimiser's."""
        target = self.plateau or self.steps
        for name, value in state.items():
            setattr(target, name, value)
