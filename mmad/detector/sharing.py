"""Taking over the weights of another detector: all of them, or those of the modules both have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmad.base.errors import CheckpointError

_SHOWN = 5


@dataclass(frozen=True)
class Shared:
    """Names of the modules whose weights were taken over, and of those left as they were."""

    loaded: tuple[str, ...]
    left: tuple[str, ...]


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Take over every tensor of a checkpoint of the same setup, or none.

    Raises:
        CheckpointError: names what is missing, what is too much and what has another shape.
    """
    own = model.state_dict()
    problems = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "of another shape": [name for name in own if name in tensors and own[name].shape != tensors[name].shape],
    }
    said = [f"{what} {_few(names)}" for what, names in problems.items() if names]
    if said:
        raise CheckpointError(
            "the checkpoint belongs to another network: " + "; ".join(said),
            mend="name a checkpoint of this setup, or take over the shared modules alone with load_shared",
        )
    model.load_state_dict(dict(tensors))


def load_shared(model: nn.Module, tensors: Mapping[str, Tensor]) -> Shared:
    """Take over the modules that a checkpoint of another arm shares with ``model``: same name, same shapes.

    A module counts as a whole: the layers with tensors of their own, such as one convolution. A layer that the
    clinical vector widens (fc6) is not shared by an arm without it.

    Returns:
        The modules loaded, and those of ``model`` left as they were.

    Raises:
        CheckpointError: nothing is shared, or a shared module is incomplete in the checkpoint.
    """
    own = model.state_dict()
    layers: dict[str, list[str]] = {}
    for name in own:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    loaded: list[str] = []
    left: list[str] = []
    for layer, names in layers.items():
        present = [name for name in names if name in tensors]
        if present and len(present) < len(names):
            absent = [name for name in names if name not in tensors]
            raise CheckpointError(f"the checkpoint has only a part of {layer}: missing {_few(absent)}")
        same = bool(present) and all(own[name].shape == tensors[name].shape for name in names)
        (loaded if same else left).append(layer)
    if not loaded:
        raise CheckpointError("the checkpoint shares no module with this network", mend="name one of another arm")
    with torch.no_grad():
        for layer in loaded:
            for name in layers[layer]:
                own[name].copy_(tensors[name])
    return Shared(tuple(loaded), tuple(left))


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
