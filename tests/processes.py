"""Processes that tests start, and what tests wait for."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable


def one_core() -> None:
    """Leaves the calling process one of the cores it may use, and so one run at once."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})


def wait_for(truth: Callable[[], object], seconds: float = 600.0) -> None:
    """Waits until ``truth`` holds. Only what never comes takes ``seconds``, however busy the machine is."""
    end = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
