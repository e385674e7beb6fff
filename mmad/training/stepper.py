"""From the losses of batches to optimiser steps: gradients averaged over batches, and clipped."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
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

    def add(self, loss: Tensor) -> Tensor | None:
        """Take in the loss of one batch, and step when its group is full; what ``finish`` gives then."""
        if self._waiting == 0:
            self.optimiser.zero_grad(set_to_none=True)
        self.precision.backward(loss)
        self._waiting += 1
        if self._waiting == self.accumulation:
            return self.finish()
        return None

    def finish(self) -> Tensor | None:
        """Step with a group that is not full, as the last one of an epoch; nothing when no batch waits.

        Returns:
            The norm of all gradients () before clipping, on their device. None where there was no step, and in half
            precision, which leaves out by itself what is not finite.
        """
        if self._waiting == 0:
            return None
        self.precision.unscale(self.optimiser)
        if self._waiting > 1:
            for parameter in self._parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(self._waiting)
        norm = self._clip() if self.clip_norm is not None or not self.precision.half else None
        self.precision.step(self.optimiser)
        self._waiting = 0
        return None if self.precision.half else norm

    def waiting(self) -> list[Tensor | None]:
        """The gradients of a group that is not full, in the order of the parameters, on the CPU; empty without one."""
        gradients = [parameter.grad for parameter in self._parameters()] if self._waiting else []
        return [None if gradient is None else gradient.detach().cpu() for gradient in gradients]

    @property
    def batches_waiting(self) -> int:
        """Batches whose gradients wait for the rest of their group."""
        return self._waiting

    def wait(self, batches: int, gradients: Sequence[Tensor | None]) -> None:
        """Go on with the group that ``waiting`` told of."""
        self._waiting = batches
        if batches:
            for parameter, gradient in zip(self._parameters(), gradients, strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device)

    def _clip(self) -> Tensor:
        parameters = self._parameters()
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.clip_norm is not None:
            clip_grads_with_norm_(parameters, self.clip_norm, norm)
        return norm

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
