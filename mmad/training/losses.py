"""How the loss components become the number that is minimised."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmad.spec.setup import LossWeight


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
