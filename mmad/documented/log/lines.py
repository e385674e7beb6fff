"""The lines of a file, each with the fence or the HTML comment it stands in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_FENCE = re.compile(r"\s{0,3}(```+|~~~+)([^`]*)$")
_OPEN, _CLOSE = "<!--", "-->"


@dataclass(frozen=True)
class Line:
    """One line, or a part of one where a comment begins or ends in it.

    ``fence`` and ``comment`` number the fences and comments from 1; 0 stands for outside. A ``mark`` opens or closes
    one and says nothing itself; a ``broken`` one was never closed.
    """

    number: int
    text: str
    fence: int = 0
    comment: int = 0
    mark: bool = False
    broken: bool = False

    @property
    def container(self) -> tuple[int, int]:
        """The comment and the fence that hold it."""
        return (self.comment, self.fence)


def read_lines(text: str) -> list[Line]:
    """All lines of ``text``. A fence or comment that is never closed does not swallow the rest."""
    plain = [Line(number, line) for number, line in enumerate(text.split("\n"), 1)]
    return list(_comments(list(_fences(plain))))


def _fences(lines: list[Line]) -> Iterator[Line]:
    marks = [index for index, line in enumerate(lines) if _FENCE.match(line.text)]
    lone = marks.pop() if len(marks) % 2 else None
    fences = {index: place // 2 + 1 for place, index in enumerate(marks)}
    inside = 0
    for index, line in enumerate(lines):
        if index in fences:
            inside = 0 if inside else fences[index]
            yield replace(line, fence=fences[index], mark=True)
        else:
            yield replace(line, fence=inside, broken=index == lone)


def _comments(lines: list[Line]) -> Iterator[Line]:
    last_close = max((i for i, line in enumerate(lines) if not line.fence and _CLOSE in line.text), default=-1)
    inside, count = 0, 0
    for index, line in enumerate(lines):
        if line.fence:
            yield replace(line, comment=inside)
            continue
        rest = line.text
        while True:
            word = _CLOSE if inside else _OPEN
            before, found, after = rest.partition(word)
            closes = inside or index < last_close or (index == last_close and _CLOSE in after)
            if not found or not closes:
                yield replace(line, text=rest, comment=inside, broken=line.broken or bool(found))
                break
            if before.strip() or rest is line.text:
                yield replace(line, text=before, comment=inside)
            count += not inside
            yield replace(line, text="", comment=inside or count, mark=True)
            inside = 0 if inside else count
            rest = after
            if not rest.strip():
                break
