"""Who trains what: the transitions of a run, each in one transaction.

    queued → claimed → running → finished | failed | interrupted | stopped

A claim names its owner; what an owner does to its run counts only while it still holds it. A run whose owner is
known to be dead is free for whoever looks next.
"""

from __future__ import annotations

import heapq
import os
import platform
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psutil
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, func, or_, select, update

from mmad.base.clock import now, seconds
from mmad.base.errors import StoreError
from mmad.base.formatting import short_key
from mmad.base.records import HELD, Status
from mmad.store.run_rows import MANY_KEYS, key_chunks
from mmad.store.schema import runs

#: Seconds without a heartbeat after which a process that cannot be asked (another machine's) counts as gone.
LEASE = 180.0
#: How a heartbeat is answered: continue, stop at the next safe point, or leave: another process holds the run.
Answer = Literal["held", "stop", "lost"]
#: What the error of a run says that a person stopped.
STOPPED = "stopped by hand"
#: Queued runs that are read at once while one is looked for; the first is free, but for moments.
_FIRST, _PART = 4, 100

OWNER = (runs.c.owner_host, runs.c.owner_pid, runs.c.owner_started, runs.c.owner_boot)
_CLAIM = (runs.c.key, runs.c.status, runs.c.started, runs.c.attempts, runs.c.priority, runs.c.position)
_HOLDER = (runs.c.heartbeat, runs.c.stop_asked, *OWNER)
NO_OWNER: dict[str, object] = {column.name: None for column in OWNER} | {"heartbeat": None, "stop_asked": False}


@dataclass(frozen=True)
class Owner:
    """A process on a machine since its start: what holds a run, distinct from a later one of the same number.

    ``process_started`` is in seconds on a clock that setting the time of day does not move (Linux: since
    boot), so that ``pid`` reuse is seen. ``process_table`` names where ``pid`` counts: boot, machine and pid
    namespace; empty where the system does not say. Processes of one table can ask whether the others live.
    """

    host: str
    pid: int
    process_started: float
    process_table: str

    @classmethod
    def current(cls) -> Owner:
        """The calling process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Owner:
        """The process ``pid`` of this process table; raises ``psutil.NoSuchProcess`` when there is none."""
        return cls(platform.node(), pid, _process_started(pid) or 0.0, _process_table())

    @property
    def here(self) -> bool:
        """Whether the process belongs to the process table of the calling one."""
        return self.process_table != "" and self.process_table == _process_table()

    @property
    def alive(self) -> bool | None:
        """Whether the process lives; None where that cannot be known: of another table, or hidden from this user."""
        if not self.here:
            return None
        try:
            started = _process_started(self.pid)
        except psutil.NoSuchProcess:
            return False
        return None if started is None else started == self.process_started


def _process_started(pid: int) -> float | None:
    """When ``pid`` began, None where that cannot be read; ``psutil.NoSuchProcess`` when it is gone or a zombie."""
    if sys.platform != "linux":
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                raise psutil.NoSuchProcess(pid)
            return process.create_time()
        except psutil.AccessDenied:
            return None
    try:
        os.kill(pid, 0)  # /proc may hide the processes of other users
    except ProcessLookupError:
        raise psutil.NoSuchProcess(pid) from None
    except PermissionError:
        pass
    own = pid == os.getpid()
    try:
        if not own and str(Path("/proc/self").readlink()) != str(os.getpid()):
            return None  # /proc shows another pid namespace
        stat = Path(f"/proc/{'self' if own else pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # the command's name may hold spaces and brackets: fields are counted after its last bracket
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise psutil.NoSuchProcess(pid)
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _process_table() -> str:
    """Boot, machine and pid namespace of the calling process, joined; empty where the system does not say."""
    if sys.platform != "linux":
        return f"/{_machine()}/"  # when a process began says of which boot it is
    try:
        return f"{_boot()}/{_machine()}/{_namespace(os.getpid())}"
    except OSError:
        return ""


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@cache
def _namespace(_: int) -> int:
    """The pid namespace of the calling process, whose number it is given: one that is forked may have another."""
    return Path("/proc/self/ns/pid").stat().st_ino


@cache
def _machine() -> str:
    if sys.platform != "linux":
        return f"{uuid.getnode():x}"
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class NotHeld(StoreError):
    """Something was to be written about a run that its writer no longer holds."""


def owner_of(row: Row[Any]) -> Owner | None:
    """The owner in a row that has the columns of ``OWNER``."""
    if row.owner_pid is None:
        return None
    return Owner(row.owner_host, row.owner_pid, row.owner_started, row.owner_boot)


class Observer:
    """Says which runs are free, and remembers for that since when it sees their heartbeats unchanged.

    What counts is its own monotonic clock: those of the machines may be apart.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[tuple[Owner, datetime], float]] = {}

    def free(self, row: Row[Any]) -> bool:
        """Whether the run of a row (key, status, heartbeat and ``OWNER``) may be claimed.

        One is that waits, that nobody holds, or whose holder is known to be gone. A holder that cannot be asked
        counts as gone when its heartbeat was seen unchanged for ``LEASE`` seconds; one that was never heard of (a run
        of an earlier version) is believed to live.
        """
        if row.status == "queued":
            return True
        if row.status not in HELD:
            return False
        holder = owner_of(row)
        if holder is None:
            return True
        alive = holder.alive
        if alive is not None:
            return not alive
        return row.heartbeat is not None and self._silent(row.key, (holder, row.heartbeat))

    def _silent(self, key: str, heartbeat: tuple[Owner, datetime]) -> bool:
        moment = seconds()
        seen, since = self._seen.get(key, (None, moment))
        if seen != heartbeat:
            self._seen[key] = heartbeat, moment
            return False
        return moment - since > LEASE


