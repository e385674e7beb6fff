"""What ends a worker from outside: its scheduler's word, a signal, or the scheduler's death."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import stat
import sys
import threading
import time
from types import FrameType

from mmad.queue.messages import STOP

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


def listen(stop: StopRequest) -> None:
    """Lets SIGTERM and the scheduler's word ask ``stop``; the terminal's Ctrl-C is the scheduler's business.

    When the scheduler is gone (the pipe on standard input is closed), the process asks ``stop`` too and
    exits ``ORPHAN_GRACE`` seconds later, wherever it stands: the next claim finds its run without an owner.
    """

    def asked(signum: int, frame: FrameType | None) -> None:
        stop.ask()

    signal.signal(signal.SIGTERM, asked)
    if not _piped(0):  # started by hand: nobody to listen to but the terminal
        signal.signal(signal.SIGINT, asked)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(os.dup(0), stop), name="lifeline", daemon=True).start()


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


def _follow(descriptor: int, stop: StopRequest) -> None:
    """Reads the scheduler's words with plain reads: a buffered stream would hold a lock at the exit."""
    rest = b""
    while True:
        try:
            chunk = os.read(descriptor, 4096)
        except OSError:
            chunk = b""
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        if STOP.encode() in lines:
            log.info("asked to stop at the next safe point")
            stop.ask()
    log.warning("the scheduler is gone: stopping")
    stop.ask()
    time.sleep(ORPHAN_GRACE)
    log.warning("still not at a safe point %.1f s later: exiting", ORPHAN_GRACE)
    os._exit(1)
