"""What a person sees while runs are trained: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mmad.base.clock import seconds
from mmad.base.formatting import duration
from mmad.base.terminal import SafeConsole, TerminalColumn, fitted_table
from mmad.scheduler.devices import Slots
from mmad.scheduler.jobs import JobState, TimeEstimate, remaining
from mmad.scheduler.supervisor_link import EpochDone

#: Every status a person may meet, those that matter most first, and its colour.
RANK = {
    "running": "cyan",
    "claimed": "cyan",
    "elsewhere": "magenta",
    "failed": "red",
    "interrupted": "yellow",
    "stopped": "yellow",
    "queued": "dim",
    "finished": "green",
}
#: Seconds without a line of a run after which plain lines say how far its epoch is.
_SILENCE = 15.0
#: Columns, as wide from the first frame on as they become, so that the table does not jump, and how soon each yields.
_COLUMNS = (
    TerminalColumn("setting", wraps=True),
    TerminalColumn("arm", wraps=True),
    TerminalColumn("seed", right=True),
    TerminalColumn("status", narrowest=10),
    TerminalColumn("epoch", right=True, narrowest=7),
    TerminalColumn("", narrowest=10, yields=3),
    TerminalColumn("loss", right=True, narrowest=5, yields=5),
    TerminalColumn("val AP", right=True, yields=1),
    TerminalColumn("best", right=True, narrowest=5, yields=4),
    TerminalColumn("ETA", right=True, narrowest=8, yields=2),
)


def opening(states: Sequence[JobState], slots: Slots) -> str:
    """The first line: how many runs, and where."""
    return f"{len(states)} run{'s' * (len(states) != 1)} to train on {slots.describe(*_largest(states))}"


def _largest(states: Sequence[JobState]) -> tuple[int, int]:
    """The most threads of a process, and the most processes of a run."""
    jobs = [state.job for state in states]
    return max((job.threads for job in jobs), default=1), max((job.gpus for job in jobs), default=1)


def epoch_line(done: EpochDone) -> str:
    """One committed epoch in one line."""
    words = [f"epoch {done.epoch}/{done.epochs}"]
    for name, value in (
        ("loss", done.train_loss),
        ("val loss", done.val_loss),
        ("val AP", done.val_ap),
        ("best", done.best_val_ap),
    ):
        if value is not None:
            words.append(f"{name} {number(value)}")
    return ", ".join([*words, f"{done.seconds:.1f} s"])


def where_now(state: JobState) -> str:
    """How far the present epoch is."""
    now = state.progress
    here = state.device.startswith(("cpu", "cuda", "mps"))
    if now is None and not here:  # on a cluster: nothing within an epoch is known
        return f"{state.epochs_done} of {state.job.epochs} epochs done"
    if now is None:
        return "loading torch"
    if now.phase == "load":
        return "reading the data set" + (f", {now.step} of {now.steps} images" if now.step else "")
    loss = f", loss {number(now.loss)}" if now.loss is not None else ""
    return f"epoch {now.epoch}/{now.epochs}, {now.phase}, step {now.step} of {now.steps}{loss}"


def bar(part: float, width: int, *, plain: bool = False) -> str:
    """A bar of ``width`` characters filled to ``part`` (0 to 1); ``plain`` for terminals that know ASCII alone."""
    full = round(max(0.0, min(1.0, part)) * width)
    return ("#" if plain else "█") * full + ("-" if plain else "░") * (width - full)


def counted(counts: Mapping[str, int]) -> str:
    """``8 running, 1,200 queued``: every status that has runs, those that matter most first."""
    order = [*(status for status in RANK if status in counts), *(status for status in counts if status not in RANK)]
    return ", ".join(f"{counts[status]:,} {status}" for status in order if counts[status])


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def status_word(state: JobState) -> str:
    now = state.progress
    if state.phase != "running":
        return state.phase
    if now is None:
        return "starting" if not state.epoch_seconds else f"on {state.device}"
    return {"load": "loading", "train": "training", "val": "validating", "test": "testing"}[now.phase]


def resumes(state: JobState) -> str:
    if not state.epochs_done:
        return ""
    return f", resumes after epoch {state.epochs_done} of {state.job.epochs}"


def closing(state: JobState) -> str:
    if state.phase == "finished":
        if state.best_val_ap is not None:
            return f"finished, best val AP {number(state.best_val_ap)}"
        return "finished" if state.val_ap is None else f"finished, final val AP {number(state.val_ap)}"
    word = "stopped by hand" if state.phase == "stopped" else "interrupted"
    return f"{word} after epoch {state.epochs_done} of {state.job.epochs}"


class ProgressView(Protocol):
    """Shows the states that the scheduler keeps (in a list that may grow); entered while it works."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def begin(self, states: list[JobState], slots: Slots) -> None: ...

    def started(self, state: JobState) -> None: ...

    def epoch(self, state: JobState, done: EpochDone) -> None: ...

    def ended(self, state: JobState) -> None: ...

    def note(self, text: str) -> None: ...

    def tick(self) -> None: ...


def choose_view(stream: TextIO | None = None) -> ProgressView:
    """The live table when ``stream`` (standard output) is a terminal, else plain lines."""
    stream = stream or sys.stdout
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return LiveView(stream)
    return PlainView(stream, sys.stderr)