def _held_by(key: str, owner: Owner) -> ColumnElement[bool]:
    return and_(runs.c.key == key, runs.c.status.in_(HELD), *_names(owner))


def _names(owner: Owner) -> tuple[ColumnElement[bool], ...]:
    """That ``OWNER`` is ``owner``."""
    values = (owner.host, owner.pid, owner.process_started, owner.process_table)
    return tuple(column == value for column, value in zip(OWNER, values, strict=True))


#: Whether a run is held by whom its parameters name; put together once, because every epoch asks.
_HELD = (
    select(runs.c.key)
    .where(
        runs.c.key == bindparam("of_run"),
        runs.c.status.in_(HELD),
        runs.c.owner_host == bindparam("of_host"),
        runs.c.owner_pid == bindparam("of_pid"),
        runs.c.owner_started == bindparam("of_start"),
        runs.c.owner_boot == bindparam("of_boot"),
    )
    .with_for_update()
)


def claim_run(
    connection: Connection,
    observer: Observer,
    keys: Iterable[str] | None,
    owner: Owner,
    device: str | None,
    moment: datetime,
) -> str | None:
    """Hands the first free run of the queue to ``owner``: highest priority first, then as queued; None without one.

    A run that was to stop when its owner died is stopped, not handed on. ``moment`` becomes the first heartbeat.
    """
    wanted = None if keys is None else frozenset(keys)
    for row in _candidates(connection, wanted):
        if not observer.free(row) or not _unchanged(connection, row):
            continue
        if row.status in HELD and row.stop_asked:
            connection.execute(update(runs).where(runs.c.key == row.key).values(**_end("stopped", STOPPED)))
            continue
        _take(connection, row, owner, device, moment)
        return str(row.key)
    return None


def claimed_at(connection: Connection, owner: Owner, moment: datetime) -> str | None:
    """The run that ``claim_run`` handed to ``owner`` at ``moment``, where its answer was lost; None without one."""
    held: Select[Any] = select(runs.c.key).where(*_names(owner), runs.c.status == "claimed")
    found = connection.scalar(held.where(runs.c.heartbeat == moment))
    return None if found is None else str(found)


def _candidates(connection: Connection, wanted: frozenset[str] | None) -> Iterator[Row[Any]]:
    """Held and queued runs (of ``wanted``) in the order of the queue, read no further than they are asked for."""
    columns: Select[Any] = select(*_CLAIM, *_HOLDER)
    if wanted is not None and len(wanted) <= MANY_KEYS:
        found = connection.execute(columns.where(runs.c.key.in_(wanted), runs.c.status.in_(("queued", *HELD))))
        yield from sorted(found, key=_turn)
        return
    held = sorted(connection.execute(columns.where(runs.c.status.in_(HELD))), key=_turn)
    for row in heapq.merge(held, queued_rows(connection, columns), key=_turn):
        if wanted is None or row.key in wanted:
            yield row


