"""How far the queue is: counts by status, what runs now and how long it takes yet, what failed and why."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any, get_args

from sqlalchemy import JSON, ColumnElement, Connection, Row, Select, case, cast, func, select, true, type_coerce

from mmad.base.formatting import short_key
from mmad.base.records import MemberRecord, Status
from mmad.store.claims import Owner, lives
from mmad.store.lookup import member_path
from mmad.store.run_rows import member_record
from mmad.store.schema import ablations, environments, epochs, evaluations, members, metrics, runs

if TYPE_CHECKING:
    from mmad.store.store import Store

# How far the queue is, read so that a database of many runs answers at once: counts, and few whole rows.


#: Statuses of runs that wait, and of runs that are over; all others are held by somebody.
WAITING = ("queued",)
OVER = ("finished", "failed", "interrupted", "stopped")
#: How many of the latest epochs tell what an epoch takes now.
LATEST = 9
#: How many of the latest runs tell what a run that was never trained will take.
_TELLING = 100


@dataclass(frozen=True)
class ActiveRow:
    """A run that somebody holds. ``seconds`` are those of its latest epochs, in order; ``epoch`` the last
    committed one at the moment ``committed``; ``val_ap`` that epoch's, ``best_val_ap`` the kept checkpoint's."""

    key: str
    status: str
    epoch: int
    epochs: int
    started: datetime | None
    owner: Owner | None
    heartbeat: datetime | None
    device: str | None
    seconds: tuple[float, ...]
    committed: datetime | None
    val_ap: float | None
    best_val_ap: float | None


@dataclass(frozen=True)
class FailedRow:
    """A run that failed."""

    key: str
    error: str | None


@dataclass(frozen=True)
class WaitingRow:
    """A run that waits for its turn."""

    key: str
    epoch: int
    epochs: int


@dataclass(frozen=True)
class Cost:
    """Epochs that runs of one ablation still wait for, and the mean seconds of those it measured lately."""

    ablation: str | None
    epochs: int
    seconds: float | None


@dataclass(frozen=True)
class QueueRows:
    """One state of the queue; ``counts`` are of runs by status, ``members`` name those of the rows."""

    counts: dict[str, int]
    active: tuple[ActiveRow, ...]
    failed: tuple[FailedRow, ...]
    waiting: tuple[WaitingRow, ...]
    costs: tuple[Cost, ...]
    members: dict[str, MemberRecord]


def read_member_counts(connection: Connection) -> dict[str, dict[str, int]]:
    """Ablation → status → how many of its members stand there; every ablation that has a member."""
    counted: dict[str, dict[str, int]] = {}
    pairs = select(members.c.ablation, runs.c.status, func.count().label("n"))
    pairs = pairs.join(runs, runs.c.key == members.c.run_key)
    for row in connection.execute(pairs.group_by(members.c.ablation, runs.c.status)):
        counted.setdefault(row.ablation, {})[row.status] = row.n
    return counted


def read_titles(connection: Connection) -> dict[str, str]:
    """Every ablation's title, by name."""
    titles = select(ablations.c.name, ablations.c.title).order_by(ablations.c.name)
    return {row.name: row.title for row in connection.execute(titles)}


def read_queue(
    connection: Connection,
    ablation: str | None = None,
    *,
    failed: int | None = None,
    waiting: int = 0,
    costs: bool = False,
) -> QueueRows:
    """How far the queue (of ``ablation``) is.

    Args:
        failed: at most so many failed runs, the latest first; None for all of them, in the queue's order.
        waiting: at most so many waiting runs, the next first.
        costs: tell too what all waiting runs have to train, which takes longest.
    """
    wanted = _wanted(ablation)
    totals = select(runs.c.status, func.count().label("n")).where(wanted).group_by(runs.c.status)
    counts = {row.status: row.n for row in connection.execute(totals)}
    held = [status for status in counts if status not in WAITING + OVER]
    active = _active(connection, wanted, held)
    lost = _standing_rows_failed(connection, wanted, failed) if counts.get("failed") else ()
    some = any(counts.get(status) for status in WAITING)
    following = _standing_rows_waiting(connection, wanted, waiting) if some and waiting else ()
    needed = _costs(connection, wanted, [row.key for row in active]) if some and costs else ()
    keys = [row.key for rows in (active, lost, following) for row in rows]
    return QueueRows(counts, active, lost, following, needed, read_first_members(connection, keys, ablation))


