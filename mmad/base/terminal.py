"""What is printed shows itself and commands no terminal: text from files, rows and logs may hold escape sequences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from mmad.base.formatting import terminal_text


class SafeConsole(Console):
    """A console of which only Rich's own styles and cursor movements reach the terminal."""

    def __init__(self, stream: TextIO, **options: Any) -> None:
        super().__init__(file=unguarded(stream), highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=terminal_text(segment.text))


def unguarded(stream: TextIO) -> TextIO:
    """The stream that ``mmad.cli.output.guarded_output`` stands before, or ``stream``."""
    return cast(TextIO, getattr(stream, "unguarded", stream))
