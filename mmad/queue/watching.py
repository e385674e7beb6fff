"""Watches a queue through its database: look after look, drawn on a terminal until a key, Ctrl-C or the end."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import IO, Any, TextIO

from rich.console import Console, ConsoleDimensions
from rich.live import Live

from mmad.base.clock import now, seconds
from mmad.queue.frame import Look, draw
from mmad.queue.machine import Machine
from mmad.store.gateway import Store
from mmad.store.plain import plain_failed, plain_running, plain_waiting
from mmad.store.standing import Cost, queue_standing

#: How many failed and waiting runs a frame may want; the rest are counted.
SHOWN = 20
#: Columns of a frame where no terminal sets them.
WIDE = 160
#: Seconds between two looks at the keyboard and at the terminal's size.
_TICK = 0.1
#: Seconds for which it holds what all waiting runs take.
_COSTS = 10.0


class Watch:
    """Takes looks at the queue of ``store``, or at that of one ablation, and at this machine."""

    def __init__(self, store: Store, ablation: str | None = None, machine: Machine | None = None) -> None:
        self._store = store
        self._ablation = ablation
        self._machine = machine or Machine()
        self._costs: tuple[Cost, ...] | None = None
        self._added = 0.0

    def look(self, *, settle: bool = False) -> Look:
        """The queue now; ``settle`` takes a moment to measure the CPU at the first look."""
        fresh = self._costs is not None and seconds() - self._added < _COSTS
        queue = queue_standing(self._store, self._ablation, shown=SHOWN, costs=self._costs if fresh else None)
        if not fresh:
            self._costs, self._added = queue.costs, seconds()
        return Look(queue, self._machine.look(queue.running, settle=settle), now())


def plain_look(look: Look, ablation: str | None = None) -> dict[str, Any]:
    """A look as plain JSON."""
    queue = look.queue
    running = []
    for run in queue.running:
        use = look.machine.of(run.key)
        gpu = None if use is None or use.gpu is None else use.gpu.index
        left = {"seconds_left": run.left_at(look.moment)}
        own = {"cpu": None if use is None else use.cpu, "memory": None if use is None else use.memory, "gpu": gpu}
        running.append({**plain_running(run), **left, **own})
    gpus = [{name: value for name, value in asdict(gpu).items() if name != "uuid"} for gpu in look.machine.gpus]
    return {
        "moment": look.moment.isoformat(),
        "ablation": ablation,
        "counts": dict(queue.counts),
        "runs": queue.runs,
        "over": queue.over,
        "places": queue.places,
        "seconds_left": queue.seconds_left(look.moment),
        "running": running,
        "failed": [plain_failed(run) for run in queue.failed],
        "next": [plain_waiting(run) for run in queue.waiting],
        "gpus": gpus,
    }


def show(watch: Watch, stream: TextIO, interval: float, *, until_done: bool = False) -> None:
    """Draws frames on ``stream`` every ``interval`` seconds until q, Ctrl-C or, if asked, the end of the queue.

    A terminal is redrawn in place, also at once when its size changes, and keeps the last frame; elsewhere, and
    on a terminal that cannot move its cursor, one frame follows the other.
    """
    out = console(stream)
    moving = out.is_terminal and not out.is_dumb_terminal
    with contextlib.suppress(KeyboardInterrupt), _keys() as pressed:
        (_redraw if moving else _repeat)(watch, out, interval, until_done, pressed)


def console(stream: TextIO) -> Console:
    """A console as wide as the terminal, else of ``WIDE`` columns; letters it cannot show are replaced."""
    if isinstance(stream, io.TextIOWrapper) and not knows_letters(stream):
        stream.reconfigure(errors="replace")
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDE
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def knows_letters(stream: IO[str]) -> bool:
    """Whether ``stream`` takes more than ASCII and Latin-1."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")


def _redraw(watch: Watch, out: Console, interval: float, until_done: bool, pressed: _Pressed) -> None:
    plain = not knows_letters(out.file)
    look = watch.look()

    def frame(height: int | None) -> Any:
        return draw(look, out.width, height, plain=plain)

    live = Live(console=out, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with live, contextlib.suppress(KeyboardInterrupt):
        while True:
            seen = out.size
            live.update(frame(out.height), refresh=True)
            if (until_done and _done(look)) or pressed(interval, partial(_resized, out, seen)):
                break
            look = watch.look()
    out.print(frame(None))


def _repeat(watch: Watch, out: Console, interval: float, until_done: bool, pressed: _Pressed) -> None:
    while True:
        look = watch.look()
        out.print(f"{look.moment:%Y-%m-%d %H:%M:%S} UTC")
        out.print(draw(look, out.width, plain=not knows_letters(out.file)))
        out.print()
        out.file.flush()
        if (until_done and _done(look)) or pressed(interval, lambda: False):
            return


def _resized(out: Console, seen: ConsoleDimensions) -> bool:
    return out.size != seen


def _done(look: Look) -> bool:
    return look.queue.over == look.queue.runs


class _Pressed:
    """Waits for q; without a keyboard it only waits."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __call__(self, interval: float, changed: Callable[[], bool]) -> bool:
        """Whether q was pressed within ``interval`` seconds, or earlier False when something ``changed``."""
        end = seconds() + interval
        while (left := end - seconds()) > 0 and not changed():
            if self._descriptor is None:
                time.sleep(min(left, _TICK))
            elif select.select([self._descriptor], [], [], min(left, _TICK))[0]:
                typed = os.read(self._descriptor, 64)
                if not typed:  # the terminal is gone
                    self._descriptor = None
                elif b"q" in typed.lower():
                    return True
        return False


@contextlib.contextmanager
def _keys() -> Iterator[_Pressed]:
    """Takes single keys from standard input where that is a terminal of ours; SIGTERM ends as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if _main_thread() else None
    try:
        if not _own_terminal():
            yield _Pressed(None)
            return
        descriptor = sys.stdin.fileno()
        settings = termios.tcgetattr(descriptor)
        try:
            tty.setcbreak(descriptor)
            yield _Pressed(descriptor)
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, settings)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _own_terminal() -> bool:
    """Whether standard input is a terminal in whose foreground this process stands."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False
