"""Which file holds the pretrained weights of a backbone, whether it is here, and its hash; torch is never imported.

The names are torchvision's (its enums, which a test compares with this table). The part after the last dash of such a
name is the beginning of the file's SHA-256: a file whose content has another one is refused.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mmad.base.errors import WeightsError
from mmad.config.messages import did_you_mean
from mmad.config.named_parts import TIMM
from mmad.config.runs import Ablation, RunSpec

#: torchvision's model → the members of its enum of weights → their files.
TORCHVISION: dict[str, dict[str, str]] = {
    "mobilenet_v3_small": {"MobileNet_V3_Small_Weights.IMAGENET1K_V1": "mobilenet_v3_small-047dcff4.pth"},
    "mobilenet_v2": {
        "MobileNet_V2_Weights.IMAGENET1K_V1": "mobilenet_v2-b0353104.pth",
        "MobileNet_V2_Weights.IMAGENET1K_V2": "mobilenet_v2-7ebf99e0.pth",
    },
    "resnet18": {"ResNet18_Weights.IMAGENET1K_V1": "resnet18-f37072fd.pth"},
    "resnet50": {
        "ResNet50_Weights.IMAGENET1K_V1": "resnet50-0676ba61.pth",
        "ResNet50_Weights.IMAGENET1K_V2": "resnet50-11ad3fa6.pth",
    },
    "swin_t": {"Swin_T_Weights.IMAGENET1K_V1": "swin_t-704ceda3.pth"},
}

#: Backbone → torchvision's model. The cut ResNets read the weights of the whole one.
WEIGHTS_MODELS: dict[str, str] = {
    "mobilenet_v3": "mobilenet_v3_small",
    **{name: name for name in ("mobilenet_v2", "resnet18", "resnet50", "swin_t")},
    **dict.fromkeys(("custom", "custom1", "custom2", "custom3"), "resnet18"),
}

#: Words in the names of torchvision's and timm's weights → the data that they were pretrained on.
_IMAGENET = re.compile(r"IMAGENET1K|_in(1k|12k|21k|22k)")
#: Data sets → those that their images are of.
_IMAGES_OF = {"reflacx": "mimiccxr", "mscxr": "mimiccxr", "chexlocalize": "chexpert", "chestxdet": "nih"}

HUB = "hf-hub:"
#: Endings of files of tensors.
SUFFIXES = (".safetensors", ".pth", ".pt")
#: The names under which a repository of the hub holds tensors, the better first.
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})$")


def is_file(weights: str) -> bool:
    """Whether ``weights`` names a file of tensors by its path."""
    return not weights.startswith(HUB) and weights.endswith(SUFFIXES)


def torchvision_weights(backbone: str, weights: str) -> str | None:
    """The member of torchvision's enums that ``weights`` means for ``backbone``; None where it means no such."""
    known = TORCHVISION.get(WEIGHTS_MODELS.get(backbone, ""), {})
    return next(iter(known), None) if weights == "imagenet" else (weights if weights in known else None)


def weights_file(backbone: str, weights: str = "imagenet") -> str:
    """What the weights of ``backbone`` are called: a file's name or path, or a repository of the hub.

    Args:
        backbone: as in a setup. timm has several weights for one network, so its name must carry the tag of those
            that ``imagenet`` means: ``timm:resnet18.a1_in1k``.
        weights: ``imagenet``, a member of torchvision's enums, ``hf-hub:OWNER/NAME`` (of timm's networks alone), or
            the path of a file of tensors.

    Raises:
        WeightsError: for a backbone that no such weights are known for.
    """
    if is_file(weights):
        return weights
    if backbone.startswith(TIMM) and weights.startswith(HUB):
        return weights
    if backbone.startswith(TIMM) and weights == "imagenet":
        name = backbone.removeprefix(TIMM)
        if "." not in name:
            raise WeightsError(
                f'backbone = "{backbone}" does not say which of timm\'s weights to start from',
                hint=f'add their tag, as in "{backbone}.a1_in1k", or set pretrained = false',
            )
        return f"timm-{name}.safetensors"
    known = TORCHVISION.get(WEIGHTS_MODELS.get(backbone, ""), {})
    if (member := torchvision_weights(backbone, weights)) is not None:
        return known[member]
    if weights == "imagenet":
        raise WeightsError(
            f"no ImageNet weights are known for backbone {backbone!r}",
            hint="set pretrained = false, or choose one of " + ", ".join(WEIGHTS_MODELS),
        )
    raise WeightsError(
        f"no weights {weights!r} are known for backbone {backbone!r}",
        hint=did_you_mean(weights, ["imagenet", "none", *known]) + ", or name a .safetensors or .pth file",
    )


