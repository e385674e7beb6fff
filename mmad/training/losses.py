"""How the loss components become the number that is recorded and the one that is minimised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmad.base.records import LOSS_COMPONENTS
from mmad.config.setup import LossWeight, ModelSetup


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, LossWeight]) -> dict[str, Tensor]:
    """Each component times its weight; ``"detach"`` keeps its value and gives it no gradient."""
    result = {}
    for name, loss in losses.items():
        weight = weights.get(name, 1.0)
        result[name] = loss.detach() if weight == "detach" else loss * float(weight)
    return result


def total(losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of the components, in the order of their names, so that no dictionary's order changes a bit."""
    values = [losses[name] for name in sorted(losses)]
    result = values[0]
    for value in values[1:]:
        result = result + value
    return result


def packed(losses: Iterable[Tensor]) -> Tensor:
    """Single numbers as one detached (n,) tensor: a device hands them over in one transfer."""
    return torch.stack([loss.detach() for loss in losses])


class LearnedWeights(nn.Module):
    """One learned w per loss component, 1 at the start: the sum of 0.5/w² · loss + log(1 + w²).

    A component without a w counts as it is. After Kendall et al., arXiv:1705.07115, in the form of the
    documented log's code from 18 May 2022 on.

    Args:
        names: the components that get a w.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.w = nn.ParameterDict({name: nn.Parameter(torch.ones(())) for name in names})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The number to minimise, from components to which their fixed weights were applied."""
        return total({name: self._one(name, loss) for name, loss in losses.items()})

    def _one(self, name: str, loss: Tensor) -> Tensor:
        if name not in self.w:
            return loss
        square = self.w[name].square()
        balanced: Tensor = 0.5 / square * loss + torch.log1p(square)
        return balanced

    def values(self) -> dict[str, float]:
        """The w of every component as it is now."""
        return dict(zip(self.w.keys(), packed(self.w.values()).tolist(), strict=True)) if self.w else {}


@dataclass(frozen=True)
class Weighing:
    """How a run weighs its loss components: by fixed factors, and in training perhaps by learned ones."""

    fixed: Mapping[str, LossWeight]
    learned: LearnedWeights | None = None

    @classmethod
    def of(cls, setup: ModelSetup) -> Weighing:
        """The weighing that ``setup`` asks for.

        No w is learned for a component that is detached or weighed by 0: nothing would hold such a w away from 0.
        """
        if not setup.learned_loss_weights:
            return cls(setup.loss_weights)
        present = (*LOSS_COMPONENTS, "loss_mask") if setup.has_masks else LOSS_COMPONENTS
        return cls(
            setup.loss_weights,
            LearnedWeights(name for name in present if setup.loss_weights.get(name) not in ("detach", 0)),
        )

    def both(self, losses: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The fixed-weighted sum, alike in training and validation, and what a training minimises."""
        parts = weighted(losses, self.fixed)
        plain = total(parts)
        return plain, plain if self.learned is None else self.learned(parts)

    def plain(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The fixed-weighted sum alone."""
        return total(weighted(losses, self.fixed))

    def metrics(self) -> dict[str, float]:
        """``weight_COMPONENT``: the learned w as they are now; empty without them."""
        values = {} if self.learned is None else self.learned.values()
        return {f"weight_{name}": value for name, value in values.items()}
