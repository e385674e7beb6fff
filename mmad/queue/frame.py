"""One frame of ``mmad watch``: what runs, what failed, what comes next, and what the machine has to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mmad.queue.gpu import GpuUse
from mmad.queue.machine import MachineUse
from mmad.queue.wording import RANK, bar, counted, duration, number, size
from mmad.store.standing import WAITING, Queue, RunningStanding, run_name

#: The table's columns after the run, in their order; and the order in which they take the room there is.
COLUMNS = ("status", "epoch", "", "val AP", "best", "ETA", "owner", "device", "CPU", "RAM", "GPU")
FIRST = ("status", "epoch", "ETA", "val AP", "", "device", "best", "GPU", "owner", "CPU", "RAM")
#: Columns of a run's name below which other columns make way.
_NAME = 24
#: Lines of a terminal below which there is no room for what failed and what comes next.
_LOW = 12
_WORDS = ("status", "", "owner", "device")
_BAR = 10


@dataclass(frozen=True)
class Look:
    """All that a frame shows: the queue and this machine at one ``moment``."""

    queue: Queue
    machine: MachineUse
    moment: datetime


def draw(look: Look, width: int, height: int | None = None, *, plain: bool = False) -> RenderableType:
    """The frame for a terminal of ``width`` columns and ``height`` lines (None: as long as it is).

    Args:
        plain: ASCII alone.
    """
    queue = look.queue
    parts: list[RenderableType] = [_line(_headline(look, width, plain), "bold")]
    foot = [_line(_gpu_line(gpu)) for gpu in look.machine.gpus]
    room = 10_000 if height is None else max(3, height - len(foot) - 1)
    alarming = min(len(queue.failed), 5, room // 4) if room >= _LOW else 0
    coming = min(len(queue.waiting), 3) if room >= _LOW else 0
    space = room - 1 - (alarming and alarming + 2) - (coming and coming + 2)
    training = queue.running if len(queue.running) <= space else queue.running[: max(1, space - 1)]
    if training:
        parts.append(_table(look, training, width, plain))
        if len(queue.running) > len(training):
            parts.append(_line(f"… and {len(queue.running) - len(training):,} more that run", "dim"))
    lost = [f"{run_name(run)}: {run.cause}" for run in queue.failed[:alarming]]
    following = [run_name(run) for run in queue.waiting[:coming]]
    parts += _section("failed", queue.counts.get("failed", 0), lost, "red")
    parts += _section("next", sum(queue.counts.get(status, 0) for status in WAITING), following, "dim")
    return Group(*parts, *foot)


def _headline(look: Look, width: int, plain: bool) -> str:
    queue = look.queue
    if not queue.runs:
        return "no run yet: queue some with mmad ablate FILE"
    words = [f"{queue.over:,} of {queue.runs:,} run{'s' * (queue.runs != 1)} over"]
    left = queue.seconds_left(look.moment)
    if left:
        words.append(f"about {duration(left)} to go")
    elif queue.over < queue.runs and not queue.places:
        words.append("no process trains")
    if rest := counted({status: count for status, count in queue.counts.items() if status != "finished"}):
        words.append(rest)
    part = (queue.over + sum(_part(run) for run in queue.running)) / queue.runs
    drawn = f"{bar(part, 24, plain=plain)} " if width >= 100 else ""
    return drawn + ", ".join(words)


def _part(run: RunningStanding) -> float:
    """The part of its epochs that a run has committed, 0 to 1."""
    return min(1.0, run.epoch / run.epochs) if run.epochs else 0.0


def _table(look: Look, shown: tuple[RunningStanding, ...], width: int, plain: bool) -> Table:
    rows = [_cells(run, look, plain) for run in shown]
    names = [run_name(run) for run in shown]
    longest = max(map(cell_len, ["run", *names]))
    widths: dict[str, int] = {}
    room = width - 1 - min(longest, _NAME)
    for name in FIRST:
        needed = max(cell_len(row[name].plain) for row in rows)
        needed = needed and 1 + max(needed, cell_len(name))
        if needed and needed <= room:
            widths[name] = needed - 1
            room -= needed
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    own = min(longest, max(1, width - 1 - sum(widths.values()) - len(widths)))
    table.add_column("run", no_wrap=True, overflow="ellipsis", width=own)
    chosen = [name for name in COLUMNS if name in widths]
    for name in chosen:
        justify: Literal["left", "right"] = "left" if name in _WORDS else "right"
        table.add_column(name, justify=justify, no_wrap=True, width=widths[name])
    for name, row in zip(names, rows, strict=True):
        table.add_row(Text(_shortened(name, own)), *[row[column] for column in chosen])
    return table


def _shortened(name: str, width: int) -> str:
    """``name`` in ``width`` columns: its beginning and its end, where arm and seed stand."""
    if cell_len(name) <= width or width < 5:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[-(width - 1 - head) :]}"


def _cells(run: RunningStanding, look: Look, plain: bool) -> dict[str, Text]:
    left = run.left_at(look.moment)
    use = look.machine.of(run.key)
    status = (run.status, RANK.get(run.status, "")) if run.alive else ("gone", "yellow")
    gpu = None if use is None else use.gpu
    return {
        "status": Text(*status),
        "epoch": Text(f"{run.epoch}/{run.epochs}"),
        "": Text(bar(_part(run), _BAR, plain=plain)),
        "val AP": Text(number(run.val_ap)),
        "best": Text(number(run.best_val_ap)),
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


def _gpu_line(gpu: GpuUse) -> str:
    return f"GPU {gpu.index} {gpu.name}: {_gpu_use(gpu)} of {size(gpu.total)}"


def _gpu_use(gpu: GpuUse) -> str:
    return (f"{gpu.percent:.0f} %, " if gpu.percent is not None else "") + size(gpu.used)


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
