"""Machines, processes and a clock that are pretended, so that owners live and die as a test says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from mmad.store import claims, run_status, store
from mmad.store.claims import Owner

HERE, THERE = "here", "there"


@dataclass
class World:
    """This machine and another one. Who lives here can be asked; of the other one only heartbeats are seen."""

    moment: datetime = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
    ahead: float = 0.0  # seconds that the clock of whoever acts now is ahead
    boot: int = 1
    started: float = 100.0
    living: dict[int, Owner] = field(default_factory=dict)  # this machine's, by number
    elsewhere: set[Owner] = field(default_factory=set)

    def later(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)

    def process(self, host: str, pid: int) -> Owner:
        """A process that begins now; one of this machine takes the place of a dead one of its number."""
        self.started += 1
        made = Owner(host, pid, self.started, self.table(host))
        if host == HERE:
            self.living[pid] = made
        else:
            self.elsewhere.add(made)
        return made

    def kill(self, owner: Owner) -> None:
        if self.living.get(owner.pid) == owner:
            del self.living[owner.pid]
        self.elsewhere.discard(owner)

    def reboot(self) -> None:
        """This machine starts anew; the clock that starts are told on begins at 0 again."""
        self.living.clear()
        self.boot += 1

    def alive(self, owner: Owner) -> bool:
        return owner in self.elsewhere or self.living.get(owner.pid) == owner

    def moment_seconds(self) -> float:
        """The monotonic clock of whoever looks."""
        return self.moment.timestamp()

    def table(self, host: str) -> str:
        """The process table of a machine, another one with each boot."""
        return f"{host} {self.boot}" if host == HERE else host

    def _started(self, pid: int) -> float:
        if pid not in self.living:
            raise psutil.NoSuchProcess(pid)
        return self.living[pid].process_started

    @contextmanager
    def entered(self) -> Iterator[World]:
        """This is the world that the store sees."""
        with pytest.MonkeyPatch.context() as patch:
            for room in (claims, run_status, store):
                patch.setattr(room, "now", lambda: self.moment + timedelta(seconds=self.ahead))
            patch.setattr(claims, "seconds", self.moment_seconds)
            patch.setattr(claims.platform, "node", lambda: HERE)
            patch.setattr(claims, "_process_table", lambda: self.table(HERE))
            patch.setattr(claims, "_process_started", self._started)
            yield self
