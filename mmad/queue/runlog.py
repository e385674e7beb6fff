"""A worker's output: messages to its scheduler, and everything else, with time stamps, to its run's log."""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import select
import sys
import threading
from pathlib import Path

from mmad.base.clock import now
from mmad.base.errors import MmadError
from mmad.base.records import Progress
from mmad.queue.messages import Message, encode

#: Seconds a message may wait for a scheduler that does not read (one that was suspended, say).
_PATIENCE = 5.0


class Channel:
    """The line to the scheduler. A message that cannot be delivered is dropped: the truth is in the store."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Writes ``message``; a ``Progress`` is dropped at once when the pipe is full."""
        line = (encode(message) + "\n").encode()
        with self._lock:
            try:
                wait = 0.0 if isinstance(message, Progress) else _PATIENCE
                if select.select([], [self._descriptor], [], wait)[1]:
                    os.write(self._descriptor, line)
            except (OSError, ValueError):
                return


class _Stamped(io.TextIOBase):
    """A text stream that begins every line with the time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = ""
        self._lock = threading.RLock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            if lines:
                stamp = now().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
                block = "".join(f"{stamp} {line}\n" for line in lines)
                os.write(self._descriptor, block.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing waits here but the unfinished last line."""


def divert_output(log: Path) -> Channel:
    """Sends what this process prints, logs and warns to ``log`` (appended); returns the line that was stdout.

    Raises:
        MmadError: the log cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise MmadError(
            f"the run's log cannot be written ({error.strerror})", where=log, mend="make the folder writable"
        ) from error
    channel = Channel(os.dup(1))
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    stream = _Stamped(descriptor)
    sys.stdout = sys.stderr = stream
    logging.basicConfig(stream=stream, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", force=True)
    logging.captureWarnings(True)
    faulthandler.enable(file=descriptor)
    return channel
