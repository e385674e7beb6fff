"""Runs as lines of the user's own shell, which hands them to whatever trains them: ssh, qsub, any batch system.

A line carries the worker's command line with a run's key. It may stay until the run is over or return at once: how a
run does is read from the store.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import string
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmad.base.clock import seconds as clock
from mmad.base.errors import MmadError
from mmad.base.paths import StorePaths
from mmad.scheduler.devices import Slot, Slots
from mmad.scheduler.executors.base import ClusterSlots, Event, unwritable, worker_arguments, worker_environment
from mmad.scheduler.executors.polling import PolledExecutor, explained, printed
from mmad.scheduler.jobs import JobState
from mmad.scheduler.process import WORKER, Exited
from mmad.scheduler.supervisor_link import Ended, TrainRequest

#: What a template may name.
_NAMES = ("command", "quoted", "key", "gpus")
#: Lines at once, unless ``--jobs`` says otherwise.
_LINES = 32
#: Seconds between two looks at the lines, and those after which a run that nobody began counts as lost.
_LOOK, _BEGINS = 1.0, 24 * 3600.0
#: Seconds that a line may stay when its run is over.
_LEAVES = 10.0
_SIGKILL = -9


def check_template(template: str | None) -> str:
    """``template``, if a shell can make a line of it that hands out a run.

    Raises:
        MmadError: none, one without ``{command}`` or ``{quoted}``, with other names, with a program that is not here.
    """
    hint = "as in --template 'ssh gpu1 {quoted}'"
    if template is None or not template.strip():
        raise MmadError("is needed", where="--template", hint=hint)
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise MmadError(
            f"{template!r}: {error}", where="--template", hint="write {{ and }} for braces of the shell"
        ) from None
    strange = [name for name in names if name not in _NAMES]
    if strange:
        raise MmadError(
            f"{{{strange[0]}}} is not a placeholder",
            where="--template",
            hint="use {command}, {quoted}, {key} or {gpus}, and {{ and }} for braces of the shell",
        )
    if "command" not in names and "quoted" not in names:
        raise MmadError(f"{template!r} has no {{command}} or {{quoted}}", where="--template", hint=hint)
    line = _filled(template, "true", "0" * 64)
    checked = subprocess.run(["/bin/sh", "-n", "-c", line], capture_output=True, text=True, check=False)
    if checked.returncode:
        said = checked.stderr.strip().splitlines() or ["no shell command"]
        raise MmadError(f"{template!r}: {said[-1]}", where="--template", hint="try it in a shell")
    first = template.split()[0]
    if first.replace("-", "").replace("_", "").isalnum() and shutil.which(first) is None and not _builtin(first):
        raise MmadError(f"there is no {first} here", where="--template", hint="name a program of this machine")
    return template


def command_slots(template: str | None, jobs: int | None, device: str = "auto") -> ClusterSlots:
    """As many lines at once as ``jobs`` says, each of a run on ``device``.

    Raises:
        MmadError: a template that hands out nothing, a device that is not said, no number of jobs.
    """
    check_template(template)
    word = device.strip().lower()
    if word not in ("cpu", "cuda"):
        raise MmadError(
            f"{device}: what the lines run on is not known here", where="--device", hint="say --device cuda or cpu"
        )
    if jobs is not None and jobs < 1:
        raise MmadError(f"{jobs} is not a number of runs", where="--jobs", hint="as in --jobs 16")
    return ClusterSlots("a shell command", gpus=int(word == "cuda"), jobs=_LINES if jobs is None else jobs)


@dataclass
class _Line:
    """A line of the shell, its slot, what it prints, and since when it is there."""

    process: subprocess.Popen[bytes]
    slot: Slot
    output: Path
    began: float = field(default_factory=clock)
    over: float | None = None
    cancelled: bool = False

    def end(self) -> None:
        """Kills what the line still runs."""
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class CommandExecutor(PolledExecutor):
    """Implements ``mmad.scheduler.executors.base.Executor`` with a shell command per run.

    Args:
        slots: of ``command_slots``.
        template: the request of every run, but for its key, device and data.
        line: a line of ``sh`` with ``{command}``, ``{quoted}`` (the same as one word) and perhaps ``{key}`` and
            ``{gpus}``.
        program: the worker, as the Python that runs this takes it.
    """

    slots: Slots
    template: TrainRequest
    line: str
    program: Sequence[str] = WORKER
    _lines: dict[str, _Line] = field(default_factory=dict)
    _looked: float = 0.0

    def __post_init__(self) -> None:
        self.folder = StorePaths(self.template.database).runs.absolute() / "lines"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from None

    def submit(self, state: JobState) -> bool:
        """Gives the shell a line for the run."""
        slot = self.slots.take(state.job.threads, state.job.memory_key, gpus=state.job.gpus)
        if slot is None:
            return False
        key = state.job.key
        self._poller.follow(state)
        given = worker_environment(self.template.database, state.job.threads)
        words = [sys.executable, *self.program, *worker_arguments(self.template, state, slot)]
        # A worker that holds a pipe would leave when that closes, and a line that has returned holds none.
        command = shlex.join(["env", *(f"{name}={value}" for name, value in given.items()), *words]) + " </dev/null"
        output = self.folder / f"{key}.out"
        try:
            with output.open("wb") as file:
                process = subprocess.Popen(
                    ["/bin/sh", "-c", _filled(self.line, command, key, state.job.gpus)],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            self.slots.give_back(slot)
            raise MmadError(f"no line could be started ({error.strerror})", where=output) from None
        self._lines[key] = _Line(process, slot, output)
        state.device = f"line {process.pid}"
        return True

    def poll(self, seconds: float) -> Iterator[Event]:
        """What the store says of the runs, and which are over."""
        time.sleep(seconds)
        if not self._lines:
            return
        yield from self._poller.poll()
        if clock() - self._looked < _LOOK:
            return
        self._looked = clock()
        for key, line in list(self._lines.items()):
            exited = self._over(key, line)
            if exited is None:
                continue
            line.end()
            del self._lines[key]
            self.slots.give_back(line.slot)
            lines = printed(line.output)
            yield from self._ended(key, line, lines, explained(exited, lines))
            with contextlib.suppress(OSError):
                line.output.unlink()

    def cancel(self, key: str, *, now: bool) -> None:
        """Ends the line if it is still there, else asks the run to stop through the store.

        One that still waits in a queue of its own stays there, and trains when its turn comes.
        """
        line = self._lines.get(key)
        if line is None:
            return
        line.cancelled = True
        if line.process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(line.process.pid, signal.SIGKILL if now else signal.SIGTERM)
        elif self._poller.claimed(key):
            self._store.stop([key])

    def close(self) -> None:
        """Ends the lines that are still there."""
        for key, line in self._lines.items():
            self.cancel(key, now=True)
            line.end()
        self._close_store()

    def _over(self, key: str, line: _Line) -> Exited | None:
        """How an attempt ended where its worker did not say; None while it may still come to something."""
        code = line.process.poll()
        claimed = self._poller.claimed(key)
        if not self._poller.is_open(key):
            line.over = line.over or clock()
            if code is None and clock() - line.over < _LEAVES:
                return None
            return Exited(code or 0) if claimed or not line.cancelled else Exited(_SIGKILL)
        if not claimed:
            if line.cancelled and code is not None:
                return Exited(_SIGKILL, why="it was not begun")
            if code:
                return Exited(code)
            late = code is not None and clock() - line.began > _BEGINS
            return Exited(_SIGKILL, why="its line was lost: nobody began the run") if late else None
        lost = key in self._store.free([key])
        return Exited(_SIGKILL, why="its line was lost, or its worker killed") if lost else None

    def _ended(self, key: str, line: _Line, lines: Sequence[str], exited: Exited) -> Iterator[Event]:
        """The end of an attempt; a run that this stopped through the store is one that was interrupted."""
        for ended_key, event in self._poller.ended(key, lines, exited, cancelled=line.cancelled):
            if line.cancelled and isinstance(event, Ended) and event.status == "stopped":
                self._store.requeue([key], ("stopped",))
                yield ended_key, Ended(key, "interrupted", recorded=True)
            else:
                yield ended_key, event


def _filled(template: str, command: str, key: str, gpus: int = 1) -> str:
    return template.format(command=command, quoted=shlex.quote(command), key=key, gpus=gpus)


def _builtin(word: str) -> bool:
    """Whether the shell itself knows ``word``."""
    return subprocess.run(["/bin/sh", "-c", f"command -v {word}"], capture_output=True, check=False).returncode == 0
