"""Reads a log: from its text to entries, remarks, tables, prose, and what was not understood."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from mmad.base.errors import SpecError
from mmad.experiment_log.model import (
    FIGURES,
    RESULTS,
    Checkpoint,
    FigureGroup,
    Log,
    LogEntry,
    LogFigure,
    LogNote,
    Losses,
    LossTable,
    Remark,
    SetupPrint,
)

# The lines of a file, each with the fence or the HTML comment it stands in.


_FENCE = re.compile(r"\s{0,3}(```+|~~~+)([^`]*)$")
_OPEN, _CLOSE = "<!--", "-->"


@dataclass(frozen=True)
class LogLine:
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

    def block(self, kind: str, value: Any = None) -> TextBlock:
        """What is said here."""
        return TextBlock(kind, self.number, self.container, value)


def read_lines(text: str) -> list[LogLine]:
    """All lines of ``text``. A fence or comment that is never closed does not swallow the rest."""
    plain = [LogLine(number, line) for number, line in enumerate(text.split("\n"), 1)]
    return list(_comments(list(_fences(plain))))


def _fences(lines: list[LogLine]) -> Iterator[LogLine]:
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


def _comments(lines: list[LogLine]) -> Iterator[LogLine]:
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


# Headings: their names, and the figures their authors wrote behind them.

_HEADING = re.compile(r"\s{0,3}(#{1,6})(?!#)(?:\s+(.*))?$")
_IN_BRACKETS = re.compile(r"\([^()]*\)")
_FIGURE = re.compile(r"\s*(?:([A-Za-z_][\w ]*?)\s*=\s*)?(\d*\.\d+|\d+)\s*$")
#: What a figure's key is made of; other keys (``lr``, ``patience``, …) name a setting.
_FIGURE_WORDS = frozenset({"best", "final", "last", "v", "t", "val", "valid", "test", "train", "ap", "ar", "map"})
_BARE_FIGURE = re.compile(r"0?\.\d{2,}|1\.0+|\d{4}")
#: Would be read as two figures, of which the first is 0.
_DECIMAL_COMMA = re.compile(r"(?<![\d.])0,\d")
#: Two figures are equal where their four printed digits are.
SAME = 5e-5


def heading_name(heading: str) -> str:
    """A heading without its level, remarks and figures in brackets, and the marks at its end."""
    return " ".join(_IN_BRACKETS.sub("", heading.lstrip("# ")).split()).rstrip(" .,:")


def figure_groups(text: str, line: int) -> tuple[FigureGroup, ...]:
    """The brackets of ``text`` that hold figures, such as ``(v=0.3130, best_t=0.3714)`` or ``(4076)``."""
    groups = []
    for match in _IN_BRACKETS.finditer(text):
        figures = tuple(_figures(match[0][1:-1]))
        if figures and not _DECIMAL_COMMA.search(match[0]):
            groups.append(FigureGroup(raw=match[0], line=line, figures=figures))
    return tuple(groups)


def is_figures(text: str) -> bool:
    """Whether ``text`` is one bracket of figures and nothing else."""
    stripped = text.strip()
    return bool(_IN_BRACKETS.fullmatch(stripped)) and bool(figure_groups(stripped, 0))


def _figures(inside: str) -> Iterator[LogFigure]:
    for part in inside.split(","):
        match = _FIGURE.match(part) if len(part) < 60 else None
        if match is None or not _is_figure(match[1], match[2]):
            continue
        scaled = match[2].isdigit() and len(match[2]) == 4
        value = float(match[2]) / 10_000 if scaled else float(match[2])
        yield LogFigure(key=match[1], printed=match[2], value=value, scaled=scaled)


def _is_figure(key: str | None, printed: str) -> bool:
    if key is None:
        return bool(_BARE_FIGURE.fullmatch(printed))
    words = set(re.split(r"[_ ]+", key.lower()))
    return words <= _FIGURE_WORDS and (len(printed) == 4 or float(printed) <= 1)


def equals(value: float, results: Mapping[str, Checkpoint]) -> tuple[str, ...]:
    """The results that equal ``value`` to four digits, such as ``best_ap.test_ap``."""
    kinds = [*(kind for kind in RESULTS if kind in results), *(kind for kind in results if kind not in RESULTS)]
    return tuple(f"{k}.{m}" for k in kinds for m in FIGURES if abs(getattr(results[k], m) - value) < SAME)


def with_equals(group: FigureGroup, results: Mapping[str, Checkpoint]) -> FigureGroup:
    """``group``, each figure with the results that equal it."""
    figures = tuple(f.model_copy(update={"equals": equals(f.value, results)}) for f in group.figures)
    return group.model_copy(update={"figures": figures})


# Printed values: Python literals, as far as JSON can hold them.

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
#: Longer values are no settings; reading them could take long.
_LONGEST_VALUE = 10_000


class UnreadableError(ValueError):
    """A value that is no literal, or that JSON cannot hold."""


def read_value(text: str) -> Any:
    """The value of ``text``: a number, text, True, False, None or a list or mapping of these.

    Raises:
        UnreadableError: anything else, such as an expression, ``nan``, a number too large, or bytes.
    """
    if len(text) > _LONGEST_VALUE:
        raise UnreadableError(f"a value of {len(text)} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash in a path
            value = _json_value(ast.literal_eval(text))
        json.dumps(value, allow_nan=False).encode("utf-8", "strict")
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise UnreadableError(str(error)) from None
    return value


def _json_value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise UnreadableError("a mapping whose keys are no words")
        return {name: _json_value(item) for name, item in value.items()}
    if isinstance(value, str) and not value.isascii():
        value.encode("utf-8")  # lone surrogates are refused here, as UnicodeEncodeError
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UnreadableError(f"a {type(value).__name__}")


def read_number(text: str) -> int | float | None:
    """The number of ``text``, an integer where it is printed as one; None for what is no finite number."""
    if len(text) > 100 or not re.fullmatch(_NUMBER, text):
        return None
    if text.lstrip("+-").isdigit():
        return int(text)
    value = float(text)
    return value if abs(value) < float("inf") else None


# Printed setups: a constructor with comments, a commented-out one, or the repr on one line.

#: What begins a setup: the end of ``ModelSetup(``, or of another class whose name ends so.
_SETUP_START = re.compile(r"Setup\(")
_COMMENT_MARK = re.compile(r"^\s*#+\s?")
_FIELD = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)(.*)", re.DOTALL)
#: A line that surely belongs to no setup: there, one whose bracket is missing ends.
_NO_SETUP_LINE = re.compile(r"For Training \[|saved to: \[|^\s*\[[A-Za-z_][\w.]*\]:\s*\d|={5,}|Setup\(")
_SETUP_LINE = re.compile(r"\s*(#.*|[A-Za-z_]\w*\s*=(?!=).*|[\])},\s]*)$")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class ReadSetup:
    """A setup, how many lines it takes, what stands behind it on its last line, and what was not understood."""

    setup: SetupPrint
    taken: int
    rest: str
    unread: tuple[LogNote, ...]


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


def read_setup(lines: Sequence[LogLine], at: int) -> ReadSetup:
    """The setup that begins in ``lines[at]``, and extends at most to the end of the fence or comment.

    Where its bracket is never closed, it takes the lines that look like its own, and that is noted.
    """
    first = lines[at]
    start = _SETUP_START.search(first.text)
    assert start is not None
    commented = first.text.lstrip().startswith("#")
    texts = [(first.number, first.text[start.end() :])]
    for line in islice(lines, at + 1, None):
        if line.container != first.container or line.mark or _NO_SETUP_LINE.search(line.text):
            break
        if commented and not line.text.lstrip().startswith("#"):
            break
        texts.append((line.number, _COMMENT_MARK.sub("", line.text, count=1) if commented else line.text))
    scan, taken = _scanned(texts)
    unread: list[LogNote] = []
    if scan.rest is None:
        own = 1 + next((i for i, (_, text) in enumerate(texts[1:]) if not _SETUP_LINE.match(text)), len(texts) - 1)
        scan, taken = _scanned(texts[:own])
        scan.finish()
        unread.append(LogNote(line=first.number, text=f"not closed: {first.text.strip()[:80]}"))
    form = "commented" if commented else "constructor" if taken > 1 else "repr"
    setup = _setup(scan, form, first.number, unread)
    return ReadSetup(setup, taken, scan.rest or "", tuple(unread))


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
        if character in _CLOSING:
            scan.open.append(_CLOSING[character])
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


def _setup(scan: _Scan, form: str, line: int, unread: list[LogNote]) -> SetupPrint:
    fields, comments, names = {}, {}, {}
    for index, (number, text) in enumerate(scan.fields):
        match = _FIELD.fullmatch(text)
        if match is None or match[1] in fields:
            unread.append(LogNote(line=number, text=text.strip()))
            continue
        try:
            fields[match[1]] = read_value(match[2].strip())
        except UnreadableError:
            unread.append(LogNote(line=number, text=text.strip()))
            continue
        names[index] = match[1]
    for number, text, owner in scan.comments:
        if owner in names and names[owner] not in comments:
            comments[names[owner]] = text
        elif owner is not None:
            unread.append(LogNote(line=number, text=f"# {text}"))
    out = tuple(text for _, text, owner in scan.comments if owner is None and text)
    return SetupPrint(form=form, line=line, fields=fields, comments=comments, commented_out=out)


# Checkpoints: everything that the author's program wrote into their names.

_DECIMAL = r"(-?\d{1,9}_\d{1,9})"  # 0_3000 for 0.3000
#: A name; its last part, the setup's name, runs to the end of the bracket or to a blank.
CHECKPOINT_NAME = (
    rf"val_ar_{_DECIMAL}_ap_{_DECIMAL}_test_ar_{_DECIMAL}_ap_{_DECIMAL}_epoch(\d{{1,9}})"
    r"_(With(?:out)?)Clini?cal_(\d\d-\d\d-\d{4} \d\d-\d\d-\d\d)"
)
_CHECKPOINT = re.compile(rf"{CHECKPOINT_NAME}(?:_(.*))?")


def read_checkpoint(path: str, line: int) -> Checkpoint | None:
    """The checkpoint of the name ``path``; None for another form of name."""
    match = _CHECKPOINT.fullmatch(path.strip())
    if match is None:
        return None
    val_ar, val_ap, test_ar, test_ap = (float(text.replace("_", ".")) for text in match.groups()[:4])
    try:
        stamp = datetime.strptime(match[7], "%m-%d-%Y %H-%M-%S").isoformat()
    except ValueError:
        return None
    return Checkpoint(
        epoch=int(match[5]),
        val_ap=val_ap,
        val_ar=val_ar,
        test_ap=test_ap,
        test_ar=test_ar,
        stamp=stamp,
        clinical=match[6],
        name=match[8],
        checkpoint=path.strip(),
        line=line,
    )


def result_kind(label: str) -> str:
    """``best_ap`` for "Best AP validation model", ``final`` for "The final model", else the label's own words."""
    words = [w for w in re.findall(r"\w+", label.lower()) if w not in {"the", "validation", "model", "a"}]
    return "_".join(words) or "unlabelled"


