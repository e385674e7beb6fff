"""The one place that reads the clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The present moment in UTC, to the microsecond."""
    return datetime.now(UTC)


def seconds() -> float:
    """Monotonic seconds, for durations only."""
    return time.perf_counter()
