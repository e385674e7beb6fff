"""The one place that spawns worker processes and talks to them."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mmad.base.errors import MmadError
from mmad.queue.jobs import JobState
from mmad.queue.messages import STOP, Ended, Message, decode
from mmad.queue.slots import Slot

#: Builds the command line that trains the run of a key on a slot.
Spawn = Callable[[JobState, Slot], list[str]]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Exited:
    """A worker is gone; a negative ``code`` is the signal that killed it."""

    code: int

    @property
    def signal_name(self) -> str | None:
        """The name of the signal that killed the worker, or None when it exited by itself."""
        if self.code >= 0:
            return None
        with contextlib.suppress(ValueError):
            return signal.Signals(-self.code).name
        return f"signal {-self.code}"


class Worker:
    """One running worker process; everything it says arrives in ``events`` as (worker, message or Exited)."""

    def __init__(
        self,
        state: JobState,
        slot: Slot,
        command: list[str],
        log: Path,
        events: queue.Queue[tuple[Worker, Message | Exited]],
    ) -> None:
        self.state = state
        self.slot = slot
        self.log = log
        self.ended: Ended | None = None
        with _opened(log) as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(state.job.threads),
                start_new_session=True,  # the terminal's Ctrl-C reaches the scheduler alone
            )
        threading.Thread(target=self._listen, args=(events,), name=f"worker-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """Asks the worker to stop at its next safe point."""
        pipe = self._process.stdin
        with contextlib.suppress(OSError, ValueError):
            if pipe is not None:
                pipe.write(f"{STOP}\n".encode())
                pipe.flush()

    def kill(self) -> None:
        """Ends the worker, and what it started, now."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, seconds: float) -> None:
        """Waits until the process is gone, at most ``seconds``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def _listen(self, events: queue.Queue[tuple[Worker, Message | Exited]]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                message = decode(line.decode("utf-8", "replace"))
                if message is not None and message.key == self.state.job.key:
                    events.put((self, message))
        code = self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        events.put((self, Exited(code)))


def worker_command(database: str, *, weights_dir: Path | None = None, said: str = "") -> Spawn:
    """The real worker's command line; ``said`` is what the user typed, kept with the run's environment."""

    def spawn(state: JobState, slot: Slot) -> list[str]:
        command = [sys.executable, "-P", "-m", "mmad.queue.worker", "--db", database, "--key", state.job.key]
        command += ["--device", slot.device]
        if state.job.data is not None:
            command += ["--data", state.job.data]
        if weights_dir is not None:
            command += ["--weights-dir", str(weights_dir)]
        if said:
            command += ["--said", said]
        return command

    return spawn


def _environment(threads: int) -> dict[str, str]:
    """The worker's environment: its threads are known before any library that counts cores is loaded."""
    environment = dict(os.environ)
    for name in _THREAD_VARIABLES:
        environment[name] = str(threads)
    environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its sums only with this
    return environment


def _opened(log: Path) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError as error:
        raise MmadError(
            f"the run's log cannot be written ({error.strerror})", where=log, mend="make the folder writable"
        ) from error
