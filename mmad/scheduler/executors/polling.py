"""How runs do that another machine trains, read from the store; for executors that hear no worker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mmad.base.clock import seconds
from mmad.base.paths import StorePaths
from mmad.base.records import HELD, RunRecord
from mmad.scheduler.executors.base import Event
from mmad.scheduler.jobs import JobState
from mmad.scheduler.process import Exited
from mmad.scheduler.supervisor_link import (
    ORPHAN_GRACE,
    Ended,
    EpochDone,
    Started,
    TrainRequest,
    decode_message,
    validation_ap,
)
from mmad.store.store import Store

#: Seconds between two looks into the store.
_LOOK = 1.0
#: Seconds that a worker of this machine may take to notice that its task is gone, and to vanish.
_VANISHES = ORPHAN_GRACE + 3.0


class PolledExecutor:
    """What executors have in common that read from the store how their runs do.

    The store is opened with the first run: an executor may be made before its database.
    """

    template: TrainRequest

    @cached_property
    def _store(self) -> Store:
        return Store.open(self.template.database, create=False)

    @cached_property
    def _poller(self) -> StorePoller:
        return StorePoller(self._store)

    def _close_store(self) -> None:
        if "_store" in vars(self):
            self._store.close()


@dataclass
class _PolledAttempt:
    """What was reported of an attempt so far; ``claims`` counts how often the run had been claimed before it."""

    state: JobState
    claims: int
    epochs_done: int
    started: bool = False


class StorePoller:
    """Polls the store for runs, once a second, and turns changes into the messages that their workers would send."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._attempts: dict[str, _PolledAttempt] = {}
        self._looked = seconds()

    def follow(self, state: JobState) -> None:
        """Reports of the attempt at the run of ``state`` from now on."""
        record = self._store.run(state.job.key)
        self._attempts[record.key] = _PolledAttempt(state, record.attempts, record.epochs_done)

    def is_open(self, key: str) -> bool:
        """Whether the store has the run waiting or held."""
        return self._store.run(key).status in ("queued", *HELD)

    def claimed(self, key: str) -> bool:
        """Whether somebody has claimed the run for the attempt that is followed."""
        return self._store.run(key).attempts > self._attempts[key].claims

    def poll(self) -> Iterator[Event]:
        """What happened since the last look; nothing when that was a moment ago."""
        if not self._attempts or seconds() - self._looked < _LOOK:
            return
        self._looked = seconds()
        owners = self._store.owners()
        for record in self._store.some_runs(list(self._attempts)):
            attempt = self._attempts[record.key]
            if record.attempts <= attempt.claims:
                continue  # nobody has claimed it yet
            if record.key in owners and not attempt.started:
                attempt.state.device = f"{owners[record.key].host}, {record.device or 'cpu'}"
            yield from self._progress(attempt, record)

    def ended(self, key: str, lines: Sequence[str], exited: Exited, *, cancelled: bool) -> Iterator[Event]:
        """The last events of an attempt that the cluster says is over.

        Args:
            lines: the last ones that its worker printed, where they came back.
            exited: how it went, where the worker did not say.
            cancelled: whether the attempt was; a run that was interrupted otherwise is retried.
        """
        attempt = self._attempts.pop(key)
        record = self._store.run(key)
        if record.attempts > attempt.claims:
            yield from self._progress(attempt, record)
        ended = _ended(key, lines)
        if ended is not None:
            yield key, replace(ended, idle=False)
        elif record.status in ("finished", "failed", "stopped") or (cancelled and record.status == "interrupted"):
            yield key, Ended(key, record.status, record.error, recorded=True)
        elif self._requeue(record, attempt) and record.stop_asked:
            self._store.stop([key])
            yield key, Ended(key, "stopped", self._store.run(key).error, recorded=True)
        else:
            yield key, replace(exited, log=StorePaths(self._store.paths.database).run(key).log)

    def _requeue(self, record: RunRecord, attempt: _PolledAttempt) -> bool:
        """Queues a run whose worker was lost with its node; should that live after all, it can write nothing more.

        Returns whether it did. A worker that can be asked whether it lives is given a moment to vanish, and its run is
        left to the scheduler.
        """
        owner = self._store.owners().get(record.key)
        if owner is None or record.attempts <= attempt.claims:
            return False
        end = seconds() + _VANISHES
        while owner.alive and seconds() < end:
            time.sleep(0.05)
        return owner.alive is None and bool(self._store.take_away([record.key]))

    def _progress(self, attempt: _PolledAttempt, record: RunRecord) -> Iterator[Event]:
        key, epochs = record.key, attempt.state.job.epochs
        if not attempt.started and record.status != "claimed":
            attempt.started = True
            best = self._best(record, attempt.epochs_done)
            yield key, Started(key, attempt.epochs_done, epochs, best)
        if record.epochs_done <= attempt.epochs_done:
            return
        overlap, best = _overlap(record), self._best(record)
        for epoch in self._store.epoch_records(key):
            if epoch.epoch > attempt.epochs_done:
                attempt.epochs_done = epoch.epoch
                yield key, EpochDone.of(key, epoch, epochs, overlap, best)

    def _best(self, record: RunRecord, last: int | None = None) -> float | None:
        """The validation AP of the best checkpoint, unless that is of an epoch after ``last``."""
        best = {one.epoch for one in self._store.checkpoints(record.key) if one.kind == "best_ap"}
        found = [one for one in self._store.epoch_records(record.key) if one.epoch in best]
        aps = (validation_ap(one, _overlap(record)) for one in found if last is None or one.epoch <= last)
        return next(aps, None)


def _overlap(record: RunRecord) -> str:
    return str(record.protocol.get("selection_overlap", "iou"))


def _ended(key: str, lines: Sequence[str]) -> Ended | None:
    """The run's end among the last lines of its worker."""
    for line in reversed(lines):
        message = decode_message(line)
        if isinstance(message, Ended) and message.key == key:
            return message
    return None


def printed(output: Path) -> list[str]:
    """The last lines of a worker's output."""
    try:
        return output.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]
    except OSError:
        return []


def explained(exited: Exited, lines: Sequence[str]) -> Exited:
    """``exited`` with the last line that a worker which left by itself printed: why it could not begin."""
    last = next((line.strip() for line in reversed(lines) if line.strip() and decode_message(line) is None), "")
    if exited.code < 0 or not last:
        return exited
    return replace(exited, why=f"its process ended with exit code {exited.code} ({last[:200]})")
