"""Which file holds a backbone's ImageNet weights, and whether it is here; torch is never imported.

The names are torchvision's (its ``IMAGENET1K_V1`` enums, which a test compares with this table). The part
after the last dash is the beginning of the file's SHA-256, so a name alone identifies the content.
"""

from __future__ import annotations

import os
from pathlib import Path

from mmad.base.errors import WeightsError
from mmad.config.checks import TIMM

_RESNET18 = "resnet18-f37072fd.pth"

#: Backbone → name of torchvision's file. The cut ResNets read the weights of the whole one.
WEIGHTS_FILES: dict[str, str] = {
    "mobilenet_v3": "mobilenet_v3_small-047dcff4.pth",
    "mobilenet_v2": "mobilenet_v2-b0353104.pth",
    "resnet18": _RESNET18,
    "resnet50": "resnet50-0676ba61.pth",
    "swin_t": "swin_t-704ceda3.pth",
    "custom": _RESNET18,
    "custom1": _RESNET18,
    "custom2": _RESNET18,
    "custom3": _RESNET18,
}

#: Backbone → name of the torchvision model whose ``IMAGENET1K_V1`` it is.
WEIGHTS_MODELS: dict[str, str] = {
    "mobilenet_v3": "mobilenet_v3_small",
    **{name: name for name in ("mobilenet_v2", "resnet18", "resnet50", "swin_t")},
    **dict.fromkeys(("custom", "custom1", "custom2", "custom3"), "resnet18"),
}


def weights_file(backbone: str) -> str:
    """The name of the file with the ImageNet weights of ``backbone``.

    timm has several weights for one network, so its name must carry their tag: ``timm:resnet18.a1_in1k``.

    Raises:
        WeightsError: for a backbone that no file is known for.
    """
    if backbone.startswith(TIMM):
        name = backbone.removeprefix(TIMM)
        if "." not in name:
            raise WeightsError(
                f'backbone = "{backbone}" does not say which of timm\'s weights to start from',
                hint=f'add their tag, as in "{backbone}.a1_in1k", or set pretrained = false',
            )
        return f"timm-{name}.safetensors"
    try:
        return WEIGHTS_FILES[backbone]
    except KeyError:
        raise WeightsError(
            f"no ImageNet weights are known for backbone {backbone!r}",
            hint="set pretrained = false, or choose one of " + ", ".join(WEIGHTS_FILES),
        ) from None


def weights_hash(backbone: str) -> str:
    """What identifies the weights of ``backbone``: the SHA-256's beginning in its file's name, or timm's own name."""
    if backbone.startswith(TIMM):
        weights_file(backbone)
        return backbone
    return Path(weights_file(backbone)).stem.rsplit("-", 1)[1]


def weights_folders(weights_dir: Path | None = None) -> tuple[Path, ...]:
    """Where weights are looked for, in order: ``weights_dir``, ``MMAD_WEIGHTS``, the cache of torch."""
    folders = [] if weights_dir is None else [weights_dir]
    if named := os.environ.get("MMAD_WEIGHTS"):
        folders.append(Path(named))
    return (*folders, torch_checkpoints())


def torch_checkpoints() -> Path:
    """The folder in which torch keeps what it fetched: below ``TORCH_HOME`` or the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or str(Path(cache) / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def find_weights(backbone: str, weights_dir: Path | None = None) -> Path | None:
    """The file with the ImageNet weights of ``backbone``, or None when it is in none of the folders.

    Raises:
        WeightsError: for a backbone that no file is known for, or a ``weights_dir`` that is no folder.
    """
    if weights_dir is not None and not weights_dir.is_dir():
        raise WeightsError("no such folder", where=weights_dir, hint="give --weights-dir a folder with weights files")
    name = weights_file(backbone)
    return next((folder / name for folder in weights_folders(weights_dir) if (folder / name).is_file()), None)
