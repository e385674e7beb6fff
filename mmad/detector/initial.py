"""Initial weights, drawn per qualified module name: two arms agree wherever they share a module."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def initialise(model: nn.Module, seed: int) -> None:
    """Draw every parameter of ``model`` anew from (seed, qualified name of its module).

    What is drawn follows torchvision: He initialisation in the image networks, a normal of deviation 0.01
    in the proposal head, PyTorch's own elsewhere. The global random state is left as it was.
    """
    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is None:
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(name_seed(seed, name))
            _draw(name, module)


def name_seed(seed: int, name: str) -> int:
    """A 63-bit seed for ``name`` under ``seed``."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _draw(name: str, module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if reset is not None:
        reset()
    in_body = name.startswith(("backbone.body.", "clinical_convs.body."))
    if in_body and isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif name.startswith("rpn.head.") and isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
