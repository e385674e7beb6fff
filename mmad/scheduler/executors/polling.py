"""What becomes of runs that another machine trains, as the store tells it; for engines that hear no worker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmad.base.clock import seconds
from mmad.base.paths import StorePaths
from mmad.base.records import RunRecord
from mmad.scheduler.executors.base import Event
from mmad.scheduler.jobs import JobState
from mmad.scheduler.process import Exited
from mmad.scheduler.supervisor_link import ORPHAN_GRACE, Ended, EpochDone, Started, decode, epoch_done, validation_ap
from mmad.store.store import Store

#: Seconds between two looks into the store.
_LOOK = 1.0
#: Seconds that a worker of this machine may take to notice that its task is gone, and to vanish.
_VANISHES = ORPHAN_GRACE + 3.0


@dataclass
class _Followed:
    """What was told of an attempt so far; ``before`` counts how often the run had been claimed earlier."""

    state: JobState
    before: int
    told: int
    begun: bool = False


class StorePoller:
    """Turns what the store says of runs into messages, once a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followed: dict[str, _Followed] = {}
        self._looked = seconds()

    def follow(self, state: JobState) -> None:
        """Tells of the attempt at the run of ``state`` from now on."""
        record = self._store.run(state.job.key)
        self._followed[record.key] = _Followed(state, record.attempts, record.epochs_done)

    def news(self) -> Iterator[Event]:
        """What happened since the last look; nothing when that was a moment ago."""
        if not self._followed or seconds() - self._looked < _LOOK:
            return
        self._looked = seconds()
        owners = self._store.owners()
        for record in self._store.some_runs(list(self._followed)):
            followed = self._followed[record.key]
            if record.attempts <= followed.before:
                continue  # nobody has claimed it yet
            if record.key in owners and not followed.begun:
                followed.state.device = f"{owners[record.key].host}, {record.device or 'cpu'}"
            yield from self._progress(followed, record)

    def ended(self, key: str, lines: Sequence[str], exited: Exited, *, asked: bool) -> Iterator[Event]:
        """The last events of an attempt that the cluster says is over.

        Args:
            lines: the last ones that its worker printed, where they came back.
            exited: how it went, where the worker did not say.
            asked: whether it was cancelled; a run that was interrupted unasked is begun again.
        """
        followed = self._followed.pop(key)
        record = self._store.run(key)
        if record.attempts > followed.before:
            yield from self._progress(followed, record)
        said = _last_word(key, lines)
        if said is not None:
            yield key, replace(said, stays=False)
        elif record.status in ("finished", "failed", "stopped") or (asked and record.status == "interrupted"):
            yield key, Ended(key, record.status, record.error, recorded=True)
        elif self._free(record, followed) and record.stop_asked:
            self._store.stop([key])
            yield key, Ended(key, "stopped", self._store.run(key).error, recorded=True)
        else:
            yield key, replace(exited, log=StorePaths(self._store.paths.database).run(key).log)

    def _free(self, record: RunRecord, followed: _Followed) -> bool:
        """Queues a run whose worker is gone with its node; should it live after all, it can write nothing more.

        Whether it did: a run of this machine's is for the scheduler.

        A process of this machine can be asked whether it lives; it is waited for, and left its run while it does.
        """
        owner = self._store.owners().get(record.key)
        if owner is None or record.attempts <= followed.before:
            return False
        end = seconds() + _VANISHES
        while owner.here and not owner.dead and seconds() < end:
            time.sleep(0.05)
        return not owner.here and bool(self._store.take_away([record.key]))

    def _progress(self, followed: _Followed, record: RunRecord) -> Iterator[Event]:
        job = followed.state.job
        if not followed.begun and record.status != "claimed":
            followed.begun = True
            yield job.key, Started(job.key, followed.told, job.epochs, self._best(record, followed.told))
        if record.epochs_done > followed.told:
            for message in self._epochs(record, job.epochs, followed.told):
                followed.told = message.epoch
                yield job.key, message

    def _epochs(self, record: RunRecord, epochs: int, after: int) -> Iterator[EpochDone]:
        overlap = str(record.protocol.get("selection_overlap", "iou"))
        best = self._best(record)
        for epoch in self._store.epoch_records(record.key):
            if epoch.epoch > after:
                yield epoch_done(record.key, epoch, epochs, overlap, best)

    def _best(self, record: RunRecord, last: int | None = None) -> float | None:
        """The validation AP of the epoch that is kept as best, if it is none after ``last``."""
        overlap = str(record.protocol.get("selection_overlap", "iou"))
        kept = {one.epoch for one in self._store.checkpoints(record.key) if one.kind == "best_ap"}
        found = [one for one in self._store.epoch_records(record.key) if one.epoch in kept]
        return next((validation_ap(one, overlap) for one in found if last is None or one.epoch <= last), None)


def _last_word(key: str, lines: Sequence[str]) -> Ended | None:
    for line in reversed(lines):
        message = decode(line)
        if isinstance(message, Ended) and message.key == key:
            return message
    return None


def why(exited: Exited, lines: Sequence[str]) -> Exited:
    """``exited`` with the last line that a worker which left by itself printed: why it could not begin."""
    said = next((line.strip() for line in reversed(lines) if line.strip() and decode(line) is None), "")
    if exited.code < 0 or not said:
        return exited
    return replace(exited, why=f"its process ended with exit code {exited.code} ({said[:200]})")
