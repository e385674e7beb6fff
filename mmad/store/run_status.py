"""How far the queue is: counts by status, what runs now and how long it takes yet, what failed and why.

Read so that a database of many runs answers at once: counts, and few whole rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from statistics import median
from typing import Any, get_args

from sqlalchemy import JSON, ColumnElement, Connection, Row, Select, case, cast, func, select, true

from mmad.base.clock import now
from mmad.base.formatting import short_key
from mmad.base.records import HELD, MemberRecord, Status
from mmad.store.checked_columns import Whole
from mmad.store.claims import LEASE, OWNER, Owner, owner_of, queued_rows
from mmad.store.run_rows import key_chunks, member_record
from mmad.store.schema import ablations, environments, evaluations, members, metric_names, run_epochs, run_metrics, runs

STATUSES: tuple[Status, ...] = get_args(Status)
#: Statuses of runs that wait, and of runs that are over; all others are held by somebody.
WAITING = ("queued",)
OVER = ("finished", "failed", "interrupted", "stopped")
#: What the epochs in a protocol have to be.
_ASKED = Whole()
_ASKED.column = runs.c.protocol
#: How many of the latest epochs say what an epoch takes now.
_LATEST_EPOCHS = 9
#: How many of the latest runs say what a run that was never trained will take.
_LATEST_RUNS = 100


@dataclass(frozen=True)
class AblationStatus:
    """How many members of an ablation have which status; ``counts`` has every status in ``STATUSES``' order."""

    ablation: str
    title: str
    counts: tuple[int, ...]

    @property
    def members(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class RunningRun:
    """A run that is being trained.

    ``epoch`` is the last committed one, at the moment ``committed``; durations are in seconds, None before the first
    epoch is measured. ``alive`` is False when its process is known to be gone, or when it cannot be asked from here
    and was not heard of for ``claims.LEASE`` seconds by this machine's time. ``silent_since`` is the last heartbeat
    where that is so long ago and the process is not known to be gone. ``val_ap`` is that of the last epoch,
    ``best_val_ap`` that of the checkpoint kept as best.
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
    silent_since: datetime | None = None

    def left_at(self, moment: datetime) -> float | None:
        """Seconds left at ``moment``: what went by of the present epoch is taken off, one epoch at most."""
        each, left = self.seconds_per_epoch, self.seconds_left
        if each is None or left is None or self.committed is None or not self.alive:
            return left
        return left - min(each, left, max(0.0, (moment - self.committed).total_seconds()))


@dataclass(frozen=True)
class FailedRun:
    """A run that failed, and why in one line."""

    key: str
    member: MemberRecord | None
    cause: str


@dataclass(frozen=True)
class WaitingRun:
    """A run that waits for its turn, after ``epoch`` epochs that were trained before."""

    key: str
    member: MemberRecord | None
    epoch: int
    epochs: int


@dataclass(frozen=True)
class Cost:
    """Epochs that waiting runs of one ablation have to train, and the mean seconds of those it measured lately."""

    ablation: str | None
    epochs: int
    seconds: float | None


@dataclass(frozen=True)
class QueueStatus:
    """How far a queue is. ``counts`` are of runs, by every status that has some; ``failed`` are the latest
    failures, ``waiting`` the next runs, ``costs`` what all waiting runs have to train, by ablation."""

    counts: Mapping[str, int]
    running: tuple[RunningRun, ...]
    failed: tuple[FailedRun, ...]
    waiting: tuple[WaitingRun, ...]
    costs: tuple[Cost, ...] = ()

    @property
    def queued_seconds(self) -> float | None:
        """Seconds of all waiting runs one after the other; None where nothing like them was measured."""
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
        """Rough seconds until nothing waits or runs, if as many train at once as now; None where nothing was
        measured."""
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


@dataclass(frozen=True)
class StoreStatus:
    """How far everything in a database is."""

    ablations: tuple[AblationStatus, ...]
    running: tuple[RunningRun, ...]
    failed: tuple[FailedRun, ...]


def run_name(run: RunningRun | FailedRun | WaitingRun) -> str:
    """What a person calls the run: the member it answers, or the beginning of its key."""
    return short_key(run.key) if run.member is None else run.member.path


def read_store_status(connection: Connection) -> StoreStatus:
    """How far everything in the database is."""
    queue = read_queue_status(connection, failed=None, waiting=0, costs=())
    totals = connection.execute(select(members.c.ablation, func.count().label("n")).group_by(members.c.ablation))
    most = max(queue.counts, key=queue.counts.__getitem__, default="queued")  # the members that are left have this one
    counts = {row.ablation: {most: row.n} for row in totals}
    pairs = select(members.c.ablation, runs.c.status, func.count().label("n"))
    pairs = pairs.join(runs, runs.c.key == members.c.run_key)
    pairs = pairs.where(runs.c.status.in_([status for status in queue.counts if status != most]))
    for row in connection.execute(pairs.group_by(members.c.ablation, runs.c.status)):
        counts[row.ablation][row.status] = row.n
        counts[row.ablation][most] -= row.n
    titles = connection.execute(select(ablations.c.name, ablations.c.title).order_by(ablations.c.name))
    by_ablation = tuple(
        AblationStatus(row.name, row.title, tuple(counts.get(row.name, {}).get(status, 0) for status in STATUSES))
        for row in titles
    )
    return StoreStatus(by_ablation, queue.running, queue.failed)


def read_queue_status(
    connection: Connection,
    ablation: str | None = None,
    *,
    failed: int | None,
    waiting: int,
    costs: tuple[Cost, ...] | None = None,
) -> QueueStatus:
    """How far the queue (of ``ablation``) is: runs that a member asks for, and others that are being trained.

    Args:
        failed: at most so many failed runs, the latest first; None for all of them, in the queue's order.
        waiting: at most so many waiting runs, the next first.
        costs: those of an earlier look, in place of adding up again what every waiting run takes.
    """
    wanted = _wanted(connection, ablation)
    totals = select(runs.c.status, func.count().label("n")).where(wanted).group_by(runs.c.status)
    counts = {row.status: row.n for row in connection.execute(totals)}
    held = [status for status in counts if status not in WAITING + OVER]
    some = any(counts.get(status) for status in WAITING)
    running_rows = _held_rows(connection, wanted, held) if held else []
    failed_rows = _failed_rows(connection, wanted, failed) if counts.get("failed") else []
    waiting_rows = _waiting_rows(connection, wanted, waiting) if some and waiting else []
    keys = [row.key for row in (*running_rows, *failed_rows, *waiting_rows)]
    named = _first_members(connection, keys, ablation)
    if costs is None:
        costs = _costs(connection, wanted, [row.key for row in running_rows]) if some else ()
    return QueueStatus(
        counts=counts,
        running=_running(connection, running_rows, named),
        failed=tuple(FailedRun(row.key, named.get(row.key), one_line(row.error)) for row in failed_rows),
        waiting=tuple(WaitingRun(row.key, named.get(row.key), row.done, row.asked or 0) for row in waiting_rows),
        costs=costs,
    )


def one_line(error: str | None) -> str:
    """What an error says in one line: its last line that says something, as in a traceback."""
    lines = [line.strip() for line in (error or "").splitlines() if line.strip()]
    return lines[-1] if lines else "no cause was recorded"


def _wanted(connection: Connection, ablation: str | None) -> ColumnElement[bool]:
    if ablation is None:  # what was asked for, and whatever takes a place
        asked = connection.scalar(select(func.count(members.c.run_key.distinct())))
        if asked == connection.scalar(select(func.count()).select_from(runs)):
            return true()  # every run was, as a rule: no row need be asked
        return runs.c.key.in_(select(members.c.run_key)) | runs.c.status.in_(HELD)
    return runs.c.key.in_(select(members.c.run_key).where(members.c.ablation == ablation))


def _epochs_asked(connection: Connection) -> ColumnElement[int]:
    """How many epochs a run was asked for, out of its protocol; what is no number is not made one."""
    if connection.dialect.name == "postgresql":
        asked: ColumnElement[int] = cast(runs.c.protocol, JSON)["epochs"].as_integer()
        return asked
    return func.json_extract(runs.c.protocol, "$.epochs", type_=_ASKED)


def _epochs_done() -> ColumnElement[int]:
    done = select(func.max(run_epochs.c.epoch)).where(run_epochs.c.run == runs.c.id).scalar_subquery()
    return case((runs.c.started.is_(None), 0), else_=func.coalesce(done, 0))


def _held_rows(connection: Connection, wanted: ColumnElement[bool], statuses: Sequence[str]) -> Sequence[Row[Any]]:
    chosen: Select[Any] = select(
        runs.c.key, runs.c.status, runs.c.protocol, runs.c.started, runs.c.heartbeat, runs.c.device, *OWNER
    )
    return connection.execute(chosen.where(wanted, runs.c.status.in_(statuses)).order_by(runs.c.position)).all()


def _failed_rows(connection: Connection, wanted: ColumnElement[bool], limit: int | None) -> Sequence[Row[Any]]:
    chosen: Select[Any] = select(runs.c.key, runs.c.error).where(wanted, runs.c.status == "failed")
    order = (runs.c.position,) if limit is None else (runs.c.finished.desc(), runs.c.position.desc())
    return connection.execute(chosen.order_by(*order).limit(limit)).all()


def _waiting_rows(connection: Connection, wanted: ColumnElement[bool], limit: int) -> Sequence[Row[Any]]:
    asked, done = _epochs_asked(connection).label("asked"), _epochs_done().label("done")
    chosen: Select[Any] = select(runs.c.key, runs.c.position, asked, done).where(wanted)
    return list(islice(queued_rows(connection, chosen), limit))


def _running(
    connection: Connection, rows: Sequence[Row[Any]], named: Mapping[str, MemberRecord]
) -> tuple[RunningRun, ...]:
    """The runs of ``rows`` with what their latest epochs measured."""
    keys = [row.key for row in rows]
    if not keys:
        return ()
    c = run_epochs.c
    of_runs = select(runs.c.key, c.run, func.max(c.epoch).label("epoch")).join(runs, runs.c.id == c.run)
    newest = of_runs.where(runs.c.key.in_(keys)).group_by(runs.c.key, c.run).subquery()
    latest: Select[Any] = select(c.run, c.seconds).join(
        newest, (c.run == newest.c.run) & (c.epoch > newest.c.epoch - _LATEST_EPOCHS)
    )
    seen: dict[int, list[float]] = {}
    for number, took in connection.execute(latest):
        seen.setdefault(number, []).append(took)
    ends: Select[Any] = select(newest.c.key, c.run, c.epoch, c.committed).join(
        newest, (c.run == newest.c.run) & (c.epoch == newest.c.epoch)
    )
    last_of = {row.key: row for row in connection.execute(ends)}
    value = (
        select(newest.c.key, metric_names.c.name, run_metrics.c.value)
        .join(newest, (run_metrics.c.run == newest.c.run) & (run_metrics.c.epoch == newest.c.epoch))
        .join(metric_names, metric_names.c.id == run_metrics.c.metric)
    )
    of_val = value.where(metric_names.c.split == "val", metric_names.c.name.in_(("ap_iou", "ap_iobb")))
    val_ap = {(row.key, row.name): row.value for row in connection.execute(of_val)}
    best, devices, moment = _best(connection, keys), _devices(connection, keys), now()

    def running(row: Row[Any]) -> RunningRun:
        protocol, owner, last = row.protocol, owner_of(row), last_of.get(row.key)
        overlap, asked = protocol.get("selection_overlap", "iou"), int(protocol.get("epochs", 0))
        epoch = last.epoch if last else 0
        # the first epoch of a stretch also loads; the middle of the latest ones says what an epoch takes now
        measured = [] if last is None else [took for took in seen[last.run] if took == took]
        each = median(measured) if measured else None
        silent = row.heartbeat is not None and moment - row.heartbeat > timedelta(seconds=LEASE)
        alive = False if owner is None else owner.alive
        return RunningRun(
            key=row.key,
            member=named.get(row.key),
            status=row.status,
            epoch=epoch,
            epochs=asked,
            seconds_per_epoch=each,
            seconds_left=None if each is None else each * max(0, asked - epoch),
            owner=owner,
            alive=not silent if alive is None else alive,
            device=row.device or devices.get(row.key),
            started=row.started,
            committed=last.committed if last else None,
            val_ap=val_ap.get((row.key, f"ap_{overlap}")),
            best_val_ap=best.get((row.key, overlap)),
            silent_since=row.heartbeat if silent and alive is not False else None,
        )

    return tuple(running(row) for row in rows)


def _best(connection: Connection, keys: Collection[str]) -> dict[tuple[str, str], float]:
    """Validation AP of the checkpoints kept as best, by run and overlap; as the training measured it."""
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


def _costs(connection: Connection, wanted: ColumnElement[bool], active: Sequence[str]) -> tuple[Cost, ...]:
    """What all waiting runs have to train yet, by ablation, and what an epoch of each took lately."""
    first: ColumnElement[Any]
    first = select(func.min(members.c.ablation)).where(members.c.run_key == runs.c.key).scalar_subquery()
    asked = _epochs_asked(connection)
    one = select(first.label("ablation"), asked.label("asked"), _epochs_done().label("done"))
    each = one.where(wanted, runs.c.status.in_(WAITING)).subquery()
    left = func.sum(each.c.asked - each.c.done).label("left")
    # SQLite counts text as nothing, but sorts it last
    total = select(each.c.ablation, left, func.max(each.c.asked)).group_by(each.c.ablation)
    rates = _rates(connection, wanted, active)
    return tuple(
        Cost(row.ablation, int(row.left or 0), rates.get(row.ablation, rates.get(None)))
        for row in connection.execute(total)
    )


def _rates(connection: Connection, wanted: ColumnElement[bool], active: Sequence[str]) -> dict[str | None, float]:
    """Mean seconds of an epoch by ablation, and of all under None, of the runs that train and the latest finished."""
    done = select(runs.c.key).where(wanted, runs.c.status == "finished")
    keys = [*active, *connection.scalars(done.order_by(runs.c.position.desc()).limit(_LATEST_RUNS))]
    c = run_epochs.c
    sums = select(runs.c.key, func.sum(c.seconds).label("s"), func.count(c.seconds).label("n"))
    sums = sums.join(runs, runs.c.id == c.run).where(runs.c.key.in_(keys)).group_by(runs.c.key)
    named = {key: member.ablation for key, member in _first_members(connection, keys).items()}
    found: dict[str | None, list[float]] = {}
    for row in connection.execute(sums):
        for name in {named.get(row.key), None} if row.n else ():
            seconds, count = found.setdefault(name, [0.0, 0.0])
            found[name] = [seconds + row.s, count + row.n]
    return {name: seconds / count for name, (seconds, count) in found.items()}


def _first_members(
    connection: Connection, keys: Collection[str], ablation: str | None = None
) -> dict[str, MemberRecord]:
    """The first member (of ``ablation``) that each run answers, as a queue names it."""
    found: dict[str, MemberRecord] = {}
    chosen = select(members).order_by(members.c.ablation, members.c.position)
    if ablation is not None:
        chosen = chosen.where(members.c.ablation == ablation)
    for some in key_chunks(list(keys)):
        for row in connection.execute(chosen.where(members.c.run_key.in_(some))):
            if row.run_key not in found:
                found[row.run_key] = member_record(row)
    return found
