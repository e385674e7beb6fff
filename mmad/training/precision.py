"""Half precision where it is safe, and the scaling of the loss that keeps small gradients alive in it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mmad.base.errors import SpecError


def require_device(mixed_precision: bool, device: torch.device) -> None:
    """Refuse half precision where it would only be slow.

    Raises:
        SpecError: ``mixed_precision`` on a device that is not CUDA.
    """
    if mixed_precision and device.type != "cuda":
        raise SpecError("mixed_precision needs a CUDA device", mend="set mixed_precision = false or use --device cuda")


class Precision:
    """Single precision, which leaves everything as it is, or float16 through autocast with a gradient scaler.

    Micikevicius et al., arXiv:1710.03740.

    Args:
        device: where the model computes.
        half: compute in float16 where it is safe.
    """

    def __init__(self, device: torch.device, *, half: bool = False) -> None:
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type) if half else None

    @property
    def half(self) -> bool:
        """Whether float16 is used at all."""
        return self.scaler is not None

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        if self.scaler is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.float16)

    def full(self, losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The loss components in at least single precision."""
        return losses if self.scaler is None else {name: loss.float() for name, loss in losses.items()}

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled up in half precision."""
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimiser: Optimizer) -> None:
        """Bring the gradients back to their true size."""
        if self.scaler is not None:
            self.scaler.unscale_(optimiser)

    def step(self, optimiser: Optimizer) -> None:
        """Step; in half precision a step whose gradients overflowed is left out and the scale is lowered."""
        if self.scaler is None:
            optimiser.step()
        else:
            self.scaler.step(optimiser)
            self.scaler.update()

    @property
    def scale(self) -> float | None:
        """What the loss is multiplied by; None in single precision."""
        return None if self.scaler is None else float(self.scaler.get_scale())

    def state(self) -> dict[str, Any]:
        """The scaler's plain numbers; empty in single precision."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)
