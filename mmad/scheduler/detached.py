"""A command in the background, one for each database and host: it survives the terminal it was begun in.

It has a folder beside the runs: ``lock``, which it holds while it lives; ``scheduler.json``, what is known of it; and
its log.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mmad.base.clock import now
from mmad.base.errors import SHARE_HINT, MmadError
from mmad.base.files import lock_handle, write_atomically
from mmad.base.paths import RunPaths, StorePaths
from mmad.scheduler import process
from mmad.scheduler.devices import Slots
from mmad.scheduler.jobs import JobState
from mmad.scheduler.progress import PlainView
from mmad.store.claims import Owner

#: In the environment of a command that runs in the background: its folder.
_VARIABLE = "_MMAD_DETACHED"


@dataclass(frozen=True)
class Detached:
    """A command that runs in the background, or did.

    Args:
        command: what the user typed, without secrets, in the working folder ``folder``.
        training: whether its checks are over, and its runs handed out.
        code: the exit code; None while it works, and of one that was killed.
    """

    owner: Owner
    command: str
    folder: str
    began: datetime
    training: bool = False
    code: int | None = None
    ended: datetime | None = None


_RECORD = TypeAdapter(Detached)


class Background:
    """The place of the background command of ``database`` on this host."""

    def __init__(self, database: str) -> None:
        self._all = StorePaths(database).runs / "schedulers"
        self._folder = self._all / re.sub(r"[^\w.-]", "_", platform.node() or "host")

    @property
    def paths(self) -> RunPaths:
        """Where its log is."""
        return RunPaths(self._folder)

    def read(self) -> Detached | None:
        """What is known of the latest command; None where there was none."""
        return _read(self._folder)

    def alive(self, found: Detached) -> bool:
        """Whether the command ``found`` still works."""
        known = found.owner.alive  # None after a reboot, and of another container
        return self._locked() if known is None else known

    def interrupt(self, found: Detached) -> bool:
        """Interrupts the command ``found``, as Ctrl-C does; False where its process cannot be reached."""
        if found.owner.alive is not True:
            return False
        try:
            os.kill(found.owner.pid, signal.SIGTERM)
        except OSError:  # it has just gone, or is another user's
            return False
        return True

    def hosts(self) -> list[str]:
        """Other hosts on which a command of this database was begun and did not end."""
        found = (_read(folder) for folder in sorted(self._all.glob("*")) if folder != self._folder)
        return [one.owner.host for one in found if one is not None and one.ended is None]

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Begins ``mmad WORDS…`` in a session of its own, with the log as its output; it holds the lock.

        Raises:
            MmadError: another one works, the folder cannot be written, or the system starts no process.
        """
        log = self.paths.log
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise MmadError(f"cannot be written ({error.strerror})", where=self._folder, hint=SHARE_HINT) from error
        try:
            lock_handle(lock)
            with contextlib.suppress(FileNotFoundError):
                log.replace(log.with_name("earlier.log"))
            return process.start_detached(words, log, lock, {_VARIABLE: str(self._folder.absolute())})
        except BlockingIOError:
            raise self._works() from None
        except OSError as error:
            raise MmadError(
                f"no command can be detached here ({error.strerror})",
                where=self._folder,
                hint="leave out --detach, and use tmux or nohup",
            ) from error
        finally:
            os.close(lock)

    def _works(self) -> MmadError:
        found = self.read()
        who = "another command" if found is None else f"process {found.owner.pid} ({found.command})"
        return MmadError(
            f"{who} works in the background already",
            where=self._folder.name,
            hint="mmad attach follows it; to add runs, mmad stop --scheduler, then name all files in one command: it "
            "resumes where it was",
        )

    def _locked(self) -> bool:
        try:
            lock = os.open(self._folder / "lock", os.O_RDWR)
        except OSError:
            return False
        try:
            lock_handle(lock, shared=True)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(lock)
        return False


def _read(folder: Path) -> Detached | None:
    file = folder / "scheduler.json"
    try:
        return _RECORD.validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise MmadError("cannot be read", where=file, hint="remove it, unless a command still works there") from error


class BackgroundView(PlainView):
    """Plain lines; ``begun`` is called when the first runs are handed out."""

    def __init__(self, begun: Callable[[], None]) -> None:
        super().__init__(sys.stdout, sys.stderr)
        self._begun = begun

    def begin(self, states: list[JobState], slots: Slots) -> None:
        """As every view, once all was checked."""
        super().begin(states, slots)
        self._begun()


def in_background() -> Path | None:
    """The folder of this command if it was started by ``Background.start``; asked once, and not by its children."""
    folder = os.environ.pop(_VARIABLE, None)
    return None if folder is None else Path(folder)


@contextlib.contextmanager
def recorded(folder: Path, command: str) -> Iterator[BackgroundView]:
    """Records this command in ``folder`` until it ends, and lets it survive the terminal; its view.

    SIGTERM interrupts it, as Ctrl-C does in a terminal.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    state = Detached(Owner.current(), command, str(Path.cwd()), now())

    def write(found: Detached) -> None:
        write_atomically(folder / "scheduler.json", _RECORD.dump_json(found, indent=1))

    def begun() -> None:
        nonlocal state
        if not state.training:
            state = replace(state, training=True)
            write(state)

    code = 1
    write(state)
    try:
        yield BackgroundView(begun)
    except MmadError:
        code = 2
        raise
    except KeyboardInterrupt:
        code = 130
        raise
    except BaseException as end:  # typer's Exit
        code = int(getattr(end, "exit_code", 1))
        raise
    finally:
        write(replace(state, code=code, ended=now()))
