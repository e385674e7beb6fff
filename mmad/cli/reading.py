"""What the commands that read the database share: opening it, and showing it to people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from mmad.store.gateway import Store
    from mmad.store.results import Result

#: Width where no terminal sets one: nothing is cut off.
WIDE = 10_000


def open_store(database: str) -> Store:
    """The store of ``database`` for reading; an older one is upgraded first. StoreError when it is missing."""
    from mmad.store.gateway import Store
    from mmad.store.migrate import OlderSchema

    try:
        return Store.open(database, create=False, read_only=True)
    except OlderSchema:
        Store.open(database, create=False).close()
        return Store.open(database, create=False, read_only=True)


def console() -> Console:
    """A console as wide as the terminal, or wide enough for anything."""
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDE)


def section(out: Console, title: str, *lines: str | Text) -> None:
    """A titled block: a panel on a terminal, plain lines elsewhere; nothing when there are no lines."""
    from rich.panel import Panel
    from rich.text import Text

    if not lines:
        return
    if out.is_terminal:
        out.print(Panel(Text("\n").join([_text(line) for line in lines]), title=Text(title), title_align="left"))
        return
    out.print(Text(title))
    for line in lines:
        out.print(Text("  ").append_text(_text(line)), soft_wrap=True)
    out.print()


def _text(line: str | Text) -> Text:
    from rich.text import Text

    return Text(line) if isinstance(line, str) else line


def status_text(status: str) -> Text:
    from rich.text import Text

    from mmad.queue.wording import RANK

    return Text(status, style=RANK.get(status, ""))


def figure(value: float | None) -> str:
    """Four decimals; a dash for what was not measured."""
    return "–" if value is None else f"{value:.4f}"


def result_line(name: str, result: Result | None) -> str:
    """One kept checkpoint in one line."""
    if result is None:
        return f"{name}: –"
    return (
        f"{name}: epoch {result.epoch}, val AP {figure(result.val_ap)} AR {figure(result.val_ar)}, "
        f"test AP {figure(result.test_ap)} AR {figure(result.test_ar)}"
    )


def file_line(path: Path) -> str:
    """A file's path, with a word when it is gone."""
    return path.as_posix() if path.exists() else f"{path.as_posix()} (not there)"