def _wanted(ablation: str | None) -> ColumnElement[bool]:
    if ablation is None:
        return true()
    return runs.c.key.in_(select(members.c.run_key).where(members.c.ablation == ablation))


def _order() -> list[ColumnElement[Any]]:
    """The order in which waiting runs are taken."""
    return [runs.c.priority.desc(), runs.c.position]


def _epochs_asked(connection: Connection) -> ColumnElement[int]:
    """How many epochs a run was asked for, out of its protocol."""
    typed: Any = cast if connection.dialect.name == "postgresql" else type_coerce
    asked: ColumnElement[int] = typed(runs.c.protocol, JSON)["epochs"].as_integer()
    return asked


def _epochs_done() -> ColumnElement[int]:
    done = select(func.max(epochs.c.epoch)).where(epochs.c.run_key == runs.c.key).scalar_subquery()
    return case((runs.c.started.is_(None), 0), else_=func.coalesce(done, 0))


def _active(connection: Connection, wanted: ColumnElement[bool], statuses: Sequence[str]) -> tuple[ActiveRow, ...]:
    if not statuses:
        return ()
    c = runs.c
    owner = (c.owner_host, c.owner_pid, c.owner_started, c.owner_boot)
    chosen = select(c.key, c.status, c.protocol, c.started, c.heartbeat, c.device, *owner)
    found = connection.execute(chosen.where(wanted, c.status.in_(statuses)).order_by(c.position))
    rows: list[Any] = list(found)
    keys = [row.key for row in rows]
    last = select(epochs.c.run_key, func.max(epochs.c.epoch).label("epoch")).where(epochs.c.run_key.in_(keys))
    newest = last.group_by(epochs.c.run_key).subquery()
    latest = select(epochs.c.run_key, epochs.c.epoch, epochs.c.seconds, epochs.c.committed).join(
        newest, (epochs.c.run_key == newest.c.run_key) & (epochs.c.epoch > newest.c.epoch - LATEST)
    )
    seen: dict[str, list[Any]] = {}
    for row in connection.execute(latest.order_by(epochs.c.run_key, epochs.c.epoch)):
        seen.setdefault(row.run_key, []).append(row)
    value = select(metrics.c.run_key, metrics.c.name, metrics.c.value).join(
        newest, (metrics.c.run_key == newest.c.run_key) & (metrics.c.epoch == newest.c.epoch)
    )
    named = value.where(metrics.c.split == "val", metrics.c.name.in_(("ap_iou", "ap_iobb")))
    val_ap = {(row.run_key, row.name): row.value for row in connection.execute(named)}
    best = _best(connection, keys)
    devices = _devices(connection, keys)
    return tuple(_active_row(row, seen.get(row.key, []), val_ap, best, devices) for row in rows)


def _active_row(
    row: Row[Any],
    latest: Sequence[Any],
    val_ap: dict[tuple[str, str], float],
    best: dict[tuple[str, str], float],
    devices: dict[str, str],
) -> ActiveRow:
    protocol = json.loads(row.protocol)
    overlap = protocol.get("selection_overlap", "iou")
    owner = None
    if row.owner_pid is not None:
        owner = Owner(row.owner_host, row.owner_pid, row.owner_started, row.owner_boot)
    return ActiveRow(
        key=row.key,
        status=row.status,
        epoch=latest[-1].epoch if latest else 0,
        epochs=int(protocol.get("epochs", 0)),
        started=row.started,
        owner=owner,
        heartbeat=row.heartbeat,
        device=row.device or devices.get(row.key),
        seconds=tuple(one.seconds for one in latest),
        committed=latest[-1].committed if latest else None,
        val_ap=val_ap.get((row.key, f"ap_{overlap}")),
        best_val_ap=best.get((row.key, overlap)),
    )


def _best(connection: Connection, keys: Collection[str]) -> dict[tuple[str, str], float]:
    """Validation AP of the checkpoints kept as best, by run and overlap; as the training judged it."""
    c = evaluations.c
    kept = select(c.run_key, c.overlap, c.ap).where(c.run_key.in_(keys), c.kind == "best_ap", c.split == "val")
    found: dict[tuple[str, str], float] = {}
    for row in connection.execute(kept.order_by(c.id)):
        found.setdefault((row.run_key, row.overlap), row.ap)
    return found


