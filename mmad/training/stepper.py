"""From the losses of batches to optimiser steps: gradients averaged over batches, and clipped."""

from __future__ import annotations

from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from mmad.training.precision import Precision


class Stepper:
    """Takes one loss per batch and steps once per ``accumulation`` of them.

    Args:
        optimiser: holds every parameter that is trained.
        precision: of the gradients.
        accumulation: batches whose gradients are averaged into one step.
        clip_norm: largest norm of all gradients together, after averaging; None clips nothing.
    """

    def __init__(
        self, optimiser: Optimizer, precision: Precision, *, accumulation: int = 1, clip_norm: float | None = None
    ) -> None:
        self.optimiser, self.precision = optimiser, precision
        self.accumulation, self.clip_norm = accumulation, clip_norm
        self._waiting = 0

    def add(self, loss: Tensor) -> None:
        """Take in the loss of one batch, and step when its group is full."""
        if self._waiting == 0:
            self.optimiser.zero_grad(set_to_none=True)
        self.precision.backward(loss)
        self._waiting += 1
        if self._waiting == self.accumulation:
            self.finish()

    def finish(self) -> None:
        """Step with a group that is not full, as the last one of an epoch; nothing when no batch waits."""
        if self._waiting == 0:
            return
        self.precision.unscale(self.optimiser)
        if self._waiting > 1:
            for parameter in self._parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(self._waiting)
        if self.clip_norm is not None:
            clip_grad_norm_(self._parameters(), self.clip_norm)
        self.precision.step(self.optimiser)
        self._waiting = 0

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
