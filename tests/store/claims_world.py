"""Machines, processes and a clock that are pretended, so that owners live and die as a test says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from mmad.store import claims
from mmad.store import claims as owners
from mmad.store.claims import Owner

HERE, THERE = "here", "there"


@dataclass
class World:
    """This machine and another one. Who lives here can be asked; of the other one only heartbeats are seen."""

    moment: datetime = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
    boot: int = 1
    started: float = 100.0
    living: dict[int, Owner] = field(default_factory=dict)  # this machine's, by number
    elsewhere: set[Owner] = field(default_factory=set)

    def later(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)

    def process(self, host: str, pid: int) -> Owner:
        """A process that begins now; one of this machine takes the place of a dead one of its number."""
        self.started += 1
        made = Owner(host, pid, self.started, self._boot(host))
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

    def _boot(self, host: str) -> str:
        return f"{host} {self.boot}" if host == HERE else host

    def _started(self, pid: int) -> float:
        if pid not in self.living:
            raise psutil.NoSuchProcess(pid)
        return self.living[pid].process_started

    def _ask(self, pid: int) -> _Process:
        self._started(pid)
        return _Process()

    @contextmanager
    def entered(self) -> Iterator[World]:
        """This is the world that the store sees."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(claims, "now", lambda: self.moment)
            patch.setattr(owners.platform, "node", lambda: HERE)
            patch.setattr(owners, "_boot_id", lambda: self._boot(HERE))
            patch.setattr(owners, "_process_started", self._started)
            patch.setattr(owners.psutil, "Process", self._ask)
            yield self


class _Process:
    def status(self) -> str:
        return str(psutil.STATUS_RUNNING)