def pretraining_data(backbone: str, weights: str, declared: Sequence[str] = ()) -> tuple[str, ...] | None:
    """The data sets that ``weights`` were pretrained on: as declared, else as their name says; None for not known."""
    if declared:
        return tuple(declared)
    if weights == "imagenet" and not backbone.startswith(TIMM):
        return ("ImageNet",)
    return ("ImageNet",) if _IMAGENET.search(backbone if weights == "imagenet" else weights) else None


def seen_in_pretraining(pretrained_on: Sequence[str], data: str) -> str:
    """Which of the data sets that weights were pretrained on holds images of the one called ``data``, or nothing."""
    plain = _letters(data)
    origins = [origin for part, origin in _IMAGES_OF.items() if part in plain]

    def holds(name: str) -> bool:
        return bool(name) and (name in plain or any(origin in name for origin in origins))

    return next((one for one in pretrained_on if holds(_letters(one))), "")


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def weights_folders(weights_dir: Path | None = None) -> tuple[Path, ...]:
    """Where weights are looked for, in order: ``weights_dir``, ``MMAD_WEIGHTS``, the cache of torch."""
    folders = [] if weights_dir is None else [weights_dir]
    if named := os.environ.get("MMAD_WEIGHTS"):
        folders.append(Path(named))
    return (*folders, torch_checkpoints())


def torch_checkpoints() -> Path:
    """The folder in which torch keeps what it fetched: below ``TORCH_HOME`` or the user's cache."""
    home = os.environ.get("TORCH_HOME") or str(_cache() / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def hub_folder() -> Path:
    """The folder in which huggingface_hub keeps what it fetched."""
    if named := os.environ.get("HF_HUB_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("HF_HOME") or _cache() / "huggingface").expanduser() / "hub"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def find_weights(backbone: str, weights_dir: Path | None = None, weights: str = "imagenet") -> Path | None:
    """The file that ``weights`` means for ``backbone``, or None when it is not here.

    Args:
        weights_dir: looked into first for files that are named and have no path of their own.

    Raises:
        WeightsError: as ``weights_file``, or a ``weights_dir`` that is no folder.
    """
    if weights_dir is not None and not weights_dir.is_dir():
        raise WeightsError("no such folder", where=weights_dir, hint="give --weights-dir a folder with weights files")
    name = weights_file(backbone, weights)
    if is_file(weights):
        return Path(name) if Path(name).is_file() else None
    if name.startswith(HUB):
        return _in_hub(name.removeprefix(HUB))
    found = next((folder / name for folder in weights_folders(weights_dir) if (folder / name).is_file()), None)
    return _in_hub(f"timm/{backbone.removeprefix(TIMM)}") if found is None and backbone.startswith(TIMM) else found


def _in_hub(repository: str) -> Path | None:
    """The tensors of the main branch of ``repository`` (OWNER/NAME), if the hub's cache holds them."""
    folder = hub_folder() / f"models--{repository.replace('/', '--')}"
    try:
        snapshot = folder / "snapshots" / (folder / "refs" / "main").read_text("utf-8").strip()
    except OSError:
        return None
    return next((snapshot / name for name in _HUB_FILES if (snapshot / name).is_file()), None)


def content_hash(file: Path) -> str:
    """SHA-256 (64 hex digits) of the content of ``file``.

    Raises:
        WeightsError: a file that cannot be read, or whose name carries another hash.
    """
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(file, error) from error
    check_name(file, digest)
    return digest


def check_name(file: Path, digest: str) -> None:
    """Refuses a file whose name carries another hash than ``digest``, the SHA-256 of its content.

    Raises:
        WeightsError: with both hashes.
    """
    named = _HASH_IN_NAME.search(file.stem)
    if named is not None and not digest.startswith(named[1]):
        raise WeightsError(
            f"is not what its name says: its SHA-256 begins {digest[: len(named[1])]}",
            where=file,
            hint="fetch it again, or rename it and name its path in weights",
        )


def unreadable(file: Path, error: OSError) -> WeightsError:
    """One line for a file of weights that the system does not hand over."""
    return WeightsError(f"cannot be read ({error.strerror})", where=file, hint="check the file and its permissions")


def with_weights(ablation: Ablation, weights_dir: Path | None = None) -> Ablation:
    """``ablation`` with the hash of the weights that each run starts from, each file read once.

    Runs whose file is not here stay provisional.

    Raises:
        WeightsError: a ``weights_dir`` that is no folder; a file that cannot be read or is not what its name says.
    """

    hash_of = functools.cache(content_hash)

    def digest(run: RunSpec) -> str:
        file = find_weights(run.setup.image_backbone, weights_dir, run.protocol.weights)
        return "" if file is None else hash_of(file)

    return ablation.starting_from(digest)
