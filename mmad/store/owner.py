"""Who holds a running run: a process, told apart from a later one with the same number."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Owner:
    """A process on a machine since its start.

    ``process_started`` is in seconds on a clock that setting the time of day does not move (Linux: since
    boot), so that ``pid`` reuse is seen. ``boot_id`` changes with every boot; empty where the system has none.
    """

    host: str
    pid: int
    process_started: float
    boot_id: str

    @classmethod
    def current(cls) -> Owner:
        """The calling process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Owner:
        """The process ``pid`` of this machine; raises ``psutil.NoSuchProcess`` when there is none."""
        return cls(platform.node(), pid, _process_started(pid), _boot_id())

    @property
    def here(self) -> bool:
        """Whether the process belongs to this machine, so that ``dead`` can tell."""
        return self.host == platform.node()

    @property
    def dead(self) -> bool:
        """Whether the process is known to be gone; False for another machine's, which cannot be asked."""
        if not self.here:
            return False
        if self.boot_id != _boot_id():
            return True
        try:
            if psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE:
                return True
            return _process_started(self.pid) != self.process_started
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def _process_started(pid: int) -> float:
    if sys.platform == "linux":
        try:
            # the command's name may hold spaces and brackets: fields are counted after its last bracket
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            raise psutil.NoSuchProcess(pid) from None
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return psutil.Process(pid).create_time()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