def queued_rows(connection: Connection, columns: Select[Any]) -> Iterator[Row[Any]]:
    """The queued runs in their order, along the index, one priority after the other; ``position`` is a column."""
    queued = runs.c.status == "queued"
    highest: Select[Any] = select(func.max(runs.c.priority)).where(queued)
    priority = connection.scalar(highest)
    while priority is not None:
        last, size = -1, _FIRST
        while part := connection.execute(
            columns.where(queued, runs.c.priority == priority, runs.c.position > last)
            .order_by(runs.c.position)
            .limit(size)
        ).all():
            yield from part
            last, size = part[-1].position, _PART
        priority = connection.scalar(highest.where(runs.c.priority < priority))


def _turn(row: Row[Any]) -> tuple[int, int]:
    return -int(row.priority), int(row.position)


def _unchanged(connection: Connection, row: Row[Any]) -> bool:
    """Whether the run still is as ``row`` says and nobody else claims it; locks it where a server has locks."""
    seen = and_(
        runs.c.key == row.key,
        runs.c.status == row.status,
        *(column.is_not_distinct_from(row._mapping[column.name]) for column in (runs.c.heartbeat, *OWNER)),
    )
    return connection.scalar(select(runs.c.key).where(seen).with_for_update(skip_locked=True)) is not None


def _take(connection: Connection, row: Row[Any], owner: Owner, device: str | None, moment: datetime) -> None:
    values = {
        "status": "claimed",
        "started": row.started or moment,
        "finished": None,
        "error": None,
        "attempts": row.attempts + 1,
        "device": device,
        "heartbeat": moment,
        "stop_asked": False,
        "owner_host": owner.host,
        "owner_pid": owner.pid,
        "owner_started": owner.process_started,
        "owner_boot": owner.process_table,
    }
    connection.execute(update(runs).where(runs.c.key == row.key).values(**values))


def begin_run(connection: Connection, key: str, owner: Owner) -> bool:
    """claimed → running; False when ``owner`` does not hold the run."""
    values = {"status": "running", "heartbeat": now()}
    return bool(connection.execute(update(runs).where(_held_by(key, owner)).values(**values)).rowcount)


def renew(connection: Connection, key: str, owner: Owner) -> None:
    """The heartbeat of ``owner``, if it holds the run."""
    connection.execute(update(runs).where(_held_by(key, owner)).values(heartbeat=now()))


def answer(connection: Connection, key: str, owner: Owner) -> Answer:
    """Whether ``owner`` still holds the run, is to stop, or has lost it."""
    asked = connection.scalar(select(runs.c.stop_asked).where(_held_by(key, owner)))
    return "lost" if asked is None else "stop" if asked else "held"


def require_held(connection: Connection, key: str, owner: Owner) -> None:
    """NotHeld when another process trains the run by now, or nobody does."""
    holder = {
        "of_run": key,
        "of_host": owner.host,
        "of_pid": owner.pid,
        "of_start": owner.process_started,
        "of_boot": owner.process_table,
    }
    if connection.scalar(_HELD, holder) is None:
        raise NotHeld(
            "another process has taken the run over, or it was requeued",
            where=f"run {short_key(key)}",
            hint="look who trains it with mmad status",
        )


def end_run(connection: Connection, key: str, owner: Owner, status: Status, error: str | None = None) -> Status | None:
    """The end of what ``owner`` did with the run; the status it has now, None when ``owner`` does not hold it.

    One that was to stop and was interrupted is stopped.
    """
    asked = connection.scalar(select(runs.c.stop_asked).where(_held_by(key, owner)).with_for_update())
    if asked is None:
        return None
    if asked and status == "interrupted":
        status, error = "stopped", STOPPED
    connection.execute(update(runs).where(runs.c.key == key).values(**_end(status, error)))
    return status


def end_free(connection: Connection, observer: Observer, key: str, status: Status, error: str | None) -> bool:
    """The end of a run that nobody alive holds; False where somebody does, or it is over.

    One that was to stop when its owner died is stopped, unless it ends for good.
    """
    for row in _rows(connection, [key], ("queued", *HELD), lock=True):
        if not observer.free(row):
            return False
        if row.stop_asked and status in ("queued", "interrupted"):
            status, error = "stopped", STOPPED
        connection.execute(update(runs).where(runs.c.key == key).values(**_end(status, error)))
        return True
    return False


