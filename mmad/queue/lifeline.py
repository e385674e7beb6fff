"""What ends a worker from outside: its scheduler's word, a signal, or the scheduler's death."""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import stat
import sys
import threading
import time
from types import FrameType

from mmad.queue.messages import QUIT, STOP
from mmad.queue.orders import Order

#: Seconds a worker without a scheduler has to reach a safe point before it vanishes.
ORPHAN_GRACE = 1.0
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


class StopRequest:
    """Whether the training should stop at its next safe point; calling it gives the answer."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        """Asks the training to stop; safe from any thread and from a signal handler."""
        self._asked.set()


class Lifeline:
    """What a worker hears of its scheduler: orders, the word to stop, and the scheduler's end."""

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()

    def listen(self) -> None:
        """Lets SIGTERM and the scheduler's word ask ``stop``; the terminal's Ctrl-C is the scheduler's business.

        When the scheduler is gone (the pipe on standard input is closed), the process asks ``stop`` too and
        exits ``ORPHAN_GRACE`` seconds later, wherever it stands: the next claim finds its run without an owner.
        """

        def asked(signum: int, frame: FrameType | None) -> None:
            self.stop.ask()
            self._orders.put(None)

        signal.signal(signal.SIGTERM, asked)
        if not _piped(0):  # started by hand: nobody to listen to but the terminal
            signal.signal(signal.SIGINT, asked)
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._follow, args=(os.dup(0),), name="lifeline", daemon=True).start()

    def next_order(self) -> Order | None:
        """Waits for the next order; None when there are no more."""
        return self._orders.get()

    def _follow(self, descriptor: int) -> None:
        """Reads the scheduler's words with plain reads: a buffered stream would hold a lock at the exit."""
        rest = b""
        while True:
            try:
                chunk = os.read(descriptor, 1 << 16)
            except OSError:
                chunk = b""
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._hear(line.decode("utf-8", "replace"))
        log.warning("the scheduler is gone: stopping")
        self.stop.ask()
        self._orders.put(None)
        time.sleep(ORPHAN_GRACE)
        log.warning("still not at a safe point %.1f s later: exiting", ORPHAN_GRACE)
        os._exit(1)

    def _hear(self, line: str) -> None:
        if line == STOP:
            log.info("asked to stop at the next safe point")
            self.stop.ask()
            self._orders.put(None)
        elif line == QUIT:
            self._orders.put(None)
        elif (order := Order.of_line(line)) is not None:
            self._orders.put(order)


def die_with_parent(number: signal.Signals) -> None:
    """Has Linux send this process ``number`` when its parent dies; elsewhere the closed pipe must do."""
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    except (OSError, AttributeError):
        return


def _piped(descriptor: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
