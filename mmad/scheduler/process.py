"""The one place of the scheduler that spawns processes: workers, mmad in the background, a user's command."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mmad.base.errors import MmadError
from mmad.scheduler.run_log import log_refused
from mmad.scheduler.supervisor_link import Message, TrainRequest, WorkerRequest, decode_message, encode

#: The worker, as a node's Python takes it.
WORKER = ("-P", "-m", "mmad.scheduler.worker")
#: The command line of a worker of this machine that waits for requests.
SERVE = (sys.executable, *WORKER, "--serve")
#: The command line in a process of its own, which writes each line at once.
MMAD = (sys.executable, "-P", "-u", "-m", "mmad")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Exited:
    """A worker is gone; a negative ``code`` is the signal that killed it.

    ``why`` says more than the code where that is known, such as that its node is gone.
    """

    code: int
    log: Path | None = None
    why: str = ""

    @property
    def signal_name(self) -> str | None:
        """The name of the signal that killed the worker, or None when it exited by itself."""
        if self.code >= 0:
            return None
        with contextlib.suppress(ValueError):
            return signal.Signals(-self.code).name
        return f"signal {-self.code}"

    @property
    def how(self) -> str:
        """How the worker ended, in words."""
        if self.why:
            return self.why
        name = self.signal_name
        return f"its process ended with exit code {self.code}" if name is None else f"its process was killed by {name}"


class Worker:
    """One worker process; everything it sends arrives in ``events`` as (worker, message or Exited).

    Args:
        command: its command line.
        threads: CPU threads its libraries see.
        visible: the one GPU that it may see; empty for all of them.
        log: where its standard error goes until its first request.

    Raises:
        MmadError: the log cannot be written, or the system starts no process.
    """

    def __init__(
        self,
        command: list[str],
        threads: int,
        log: Path,
        events: queue.SimpleQueue[tuple[Worker, Message | Exited]],
        visible: str = "",
    ) -> None:
        self.threads = threads
        if os.name == "nt":  # no process groups, no locks on files that are written
            raise MmadError("training needs Linux or macOS", hint="use WSL 2; reports and databases are read here too")
        shown = {"CUDA_VISIBLE_DEVICES": visible} if visible else {}
        with _opened(log) as errors:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env={**os.environ, **environment(threads), **shown},
                    start_new_session=True,  # the terminal's Ctrl-C reaches the scheduler alone
                )
            except OSError as error:
                raise MmadError(
                    f"no worker process can be started ({error.strerror})",
                    where=command[0],
                    hint="free some memory or processes (ulimit -u, ulimit -n), then run the command again",
                ) from error
        threading.Thread(target=self._listen, args=(events,), name=f"worker-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def train(self, request: TrainRequest) -> None:
        """Has the worker train a run; one that is gone says so by its ``Exited``."""
        self._send(request)

    def stop(self) -> None:
        """Asks the worker to stop at its next safe point."""
        self._send("stop")

    def quit(self) -> None:
        """Lets the worker go once it is idle."""
        self._send("quit")

    def kill(self) -> None:
        """Ends the worker, and what it started, now."""
        if self._process.poll() is None:
            _kill_group(self._process)

    def wait(self, seconds: float) -> None:
        """Waits until the process is gone, at most ``seconds``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def _send(self, request: WorkerRequest) -> None:
        pipe = self._process.stdin
        with contextlib.suppress(OSError, ValueError):
            if pipe is not None:
                pipe.write(f"{encode(request)}\n".encode())
                pipe.flush()

    def _listen(self, events: queue.SimpleQueue[tuple[Worker, Message | Exited]]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                message = decode_message(line.decode("utf-8", "replace"))
                if message is not None:
                    events.put((self, message))
        code = self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        events.put((self, Exited(code)))


def environment(threads: int) -> dict[str, str]:
    """A worker's own variables: its threads are known before any library that counts cores is loaded."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


def run_python(code: str, arguments: Sequence[str], variables: Mapping[str, str], timeout: float) -> str | None:
    """What ``code`` prints in a Python of its own; None when it took longer than ``timeout`` seconds."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **variables},
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            _kill_group(process)
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in a driver cannot be killed
                process.wait(1.0)
            assert process.stdout is not None
            process.stdout.close()


def start_detached(words: Sequence[str], log: Path, lock: int, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Begins ``mmad WORDS…`` in a session of its own, which no terminal ends; ``log`` takes its output.

    Args:
        lock: a descriptor that stays open in the process, and in none that it starts.

    Raises:
        OSError: the log cannot be written, or the system starts no process.
    """
    with log.open("wb") as output:
        return subprocess.Popen(
            [*MMAD, *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **variables},
            pass_fds=(lock,),
            start_new_session=True,
        )


def run_shell(command: str, text: str, environment: Mapping[str, str], timeout: float) -> int | None:
    """Runs a user's ``command`` with ``text`` on its standard input; what it prints goes to standard error.

    Returns:
        Its exit code, or None when it took longer than ``timeout`` seconds and was killed with what it had started.
    """
    process = subprocess.Popen(
        command,
        shell=True,
        stdin=subprocess.PIPE,
        stdout=2,
        env={**os.environ, **environment},
        text=True,
        start_new_session=True,
    )
    try:
        process.communicate(text, timeout=timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:  # it takes too long, or Ctrl-C came while it works
            _kill_group(process)
            process.wait()
    return process.returncode


def _kill_group(process: subprocess.Popen[Any]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _opened(log: Path) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError as error:
        raise log_refused(log, error) from error
