"""What p-values are worth after several tests."""

from __future__ import annotations

import math
from collections.abc import Sequence


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p of several tests, in the order given; NaN stays NaN and counts as no test.

    It bounds the chance of even one false alarm among all. S. Holm, "A simple sequentially rejective multiple test
    procedure", 1979.
    """
    known = [i for i, p in enumerate(values) if not math.isnan(p)]
    adjusted = list(values)
    highest = 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(known) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted
