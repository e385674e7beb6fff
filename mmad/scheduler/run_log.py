"""A run's log: all that its worker prints, logs and warns, with time stamps; and the tail of it for readers.

The log is cut here and not by one of ``logging``'s handlers: they rotate what is logged, while the log also holds what
is printed, what native code writes to the descriptors, and the traceback of a crash.
"""

from __future__ import annotations

import codecs
import contextlib
import faulthandler
import io
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from mmad.base.clock import now
from mmad.base.errors import SHARE_HINT, MmadError
from mmad.base.paths import RunPaths

#: Bytes after which a log is renamed ``run.log.1`` and a new one begun, and how many renamed ones are kept.
LOG_BYTES = 8 * 2**20
LOG_KEPT = 3
#: Seconds between two looks at the size of a log that only native code writes.
_LOOK = 1.0
#: Bytes that a reader takes at once.
_BLOCK = 2**16


class RunLog(io.TextIOBase):
    """The text stream of a run's log: a line begins with its time, and what was written is in the file at once.

    A file that has grown to ``limit`` bytes is renamed and a new one takes its place under the same descriptors,
    so that native code writes there too. A log that cannot be written or renamed stops no training.

    Args:
        path: the log; its folder is made.
        limit: bytes of one file, about.
        kept: how many renamed files stay.

    Raises:
        MmadError: the log cannot be written.
    """

    def __init__(self, path: Path, *, limit: int = LOG_BYTES, kept: int = LOG_KEPT) -> None:
        self._path = path
        self._limit = limit
        self._kept = kept
        self._others: tuple[int, ...] = ()
        self._begins = True
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = _appending(path)
        except OSError as error:
            super().close()  # there is no descriptor that the garbage collector should close
            raise log_refused(path, error) from error
        forked = weakref.WeakMethod(self._forked)
        os.register_at_fork(after_in_child=lambda: method() if (method := forked()) else None)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        """Lets go of the file; descriptors that were taken over stay."""
        with self._lock:  # not while it is rotated
            if not self.closed:
                self._limit = 0
                os.close(self._descriptor)
            super().close()

    def take_over(self, *descriptors: int) -> None:
        """Lets ``descriptors`` lead into the log, from now on and after every rotation."""
        self._others = descriptors
        for descriptor in descriptors:
            os.dup2(self._descriptor, descriptor)

    def write(self, text: str) -> int:
        with self._lock, contextlib.suppress(OSError):
            self.rotate()
            _write_all(self._descriptor, self._stamped(text).encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing waits here."""

    def rotate(self) -> None:
        """Begins a new file when this one is full."""
        with self._lock:
            if not self._limit or os.fstat(self._descriptor).st_size < self._limit:
                return
            try:
                for number in range(self._kept, 0, -1):
                    before = self._path if number == 1 else _numbered(self._path, number - 1)
                    with contextlib.suppress(FileNotFoundError):
                        before.rename(_numbered(self._path, number))
                fresh = _appending(self._path)
            except OSError:
                self._limit = 0  # the file that is open grows on
                return
            os.dup2(fresh, self._descriptor, inheritable=False)
            for descriptor in self._others:
                os.dup2(fresh, descriptor)
            os.close(fresh)

    def keep_watch(self) -> None:
        """Rotates also while nothing but native code writes."""

        def watch() -> None:
            while self._limit:
                time.sleep(_LOOK)
                with contextlib.suppress(OSError):
                    self.rotate()

        threading.Thread(target=watch, name="run-log", daemon=True).start()

    def _stamped(self, text: str) -> str:
        stamp = now().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z "
        pieces = []
        for line in io.StringIO(text, newline="\n"):
            pieces.append(stamp + line if self._begins else line)
            self._begins = line.endswith("\n")
        return "".join(pieces)

    def _forked(self) -> None:
        """A child writes into the file that was open, and leaves renaming to its parent."""
        self._lock = threading.RLock()
        self._limit = 0


def _appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _write_all(descriptor: int, block: bytes) -> None:
    while block:
        block = block[os.write(descriptor, block) :]


def log_refused(log: Path, error: OSError) -> MmadError:
    """What to say where ``log`` cannot be made or written: it names the file or folder that refuses."""
    refuses = next((path for path in (log, *log.parents) if path.exists()), log)
    return MmadError(f"the run's log cannot be written ({error.strerror})", where=refuses, hint=SHARE_HINT)


def divert_output(log: Path) -> None:
    """Sends what this process prints, logs and warns to ``log`` (appended), from now on or until the next one.

    Raises:
        MmadError: the log cannot be written.
    """
    earlier = sys.stdout
    stream = RunLog(log)
    sys.stdout.flush()
    sys.stderr.flush()
    stream.take_over(1, 2)
    stream.keep_watch()
    sys.stdout = sys.stderr = stream
    logging.basicConfig(stream=stream, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", force=True)
    logging.captureWarnings(True)
    faulthandler.enable(file=stream.fileno())
    if isinstance(earlier, RunLog):
        earlier.close()


class Tail:
    """The log of one run, from its last ``lines`` lines (None: from its oldest) on, while it grows and is rotated.

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

    def __exit__(self, *_: object) -> None:
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
        """Opens the newest file; what is in it, and before it."""
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