def _end(status: Status, error: str | None) -> dict[str, object]:
    over = now() if status in ("finished", "failed", "stopped") else None
    return {"status": status, "error": error, "finished": over, **NO_OWNER}


def write_requeued(
    connection: Connection, observer: Observer, keys: Sequence[str], statuses: Sequence[Status]
) -> tuple[str, ...]:
    """The runs of ``keys`` in one of ``statuses`` become queued, held ones only if their owners are dead.

    Not those that another run is trained in place of: nobody would take them up.
    """
    chosen = []
    for row in _rows(connection, keys, statuses, lock=True):
        if (row.status in HELD and not observer.free(row)) or row.stand_in is not None:
            continue
        connection.execute(update(runs).where(runs.c.key == row.key).values(**_end("queued", None)))
        chosen.append(str(row.key))
    return tuple(chosen)


def force_requeued(connection: Connection, keys: Sequence[str]) -> tuple[str, ...]:
    """Held runs of ``keys`` become queued though their owner may live: it finds out at its next heartbeat."""
    chosen = tuple(str(row.key) for row in _rows(connection, keys, HELD, lock=True))
    for key in chosen:
        connection.execute(update(runs).where(runs.c.key == key).values(**_end("queued", None)))
    return chosen


def ask_stop(connection: Connection, observer: Observer, keys: Sequence[str]) -> dict[str, Status]:
    """Stops the runs of ``keys``: waiting ones at once, held ones at their next safe point; their statuses before."""
    before: dict[str, Status] = {}
    for row in _rows(connection, keys, ("queued", "interrupted", *HELD), lock=True):
        here = runs.c.key == row.key
        values = {"stop_asked": True} if row.status in HELD and not observer.free(row) else _end("stopped", STOPPED)
        connection.execute(update(runs).where(here).values(**values))
        before[str(row.key)] = row.status
    return before


def write_priority(connection: Connection, keys: Sequence[str], priority: int) -> None:
    """The runs of ``keys`` are claimed before those of lower priority."""
    for chunk in key_chunks(keys):
        connection.execute(update(runs).where(runs.c.key.in_(chunk)).values(priority=priority))


def read_owners(connection: Connection) -> dict[str, Owner]:
    """Who holds each claimed or running run."""
    held: Select[Any] = select(runs.c.key, *OWNER).where(runs.c.status.in_(HELD))
    return {row.key: owner for row in connection.execute(held) if (owner := owner_of(row)) is not None}


def read_free(connection: Connection, observer: Observer, keys: Sequence[str]) -> frozenset[str]:
    """Which of ``keys`` could be claimed now."""
    return frozenset(str(row.key) for row in _rows(connection, keys, ("queued", *HELD)) if observer.free(row))


def read_statuses(connection: Connection, keys: Sequence[str]) -> Mapping[str, tuple[Status, str | None, int]]:
    """Status, error and priority of each of ``keys``."""
    columns: Select[Any] = select(runs.c.key, runs.c.status, runs.c.error, runs.c.priority)
    found: dict[str, tuple[Status, str | None, int]] = {}
    for chunk in key_chunks(keys):
        for row in connection.execute(columns.where(runs.c.key.in_(chunk))):
            found[str(row.key)] = (row.status, row.error, int(row.priority))
    return found


def read_priorities(connection: Connection) -> dict[str, int]:
    """The priority of every queued run that has one."""
    other = or_(runs.c.priority > 0, runs.c.priority < 0)  # along the index, which != is not
    chosen = select(runs.c.key, runs.c.priority).where(runs.c.status == "queued", other)
    return {str(row.key): int(row.priority) for row in connection.execute(chosen)}


def _rows(
    connection: Connection, keys: Sequence[str], statuses: Sequence[str], *, lock: bool = False
) -> list[Row[Any]]:
    """The runs of ``keys`` in one of ``statuses``, in the queue's order; locked ones stay so until all is written."""
    columns: Select[Any] = select(runs.c.key, runs.c.status, runs.c.position, runs.c.stand_in, *_HOLDER)
    if lock:  # always in one order: two that lock the same runs must not wait for each other
        columns, keys = columns.order_by(runs.c.key).with_for_update(), sorted(keys)
    rows: list[Row[Any]] = []
    for chunk in key_chunks(keys):
        rows += connection.execute(columns.where(and_(runs.c.key.in_(chunk), runs.c.status.in_(statuses))))
    return sorted(rows, key=lambda row: int(row.position))
