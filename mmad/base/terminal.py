"""What a terminal shows: text that commands it nothing, and tables that fit its width without breaking a word.

Text from files, rows and logs may hold escape sequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO, cast

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

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


# Tables: columns give way whole, words never break.

#: Columns between two cells of a table with a ruled head, and at both of its sides.
_RULED, _SIDES = 3, 2
#: Where a long word, as of an arm or a path, may go on in the next line.
_PARTS = re.compile(r"(?<=[/+=,])(?=.)")
#: Columns of a name on one line below which other columns give way.
_NAME = 24


@dataclass(frozen=True)
class TerminalColumn:
    """One column of a table on a terminal.

    Args:
        head: its heading; lines of it stand one below the other.
        right: whether its cells end at the right, as figures do.
        wraps: whether its cells may go on in the next line, between words.
        yields: where there is no room, the column with the highest number goes first; 0 stays.
        narrowest: the width it has at least.
    """

    head: str = ""
    right: bool = False
    wraps: bool = False
    yields: int = 0
    narrowest: int = 0


def _widths(
    columns: Sequence[TerminalColumn], rows: Sequence[Sequence[Text]], room: int, between: int, *, wrap: bool = True
) -> dict[int, int]:
    """The columns that are shown, by their place, with their widths; ``room`` is the width of all.

    Columns that yield go first, those that wrap are narrowed to their longest word next, and what is wider even then
    is narrowed below it: its cells are shortened. Without ``wrap`` names are shortened to ``_NAME`` first.
    """
    least, most = _bounds(columns, rows, wrap=wrap)
    shown = list(range(len(columns)))

    def needed(widths: Sequence[int]) -> int:
        return sum(widths[n] for n in shown) + between * (len(shown) - 1)

    while needed(least) > room and any(columns[n].yields for n in shown):
        shown.remove(max(shown, key=lambda n: columns[n].yields))
    widths = list(most)
    for floor in (least, [min(width, max(5, cell_len(c.head))) for c, width in zip(columns, least, strict=True)]):
        while needed(widths) > room and (wide := [n for n in shown if columns[n].wraps and widths[n] > floor[n]]):
            widths[max(wide, key=lambda n: widths[n])] -= 1
    return {n: widths[n] for n in shown}


def least_width(columns: Sequence[TerminalColumn], rows: Sequence[Sequence[Text]]) -> int:
    """The width of a table with a ruled head in which every column is as narrow as its longest word."""
    return sum(_bounds(columns, rows, wrap=True)[0]) + _RULED * (len(columns) - 1) + _SIDES


def _bounds(
    columns: Sequence[TerminalColumn], rows: Sequence[Sequence[Text]], *, wrap: bool
) -> tuple[list[int], list[int]]:
    """The least and the most width of every column."""
    cells = [[Text(column.head), *(row[n] for row in rows)] for n, column in enumerate(columns)]
    most = [max(c.narrowest, *map(_longest_line, of)) for c, of in zip(columns, cells, strict=True)]
    least = [
        width if not c.wraps else max(c.narrowest, *map(_longest_word, of)) if wrap else min(width, _NAME)
        for c, of, width in zip(columns, cells, most, strict=True)
    ]
    return least, most


def fitted_table(
    columns: Sequence[TerminalColumn],
    rows: Sequence[Sequence[Text | str]],
    width: int,
    *,
    title: str = "",
    between: int = 0,
    wrap: bool = True,
) -> Table:
    """A table of ``rows`` that is at most ``width`` wide; cells of columns that wrap are shortened where they must be.

    Args:
        between: without a line below the heads, so many spaces between the cells; 0: with the line.
        wrap: whether cells may take several lines.
    """
    texts = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    style: dict[str, Any] = {"title": Text(title), "title_justify": "left", "title_style": "bold"} if title else {}
    if between:
        table = Table(box=None, pad_edge=False, padding=(0, between, 0, 0), header_style="bold", **style)
        widths = _widths(columns, texts, width, between, wrap=wrap)
    else:
        gap = _gap(columns, texts, width - _SIDES)
        padding = {1: (0, 0, 0, 0), 2: (0, 1, 0, 0), _RULED: (0, 1, 0, 1)}[gap]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=padding, **style)
        widths = _widths(columns, texts, width - _SIDES, gap, wrap=wrap)
    for n, size in widths.items():
        column = columns[n]
        table.add_column(
            Text(column.head),
            justify="right" if column.right else "left",
            width=size,
            no_wrap=not (column.wraps and wrap),
        )
    for row in texts:
        table.add_row(*(_fitting(row[n], size, wrap=columns[n].wraps and wrap) for n, size in widths.items()))
    return table


def _gap(columns: Sequence[TerminalColumn], rows: Sequence[Sequence[Text]], room: int) -> int:
    """The spaces between columns: as many as leave every line whole, else every word of the columns that stay."""
    least, most = _bounds(columns, rows, wrap=True)
    for gap in (_RULED, 2, 1):
        if all(size == most[n] for n, size in _widths(columns, rows, room, gap).items()):
            return gap
    staying = [width for column, width in zip(columns, least, strict=True) if not column.yields]
    return _RULED if sum(staying) + _RULED * (len(staying) - 1) <= room else 1


def _fitting(cell: Text, width: int, *, wrap: bool) -> Text:
    """``cell`` in ``width`` columns: words that are too wide go on in lines; without ``wrap`` lines are shortened."""
    if not wrap:
        fits = _longest_line(cell) <= width
        return cell if fits else Text(shortened(cell.plain, width), style=cell.style)
    if all(cell_len(word) <= width for word in cell.plain.split()):
        return cell
    words = re.split(r"([ \n])", cell.plain)
    return Text(
        "".join(word if cell_len(word) <= width else _in_lines(word, width) for word in words), style=cell.style
    )


def _in_lines(word: str, width: int) -> str:
    """A long word in lines that end with one of its own marks; a part that is too wide even so is shortened."""
    lines = [""]
    for part in _PARTS.split(word):
        if cell_len(lines[-1] + part) <= width:
            lines[-1] += part
        else:
            lines.append(shortened(part, width))
    return "\n".join(filter(None, lines))


def shortened(name: str, width: int) -> str:
    """``name`` in ``width`` columns: its beginning and its end, where arm and seed stand."""
    if cell_len(name) <= width or width < 5:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[-(width - 1 - head) :]}"


def _longest_line(cell: Text) -> int:
    return max((cell_len(line) for line in cell.plain.split("\n")), default=0)


def _longest_word(cell: Text) -> int:
    return max((cell_len(part) for word in cell.plain.split() for part in _PARTS.split(word)), default=0)
