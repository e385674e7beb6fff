"""Networks built without drawing their weights, which ``initialise`` draws by name or a file holds."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Undrawn(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Weights that would be drawn meanwhile are 0."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default):
            return args[0].zero_()
        return func(*args, **(kwargs or {}))
