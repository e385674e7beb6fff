"""What a detector costs, module by module, measured on the meta device: no memory, no arithmetic.

One image in evaluation mode. Multiply-adds are those of convolutions and matrix products (most papers call
them FLOPs); activations are the numbers these write (Radosavovic et al.,
arXiv:2003.13678). Suppression of boxes and RoIAlign are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mmad.base.records import DOCUMENTED_COLUMNS, DOCUMENTED_LABELS, ClinicalColumns
from mmad.config.setup import ModelSetup
from mmad.config.setup_checks import number_count
from mmad.detector.backbones import freeze
from mmad.detector.build import PRINTED_MODULES, image_networks
from mmad.detector.model import MultimodalRCNN
from mmad.detector.roi_heads import BOX_POOL, MASK_POOL

#: Parts of a detector that are counted separately, in the order a picture goes through them.
PARTS = ("backbone", "clinical", "rpn", "heads")
#: Modules whose children are shown though they stand deeper than the others.
_OPENED = ("body", "features", "box_head")


@dataclass(frozen=True)
class ModuleCost:
    """One module: ``model``, ``model.backbone``, …; what stands below it is included.

    ``trainable`` counts the parameters that are not frozen; ``flops`` are multiply-adds.
    """

    module: str
    parameters: int
    trainable: int
    flops: int
    activations: int


@dataclass(frozen=True)
class DetectorCost:
    """What a detector costs for one image.

    Attributes:
        modules: the tree of modules that have parameters, each after the one that holds it.
        flops: multiply-adds of each of PARTS.
        activations: likewise.
        idle: modules that are counted and that nothing runs.
        proposals: boxes that the box head reads.
        masks: boxes that the mask head draws, 0 without one.
    """

    modules: tuple[ModuleCost, ...]
    flops: Mapping[str, int]
    activations: Mapping[str, int]
    idle: tuple[str, ...]
    proposals: int
    masks: int


def detector_cost(
    setup: ModelSetup,
    labels: int = len(DOCUMENTED_LABELS),
    columns: ClinicalColumns = DOCUMENTED_COLUMNS,
    *,
    proposals: int | None = None,
) -> DetectorCost:
    """Count parameters, multiply-adds and activations of the detector of ``setup``, for one image.

    Args:
        setup: the hyper-parameters.
        labels: how many findings, the background not counted.
        columns: the clinical columns (idle without ``use_clinical``).
        proposals: boxes that the box head reads; None takes ``rpn_post_nms_top_n_test``, the most that an
            evaluation hands on.

    Raises:
        SpecError: a setup that cannot be built, with the hint.
    """
    built = setup.stock()
    boxes = built.rpn_post_nms_top_n_test if proposals is None else proposals
    with torch.device("meta"):
        model = MultimodalRCNN(setup, labels, columns)
    for network in image_networks(model):
        freeze(network, built, pretrained=setup.pretrained)
    model.eval()
    masks = min(boxes, built.box_detections_per_img) if built.use_mask else 0
    meter = _run(model, built.image_size, columns, boxes, masks)
    return DetectorCost(
        modules=tuple(_module_cost(name, module, meter) for name, module in _tree(model)),
        flops=_parts(meter.flops),
        activations=_parts(meter.activations),
        idle=tuple(f"model.{name}" for name in _idle(model, meter)),
        proposals=boxes,
        masks=masks,
    )


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts convolutions and matrix products for every module that holds them and for the part at work."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: Counter[str] = Counter()
        self.activations: Counter[str] = Counter()
        self.seen: set[str] = set()
        self.part = ""
        self._inside: list[str] = []
        self._hooks = [hook for name, module in model.named_modules() for hook in self._hooks_of(name, module)]

    def _hooks_of(self, name: str, module: nn.Module) -> Iterator[Any]:
        yield module.register_forward_pre_hook(lambda *_: self._enter(name))
        yield module.register_forward_hook(lambda *_: self._leave(), always_call=True)

    def _enter(self, name: str) -> None:
        self._inside.append(name)
        self.seen |= _lineage(name)

    def _leave(self) -> None:
        self._inside.pop()

    def at(self, part: str) -> Self:
        """From now on what runs outside ``backbone`` is of ``part``."""
        self.part = part
        return self

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            names = _lineage(self._inside[-1] if self._inside else "")
            names.add("part:backbone" if "model.backbone" in names else f"part:{self.part}")
            flops = formula(*args, **(kwargs or {}), out_val=out) // 2  # torch counts both halves of a multiply-add
            self.flops.update(dict.fromkeys(names, flops))
            self.activations.update(dict.fromkeys(names, out.numel()))
        return out


def _run(model: MultimodalRCNN, size: int, columns: ClinicalColumns, boxes: int, masks: int) -> _Meter:
    """Send one image through ``model``, its parts one by one: proposals are as many as asked for."""
    heads: Any = model.roi_heads
    meter = _Meter(model)
    images = torch.zeros(1, 1, size, size, dtype=torch.uint8, device="meta")
    numbers = number_count(columns, indicators=model.setup.missing_indicators)
    numeric = torch.zeros(1, numbers, device="meta")
    categorical = torch.zeros(1, len(columns.categorical), dtype=torch.int64, device="meta")
    try:
        with torch.no_grad(), meter.at("clinical"):
            maps, _, _ = model.read(images, numeric, categorical)
            meter.at("rpn")
            model.rpn.head(list(maps.values()))
            meter.at("heads")
            width = next(iter(maps.values())).shape[1]
            roi_clinical = (
                _zeros(boxes, model.setup.clinical_input_channels) if model.adds_clinical_to_roi_heads else None
            )
            heads.box_predictor(heads.box_head(_zeros(boxes, width, BOX_POOL, BOX_POOL), roi_clinical))
            if masks:
                heads.mask_predictor(heads.mask_head(_zeros(masks, width, MASK_POOL, MASK_POOL)))
    finally:
        meter.close()
    return meter


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, device="meta")


def _called(name: str) -> str:
    """The name under which counts are kept and shown: the model's is ``model``."""
    return f"model.{name}" if name else "model"


