"""Any backbone of timm (Wightman, doi:10.5281/zenodo.4414861) that gives its feature maps; needs the extra ``timm``."""

from __future__ import annotations

import functools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmad.base.errors import SpecError, WeightsError
from mmad.base.files import replacing
from mmad.config.setup import PYRAMID_STRIDES
from mmad.detector.undrawn import Undrawn

#: Strides of the four maps a pyramid stands on; the fifth level is pooled.
_MAP_STRIDES = PYRAMID_STRIDES[:4]
#: Pixels of the image per patch of a plain transformer.
_PATCH = 16


class SimplePyramid(nn.Module):
    """Maps at strides 4, 8, 16 and 32 of the one map that a plain transformer has, at stride 16.

    Transposed convolutions enlarge it twice and once, a maximum makes it smaller.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widths = (width // 4, width // 2, width, width)
        self.four = nn.Sequential(
            nn.ConvTranspose2d(width, width // 2, 2, stride=2),
            nn.GroupNorm(1, width // 2),
            nn.GELU(),
            nn.ConvTranspose2d(width // 2, width // 4, 2, stride=2),
        )
        self.eight = nn.ConvTranspose2d(width, width // 2, 2, stride=2)

    def forward(self, found: Tensor) -> list[Tensor]:
        """(B, C, h, w) to four maps, the largest first."""
        return [self.four(found), self.eight(found), found, nn.functional.max_pool2d(found, 2)]


class TimmBody(nn.Module):
    """The last feature map of a timm backbone, or for a pyramid its four at strides 4, 8, 16 and 32.

    A plain transformer with patches of 14 or 16 pixels has one map. It is taken for one of stride 16: for patches of 14
    the image is made smaller before, so that a patch is 16 of its pixels. Its pyramid is a simple one.

    Args:
        name: timm's name of the architecture, with or without the tag of its weights.
        side: pixels per side of the images.
        pyramid: whether the four maps are wanted.

    Raises:
        SpecError: timm is not installed, knows no such network, or it has no maps of these sizes.
    """

    def __init__(self, name: str, side: int, *, pyramid: bool) -> None:
        super().__init__()
        network = _create(name, side)
        reductions: list[int] = network.feature_info.reduction()
        widths: list[int] = network.feature_info.channels()
        self.pyramid, self.name, self.side, self.shown_side = pyramid, name, side, side
        self.widths: tuple[int, ...]
        self.strides: tuple[int, ...]
        if len(reductions) > 1 and set(reductions) in ({14}, {16}):
            self.shown_side = side // _PATCH * reductions[-1]
            self.chosen: tuple[int, ...] = (len(reductions) - 1,)
            self.widths, self.strides = (widths[-1],), (_PATCH,)
            if pyramid:
                self.simple_pyramid = SimplePyramid(widths[-1])
                self.widths, self.strides = self.simple_pyramid.widths, _MAP_STRIDES
        else:
            self.chosen = _chosen(name, reductions, pyramid=pyramid)
            self.widths = tuple(widths[i] for i in self.chosen)
            self.strides = tuple(reductions[i] for i in self.chosen)
        self.network = _create(name, self.shown_side, out_indices=self.chosen)
        unused = _unused(name, self.shown_side, self.chosen)
        for parameter_name, parameter in self.network.named_parameters():
            parameter.requires_grad_(parameter_name not in unused)

    def fresh(self) -> TimmBody:
        """Another of the same, drawn anew."""
        return TimmBody(self.name, self.side, pyramid=self.pyramid)

    def forward(self, images: Tensor) -> Tensor | OrderedDict[str, Tensor]:
        """(B, 3, S, S) to (B, C, h, w), or to one such map per level.

        One image whose smallest map is a single cell has no statistics of its own: the running ones are taken.
        """
        single = self.training and len(images) == 1 and self.side <= self.strides[-1]
        if single:
            self.network.eval()
        if self.shown_side != self.side:
            size = (self.shown_side, self.shown_side)
            images = nn.functional.interpolate(images, size, mode="bilinear", antialias=True)
        found = self.network(images)
        if single:
            self.network.train()
        if hasattr(self, "simple_pyramid"):
            found = self.simple_pyramid(found[-1])
        maps = [_channels_first(m, width) for m, width in zip(found, self.widths, strict=True)]
        return OrderedDict((str(i), m) for i, m in enumerate(maps)) if self.pyramid else maps[0]

    def load(self, state: dict[str, Tensor]) -> None:
        """Take in the weights of the whole network.

        Raises:
            WeightsError: they belong to another network.
        """
        overlay = {"state_dict": state, "file": None, "url": None, "hf_hub_id": None, "custom_load": False}
        try:
            with torch.random.fork_rng(devices=[]), Undrawn():  # type: ignore[no-untyped-call]
                # The whole network refuses a file that lacks a tensor; the network of maps would leave it as drawn.
                _create(self.name, self.shown_side, features_only=False, pretrained=True, overlay=overlay)
                filled = _create(self.name, self.shown_side, out_indices=self.chosen, pretrained=True, overlay=overlay)
        except Exception as error:  # timm has its own
            raise WeightsError(
                f"the weights do not fit backbone timm:{self.name} ({type(error).__name__}: {_first_line(error)})",
                hint="name weights of this network",
            ) from error
        self.network.load_state_dict(filled.state_dict())


@functools.cache
def _unused(name: str, side: int, chosen: tuple[int, ...]) -> frozenset[str]:
    """Parameters that no chosen map depends on, which stay fixed; found on the meta device.

    Raises:
        SpecError: the network cannot read images of ``side`` pixels.
    """
    try:
        with torch.device("meta"):
            network = _create(name, side, out_indices=chosen)
            maps = network(torch.zeros((2, 3, side, side)))
            sum(m.sum() for m in maps).backward()
    except NotImplementedError:  # an operation that the meta device lacks: nothing is known, nothing is fixed
        return frozenset()
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise SpecError(
            f"backbone = 'timm:{name}' with image_size = {side}: it cannot read such images ({_first_line(error)})",
            hint="choose another image_size or backbone",
        ) from error
    return frozenset(key for key, parameter in network.named_parameters() if parameter.grad is None)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _create(name: str, side: int, *, overlay: dict[str, Any] | None = None, **options: Any) -> Any:
    try:
        import timm
    except ImportError:
        raise SpecError(
            f"backbone = 'timm:{name}': timm is not installed", hint="install it with pip install 'mmad[timm]'"
        ) from None
    if not timm.is_model(name):
        from mmad.config.messages import did_you_mean

        known = timm.list_models()
        raise SpecError(f"backbone = 'timm:{name}': timm has no such network", hint=did_you_mean(name, known))
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:
        from mmad.config.messages import did_you_mean

        known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise SpecError(f"backbone = 'timm:{name}': timm has no such weights", hint=did_you_mean(name, known)) from None
    if config is not None and config.fixed_input_size:
        options["img_size"] = side
    try:
        return timm.create_model(name, pretrained_cfg_overlay=overlay, **{"features_only": True, **options})
    except (RuntimeError, AttributeError, TypeError, AssertionError, ValueError) as error:
        if overlay is not None:
            raise
        raise SpecError(
            f"backbone = 'timm:{name}': timm cannot build it for its feature maps ({error})",
            hint="choose another backbone",
        ) from error


def _chosen(name: str, reductions: list[int], *, pyramid: bool) -> tuple[int, ...]:
    """Which of the network's maps are read."""
    last = reductions[-1]
    if not pyramid:
        if last & (last - 1):
            raise SpecError(
                f"backbone = 'timm:{name}': its last map has {last} pixels per cell, not a power of two",
                hint="choose another backbone",
            )
        return (len(reductions) - 1,)
    if any(reductions.count(stride) != 1 for stride in _MAP_STRIDES):
        raise SpecError(
            f"using_fpn = true with backbone = 'timm:{name}': its maps have strides {reductions}, but a pyramid "
            f"stands on {list(_MAP_STRIDES)}",
            hint="set using_fpn = false, or choose another backbone",
        )
    return tuple(reductions.index(stride) for stride in _MAP_STRIDES)


def _channels_first(found: Tensor, width: int) -> Tensor:
    """timm's transformers give (B, h, w, C)."""
    if found.shape[1] != width and found.shape[-1] == width:
        return found.permute(0, 3, 1, 2).contiguous()
    return found


def save_weights(name: str, file: Path) -> None:
    """Fetch the pretrained weights of timm's ``name`` and write them to ``file`` as safetensors.

    Raises:
        SpecError: timm is not installed or knows no such network.
    """
    from safetensors.torch import save_file

    _create(name, 224)
    import timm

    whole = timm.create_model(name, pretrained=True)
    state = {key: value.contiguous() for key, value in whole.state_dict().items()}
    with replacing(file) as part:
        save_file(state, str(part))
