"""What a person sees while runs are worked off: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Protocol, Self, TextIO

from mmad.base.clock import seconds
from mmad.queue.jobs import Estimate, JobState
from mmad.queue.messages import EpochDone
from mmad.queue.slots import Slots
from mmad.queue.wording import closing, duration, epoch_line, goes_on, opening, where_now

#: Seconds without a line of a run after which plain lines say where its epoch stands.
_SILENCE = 15.0


class View(Protocol):
    """Shows the states that the scheduler keeps (in a list that may grow); entered while it works."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, states: list[JobState], slots: Slots) -> None: ...

    def started(self, state: JobState) -> None: ...

    def epoch(self, state: JobState, done: EpochDone) -> None: ...

    def ended(self, state: JobState) -> None: ...

    def note(self, text: str) -> None: ...

    def tick(self) -> None: ...


def choose_view(stream: TextIO | None = None, errors: TextIO | None = None) -> View:
    """The live table when ``stream`` (standard output) is a terminal, else plain lines."""
    stream = stream or sys.stdout
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        from mmad.queue.live import LiveView

        return LiveView(stream)
    return PlainView(stream, errors or sys.stderr)


class PlainView:
    """One line per event, for logs and pipes; errors go to ``errors``."""

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._stream = stream
        self._errors = errors
        self._states: list[JobState] = []
        self._places = 1
        self._left = Estimate()
        self._over: set[str] = set()
        self._spoke: dict[str, tuple[JobState, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(self, states: list[JobState], slots: Slots) -> None:
        self._states = states
        threads = max((state.job.threads for state in states), default=1)
        self._places = slots.places(threads)
        self._say(opening(states, slots))

    def started(self, state: JobState) -> None:
        self._say(f"{state.job.label}: starting on {state.device}{goes_on(state)}", state)

    def epoch(self, state: JobState, done: EpochDone) -> None:
        left = self._left(self._states, self._places)
        eta = f", all done in {duration(left)}" if left else ""
        self._say(f"{state.job.label}: {epoch_line(done)}{eta}", state)

    def ended(self, state: JobState) -> None:
        self._over.add(state.job.key)
        over = len(self._over)
        self._spoke.pop(state.job.key, None)
        if state.phase == "failed":
            _write(self._errors, f"mmad: {state.job.label}: failed: {state.error}")
            self._say(f"{state.job.label}: failed ({over} of {len(self._states)} over)")
        else:
            self._say(f"{state.job.label}: {closing(state)} ({over} of {len(self._states)} over)")

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
