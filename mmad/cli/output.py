"""What commands print with: JSON, the console, progress, titled blocks and tables."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import typer

from mmad.base.formatting import four, terminal_json, terminal_text
from mmad.base.json_values import to_json_value

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from mmad.base.records import OnProgress
    from mmad.experiment_log.model import Checkpoint
    from mmad.store.lookup import CheckpointFigures

#: Rows that a table of members has at most, unless more are asked for: Rich takes a millisecond to draw one.
MOST_ROWS = 500
#: Width where no terminal sets one: nothing is cut off.
WIDE = 10_000


class _GuardedStream:
    """``unguarded``, to which text is written as ``terminal_text`` has it."""

    def __init__(self, unguarded: TextIO) -> None:
        self.unguarded = unguarded

    def write(self, text: str) -> int:
        self.unguarded.write(terminal_text(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


@contextlib.contextmanager
def guarded_output() -> Iterator[None]:
    """Whatever is printed meanwhile, by whomever, commands no terminal; Rich's consoles see to it themselves."""
    earlier = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _GuardedStream(stream)) for stream in earlier)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = earlier


def print_json(value: Any) -> None:
    """``value`` as JSON on stdout, numbers that are not finite as null; what a terminal would obey is escaped."""
    typer.echo(terminal_json(json.dumps(to_json_value(value), indent=2, ensure_ascii=False, allow_nan=False)))


def console(*, stderr: bool = False, width: int = WIDE) -> Console:
    """A console that takes no word for markup, as wide as the terminal, or ``width`` where there is none."""
    from mmad.base.terminal import SafeConsole

    stream = sys.stderr if stderr else sys.stdout
    return SafeConsole(stream, markup=False, width=None if stream.isatty() else width)


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[OnProgress]:
    """Show how far something long is, on stderr: a bar on a terminal, else one line at its first step."""
    if not sys.stderr.isatty():
        yield _Announcement(label)
        return
    from rich import progress as bars

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
    with bars.Progress(*columns, bars.TimeRemainingColumn(), console=console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)
        whole = bar.tasks[0].total
        if whole is None:  # there was nothing to wait for
            bar.remove_task(task)
        else:
            bar.update(task, completed=whole)


class _Announcement:
    """A progress that says once what happens; what is refused before its first step is never announced."""

    def __init__(self, label: str) -> None:
        self._label = label

    def __call__(self, done: int, whole: int) -> None:
        if self._label:
            print(f"{self._label} …", file=sys.stderr, flush=True)
            self._label = ""


def section(out: Console, title: str, *lines: str | Text) -> None:
    """A title above indented lines, which are wrapped on a terminal alone; nothing when there are no lines."""
    from rich.padding import Padding
    from rich.text import Text

    if not lines:
        return
    out.print(Text(title, style="bold"))
    for line in lines:
        if out.is_terminal:
            out.print(Padding(_text(line), (0, 0, 0, 2), expand=False))
        else:
            out.print(Text("  ").append_text(_text(line)), soft_wrap=True)
    out.print()


def _text(line: str | Text) -> Text:
    from rich.text import Text

    return Text(line) if isinstance(line, str) else line


def status_text(status: str) -> Text:
    from rich.text import Text

    from mmad.scheduler.progress import RANK

    return Text(status, style=RANK.get(status, ""))


def result_line(name: str, result: CheckpointFigures | Checkpoint | None) -> str:
    """One checkpoint, of a run or of a documented entry, in one line."""
    if result is None:
        return f"{name}: –"
    return (
        f"{name}: epoch {result.epoch}, val AP {four(result.val_ap)} AR {four(result.val_ar)}, "
        f"test AP {four(result.test_ap)} AR {four(result.test_ar)}"
    )


def file_line(path: Path) -> str:
    """A file's path, with a word when it is gone."""
    return path.as_posix() if path.exists() else f"{path.as_posix()} (not there)"
