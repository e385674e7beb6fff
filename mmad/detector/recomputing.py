"""Gradient checkpointing: the image networks keep what goes into a block, and compute its inside again for gradients.

The second computation changes nothing that lasts: random numbers are those of the first, and running statistics rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from torchvision.models._utils import IntermediateLayerGetter

from mmad.detector.backbones import ImageNetwork, SwinBody
from mmad.detector.timm_body import TimmBody


def recompute_blocks(network: ImageNetwork) -> None:
    """Let every block of the network's body be computed again when its gradients are asked for."""
    body = network.body
    whole = body.features if isinstance(body, SwinBody) else body.network if isinstance(body, TimmBody) else body
    for block in _blocks(whole):
        block.forward = _RecomputedForward(block)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """What is computed one after the other: the parts of a chain, and of chains within it."""
    if isinstance(module, nn.Sequential | IntermediateLayerGetter | nn.ModuleDict):
        for child in module.children():
            yield from _blocks(child)
    elif any(True for _ in module.parameters()):
        yield module


class _RecomputedForward:
    """The ``forward`` of a block, which keeps its inputs alone while it trains.

    Args:
        block: of whose class the forward is; a deep copy of a network has one for the copied block.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    def __call__(self, *inputs: Any) -> Any:
        block = self.block
        run = partial(type(block).forward, block)
        if not (block.training and torch.is_grad_enabled()):
            return run(*inputs)
        return checkpoint(run, *inputs, use_reentrant=False, context_fn=partial(_contexts, block))


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the first computation, and of the second."""
    return nullcontext(), _statistics_rest(block)


@contextmanager
def _statistics_rest(block: nn.Module) -> Iterator[None]:
    """The running statistics of BatchNorm, which the first computation moved, stay as they are."""
    kept: list[tuple[nn.Module, dict[str, Tensor | None]]] = []
    for norm in block.modules():
        if isinstance(norm, _BatchNorm):
            kept.append((norm, dict(norm.named_buffers())))
            for name, value in kept[-1][1].items():
                setattr(norm, name, None if value is None else value.clone())
    try:
        yield
    finally:
        for norm, buffers in kept:
            for name, value in buffers.items():
                setattr(norm, name, value)