def _devices(connection: Connection, keys: Collection[str]) -> dict[str, str]:
    c = environments.c
    last = select(func.max(c.id)).where(c.run_key.in_(keys)).group_by(c.run_key)
    return {row.run_key: row.device for row in connection.execute(select(c.run_key, c.device).where(c.id.in_(last)))}


def _standing_rows_failed(
    connection: Connection, wanted: ColumnElement[bool], limit: int | None
) -> tuple[FailedRow, ...]:
    chosen = select(runs.c.key, runs.c.error).where(wanted, runs.c.status == "failed")
    order = (runs.c.position,) if limit is None else (runs.c.finished.desc(), runs.c.position.desc())
    return tuple(FailedRow(row.key, row.error) for row in connection.execute(chosen.order_by(*order).limit(limit)))


def _standing_rows_waiting(connection: Connection, wanted: ColumnElement[bool], limit: int) -> tuple[WaitingRow, ...]:
    asked, done = _epochs_asked(connection).label("asked"), _epochs_done().label("done")
    chosen: Select[Any] = select(runs.c.key, asked, done).where(wanted, runs.c.status.in_(WAITING))
    rows = connection.execute(chosen.order_by(*_order()).limit(limit))
    return tuple(WaitingRow(row.key, row.done, row.asked or 0) for row in rows)


def _costs(connection: Connection, wanted: ColumnElement[bool], active: Sequence[str]) -> tuple[Cost, ...]:
    """What all waiting runs have to train yet, by ablation, and what an epoch of each took lately."""
    first: ColumnElement[Any]
    first = select(func.min(members.c.ablation)).where(members.c.run_key == runs.c.key).scalar_subquery()
    asked = _epochs_asked(connection)
    one = select(first.label("ablation"), asked.label("asked"), _epochs_done().label("done"))
    each = one.where(wanted, runs.c.status.in_(WAITING)).subquery()
    total = select(each.c.ablation, func.sum(each.c.asked - each.c.done).label("left")).group_by(each.c.ablation)
    rates = _rates(connection, wanted, active)
    return tuple(
        Cost(row.ablation, int(row.left or 0), rates.get(row.ablation, rates.get(None)))
        for row in connection.execute(total)
    )


def _rates(connection: Connection, wanted: ColumnElement[bool], active: Sequence[str]) -> dict[str | None, float]:
    """Mean seconds of an epoch by ablation, and of all under None, of the runs that train and the latest finished."""
    done = select(runs.c.key).where(wanted, runs.c.status == "finished")
    keys = [*active, *connection.scalars(done.order_by(runs.c.position.desc()).limit(_TELLING))]
    sums = select(epochs.c.run_key, func.sum(epochs.c.seconds).label("s"), func.count(epochs.c.seconds).label("n"))
    named = {key: member.ablation for key, member in read_first_members(connection, keys).items()}
    found: dict[str | None, list[float]] = {}
    for row in connection.execute(sums.where(epochs.c.run_key.in_(keys)).group_by(epochs.c.run_key)):
        for name in {named.get(row.run_key), None} if row.n else ():
            seconds, count = found.setdefault(name, [0.0, 0.0])
            found[name] = [seconds + row.s, count + row.n]
    return {name: seconds / count for name, (seconds, count) in found.items()}


def read_first_members(
    connection: Connection, keys: Collection[str], ablation: str | None = None
) -> dict[str, MemberRecord]:
    """The first member (of ``ablation``) that each run answers, as a queue names it."""
    found: dict[str, MemberRecord] = {}
    many = len(keys) > 500
    chosen = select(members) if many else select(members).where(members.c.run_key.in_(keys))
    if ablation is not None:
        chosen = chosen.where(members.c.ablation == ablation)
    wanted = set(keys)
    if not wanted:
        return found
    for row in connection.execute(chosen.order_by(members.c.ablation, members.c.position)):
        if row.run_key in wanted and row.run_key not in found:
            found[row.run_key] = member_record(row)
    return found


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
    return short_key(run.key) if run.member is None else member_path(run.member)


def one_line(error: str | None) -> str:
    """What an error says in one line: its last line that says something, as in a traceback."""
    lines = [line.strip() for line in (error or "").splitlines() if line.strip()]
    return lines[-1] if lines else "no cause was recorded"
