"""How far the queue is: counts by status, what runs now and how long it takes yet, what failed and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import get_args

from mmad.base.records import MemberRecord, Status
from mmad.store.claims import lives
from mmad.store.gateway import Store
from mmad.store.owner import Owner
from mmad.store.results import member_path
from mmad.store.standing_rows import OVER, WAITING, ActiveRow, Cost, FailedRow, QueueRows, WaitingRow

__all__ = ["OVER", "STATUSES", "WAITING", "Cost", "Queue", "Standing", "queue_standing", "run_name", "standing"]

STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class AblationStanding:
    """How many members of an ablation stand where; ``counts`` has every status in ``STATUSES``' order."""

    ablation: str
    title: str
    counts: tuple[int, ...]

    @property
    def members(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class RunningStanding:
    """A run that is being trained.

    ``epoch`` is the last committed one, at the moment ``committed``; durations are in seconds, None before the first
    epoch is measured. ``alive`` is False when its process is known to be gone, or when it stands on another machine
    and was not heard of for ``claims.LEASE`` seconds. ``val_ap`` is that of the last epoch, ``best_val_ap`` that of
    the checkpoint kept as best.
    """

    key: str
    member: MemberRecord | None
    status: str
    epoch: int
    epochs: int
    seconds_per_epoch: float | None
    seconds_left: float | None
    owner: Owner | None
    alive: bool
    device: str | None = None
    started: datetime | None = None
    committed: datetime | None = None
    val_ap: float | None = None
    best_val_ap: float | None = None

    def left_at(self, moment: datetime) -> float | None:
        """Seconds left at ``moment``: what went by of the present epoch is taken off, one epoch at most."""
        each, left = self.seconds_per_epoch, self.seconds_left
        if each is None or left is None or self.committed is None or not self.alive:
            return left
        return left - min(each, left, max(0.0, (moment - self.committed).total_seconds()))


@dataclass(frozen=True)
class FailedStanding:
    """A run that failed, and why in one line."""

    key: str
    member: MemberRecord | None
    cause: str


@dataclass(frozen=True)
class WaitingStanding:
    """A run that waits for its turn, after ``epoch`` epochs that were trained before."""

    key: str
    member: MemberRecord | None
    epoch: int
    epochs: int


@dataclass(frozen=True)
class Standing:
    """How far everything in a database is."""

    ablations: tuple[AblationStanding, ...]
    running: tuple[RunningStanding, ...]
    failed: tuple[FailedStanding, ...]


@dataclass(frozen=True)
class Queue:
    """One look at a queue. ``counts`` are of runs, by every status that has some; ``failed`` are the latest
    failures, ``waiting`` the next runs, ``costs`` what all waiting runs have to train, by ablation."""

    counts: Mapping[str, int]
    running: tuple[RunningStanding, ...]
    failed: tuple[FailedStanding, ...]
    waiting: tuple[WaitingStanding, ...]
    costs: tuple[Cost, ...] = ()

    @property
    def queued_seconds(self) -> float | None:
        """Seconds of all waiting runs one after the other; None where nothing was measured that tells."""
        known = [cost.epochs * cost.seconds for cost in self.costs if cost.seconds is not None]
        return sum(known) if len(known) == len(self.costs) else None

    @property
    def runs(self) -> int:
        return sum(self.counts.values())

    @property
    def over(self) -> int:
        """Runs that are over."""
        return sum(count for status, count in self.counts.items() if status in OVER)

    @property
    def places(self) -> int:
        """How many runs train at once now."""
        return sum(run.alive for run in self.running)

    def seconds_left(self, moment: datetime) -> float | None:
        """Rough seconds until nothing waits or runs, if as many train at once as now; None where nothing tells."""
        if self.over == self.runs:
            return 0.0
        if not self.places or self.queued_seconds is None:
            return None
        alive = [run.left_at(moment) for run in self.running if run.alive]
        known = [left for left in alive if left is not None]
        if not known:
            return None
        each = sum(known) / len(known)  # of those that have not measured an epoch yet
        left = sum(known) + each * (len(alive) - len(known)) + self.queued_seconds
        return max(left / self.places, *known)


def standing(store: Store) -> Standing:
    """How far everything in ``store`` is."""
    counts, rows = store.member_counts(), store.queue_state()
    ablations = tuple(
        AblationStanding(name, title, tuple(counts.get(name, {}).get(status, 0) for status in STATUSES))
        for name, title in store.titles().items()
    )
    return Standing(ablations, _all_running(rows), _all_failed(rows))


def queue_standing(
    store: Store, ablation: str | None = None, *, shown: int = 20, costs: tuple[Cost, ...] | None = None
) -> Queue:
    """One look at the queue of ``store``, or at that of one ablation.

    Args:
        shown: failed and waiting runs at most.
        costs: those of an earlier look, in place of adding up again what every waiting run takes.
    """
    rows = store.queue_state(ablation, failed=shown, waiting=shown, costs=costs is None)
    return Queue(
        counts=rows.counts,
        running=_all_running(rows),
        failed=_all_failed(rows),
        waiting=tuple(_waiting(row, rows) for row in rows.waiting),
        costs=rows.costs if costs is None else costs,
    )


def _all_running(rows: QueueRows) -> tuple[RunningStanding, ...]:
    return tuple(_running(row, rows.members.get(row.key)) for row in rows.active)


def _running(row: ActiveRow, member: MemberRecord | None) -> RunningStanding:
    # the first epoch of a stretch also loads; the middle of the latest ones tells what an epoch takes now
    measured = [value for value in row.seconds if value == value]
    each = median(measured) if measured else None
    return RunningStanding(
        key=row.key,
        member=member,
        status=row.status,
        epoch=row.epoch,
        epochs=row.epochs,
        seconds_per_epoch=each,
        seconds_left=None if each is None else each * max(0, row.epochs - row.epoch),
        owner=row.owner,
        alive=row.owner is not None and lives(row.owner, row.heartbeat),
        device=row.device,
        started=row.started,
        committed=row.committed,
        val_ap=row.val_ap,
        best_val_ap=row.best_val_ap,
    )


def _all_failed(rows: QueueRows) -> tuple[FailedStanding, ...]:
    return tuple(_failed(row, rows.members.get(row.key)) for row in rows.failed)


def _failed(row: FailedRow, member: MemberRecord | None) -> FailedStanding:
    return FailedStanding(row.key, member, one_line(row.error))


def _waiting(row: WaitingRow, rows: QueueRows) -> WaitingStanding:
    return WaitingStanding(row.key, rows.members.get(row.key), row.epoch, row.epochs)


def run_name(run: RunningStanding | FailedStanding | WaitingStanding) -> str:
    """What a person calls the run: the member it answers, or the beginning of its key."""
    return run.key[:12] if run.member is None else member_path(run.member)


def one_line(error: str | None) -> str:
    """What an error says in one line: its last line that says something, as in a traceback."""
    lines = [line.strip() for line in (error or "").splitlines() if line.strip()]
    return lines[-1] if lines else "no cause was recorded"