class PlainView:
    """One line per event, for logs and pipes; errors go to ``errors``."""

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._stream = stream
        self._errors = errors
        self._states: list[JobState] = []
        self._capacity = 1
        self._left = TimeEstimate()
        self._over: set[str] = set()
        self._spoke: dict[str, tuple[JobState, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def begin(self, states: list[JobState], slots: Slots) -> None:
        self._states = states
        self._over.clear()
        self._capacity = slots.capacity(*_largest(states))
        self._say(opening(states, slots))

    def started(self, state: JobState) -> None:
        self._say(f"{state.job.label}: starting on {state.device}{resumes(state)}", state)

    def epoch(self, state: JobState, done: EpochDone) -> None:
        left = self._left(self._states, self._capacity)
        eta = f", all done in {duration(left)}" if left else ""
        self._say(f"{state.job.label}: {epoch_line(done)}{eta}", state)

    def ended(self, state: JobState) -> None:
        if state.phase != "interrupted":
            self._over.add(state.job.key)
        over = len(self._over)
        self._spoke.pop(state.job.key, None)
        if state.phase == "failed":
            _write(self._errors, f"mmad: {state.job.label}: failed: {state.error}")
            self._say(f"{state.job.label}: failed ({over} of {len(self._states)} ended)")
        else:
            self._say(f"{state.job.label}: {closing(state)} ({over} of {len(self._states)} ended)")

    def note(self, text: str) -> None:
        self._say(text)

    def tick(self) -> None:
        moment = seconds()
        for state, spoke in list(self._spoke.values()):
            if state.phase == "running" and moment - spoke >= _SILENCE:
                self._say(f"{state.job.label}: {where_now(state)}", state)

    def _say(self, text: str, state: JobState | None = None) -> None:
        if state is not None:
            self._spoke[state.job.key] = state, seconds()
        _write(self._stream, text)


def _write(stream: TextIO, line: str) -> None:
    """Writes one line at once; a reader that went away does not stop the training."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        return
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        print(line.encode(encoding, "replace").decode(encoding), file=stream, flush=True)


class LiveView:
    """A table of the runs, redrawn four times a second, with what needs reading printed above it."""

    def __init__(self, stream: TextIO, console: Console | None = None) -> None:
        self._console = console or SafeConsole(stream)
        self._states: list[JobState] = []
        self._capacity = 1
        self._left = TimeEstimate()
        self._began = seconds()
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def begin(self, states: list[JobState], slots: Slots) -> None:
        self._states = states
        self._capacity = slots.capacity(*_largest(states))
        self.note(opening(states, slots))

    def started(self, state: JobState) -> None:
        if state.epochs_done:
            self.note(f"{state.job.label}:{resumes(state).replace(',', '', 1)}")

    def epoch(self, state: JobState, done: EpochDone) -> None:
        """The table shows it."""

    def ended(self, state: JobState) -> None:
        if state.phase == "failed":
            self._console.print(f"{state.job.label}: failed: {state.error}", style="red", markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def tick(self) -> None:
        """The table redraws itself."""

    def _draw(self) -> RenderableType:
        states = list(self._states)
        if not states:
            return Text("")
        shown, hidden = _fitting(states, max(3, self._console.height - 6))
        table = _table(shown, self._console.width)
        total = sum(state.job.epochs for state in states)
        done = sum(state.epochs_over for state in states)
        left = self._left(states, self._capacity)
        over = sum(not state.open and state.phase != "interrupted" for state in states)
        line = f"{bar(done / total, 24)} {over} of {len(states)} runs ended, {duration(seconds() - self._began)} so far"
        line += f", about {duration(left)} to go" if left else ""
        return Group(table, Text(hidden, style="dim"), Text(line)) if hidden else Group(table, Text(line))


def _table(states: Sequence[JobState], width: int) -> Table:
    rows: list[list[str | Text]] = []
    for state in states:
        left = remaining(state) if state.phase == "running" else None
        rows.append(
            [
                state.job.setting,
                state.job.arm,
                str(state.job.seed),
                Text(status_word(state), style=RANK.get(state.phase, "")),
                f"{min(state.epochs_done + (state.phase == 'running'), state.job.epochs)}/{state.job.epochs}",
                bar(state.within, 10) if state.phase == "running" else "",
                number(state.loss),
                number(state.val_ap),
                number(state.best_val_ap),
                duration(left) if left is not None else "",
            ]
        )
    one_seed = len({state.job.seed for state in states}) == 1
    columns = [replace(column, yields=6) if column.head == "seed" and one_seed else column for column in _COLUMNS]
    return fitted_table(columns, rows, width, between=2, wrap=False)


def _fitting(states: Sequence[JobState], rows: int) -> tuple[list[JobState], str]:
    """The states that fit into ``rows``, in their order, with the rest in words: running and failed ones first."""
    if len(states) <= rows:
        return list(states), ""
    rank = {phase: place for place, phase in enumerate(RANK)}
    order = sorted(range(len(states)), key=lambda i: (rank.get(states[i].phase, 0), i))
    shown = set(order[: rows - 1])
    rest = Counter(str(states[i].phase) for i in range(len(states)) if i not in shown)
    return [states[i] for i in sorted(shown)], f"… and {counted(rest)}"
