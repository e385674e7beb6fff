"""The live view on a terminal: a table of the runs that redraws itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mmad.base.clock import seconds
from mmad.queue.jobs import Estimate, JobState, remaining
from mmad.queue.messages import EpochDone
from mmad.queue.slots import Slots
from mmad.queue.wording import RANK, bar, counted, duration, goes_on, number, opening, status_word

#: Columns with the width they have from the first frame on, so that the table does not jump.
_COLUMNS = {
    "setting": 7,
    "arm": 3,
    "seed": 4,
    "status": 10,
    "epoch": 7,
    "": 10,
    "loss": 5,
    "val AP": 6,
    "best": 5,
    "ETA": 8,
}


class LiveView:
    """A table of the runs, redrawn four times a second, with what needs reading printed above it."""

    def __init__(self, stream: TextIO, console: Console | None = None) -> None:
        self._console = console or Console(file=stream, highlight=False)
        self._states: list[JobState] = []
        self._places = 1
        self._left = Estimate()
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def begin(self, states: list[JobState], slots: Slots) -> None:
        self._states = states
        self._places = slots.places(max((state.job.threads for state in states), default=1))
        self.note(opening(states, slots))

    def started(self, state: JobState) -> None:
        if state.epochs_done:
            self.note(f"{state.job.label}:{goes_on(state).replace(',', '', 1)}")

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
        table = _table(shown)
        total = sum(state.job.epochs for state in states)
        done = sum(state.epochs_over for state in states)
        left = self._left(states, self._places)
        over = sum(not state.open for state in states)
        line = f"{bar(done / total, 24)} {over} of {len(states)} runs over, {duration(seconds() - self._began)} so far"
        line += f", about {duration(left)} to go" if left else ""
        return Group(table, Text(hidden, style="dim"), Text(line)) if hidden else Group(table, Text(line))


def _table(states: Sequence[JobState]) -> Table:

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, width in _COLUMNS.items():
        words = name in ("setting", "arm", "status", "")
        table.add_column(name, justify="left" if words else "right", min_width=width, no_wrap=True, overflow="ellipsis")
    for state in states:
        left = remaining(state) if state.phase == "running" else None
        table.add_row(
            Text(state.job.setting),
            Text(state.job.arm),
            str(state.job.seed),
            Text(status_word(state), style=RANK.get(state.phase, "")),
            f"{min(state.epochs_done + (state.phase == 'running'), state.job.epochs)}/{state.job.epochs}",
            bar(state.within, 10) if state.phase == "running" else "",
            number(state.loss),
            number(state.val_ap),
            number(state.best_val_ap),
            duration(left) if left is not None else "",
        )
    return table


def _fitting(states: Sequence[JobState], rows: int) -> tuple[list[JobState], str]:
    """The states that fit into ``rows``, in their order, with the rest in words: running and failed ones first."""
    if len(states) <= rows:
        return list(states), ""
    rank = {phase: place for place, phase in enumerate(RANK)}
    order = sorted(range(len(states)), key=lambda i: (rank.get(states[i].phase, 0), i))
    kept = set(order[: rows - 1])
    rest = Counter(str(states[i].phase) for i in range(len(states)) if i not in kept)
    return [states[i] for i in sorted(kept)], f"… and {counted(rest)}"
