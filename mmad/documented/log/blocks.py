"""From lines to blocks: each says one thing, and every line that is not blank is in one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmad.documented.log.checkpoints import NAME, read_checkpoint, result_kind
from mmad.documented.log.headings import HEADING, is_figures
from mmad.documented.log.lines import Line
from mmad.documented.log.losses import AROUND, read_weight
from mmad.documented.log.model import Note
from mmad.documented.log.setups import START, read_setup

#: What a line may hold anywhere, also several on one line. What it cannot hold is what stands between.
_PIECES = re.compile(
    r"={3,}[ ]?For Training \[(?P<title>[^\]\n]{0,500})\]"
    r"|For Training \[(?P<title2>[^\]\n]{0,500})\]"
    r"|(?P<label>\b(?:The|Best)\b[\w \-]{0,60}?) has been saved to: \[(?P<path>[^\]\n]{0,500})\]"
    rf"|(?P<lone>{NAME}(?:_\S*)?)"
    r"|(?<!\S)\[(?P<module>[A-Za-z_][\w.]{0,200})\]:[ \t]*(?P<count>\d{1,3}(?:,\d{3}){1,9}|\d{1,30})(?![\w,.])"
    r"(?:[ \t]*\#[ \t]*(?P<remark>.*))?"
    r"|<img\b[^>\n]{0,500}?\bsrc=\"(?P<src>[^\"\n]{0,500})\"[^>\n]{0,500}>"
    r"|!\[[^\]\n]{0,500}\]\((?P<url>[^)\n]{0,500})\)"
    r"|(?P<rule>={5,}|-{10,})"
)
_LOG_LINE = re.compile(
    r"(?:Load|Loading|Using|Not using|Building|Mask Hidden Layers)\b.*"
    r"|.*\b(?:Load custom model|[Uu]sing pretrained)\b.*"
)
_REMARK = re.compile(r"([QEL])\s?(\d{0,6})\s*:\s*(.+)")
#: A heading that is a commented-out setup.
_COMMENTED_SETUP = re.compile(r"\s*#+\s*(?:\w{1,40}\s*=\s*)?\w{0,80}Setup\(")
#: Longer lines weight no losses.
_SHORT = 300
_ROW = re.compile(r"\s*\|.*\|\s*$")


@dataclass(frozen=True)
class Block:
    """One thing said. ``value`` depends on ``kind``:

    heading (level, text) · setup Found · title text · param (module, count, remark) · result (kind, Checkpoint) ·
    loss (name, factor, commented out) · around (text around losses) · figures text · image url · log text ·
    remark (kind, number, text) · row cells · text · unread text · mark None · rule None.
    """

    kind: str
    line: int
    container: tuple[int, int]
    value: Any = None


def read_blocks(lines: Sequence[Line]) -> list[Block]:
    """The blocks of a file, in its order."""
    blocks: list[Block] = []
    for block in _blocks(lines):
        last = blocks[-1] if blocks else None
        broken = last is not None and last.kind == "log" and last.value.endswith(".") and last.line == block.line - 1
        if broken and block.kind == "unread" and " " not in block.value:
            block = replace(block, kind="log")  # the program's line was broken before its last word
        blocks.append(block)
    return blocks


def _blocks(lines: Sequence[Line]) -> Iterator[Block]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.mark:
            yield Block("mark", line.number, line.container)
        elif line.broken:
            yield Block("unread", line.number, line.container, line.text.strip())
        elif not line.fence and (heading := HEADING.match(line.text)) and not _COMMENTED_SETUP.match(line.text):
            yield Block("heading", line.number, line.container, (len(heading[1]), line.text))
        elif start := START.search(line.text):
            found = read_setup(lines, at)
            yield from _around_setup(line, line.text[: start.start()])
            yield Block("setup", line.number, line.container, found)
            at += found.taken - 1
            last = lines[at]
            yield from _pieces(Line(last.number, found.rest.lstrip(" ,"), line.fence, line.comment))
        else:
            yield from _pieces(line)
        at += 1


def _around_setup(line: Line, before: str) -> Iterator[Block]:
    """What stands before a setup on its line, less a comment mark, ``model_setup =`` and the class's first letters."""
    rest = re.sub(r"(?:\b\w{1,40}\s*=\s*)?\w{0,80}$", "", before[-200:].lstrip(" #") if len(before) < 200 else before)
    yield from _pieces(Line(line.number, rest, line.fence, line.comment))


def _pieces(line: Line) -> Iterator[Block]:
    at = 0
    for match in _PIECES.finditer(line.text):
        yield from _between(line, line.text[at : match.start()])
        yield _piece(line, match)
        at = match.end()
    yield from _between(line, line.text[at:])


def _piece(line: Line, match: re.Match[str]) -> Block:
    def block(kind: str, value: Any = None) -> Block:
        return Block(kind, line.number, line.container, value)

    title = match["title"] if match["title"] is not None else match["title2"]
    if title is not None:
        return block("title", title)
    if match["module"]:
        return block("param", (match["module"], int(match["count"].replace(",", "")), match["remark"]))
    path = match["path"] if match["label"] else match["lone"]
    if path is not None:
        checkpoint = read_checkpoint(path, line.number)
        kind = result_kind(match["label"]) if match["label"] else "unlabelled"
        return block("result", (kind, checkpoint)) if checkpoint else block("unread", match[0])
    url = match["src"] or match["url"]
    if url is not None:
        return block("image", url)
    return block("rule")


def _between(line: Line, text: str) -> Iterator[Block]:
    """What is no piece: prose, or in a fence a loss, a line of the program, a comment."""
    stripped = text.strip()
    if not stripped:
        return

    def block(kind: str, value: Any = None) -> Block:
        return Block(kind, line.number, line.container, value)

    bare = stripped.lstrip("# ") if stripped.startswith("#") else stripped
    if len(stripped) < _SHORT and (weight := read_weight(bare)):
        yield block("loss", (*weight, bare is not stripped, stripped))
    elif len(stripped) < _SHORT and AROUND.match(stripped):
        yield block("around", stripped)
    elif is_figures(stripped):
        yield block("figures", stripped)
    elif _LOG_LINE.fullmatch(stripped) and (line.fence or line.comment):
        yield block("log", stripped)
    elif remark := _REMARK.fullmatch(stripped):
        yield block("remark", (remark[1], int(remark[2]) if remark[2] else None, remark[3]))
    elif _ROW.match(stripped):
        yield block("row", tuple(cell.strip() for cell in stripped[1:-1].split("|")))
    elif not line.fence or stripped.startswith("#"):
        yield block("text", stripped)
    else:
        yield block("unread", stripped)


def note(block: Block) -> Note:
    """A block of words as a note."""
    return Note(line=block.line, text=str(block.value))
