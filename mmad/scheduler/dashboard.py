"""Watches a queue through its database: one snapshot after the other, until a key, Ctrl-C or the end."""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import IO, Any, TextIO

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mmad.base.clock import now, seconds
from mmad.base.formatting import duration, size
from mmad.base.json_values import picked
from mmad.base.terminal import SafeConsole, TerminalColumn, fitted_table, unguarded
from mmad.scheduler.devices import GpuUse, Machine, MachineUse
from mmad.scheduler.progress import RANK, bar, counted, number
from mmad.store.run_json import failed_json, running_json, waiting_json
from mmad.store.run_status import WAITING, Cost, QueueStatus, RunningRun, run_name
from mmad.store.store import Store

#: The table's columns after the run, in their order; and the order in which they take the room there is.
COLUMNS = ("status", "epoch", "", "val AP", "best", "for", "ETA", "owner", "device", "CPU", "RAM", "GPU")
FIRST = ("status", "epoch", "ETA", "val AP", "", "device", "best", "GPU", "owner", "for", "CPU", "RAM")
#: The same order where several machines train.
FIRST_OF_SEVERAL = ("status", "epoch", "ETA", "owner", "device", "for", "val AP", "", "best", "GPU", "CPU", "RAM")
#: Lines of a terminal below which there is no room for what failed and what comes next.
_LOW = 12
_WORDS = ("status", "", "owner", "device")
_BAR = 10
#: How many failed and waiting runs a frame may want; the rest are counted.
SHOWN = 20
#: Columns of a frame where no terminal sets them.
WIDE = 160
#: Seconds between two looks at the keyboard and at the terminal's size.
_TICK = 0.1
#: Seconds for which the time that all waiting runs take is cached.
_COSTS = 10.0
#: How much longer than a look took (in CPU time) the next one waits: looks cost a twentieth of a core at most.
_REST = 20


@dataclass(frozen=True)
class Snapshot:
    """All that a frame shows: what runs (on ``host`` alone, if given), what failed, what comes next, and this machine,
    at one ``moment``."""

    queue: QueueStatus
    machine: MachineUse
    moment: datetime
    host: str | None = None

    @property
    def running(self) -> tuple[RunningRun, ...]:
        """The runs that are shown."""
        return tuple(run for run in self.queue.running if self.host in (None, _host(run)))


