"""The text of an ablation file, and the place of everything in it for the sake of messages."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmad.base.errors import SpecError
from mmad.spec.lines import KeyPath, key_lines, line_of
from mmad.spec.nearest import nearest

_LINE_IN_MESSAGE = re.compile(r"\s*\((?:at line (\d+), column \d+|at end of document)\)$")


@dataclass(frozen=True)
class Source:
    """A TOML document with its text; ``lines`` maps the path of a key to its line."""

    path: str
    text: str
    document: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def where(self, key: KeyPath) -> str:
        """``file:line`` of ``key``, or of what holds it."""
        line = line_of(self.lines, key)
        return self.path if line is None else f"{self.path}:{line}"

    def error(self, key: KeyPath, what: str, mend: str | None = None) -> SpecError:
        """A SpecError that names the line of ``key`` and ``key`` itself."""
        name = dotted(key)
        return SpecError(f"{name}: {what}" if name else what, where=self.where(key), mend=mend)


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


def read_source(path: Path) -> Source:
    """Read the TOML file ``path``.

    Raises:
        SpecError: no such file, a folder, no permission, not UTF-8, not TOML.
    """
    text = _read_text(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from error
    return Source(str(path), text, document, key_lines(text))


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise SpecError("no such file", where=path, mend=_similar_file(path)) from None
    except IsADirectoryError:
        inside = sorted(path.glob("*.toml"))
        mend = f"name a file in it, such as {inside[0]}" if inside else "name an ablation file (.toml)"
        raise SpecError("is a folder, not an ablation file", where=path, mend=mend) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SpecError("is not UTF-8 text", where=f"{path}:{line}", mend="save the file as UTF-8") from None
    except OSError as error:
        raise SpecError(
            f"cannot be read ({error.strerror})", where=path, mend="check the path and its rights"
        ) from None


def _similar_file(path: Path) -> str:
    """The mend for a missing file: a file of like name beside it or among the shipped ones."""
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
    return SpecError(f"not valid TOML: {what}", where=f"{path}:{line}", mend="mend the syntax of this line")
