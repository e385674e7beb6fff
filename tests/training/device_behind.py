"""A device that computes behind the process, pretended on the CPU: it counts how often the process waits for it."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torchvision  # noqa: F401 - its operators
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

#: The name that its tensors give; PyTorch starts nothing for it, and runs its gradients on the process's own thread.
DEVICE = torch.device("meta")
aten = torch.ops.aten
#: Results whose size or number has to reach the process.
_WAITS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.is_nonzero.default,
    aten.equal.default,
    aten.bincount.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    torch.ops.torchvision.nms.default,
}


class Behind(Tensor):
    """A tensor of the device: its values are a CPU tensor's, which only the device reads."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> Behind:
        made: Behind = Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )
        made.values = values
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Behind({tuple(self.shape)})"

    def tolist(self) -> Any:
        assert _device is not None
        _device.wait("tolist")
        return self.values.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert _device is not None, "a tensor of the device is used after it"
        return _device.run(func, args, kwargs or {})


_device: DeviceBehind | None = None


class DeviceBehind(TorchDispatchMode):
    """While it is active, tensors can be made on ``DEVICE``; ``waits`` says where the process waited, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.done = 0  # how much of the device's work the process knows to be over

    def wait(self, what: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if "/mmad/" in frame.filename]
        where = f"{frames[-1].filename.rpartition('/mmad/')[2]}:{frames[-1].lineno}" if frames else "elsewhere"
        self.waits[f"{where} {what}"] += 1
        self.done += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        given = [x for x in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        here = [x for x in given if isinstance(x, Behind)]
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        moves = func in (aten._to_copy.default, aten.copy_.default)
        if here and not moves:
            strangers = [x for x in given if not isinstance(x, Behind) and x.dim()]
            assert not strangers, f"{func} mixes devices"
        if func in (aten.pin_memory.default, aten._pin_memory.default):
            return args[0]
        self._count(func, args, kwargs, given, asked)
        plain = tree_map(lambda x: x.values if isinstance(x, Behind) else x, (args, kwargs))
        if asked is not None:
            plain[1]["device"] = torch.device("cpu")
        result = func(*plain[0], **plain[1])
        if func._schema.is_mutable and result is plain[0][0]:
            return args[0]
        on_device = bool(here) if asked is None else asked == DEVICE
        if not on_device:
            return result
        return tree_map(lambda x: Behind(x) if isinstance(x, Tensor) and not isinstance(x, Behind) else x, result)

    def _count(self, func: Any, args: Any, kwargs: Any, given: list[Tensor], asked: torch.device | None) -> None:
        on_device = any(isinstance(x, Behind) for x in given)
        if func is aten._to_copy.default:
            crosses = asked is not None and (asked == DEVICE) != on_device
            if crosses and not kwargs.get("non_blocking"):
                self.wait("blocking copy")
        elif func is aten.copy_.default:
            blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
            if isinstance(args[0], Behind) != isinstance(args[1], Behind) and blocking and args[1].dim():
                self.wait("blocking copy")
        elif not on_device:
            return
        elif func in _WAITS or (func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None):
            self.wait(str(func))
        elif func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
            for index in args[1]:
                if index is not None and index.dtype in (torch.bool, torch.uint8):
                    self.wait(f"{func} by a mask")


class _Event:
    """A place in the device's work; nothing is waited for where the process learned since that it is over."""

    def record(self) -> None:
        assert _device is not None
        self.at = _device.done

    def synchronize(self) -> None:
        assert _device is not None
        if _device.done <= self.at:
            _device.wait("event")


@contextmanager
def device_behind() -> Iterator[DeviceBehind]:
    """Make the device, for as long as the context lasts."""
    global _device
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmad.training.device._COPY_BESIDE", {DEVICE.type})
        patch.setattr("torch.cuda.Event", _Event)
        patch.setattr("mmad.training.loop._pinned", lambda images, device: images)
        _device = DeviceBehind()
        try:
            with _device:
                yield _device
        finally:
            _device = None


def moved(model: nn.Module) -> nn.Module:
    """``model`` with its parameters and buffers on the device."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(Behind(parameter.detach()), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = Behind(buffer)
    return model
