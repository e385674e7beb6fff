"""The text of an ablation file, and the place of everything in it for the sake of messages."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmad.base.errors import SpecError

# Where a key stands in a TOML text: ``tomllib`` gives values without their lines.


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


# The nearest valid word to a misspelled one.


#: More valid words than this are not all told.
_MOST_TOLD = 12


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The entry of ``valid`` most like ``word``, case aside, or None when nothing is like it.

    An entry of a word's initials is like it (``lr`` for ``learning_rate``). Without a like one, a word of four
    letters or more finds the shortest entry that holds it whole.
    """
    by_case = {candidate.lower(): candidate for candidate in valid}
    initials = _initials(word)
    found = [initials] if len(initials) > 1 and initials in by_case else []
    found = found or difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=0.6)
    if not found and len(word) >= 4:
        found = sorted((candidate for candidate in by_case if word.lower() in candidate), key=len)
    return by_case[found[0]] if found else None


def _initials(word: str) -> str:
    """``lr`` of ``learning_rate``."""
    return "".join(part[:1] for part in re.split(r"[_\s-]+", word.lower()))


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """The hint for an unknown ``word``: the nearest valid one, or what is valid when none is near."""
    words = list(valid)
    best = nearest(word, words)
    if best is not None:
        return f"did you mean {best}?"
    if not words:
        return "none is known"
    if len(words) > _MOST_TOLD:
        (closest,) = difflib.get_close_matches(word, words, n=1, cutoff=0.0)
        return f"the nearest of the {len(words)} that are valid is {closest}: `mmad schema` tells them all"
    return f"expected one of {', '.join(words)}"


_LINE_IN_MESSAGE = re.compile(r"\s*\((?:at line (\d+), column \d+|at end of document)\)$")


@dataclass(frozen=True)
class SourceFile:
    """A TOML document with its text; ``lines`` maps the path of a key to its line."""

    path: str
    text: str
    document: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def where(self, key: KeyPath) -> str:
        """``file:line`` of ``key``, or of what holds it."""
        line = line_of(self.lines, key)
        return self.path if line is None else f"{self.path}:{line}"

    def error(self, key: KeyPath, what: str, hint: str | None = None) -> SpecError:
        """A SpecError that names the line of ``key`` and ``key`` itself."""
        name = dotted(key)
        return SpecError(f"{name}: {what}" if name else what, where=self.where(key), hint=hint)


def dotted(key: KeyPath) -> str:
    """``key`` as a reader would look for it: ``settings[2].lr`` with positions from 1."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            text += f".{name}" if text else name
    return text


def read_source(path: Path) -> SourceFile:
    """Read the TOML file ``path``.

    Raises:
        SpecError: no such file, a folder, no permission, not UTF-8, not TOML.
    """
    text = _read_text(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from error
    return SourceFile(str(path), text, document, key_lines(text))


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise SpecError("no such file", where=path, hint=_similar_file(path)) from None
    except IsADirectoryError:
        inside = sorted(path.glob("*.toml"))
        hint = f"name a file in it, such as {inside[0]}" if inside else "name an ablation file (.toml)"
        raise SpecError("is a folder, not an ablation file", where=path, hint=hint) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SpecError("is not UTF-8 text", where=f"{path}:{line}", hint="save the file as UTF-8") from None
    except OSError as error:
        raise SpecError(
            f"cannot be read ({error.strerror})", where=path, hint="check the path and its rights"
        ) from None


def _similar_file(path: Path) -> str:
    """The hint for a missing file: a file of like name beside it or among the shipped ones."""
    shipped = Path("ablations")
    folders = [path.parent] if path.parent == shipped else [path.parent, shipped]
    present = {file.name: file for folder in reversed(folders) if folder.is_dir() for file in folder.glob("*.toml")}
    name = path.name if path.suffix else f"{path.name}.toml"
    best = name if name in present else nearest(name, present)
    if best is not None:
        return f"did you mean {present[best]}?"
    if present:
        return "there are " + ", ".join(str(file) for file in sorted(present.values()))
    return "give the path of an ablation file (.toml)"


def _syntax_error(path: Path, text: str, message: str) -> SpecError:
    match = _LINE_IN_MESSAGE.search(message)
    line = int(match.group(1)) if match and match.group(1) else text.rstrip("\n").count("\n") + 1
    what = _LINE_IN_MESSAGE.sub("", message)
    return SpecError(f"not valid TOML: {what}", where=f"{path}:{line}", hint="fix the syntax of this line")


# Words of a refusal: the name that is not there, the nearest that is, and all that are.


#: A name is shown up to this many characters, so that a message stays a line.
_MOST_SHOWN = 80
#: Against more names than this the nearest is not looked for: it takes as long as reading them.
_MOST_COMPARED = 20_000


def shown(name: str) -> str:
    """``name`` in quotes, shortened if it is long; what cannot be printed is escaped."""
    return repr(name if len(name) <= _MOST_SHOWN else name[:_MOST_SHOWN] + "…")


def no_such(kind: str, name: str, known: Iterable[str]) -> str:
    """``unknown KIND 'name' (did you mean 'nearest'?)``."""
    words = list(known)
    best = nearest(name, words) if len(name) <= _MOST_SHOWN and len(words) <= _MOST_COMPARED else None
    return f"unknown {kind} {shown(name)}" + (f" (did you mean {shown(best)}?)" if best else "")


def one_of(known: Iterable[str]) -> str:
    """``use one of a, b, c`` (at most twelve of them)."""
    words = list(known)
    told = ", ".join(map(_plain, words[:12])) + (", …" if len(words) > 12 else "")
    return f"use one of {told}" if words else "there is none to choose from"


def _plain(word: str) -> str:
    return word if word and word.isprintable() and len(word) <= _MOST_SHOWN else shown(word)
