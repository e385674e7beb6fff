"""Printed setups: a constructor with comments, a commented-out one, or the repr on one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from mmad.documented.log.lines import Line
from mmad.documented.log.model import Note, SetupPrint
from mmad.documented.log.values import UnreadableError, read_value

#: What begins a setup: the end of ``ModelSetup(``, or of another class whose name ends so.
START = re.compile(r"Setup\(")
_COMMENTED = re.compile(r"^\s*#+\s?")
_FIELD = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)(.*)", re.DOTALL)
#: A line that surely belongs to no setup: there, one whose bracket is missing ends.
_ELSE = re.compile(r"For Training \[|saved to: \[|^\s*\[[A-Za-z_][\w.]*\]:\s*\d|={5,}|Setup\(")
_BELONGS = re.compile(r"\s*(#.*|[A-Za-z_]\w*\s*=(?!=).*|[\])},\s]*)$")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Found:
    """A setup, how many lines it takes, what stands behind it on its last line, and what was not understood."""

    setup: SetupPrint
    taken: int
    rest: str
    unread: tuple[Note, ...]


@dataclass
class _Scan:
    """Where a scan stands: finished fields, the one it is in, and comments."""

    fields: list[tuple[int, str]] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    begun: int | None = None  # the line of the first word of ``current``
    comments: list[tuple[int, str, int | None]] = field(default_factory=list)  # line, text, index of its field
    open: list[str] = field(default_factory=list)  # closing brackets that are waited for
    rest: str | None = None

    def finish(self) -> None:
        if self.begun is not None:
            self.fields.append((self.begun, "".join(self.current)))
        self.current, self.begun = [], None

    def add(self, number: int, characters: str) -> None:
        if self.begun is None and not characters.isspace():
            self.begun = number
        self.current.append(characters)


def read_setup(lines: Sequence[Line], at: int) -> Found:
    """The setup that begins in ``lines[at]``, and goes on at most to the end of the fence or comment.

    Where its bracket is never closed, it takes the lines that look like its own, and that is noted.
    """
    first = lines[at]
    start = START.search(first.text)
    assert start is not None
    commented = first.text.lstrip().startswith("#")
    texts = [(first.number, first.text[start.end() :])]
    for line in islice(lines, at + 1, None):
        if line.container != first.container or line.mark or _ELSE.search(line.text):
            break
        if commented and not line.text.lstrip().startswith("#"):
            break
        texts.append((line.number, _COMMENTED.sub("", line.text, count=1) if commented else line.text))
    scan, taken = _scanned(texts)
    unread: list[Note] = []
    if scan.rest is None:
        own = 1 + next((i for i, (_, text) in enumerate(texts[1:]) if not _BELONGS.match(text)), len(texts) - 1)
        scan, taken = _scanned(texts[:own])
        scan.finish()
        unread.append(Note(line=first.number, text=f"not closed: {first.text.strip()[:80]}"))
    form = "commented" if commented else "constructor" if taken > 1 else "repr"
    setup = _setup(scan, form, first.number, unread)
    return Found(setup, taken, scan.rest or "", tuple(unread))


def _scanned(texts: Sequence[tuple[int, str]]) -> tuple[_Scan, int]:
    scan = _Scan(open=[")"])
    for place, (number, text) in enumerate(texts, 1):
        _scan_line(scan, number, text)
        if scan.rest is not None:
            return scan, place
    return scan, len(texts)


def _scan_line(scan: _Scan, number: int, text: str) -> None:
    """Go on with one line; ``scan.rest`` is set where the setup's own bracket closes."""
    at, before = 0, len(scan.fields)
    while at < len(text):
        character = text[at]
        if character in "'\"":
            end = _string_end(text, at)
            scan.add(number, text[at:end])
            at = end
            continue
        if character == "#":
            _comment(scan, number, text[at:].lstrip("#").strip(), before)
            break
        if character in _BRACKETS:
            scan.open.append(_BRACKETS[character])
        elif character == scan.open[-1]:
            scan.open.pop()
            if not scan.open:
                scan.finish()
                scan.rest = text[at + 1 :]
                return
        if character == "," and len(scan.open) == 1:
            scan.finish()
        else:
            scan.add(number, character)
        at += 1
    scan.add(number, "\n")


def _string_end(text: str, start: int) -> int:
    """Behind the text that begins at ``start``; an apostrophe that is never closed stands for itself."""
    at = start + 1
    while at < len(text):
        if text[at] == text[start]:
            return at + 1
        at += 2 if text[at] == "\\" else 1
    return start + 1


def _comment(scan: _Scan, number: int, text: str, before: int) -> None:
    if scan.begun is not None:
        scan.comments.append((number, text, len(scan.fields)))
    elif len(scan.fields) > before:
        scan.comments.append((number, text, len(scan.fields) - 1))
    else:
        scan.comments.append((number, text, None))


def _setup(scan: _Scan, form: str, line: int, unread: list[Note]) -> SetupPrint:
    fields, comments, names = {}, {}, {}
    for index, (number, text) in enumerate(scan.fields):
        match = _FIELD.fullmatch(text)
        if match is None or match[1] in fields:
            unread.append(Note(line=number, text=text.strip()))
            continue
        try:
            fields[match[1]] = read_value(match[2].strip())
        except UnreadableError:
            unread.append(Note(line=number, text=text.strip()))
            continue
        names[index] = match[1]
    for number, text, owner in scan.comments:
        if owner in names and names[owner] not in comments:
            comments[names[owner]] = text
        elif owner is not None:
            unread.append(Note(line=number, text=f"# {text}"))
    out = tuple(text for _, text, owner in scan.comments if owner is None and text)
    return SetupPrint(form=form, line=line, fields=fields, comments=comments, commented_out=out)
