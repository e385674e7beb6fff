"""Initial weights, drawn per qualified module name: two arms agree wherever they share a module."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from mmad.detector.backbones import SwinBody
from mmad.detector.timm_body import TimmBody


def initialise(model: nn.Module, seed: int) -> None:
    """Draw every parameter of ``model`` anew from (seed, qualified name of its module).

    What is drawn follows torchvision: He initialisation in the convolutional bodies and the mask head, a normal
    of deviation 0.01 in the proposal head, a uniform one in the pyramid, PyTorch's own elsewhere. Bodies of
    transformers and of timm are drawn whole by their library. The global random state is left as it was.
    """
    whole = {name: m for name, m in model.named_modules() if isinstance(m, SwinBody | TimmBody)}
    for name, body in whole.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(name_seed(seed, name))
            body.load_state_dict(body.fresh().state_dict())
    drawn = tuple(f"{name}." for name in whole)
    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is None or name.startswith(drawn):
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
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return
    if name.startswith(("backbone.body.", "clinical_convs.body.", "roi_heads.mask_head.")):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif name.startswith("roi_heads.mask_predictor."):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        return  # its biases are PyTorch's
    elif name.startswith(("backbone.fpn.", "clinical_convs.fpn.")):
        nn.init.kaiming_uniform_(module.weight, a=1)
    elif name.startswith("rpn.head."):
        nn.init.normal_(module.weight, std=0.01)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
