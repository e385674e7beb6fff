"""Initial weights, drawn per qualified module name: two arms agree wherever they share a module."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmad.base.errors import CheckpointError
from mmad.detector.backbones import SwinBody
from mmad.detector.timm_body import TimmBody


def initialise(model: nn.Module, seed: int, redrawn: Mapping[str, Callable[[], nn.Module]] | None = None) -> None:
    """Draw every parameter of ``model`` anew from (seed, qualified name of its module).

    What is drawn follows torchvision: He initialisation in the convolutional bodies and the mask head, a normal
    of deviation 0.01 in the proposal head, a uniform one in the pyramid, PyTorch's own elsewhere. Bodies of
    transformers and of timm are drawn whole by their library, and modules of ``redrawn`` as they draw themselves. The
    global random state is left as it was.

    Args:
        model: on the CPU, whose generator alone is used: to seed those of other devices takes longer than to draw.
        seed: of the run.
        redrawn: by the name of a module, what makes another of the same.
    """
    whole: dict[str, Callable[[], nn.Module]] = dict(redrawn or {})
    whole |= {name: m.fresh for name, m in model.named_modules() if isinstance(m, SwinBody | TimmBody)}
    for name, fresh in whole.items():
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(name_seed(seed, name))
            model.get_submodule(name).load_state_dict(fresh().state_dict())
    drawn = tuple(f"{name}." for name in whole)
    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is None or name.startswith(drawn):
            continue
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(name_seed(seed, name))
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


# The weights of another detector: all of them, or those of the modules both have.

_SHOWN = 5


@dataclass(frozen=True)
class SharedWeights:
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
    different = [f"{what} {_few(names)}" for what, names in problems.items() if names]
    if different:
        raise CheckpointError(
            "the checkpoint belongs to another network: " + "; ".join(different),
            hint="name a checkpoint of this setup, or take over the shared modules alone with load_shared",
        )
    model.load_state_dict(dict(tensors))


def load_shared(model: nn.Module, tensors: Mapping[str, Tensor]) -> SharedWeights:
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
        raise CheckpointError("the checkpoint shares no module with this network", hint="name one of another arm")
    with torch.no_grad():
        for layer in loaded:
            for name in layers[layer]:
                own[name].copy_(tensors[name])
    return SharedWeights(tuple(loaded), tuple(left))


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
