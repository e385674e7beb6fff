"""Where a key stands in a TOML text: ``tomllib`` gives values without their lines."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

KeyPath = tuple[str | int, ...]

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""+'  # texts over several lines
    r"|'''.*?'''+"
    r'|"(?:\\.|[^"\\\n])*"'  # texts on one line
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}\n]"
    r"""|[^"'\#\[\]{}\n]+""",
    re.DOTALL,
)
_KEY_PART = re.compile(r"""\s*("(?:\\.|[^"\\\n])*"|'[^'\n]*'|[A-Za-z0-9_-]+)\s*(\.?)""")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of every table and key of a valid TOML ``text``.

    A path holds names, and positions for the elements of ``[[tables]]``. Keys of inline tables are not
    listed: ``line_of`` falls back to what holds them.
    """
    lines: dict[KeyPath, int] = {}
    elements: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, statement in _statements(text):
        if statement.startswith("[["):
            table = _resolve(_key_path(statement[2:]), elements, new_element=True)
        elif statement.startswith("["):
            table = _resolve(_key_path(statement[1:]), elements, new_element=False)
        else:
            path = (*table, *_key_path(statement))
            for end in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:end], line)
            continue
        for end in range(1, len(table) + 1):
            lines.setdefault(table[:end], line)
    return lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """The line of ``path``, or of the nearest table or key that holds it; None when nothing does."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Every header and every ``key = value`` with the line it starts on, comments left out."""
    line, depth = 1, 0
    start, parts = 1, ""
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == "\n" and depth == 0:
            if parts.strip():
                yield start, parts.strip()
            parts = ""
        elif not token.startswith("#"):
            if not parts.strip():
                start, parts = line, ""
            parts += token
            depth += (token in "[{") - (token in "]}") if len(token) == 1 else 0
        line += token.count("\n")
    if parts.strip():
        yield start, parts.strip()


def _key_path(statement: str) -> tuple[str, ...]:
    """The dotted key at the beginning of ``statement``."""
    names: list[str] = []
    position = 0
    while match := _KEY_PART.match(statement, position):
        part = match.group(1)
        names.append(next(iter(tomllib.loads(f"{part} = 0"))) if part[0] in "\"'" else part)
        position = match.end()
        if not match.group(2):
            break
    return tuple(names)


def _resolve(names: tuple[str, ...], elements: dict[KeyPath, int], *, new_element: bool) -> KeyPath:
    """``names`` with the position of the current element after every array of tables."""
    path: KeyPath = ()
    for depth, name in enumerate(names):
        path = (*path, name)
        if new_element and depth == len(names) - 1:
            elements[path] = elements.get(path, -1) + 1
        if path in elements:
            path = (*path, elements[path])
    return path
