"""A command line that a cluster's task runs on its node, and that ends with it. Standard library alone.

Nodes import this by name: a task carries words and numbers, never an object of ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TypedDict

#: The last lines that are kept of what the process prints, and the most letters of each.
_LINES, _LETTERS = 20, 2000
_TICK = 0.1
#: Warnings of a batch system to the whole job; its task passes on what matters.
_IGNORED = ("SIGUSR1", "SIGUSR2")


class ProcessResult(TypedDict):
    """How a process ended: exit code (negative: the signal that killed it) and its last lines."""

    code: int
    lines: list[str]


class NodeProcess:
    """``python WORDS`` with this node's Python, in a process group of its own.

    It holds a pipe to this process: when this one dies, a worker of mmad notices and vanishes. Nothing here takes a
    lock that a signal handler could find taken.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._over = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            preexec_fn=_own_group,
        )
        threading.Thread(target=self._follow, name="node-process", daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether the process is gone."""
        return self._over.is_set()

    @property
    def result(self) -> ProcessResult:
        """How it ended; to be read once it is over."""
        code = self._process.returncode
        return {"code": -signal.SIGKILL if code is None else code, "lines": list(self._lines)}

    def stop(self) -> None:
        """Asks for an end at the next safe point."""
        with contextlib.suppress(OSError):
            os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process and what it started, now."""
        if not self.over:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until it is over, at most ``seconds``; whether it is."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self.over and (end is None or time.monotonic() < end):
            time.sleep(_TICK)
        return self.over

    def _follow(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.append(line.decode("utf-8", "replace").rstrip("\n")[:_LETTERS])
        self._process.wait()
        self._over.set()


def run(words: Sequence[str], environment: Mapping[str, str], grace: float) -> ProcessResult:
    """Runs a command line to its end; a KeyboardInterrupt stops it at its next safe point, in ``grace`` seconds."""
    process = NodeProcess(words, environment)
    try:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.stop()
            process.wait(grace)
    finally:
        process.kill()
        process.wait(grace)
    return process.result


def _own_group() -> None:
    os.setsid()
    for name in _IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
