"""Reads a run's log from its end, and on while it grows and is rotated."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from mmad.base.paths import RunPaths

_BLOCK = 2**16


class Tail:
    """The log of one run, from its last ``lines`` lines (None: from its oldest) on.

    ``read`` gives what is there now; called again, what came since, in the order it was written, through
    whatever renames the files in between. Bytes that are no UTF-8 are replaced.
    """

    def __init__(self, run: RunPaths, lines: int | None = None) -> None:
        self._run = run
        self._lines = lines
        self._file: BinaryIO | None = None
        self._renamed = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self) -> Iterator[str]:
        """What was not read before, piece by piece; nothing where there is no log yet."""
        if self._file is None:
            yield from self._begin()
        while self._file is not None:
            yield from self._rest(self._file)
            following = self._following(self._file)
            # the writer may put a last word into a file it has just renamed: it is left at the next call
            if following is None or not self._renamed:
                self._renamed = following is not None
                return
            self._file.close()
            self._file, self._renamed = following.open("rb"), False

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> Iterator[str]:
        """Opens the newest file and tells what stands before its end."""
        present = self._run.logs()
        if not present:
            return
        try:
            newest = present[-1].open("rb")
        except FileNotFoundError:  # renamed at this moment
            return
        older = [path for path in self._run.logs() if not _same(path, newest)]
        content = [*(path.read_bytes() for path in older if path.name != self._run.log.name), newest.read()]
        if self._lines is not None:
            content = [last_lines(b"".join(content), self._lines)]
        self._file = newest
        yield from (self._decoder.decode(block) for block in content if block)

    def _rest(self, file: BinaryIO) -> Iterator[str]:
        if os.fstat(file.fileno()).st_size < file.tell():  # somebody emptied it
            file.seek(0)
        while block := file.read(_BLOCK):
            yield self._decoder.decode(block)

    def _following(self, file: BinaryIO) -> Path | None:
        """The file that was begun after ``file``, or None while it is the newest."""
        present = self._run.logs()
        places = [place for place, path in enumerate(present) if _same(path, file)]
        if not places:
            return present[0] if present else None  # renamed so often that it is gone
        return present[places[0] + 1] if places[0] + 1 < len(present) else None


def last_lines(content: bytes, lines: int) -> bytes:
    """The last ``lines`` lines of ``content``, the unfinished last one included."""
    if lines <= 0:
        return b""
    end = len(content) - content.endswith(b"\n")
    for _ in range(lines):
        end = content.rfind(b"\n", 0, end)
        if end < 0:
            return content
    return content[end + 1 :]


def _same(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