# Snippets of Python that weight the losses.

_LOSS = r"""\w*loss\w*\[\s*["'](\w+)["']\s*\]"""
_FACTOR = re.compile(rf"\s*{_LOSS}\s*\*=\s*({_NUMBER})\s*$")
_PRODUCT = re.compile(rf"\s*{_LOSS}\s*=\s*{_LOSS}\s*\*\s*({_NUMBER})\s*$")
_DETACHED = re.compile(rf"\s*{_LOSS}\s*=\s*{_LOSS}\.detach\(\)\s*$")
#: What surrounds such lines and says nothing itself.
_AROUND_LOSSES = re.compile(r"\s*(?:def \w*loss\w*\(\w*\):|return \w*loss\w*|(?:loss(?:es)? )?weights?:)\s*$")


def read_weight(text: str) -> tuple[str, int | float | str] | None:
    """The loss and its factor, or ``detach``; None for what is no such line."""
    if match := _FACTOR.match(text):
        number = read_number(match[2])
        return None if number is None else (match[1], number)
    if (match := _PRODUCT.match(text)) and match[1] == match[2]:
        number = read_number(match[3])
        return None if number is None else (match[1], number)
    if (match := _DETACHED.match(text)) and match[1] == match[2]:
        return match[1], "detach"
    return None


