"""Which epochs are kept as best: the first to exceed all before it on validation, never on test."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from mmad.base.records import CheckpointKind, Metric


@dataclass
class Selection:
    """The best validation AP and AR so far under one overlap, and the epochs that reached them."""

    overlap: str
    ap: float = -math.inf
    ar: float = -math.inf

    def take(self, metrics: Iterable[Metric]) -> tuple[CheckpointKind, ...]:
        """The kinds of best checkpoint that an epoch with ``metrics`` becomes; it must strictly exceed what was."""
        kinds: list[CheckpointKind] = []
        validation = {m.name: m.value for m in metrics if m.split == "val"}
        ap = validation.get(f"ap_{self.overlap}")
        ar = validation.get(f"ar_{self.overlap}")
        if ap is not None and ap > self.ap:
            self.ap = ap
            kinds.append("best_ap")
        if ar is not None and ar > self.ar:
            self.ar = ar
            kinds.append("best_ar")
        return tuple(kinds)

    def state(self) -> dict[str, Any]:
        """Plain JSON to go on from."""
        return asdict(self)
