"""JSON files as objects that know where they stand, so that every wrong value is refused by its place and key."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mmad.base.errors import DataError
from mmad.data.names import shown

#: A larger file is refused: parsed, it takes several times its size of memory.
MOST_BYTES = 1 << 30
_MOST_CHARACTERS = 10_000  # of one text
_LARGEST = 1 << 53


@dataclass(frozen=True)
class Node:
    """A JSON object and its place, as ``ann.json: images[3]``."""

    where: str
    fields: Mapping[str, Any]

    def has(self, key: str) -> bool:
        """Whether there is a value other than null."""
        return self.fields.get(key) is not None

    def refuse(self, what: str, mend: str) -> NoReturn:
        """Raises DataError with this place."""
        raise DataError(what, where=self.where, mend=mend)

    def text(self, key: str) -> str:
        """A text that is not blank, without blanks at both ends."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            self.refuse(f"key {key!r} {_found(value, 'is not a text')}", f'write "{key}": "…"')
        if len(value) > _MOST_CHARACTERS or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            self.refuse(f"key {key!r} is longer than any name, or holds half a character", "correct the text")
        if not value.strip():
            self.refuse(f"key {key!r} is empty", f'write "{key}": "…"')
        return value.strip()

    def number(self, key: str) -> float:
        """A finite number."""
        return self._finite(self.fields.get(key), f"key {key!r}")

    def numbers(self, key: str, count: int | None = None) -> list[float]:
        """A list of (``count``) finite numbers."""
        value = self.fields.get(key)
        if not isinstance(value, list) or (count is not None and len(value) != count):
            wanted = "numbers" if count is None else f"{count} numbers"
            self.refuse(f"key {key!r} {_found(value, f'is not a list of {wanted}')}", f'write "{key}": [1.0, …]')
        return [self._finite(entry, f"key {key!r}, entry {i}") for i, entry in enumerate(value, 1)]

    def _finite(self, value: Any, what: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            self.refuse(f"{what} {_found(value, 'is not a finite number')}", "correct or remove it")
        return float(value)

    def pixels(self, key: str) -> int:
        """A whole number from 1."""
        value = self.number(key)
        if value != int(value) or not 1 <= value <= 1_000_000:
            self.refuse(f"key {key!r} is not a whole number of pixels from 1", "write the stored image's size")
        return int(value)

    def identity(self, key: str) -> int | str:
        """An id: a whole number or a text."""
        value = self.fields.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST:
            return value
        return self.text(key) if isinstance(value, str) else self._no_identity(key, value)

    def _no_identity(self, key: str, value: Any) -> NoReturn:
        self.refuse(f"key {key!r} {_found(value, 'is neither a whole number nor a text')}", "write one id for each")

    def flag(self, key: str) -> bool:
        """True or false, also as 1 or 0; false where there is none."""
        value = self.fields.get(key, 0)
        if value is None or value in (0, 1):
            return bool(value)
        self.refuse(f"key {key!r} is neither 0 nor 1", "correct it")

    def node(self, key: str) -> Node:
        """An object inside this one."""
        value = self.fields.get(key)
        if not isinstance(value, dict):
            self.refuse(f"key {key!r} {_found(value, 'is not an object')}", f'write "{key}": {{…}}')
        return Node(f"{self.where}: {key}", value)

    def nodes(self, key: str) -> list[Node]:
        """A list of objects inside this one."""
        value = self.fields.get(key)
        if not isinstance(value, list):
            self.refuse(f"key {key!r} {_found(value, 'is not a list')}", f'write "{key}": [{{…}}]')
        found = []
        for i, entry in enumerate(value):
            if not isinstance(entry, dict):
                self.refuse(f"{key}[{i}] is not an object", f'write "{key}": [{{…}}]')
            found.append(Node(f"{self.where}: {key}[{i}]", entry))
        return found


def read_json(path: Path) -> Node:
    """The object that the file at ``path`` holds. Raises DataError."""
    try:
        if not path.is_file():
            raise DataError("file missing", where=path, mend="name the annotation file")
        if path.stat().st_size > MOST_BYTES:
            raise DataError("is larger than 1 GiB", where=path, mend="split it into several files")
        content = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_no_constant)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, mend="name a plain file") from None
    except UnicodeDecodeError:
        raise DataError("not UTF-8 text", where=path, mend="save it as UTF-8") from None
    except RecursionError:
        raise DataError("is nested too deeply", where=path, mend="name a file of annotations") from None
    except _ConstantError as error:
        raise DataError(f"holds {error}, which is no number", where=path, mend="correct or remove it") from None
    except json.JSONDecodeError as error:
        at = f"{path}:{error.lineno}"
        raise DataError(f"not JSON: {error.msg}", where=at, mend="correct the file or export it again") from None
    except ValueError:
        raise DataError("holds a number of thousands of digits", where=path, mend="correct it") from None
    if not isinstance(content, dict):
        raise DataError("is not a JSON object", where=path, mend="name a file of annotations")
    return Node(str(path), content)


def unique(nodes: Sequence[Node], ids: Sequence[object]) -> None:
    """Refuse an id that stands twice, naming both places. Raises DataError."""
    first: dict[object, Node] = {}
    for node, identity in zip(nodes, ids, strict=True):
        if identity in first:
            other = first[identity].where.rpartition(": ")[2]
            node.refuse(f"id {shown(str(identity))} is that of {other} too", "give each its own id")
        first[identity] = node


class _ConstantError(Exception):
    """NaN, Infinity or -Infinity, which Python reads and JSON does not know."""


def _no_constant(word: str) -> NoReturn:
    raise _ConstantError(word)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _found(value: Any, wrong: str) -> str:
    return "is missing" if value is None else wrong