def draw(snapshot: Snapshot, width: int, height: int | None = None, *, plain: bool = False) -> RenderableType:
    """The frame for a terminal of ``width`` columns and ``height`` lines (None: as long as it is).

    Args:
        plain: ASCII alone.
    """
    queue = snapshot.queue
    parts: list[RenderableType] = [_line(_headline(snapshot, width, plain), "bold")]
    foot = [_line(f"GPU {gpu.index} {gpu.name}: {_gpu_use(gpu)} of {size(gpu.total)}") for gpu in snapshot.machine.gpus]
    room = 10_000 if height is None else max(3, height - len(foot) - 1)
    alarming = min(len(queue.failed), 5, room // 4) if room >= _LOW else 0
    coming = min(len(queue.waiting), 3) if room >= _LOW else 0
    space = room - 1 - (alarming and alarming + 2) - (coming and coming + 2)
    machines = _machines(snapshot.running)
    if len(machines) > 1 and len(snapshot.running) > space:  # else each run has its own row
        parts += _machine_table(snapshot, machines, space, width, plain)
    elif not machines and snapshot.host is not None:
        parts.append(_line(f"nothing trains on {snapshot.host}", "dim"))
    elif machines:
        ordered = [run for runs in machines.values() for run in runs]
        training = ordered if len(ordered) <= space else ordered[: max(1, space - 1)]
        parts.append(_table(snapshot, training, width, plain, FIRST_OF_SEVERAL if len(machines) > 1 else FIRST))
        if len(ordered) > len(training):
            parts.append(_line(f"… and {len(ordered) - len(training):,} more that run", "dim"))
    lost = [f"{run_name(run)}: {run.cause}" for run in queue.failed[:alarming]]
    following = [run_name(run) for run in queue.waiting[:coming]]
    parts += _section("failed", queue.counts.get("failed", 0), lost, "red")
    parts += _section("next", sum(queue.counts.get(status, 0) for status in WAITING), following, "dim")
    return Group(*parts, *foot)


def _headline(snapshot: Snapshot, width: int, plain: bool) -> str:
    queue = snapshot.queue
    if not queue.runs:
        return "no run yet: queue some with mmad ablate FILE"
    words = [f"{queue.over:,} of {queue.runs:,} run{'s' * (queue.runs != 1)} ended"]
    left = queue.seconds_left(snapshot.moment)
    if left:
        words.append(f"about {duration(left)} to go")
    elif queue.over < queue.runs and not queue.places:
        words.append("no process trains")
    if (machines := len({_host(run) for run in queue.running})) > 1:
        words.append(f"{machines:,} machines")
    if rest := counted({status: count for status, count in queue.counts.items() if status != "finished"}):
        words.append(rest)
    part = (queue.over + sum(_part(run) for run in queue.running)) / queue.runs
    drawn = f"{bar(part, 24, plain=plain)} " if width >= 100 else ""
    return drawn + ", ".join(words)


def _part(run: RunningRun) -> float:
    """The part of its epochs that a run has committed, 0 to 1."""
    return min(1.0, run.epoch / run.epochs) if run.epochs else 0.0


def _machines(running: Sequence[RunningRun]) -> dict[str, list[RunningRun]]:
    """The runs by the machine that trains them, in the order of their names and devices."""
    found: dict[str, list[RunningRun]] = {}
    for run in sorted(running, key=lambda run: (_by_number(_host(run)), _by_number(run.device or ""))):
        found.setdefault(_host(run), []).append(run)
    return found


def _host(run: RunningRun) -> str:
    return "?" if run.owner is None else run.owner.host


def _by_number(name: str) -> list[tuple[int, str]]:
    """What has ``gpu2`` come before ``gpu10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _machine_table(
    snapshot: Snapshot, machines: dict[str, list[RunningRun]], space: int, width: int, plain: bool
) -> list[RenderableType]:
    """One row for each machine, those with trouble first; a line that counts the rest."""
    lost = {name: _trouble(runs) for name, runs in machines.items()}
    order = sorted(machines, key=lambda name: not lost[name])
    shown = order if len(order) <= space else order[: max(1, space - 1)]
    rows = []
    for name in shown:
        runs = machines[name]
        began = [run.started for run in runs if run.started is not None]
        left = [one for run in runs if run.alive and (one := run.left_at(snapshot.moment)) is not None]
        part = sum(map(_part, runs)) / len(runs)
        rows.append(
            [
                Text(name),
                Text(lost[name], "yellow"),
                Text(f"{len(runs)}"),
                Text(_devices([run.device or "" for run in runs])),
                Text(bar(part, _BAR, plain=plain)),
                Text(duration((snapshot.moment - min(began)).total_seconds()) if began else ""),
                Text(duration(min(left)) if left else ""),
                Text(duration(max(left)) if left else ""),
            ]
        )
    columns = [
        TerminalColumn("machine", wraps=True),
        TerminalColumn("trouble"),
        TerminalColumn("runs", right=True),
        TerminalColumn("devices", yields=3),
        TerminalColumn("", yields=5),
        TerminalColumn("for", right=True, yields=2),
        TerminalColumn("next ends", right=True, yields=4),
        TerminalColumn("last ends", right=True, yields=1),
    ]
    if not any(lost.values()):
        columns, rows = columns[:1] + columns[2:], [row[:1] + row[2:] for row in rows]
    parts: list[RenderableType] = [fitted_table(columns, rows, width, between=1, wrap=False)]
    if rest := order[len(shown) :]:
        count = sum(len(machines[name]) for name in rest)
        parts.append(
            _line(f"… and {len(rest):,} more machines with {count:,} runs; --host NAME shows those of one", "dim")
        )
    return parts


def _trouble(runs: Sequence[RunningRun]) -> str:
    """How many runs nobody trains any more, and how many are silent."""
    lost = Counter("gone" if run.silent_since is None else "silent" for run in runs if not run.alive)
    return ", ".join(f"{count} {word}" for word, count in lost.items())


def _devices(names: Sequence[str]) -> str:
    """``cuda:0-7``, ``cpu``: each device once."""
    found = list(dict.fromkeys(name for name in names if name))
    numbers = [name.removeprefix("cuda:") for name in found]
    if len(found) > 1 and all(number.isdecimal() for number in numbers):
        whole = [str(number) for number in range(int(numbers[0]), int(numbers[-1]) + 1)]
        return f"cuda:{numbers[0]}-{numbers[-1]}" if numbers == whole else f"cuda:{','.join(numbers)}"
    return ", ".join(found)


def _table(snapshot: Snapshot, shown: Sequence[RunningRun], width: int, plain: bool, first: Sequence[str]) -> Table:
    cells = [_cells(run, snapshot, plain) for run in shown]
    chosen = [name for name in COLUMNS if any(row[name].plain for row in cells)]
    columns = [TerminalColumn("run", wraps=True)]
    columns += [TerminalColumn(name, right=name not in _WORDS, yields=1 + first.index(name)) for name in chosen]
    rows = [[Text(run_name(run)), *(row[name] for name in chosen)] for run, row in zip(shown, cells, strict=True)]
    return fitted_table(columns, rows, width, between=1, wrap=False)


def _cells(run: RunningRun, snapshot: Snapshot, plain: bool) -> dict[str, Text]:
    left = run.left_at(snapshot.moment)
    use = snapshot.machine.workers.get(run.key)
    lost = ("gone" if run.silent_since is None else "silent", "yellow")
    status = (run.status, RANK.get(run.status, "")) if run.alive else lost
    gpu = None if use is None else use.gpu
    return {
        "status": Text(*status),
        "epoch": Text(f"{run.epoch}/{run.epochs}"),
        "": Text(bar(_part(run), _BAR, plain=plain)),
        "val AP": Text(number(run.val_ap)),
        "best": Text(number(run.best_val_ap)),
        "for": Text("" if run.started is None else duration((snapshot.moment - run.started).total_seconds())),
        "ETA": Text(duration(left) if left is not None and run.alive else ""),
        "owner": Text("" if run.owner is None else f"{run.owner.host} {run.owner.pid}"),
        "device": Text(run.device or ""),
        "CPU": Text("" if use is None or use.cpu is None else f"{use.cpu:.0f} %"),
        "RAM": Text("" if use is None else size(use.memory)),
        "GPU": Text("" if gpu is None else _gpu_use(gpu)),
    }


def _section(title: str, total: int, lines: list[str], style: str) -> list[RenderableType]:
    """Some lines under a title that counts them all."""
    if not lines:
        return []
    rest = total - len(lines)
    parts: list[RenderableType] = [_line(f"{title} ({total:,})", "bold")]
    parts += [_line(f"  {line}", style) for line in lines]
    return [*parts, _line(f"  … and {rest:,} more", "dim")] if rest else parts


def _gpu_use(gpu: GpuUse) -> str:
    return (f"{gpu.percent:.0f} %, " if gpu.percent is not None else "") + size(gpu.used)


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


class Dashboard:
    """Takes snapshots of the queue of ``store``, or of one ablation's, and of this machine.

    Args:
        host: what other machines train is not shown.
    """

    def __init__(self, store: Store, ablation: str | None = None, *, host: str | None = None) -> None:
        self._store = store
        self._ablation = ablation
        self._host = host
        self._machine = Machine()
        self._costs: tuple[Cost, ...] | None = None
        self._added = 0.0

    def snapshot(self, *, settle: bool = False) -> Snapshot:
        """The queue now; ``settle`` takes a moment to measure the CPU for the first snapshot."""
        fresh = self._costs is not None and seconds() - self._added < _COSTS
        queue = self._store.queue_status(self._ablation, shown=SHOWN, costs=self._costs if fresh else None)
        if not fresh:
            self._costs, self._added = queue.costs, seconds()
        return Snapshot(queue, self._machine.look(queue.running, settle=settle), now(), self._host)


def snapshot_json(snapshot: Snapshot, ablation: str | None = None) -> dict[str, Any]:
    """A snapshot as plain JSON."""
    queue = snapshot.queue
    running = []
    for run in snapshot.running:
        use = snapshot.machine.workers.get(run.key)
        gpu = None if use is None or use.gpu is None else use.gpu.index
        left = {"seconds_left": run.left_at(snapshot.moment)}
        own = {"cpu": None if use is None else use.cpu, "memory": None if use is None else use.memory, "gpu": gpu}
        running.append({**running_json(run), **left, **own})
    gpus = [
        {name: value for name, value in asdict(gpu).items() if name not in ("uuid", "exclusive", "processes")}
        for gpu in snapshot.machine.gpus
    ]
    return {
        "moment": snapshot.moment.isoformat(),
        "ablation": ablation,
        "counts": dict(queue.counts),
        **picked(queue, "runs", "over", "places"),
        "seconds_left": queue.seconds_left(snapshot.moment),
        "running": running,
        "failed": [failed_json(run) for run in queue.failed],
        "next": [waiting_json(run) for run in queue.waiting],
        "gpus": gpus,
    }


def show(watch: Dashboard, stream: TextIO, interval: float, *, until_done: bool = False) -> None:
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
    stream = unguarded(stream)
    if isinstance(stream, io.TextIOWrapper) and not knows_letters(stream):
        stream.reconfigure(errors="replace")
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDE
    return SafeConsole(stream, markup=False, emoji=False, width=width)


def knows_letters(stream: IO[str]) -> bool:
    """Whether ``stream`` takes more than ASCII and Latin-1."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")