# From lines to blocks: each says one thing, and every line that is not blank is in one.

#: What a line may hold anywhere, also several on one line. What it cannot hold is what stands between.
_PIECES = re.compile(
    r"={3,}[ ]?For Training \[(?P<title>[^\]\n]{0,500})\]"
    r"|For Training \[(?P<title2>[^\]\n]{0,500})\]"
    r"|(?P<label>\b(?:The|Best)\b[\w \-]{0,60}?) has been saved to: \[(?P<path>[^\]\n]{0,500})\]"
    rf"|(?P<lone>{CHECKPOINT_NAME}(?:_\S*)?)"
    r"|(?<!\S)\[(?P<module>[A-Za-z_][\w.]{0,200})\]:[ \t]*(?P<count>\d{1,3}(?:,\d{3}){1,9}|\d{1,30})(?![\w,.'’]|\s\d)"
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
_LONGEST_SNIPPET = 300
_ROW = re.compile(r"\s*\|.*\|\s*$")


@dataclass(frozen=True)
class TextBlock:
    """One thing said. ``value`` depends on ``kind``:

    heading (level, text) · setup ReadSetup · title text · param (module, count, remark) · result (kind, Checkpoint) ·
    loss (name, factor, commented out) · around (text around losses) · figures text · image url · log text ·
    remark (kind, number, text) · row cells · text · unread text · mark None · rule None.
    """

    kind: str
    line: int
    container: tuple[int, int]
    value: Any = None


def read_blocks(lines: Sequence[LogLine]) -> list[TextBlock]:
    """The blocks of a file, in its order."""
    blocks: list[TextBlock] = []
    for block in _blocks(lines):
        last = blocks[-1] if blocks else None
        broken = last is not None and last.kind == "log" and last.value.endswith(".") and last.line == block.line - 1
        if broken and block.kind == "unread" and " " not in block.value:
            block = replace(block, kind="log")  # the program's line was broken before its last word
        blocks.append(block)
    return blocks


def _blocks(lines: Sequence[LogLine]) -> Iterator[TextBlock]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.mark:
            yield line.block("mark")
        elif line.broken:
            yield line.block("unread", line.text.strip())
        elif not line.fence and (heading := _HEADING.match(line.text)) and not _COMMENTED_SETUP.match(line.text):
            yield line.block("heading", (len(heading[1]), line.text))
        elif start := _SETUP_START.search(line.text):
            found = read_setup(lines, at)
            yield from _around_setup(line, line.text[: start.start()])
            yield line.block("setup", found)
            at += found.taken - 1
            last = lines[at]
            yield from _pieces(LogLine(last.number, found.rest.lstrip(" ,"), line.fence, line.comment))
        else:
            yield from _pieces(line)
        at += 1


def _around_setup(line: LogLine, before: str) -> Iterator[TextBlock]:
    """What stands before a setup on its line, less a comment mark, ``model_setup =`` and the class's first letters."""
    rest = re.sub(r"(?:\b\w{1,40}\s*=\s*)?\w{0,80}$", "", before[-200:].lstrip(" #") if len(before) < 200 else before)
    yield from _pieces(LogLine(line.number, rest, line.fence, line.comment))


def _pieces(line: LogLine) -> Iterator[TextBlock]:
    at = 0
    for match in _PIECES.finditer(line.text):
        yield from _between(line, line.text[at : match.start()])
        yield _piece(line, match)
        at = match.end()
    yield from _between(line, line.text[at:])


def _piece(line: LogLine, match: re.Match[str]) -> TextBlock:
    title = match["title"] if match["title"] is not None else match["title2"]
    if title is not None:
        return line.block("title", title)
    if match["module"]:
        return line.block("param", (match["module"], int(match["count"].replace(",", "")), match["remark"]))
    path = match["path"] if match["label"] else match["lone"]
    if path is not None:
        checkpoint = read_checkpoint(path, line.number)
        kind = result_kind(match["label"]) if match["label"] else "unlabelled"
        return line.block("result", (kind, checkpoint)) if checkpoint else line.block("unread", match[0])
    url = match["src"] or match["url"]
    if url is not None:
        return line.block("image", url)
    return line.block("rule")


def _between(line: LogLine, text: str) -> Iterator[TextBlock]:
    """What is no piece: prose, or in a fence a loss, a line of the program, a comment."""
    stripped = text.strip()
    if not stripped:
        return

    bare = stripped.lstrip("# ") if stripped.startswith("#") else stripped
    if len(stripped) < _LONGEST_SNIPPET and (weight := read_weight(bare)):
        yield line.block("loss", (*weight, bare is not stripped, stripped))
    elif len(stripped) < _LONGEST_SNIPPET and _AROUND_LOSSES.match(stripped):
        yield line.block("around", stripped)
    elif is_figures(stripped):
        yield line.block("figures", stripped)
    elif _LOG_LINE.fullmatch(stripped) and (line.fence or line.comment):
        yield line.block("log", stripped)
    elif remark := _REMARK.fullmatch(stripped):
        yield line.block("remark", (remark[1], int(remark[2]) if remark[2] else None, remark[3]))
    elif _ROW.match(stripped):
        yield line.block("row", tuple(cell.strip() for cell in stripped[1:-1].split("|")))
    elif not line.fence or stripped.startswith("#"):
        yield line.block("text", stripped)
    else:
        yield line.block("unread", stripped)


def note(block: TextBlock) -> LogNote:
    """A block of words as a note."""
    return LogNote(line=block.line, text=str(block.value))


# From blocks to drafts of entries: where one experiment ends and the next begins.
#
# A heading begins one. Below a heading, another begins with a fence or comment that prints again what was printed (a
# setup, the banner, a result, counts), with words such as "the next experiment" or "another setting", and with a
# picture above a caption once there was one.

_NEXT = re.compile(r"\b(?:next|another|new) (?:experiment|setting|run|attempt)\b|^and another\b", re.IGNORECASE)
_FACTS = frozenset({"setup", "title", "param", "result"})
_FAILED = re.compile(r"\b(?:fail|failed|fails|crash\w*|error|nan|diverge\w*|out of memory)\b", re.IGNORECASE)


@dataclass
class Draft:
    """The blocks of one entry, or of what is none; ``sections`` are the headings it stands below.

    ``add`` notes beside the blocks what they print, so that a long log is read in one pass.
    """

    sections: tuple[tuple[int, str], ...]
    blocks: list[TextBlock] = field(default_factory=list)
    containers: set[tuple[int, int]] = field(default_factory=set)  # those that hold facts
    printed: dict[str, dict[str, TextBlock]] = field(default_factory=dict)  # by kind and by what the fact names
    image: int = 0  # the line of the last picture
    words: int = 0  # the line of the last text

    def add(self, block: TextBlock) -> None:
        """Takes the next block."""
        self.blocks.append(block)
        if block.kind in _FACTS:
            self.containers.add(block.container)
            self.printed.setdefault(block.kind, {})[_fact_name(block)] = block
        elif block.kind == "image":
            self.image = block.line
        elif block.kind == "text":
            self.words = block.line

    def of(self, *kinds: str) -> list[TextBlock]:
        """The blocks of these kinds."""
        return [block for block in self.blocks if block.kind in kinds]

    @property
    def heading(self) -> tuple[int, str] | None:
        """Level and text of its own heading."""
        first = self.blocks[0] if self.blocks else None
        return first.value if first is not None and first.kind == "heading" else None

    @property
    def is_entry(self) -> bool:
        """Whether it is about an experiment: facts, a picture, or at least that a setting failed."""
        if self.of(*_FACTS):
            return True
        title = self.heading is not None and self.heading[0] == 1 and self.blocks[0].line == 1
        if self.of("image"):
            return not title
        return any(_FAILED.search(block.value) for block in self.of("text")) and self.heading is not None


def read_drafts(blocks: Sequence[TextBlock]) -> list[Draft]:
    """The drafts of a file, in its order; together they hold every block."""
    drafts = [Draft(())]
    for place, block in enumerate(blocks):
        if block.kind == "heading":
            above = tuple(section for section in drafts[-1].sections if section[0] < block.value[0])
            drafts.append(Draft((*above, block.value)))
        elif _begins(drafts[-1], block, blocks[place + 1] if place + 1 < len(blocks) else None):
            moved = _moved(drafts[-1], block)
            drafts.append(Draft(drafts[-1].sections))
            for earlier in moved:
                drafts[-1].add(earlier)
        drafts[-1].add(block)
    return [draft for draft in drafts if draft.blocks]


def _begins(draft: Draft, block: TextBlock, following: TextBlock | None) -> bool:
    """Whether ``block`` begins another experiment below the heading of ``draft``."""
    if block.kind == "text":
        printed = draft.image or draft.printed
        return bool(printed) and block.container == (0, 0) and bool(_NEXT.search(block.value))
    if block.kind == "image":
        captioned = following is not None and following.kind == "text" and following.line == block.line + 1
        return captioned and 0 < draft.image < draft.words
    return block.kind in _FACTS and _repeats(draft, block)


def _repeats(draft: Draft, block: TextBlock) -> bool:
    """Whether ``draft`` prints already what ``block`` prints, elsewhere or from its first line on."""
    same = draft.printed.get(block.kind)
    if not same:
        return False
    elsewhere = block.container not in draft.containers
    if block.kind == "setup":
        return elsewhere or (_fact_name(block) == "repr" and "repr" in same)
    if block.kind == "title":
        return True
    name = _fact_name(block)
    return name in same and (elsewhere or block.kind == "result" or next(iter(same)) == name)


def _fact_name(block: TextBlock) -> str:
    """What a fact names: a setup's form, a module, a kind of result."""
    if block.kind == "setup":
        return str(block.value.setup.form)
    return str(block.value if block.kind == "title" else block.value[0])


def _moved(draft: Draft, block: TextBlock) -> list[TextBlock]:
    """Takes from ``draft`` what stands before ``block`` and belongs to it."""
    kept = len(draft.blocks)
    inside = block.container != (0, 0) and block.container not in draft.containers
    while kept and (_same(draft.blocks[kept - 1], block) if inside else draft.blocks[kept - 1].kind == "figures"):
        kept -= 1
    moved = draft.blocks[kept:]
    del draft.blocks[kept:]
    return moved


def _same(one: TextBlock, other: TextBlock) -> bool:
    return one.container == other.container and one.kind != "heading"


def paragraphs(blocks: Sequence[TextBlock]) -> Iterator[LogNote]:
    """Texts of consecutive lines as one, each with its first line; in a fence each line alone."""
    line, last, words = 0, 0, list[str]()
    for block in blocks:
        if words and (block.line > last + 1 or block.container[1]):
            yield LogNote(line=line, text=" ".join(words))
            words = []
        if not words:
            line = block.line
        words.append(block.value)
        last = block.line
    if words:
        yield LogNote(line=line, text=" ".join(words))


# From a draft to an entry.

#: Which print says what was run: the program's own before the author's.
_FORMS = ("repr", "constructor", "commented")


@dataclass(frozen=True)
class SectionLosses:
    """A snippet that stands alone below a heading: it holds for the entries beside and below that heading."""

    losses: Losses
    sections: tuple[tuple[int, str], ...]

    def holds_for(self, draft: Draft) -> bool:
        """Whether ``draft`` stands beside or below."""
        above = self.sections[:-1]
        return draft.sections[: len(above)] == above and len(draft.sections) > len(above)


def build_entry(id: str, draft: Draft, shared: SectionLosses | None) -> LogEntry:
    """The entry ``id`` of ``draft``; ``shared`` weights its losses where it prints no snippet of its own."""
    unread = [note(block) for block in draft.of("unread")]
    own = read_losses(draft, "entry")
    unread += [] if own else [note(block) for block in draft.of("around")]
    setups = [block.value for block in draft.of("setup")]
    unread += [line for found in setups for line in found.unread]
    setup, others = _chosen([found.setup for found in setups])
    params, remarks = _params(draft.of("param"), unread)
    results = _results(draft.of("result"), unread)
    heading = draft.heading
    titles = draft.of("title")
    last = draft.blocks[-1]
    return LogEntry(
        id=id,
        line=draft.blocks[0].line,
        line_end=last.line + (last.value.taken - 1 if last.kind == "setup" else 0),
        heading=None if heading is None else heading[1].strip(),
        sections=tuple(text.strip() for _, text in draft.sections),
        title=titles[0].value if titles else None,
        in_comment=all(block.container[0] for block in draft.blocks),
        setup=setup,
        other_setups=others,
        params=params,
        params_line=next((block.line for block in draft.of("param")), None),
        params_comments=remarks,
        results=results,
        figures=tuple(with_equals(group, results) for group in _groups(draft)),
        losses=own or (shared.losses if shared else None),
        notes=tuple(paragraphs(draft.of("text"))),
        images=tuple(block.value for block in draft.of("image")),
        log_lines=tuple(note(block) for block in draft.of("log")),
        unread=tuple(sorted(unread, key=lambda found: found.line)),
    )


def _chosen(setups: list[SetupPrint]) -> tuple[SetupPrint | None, tuple[SetupPrint, ...]]:
    if not setups:
        return None, ()
    best = min(setups, key=lambda setup: _FORMS.index(setup.form))
    return best, tuple(setup for setup in setups if setup is not best)


def _params(blocks: list[TextBlock], unread: list[LogNote]) -> tuple[dict[str, int], dict[str, str]]:
    params: dict[str, int] = {}
    remarks: dict[str, str] = {}
    for block in blocks:
        module, count, remark = block.value
        if module in params and params[module] != count:
            unread.append(LogNote(line=block.line, text=f"[{module}]: {count:,}"))
            continue
        params[module] = count
        if remark:
            remarks[module] = remark.strip()
    return params, remarks


def _results(blocks: list[TextBlock], unread: list[LogNote]) -> dict[str, Checkpoint]:
    results: dict[str, Checkpoint] = {}
    for block in blocks:
        kind, checkpoint = block.value
        if kind in results:
            unread.append(LogNote(line=block.line, text=checkpoint.checkpoint))
        else:
            results[kind] = checkpoint
    return results


def _groups(draft: Draft) -> list[FigureGroup]:
    heading = draft.heading
    groups = list(figure_groups(heading[1], draft.blocks[0].line)) if heading else []
    return groups + [group for block in draft.of("figures") for group in figure_groups(block.value, block.line)]


def read_losses(draft: Draft, scope: str) -> Losses | None:
    """The snippet that weights losses in ``draft``, or None. Of two factors of a loss both count, as they would run."""
    lines = draft.of("loss", "around")
    applied = [block.value for block in lines if block.kind == "loss" and not block.value[2]]
    commented = [block.value for block in lines if block.kind == "loss" and block.value[2]]
    if not applied and not commented:
        return None
    weights: dict[str, Any] = {}
    for name, factor, *_ in applied:
        known = weights.get(name, 1)
        weights[name] = "detach" if "detach" in (known, factor) else known * factor
    first = next(block for block in lines if block.kind == "loss")
    return Losses(
        weights=weights,
        scope=scope,
        line=first.line,
        printed=tuple(block.value[3] if block.kind == "loss" else block.value for block in lines),
        commented_out={name: factor for name, factor, *_ in commented},
    )


# The whole log.

_LARGEST_FILE = 64 * 1024 * 1024


def read_log(text: str, name: str = "log") -> Log:
    """The log that ``text`` is, under ``name``. Nothing is refused: what is not understood stands in ``unread``."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    lines = read_lines(text)
    drafts = read_drafts(read_blocks(lines))
    entries = tuple(_entries(drafts))
    others = [draft for draft in drafts if not draft.is_entry]
    blocks = [block for draft in drafts for block in draft.blocks]
    loose = [note(block) for draft in others for block in draft.of("unread", "log", "figures")]
    loose += [line for draft in others for line in _unused(draft, entries)]
    unread = sorted([*loose, *(n for entry in entries for n in entry.unread)], key=lambda found: found.line)
    return Log(
        name=name,
        sha256=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        lines=len(text.splitlines()),
        entries=entries,
        headings=tuple(LogNote(line=b.line, text=b.value[1].strip()) for b in blocks if b.kind == "heading"),
        remarks=tuple(_remark(block) for block in blocks if block.kind == "remark"),
        tables=tuple(_tables([block for block in blocks if block.kind == "row"])),
        prose=tuple(paragraph for draft in others for paragraph in paragraphs(draft.of("text"))),
        images=tuple(block.value for draft in others for block in draft.of("image")),
        unread=tuple(unread),
    )


def read_log_file(path: Path, name: str | None = None) -> Log:
    """The log of the file ``path``, under ``name`` or the file's own name.

    Raises:
        SpecError: it cannot be read, is too large, is no UTF-8 text, or holds no entry.
    """
    hint = "name the Markdown file of an experiment log"
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise SpecError("is larger than 64 MiB", where=path, hint=hint)
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise SpecError(f"cannot be read ({error.strerror})", where=path, hint="name the file of a log") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"is no UTF-8 text (byte {error.start})", where=path, hint="save it as UTF-8") from None
    log = read_log(text, name or path.stem)
    if not log.entries:
        raise SpecError("holds no entry", where=path, hint=hint)
    return log


def _entries(drafts: Sequence[Draft]) -> Iterator[LogEntry]:
    shared: SectionLosses | None = None
    number = 0
    for draft in drafts:
        if shared is not None and not shared.holds_for(draft):
            shared = None
        if draft.is_entry:
            number += 1
            yield build_entry(f"e{number:03d}", draft, shared)
        elif losses := read_losses(draft, "section"):
            shared = SectionLosses(losses, draft.sections)


def _unused(draft: Draft, entries: Sequence[LogEntry]) -> Iterator[LogNote]:
    """The lines of a snippet that weights losses, where no entry stands in its section."""
    losses = read_losses(draft, "section")
    if losses is None or losses not in (entry.losses for entry in entries):
        for block in draft.of("loss", "around"):
            yield LogNote(line=block.line, text=block.value[3] if block.kind == "loss" else block.value)


def _remark(block: TextBlock) -> Remark:
    kind, number, text = block.value
    return Remark(line=block.line, kind=kind, number=number, text=text)


def _tables(rows: Sequence[TextBlock]) -> Iterator[LossTable]:
    groups: list[list[TextBlock]] = []
    for row in rows:
        if groups and row.line == groups[-1][-1].line + 1:
            groups[-1].append(row)
        else:
            groups.append([row])
    for group in groups:
        body = [row.value for row in group[1:] if set("".join(row.value)) - set("-: ")]
        yield LossTable(line=group[0].line, columns=group[0].value, rows=tuple(body))
