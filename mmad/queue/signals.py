"""Ctrl-C and its kin, heard by a command that has something to bring to an end first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], int]]:
    """Counts Ctrl-C, SIGTERM and SIGHUP while it is entered; signals that were ignored stay ignored."""
    count = 0

    def asked(signum: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    heard = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, asked)) for number in heard]
    try:
        yield lambda: count
    finally:
        for number, handler in before:
            signal.signal(number, handler)