def _redraw(watch: Dashboard, out: Console, interval: float, until_done: bool, pressed: _Pressed) -> None:
    plain = not knows_letters(out.file)
    snapshot = watch.snapshot()

    def frame(height: int | None) -> Any:
        return draw(snapshot, out.width, height, plain=plain)

    live = Live(console=out, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with live, contextlib.suppress(KeyboardInterrupt):
        used = time.process_time()
        while True:
            seen = out.size
            live.update(frame(out.height), refresh=True)
            rest = max(interval, _REST * (time.process_time() - used))
            if (until_done and _done(snapshot)) or pressed(rest, partial(_resized, out, seen)):
                break
            used = time.process_time()
            snapshot = watch.snapshot()
    out.print(frame(None))


def _repeat(watch: Dashboard, out: Console, interval: float, until_done: bool, pressed: _Pressed) -> None:
    while True:
        used = time.process_time()
        snapshot = watch.snapshot()
        out.print(f"{snapshot.moment:%Y-%m-%d %H:%M:%S} UTC")
        out.print(draw(snapshot, out.width, plain=not knows_letters(out.file)))
        out.print()
        out.file.flush()
        rest = max(interval, _REST * (time.process_time() - used))
        if (until_done and _done(snapshot)) or pressed(rest, lambda: False):
            return


def _resized(out: Console, seen: ConsoleDimensions) -> bool:
    return out.size != seen


def _done(snapshot: Snapshot) -> bool:
    return snapshot.queue.over == snapshot.queue.runs


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
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if main else None
    try:
        if not _own_terminal():
            yield _Pressed(None)
            return
        import termios
        import tty

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


def _own_terminal() -> bool:
    """Whether standard input is a terminal in whose foreground this process stands."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False