def _lineage(name: str) -> set[str]:
    """Under what the module ``name`` is counted: itself and all that hold it."""
    parts = _called(name).split(".")
    return {".".join(parts[: i + 1]) for i in range(len(parts))}


def _parts(counts: Counter[str]) -> dict[str, int]:
    return {part: counts[f"part:{part}"] for part in PARTS}


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _module_cost(name: str, module: nn.Module, meter: _Meter) -> ModuleCost:
    key = _called(name)
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return ModuleCost(key, _size(module), trainable, meter.flops[key], meter.activations[key])


def _idle(model: nn.Module, meter: _Meter) -> list[str]:
    """The outermost modules of the documented log's, or of the model itself, that hold parameters and never ran."""
    candidates = [name for name, _ in model.named_children()] + list(PRINTED_MODULES)
    modules = dict(model.named_modules())
    held = [name for name in dict.fromkeys(candidates) if name in modules and _size(modules[name])]
    idle = [name for name in held if _called(name) not in meter.seen]
    return [name for name in idle if name.rpartition(".")[0] not in idle]


def _tree(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """``module`` and, depth first, what is worth a line below it: parts with parameters, down to a network's stages."""
    yield name, module
    depth = name.count(".") + 1 if name else 0
    opened = name.rpartition(".")[2] in _OPENED
    if depth > 1 and not opened:
        return
    for child_name, child in module.named_children():
        alone = _size(child) == _size(module)  # says nothing that the line above does not
        if _size(child) and (opened or not (child_name.isdigit() or (alone and depth))):
            yield from _tree(child, f"{name}.{child_name}" if name else child_name)
