"""Who trains what: the transitions of a run, each in one transaction.

    queued → claimed → running → finished | failed | interrupted | stopped

A claim names its owner; what an owner does to its run counts only while it still holds it. A run whose owner is
known to be dead is free for whoever looks next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, select, update

from mmad.base.clock import now
from mmad.base.errors import StoreError
from mmad.base.records import HELD, Status
from mmad.store.owner import Owner
from mmad.store.queue_rows import full_key
from mmad.store.schema import runs

#: Seconds without a heartbeat after which a process that cannot be asked (another machine's) counts as dead.
LEASE = 180.0
#: How a heartbeat is answered: go on, stop at the next safe point, or leave: another process holds the run.
Answer = Literal["held", "stop", "lost"]
#: More keys than this are chosen here instead of by the database, which limits a statement's length.
_MANY_KEYS = 500

OWNER = (runs.c.owner_host, runs.c.owner_pid, runs.c.owner_started, runs.c.owner_boot)
NO_OWNER: dict[str, object] = {column.name: None for column in OWNER} | {"heartbeat": None, "stop_asked": False}


class NotHeld(StoreError):
    """Something was to be written about a run that its writer no longer holds."""


def owner_of(row: Row[Any]) -> Owner | None:
    """The owner in a row that has the columns of ``OWNER``."""
    if row.owner_pid is None:
        return None
    return Owner(row.owner_host, row.owner_pid, row.owner_started, row.owner_boot)


def free(row: Row[Any]) -> bool:
    """Whether the run of a row (status, heartbeat and ``OWNER``) may be claimed."""
    if row.status == "queued":
        return True
    if row.status not in HELD:
        return False
    holder = owner_of(row)
    if holder is None or holder.dead:
        return True
    if holder.here or row.heartbeat is None:
        return False
    return bool(now() - row.heartbeat > timedelta(seconds=LEASE))


def _held_by(key: str, owner: Owner) -> ColumnElement[bool]:
    return and_(
        runs.c.key == key,
        runs.c.status.in_(HELD),
        runs.c.owner_host == owner.host,
        runs.c.owner_pid == owner.pid,
        runs.c.owner_started == owner.process_started,
        runs.c.owner_boot == owner.boot_id,
    )


def claim_run(connection: Connection, keys: Iterable[str] | None, owner: Owner, device: str | None) -> str | None:
    """Hands the first free run of the queue to ``owner``: highest priority first, then as queued; None without one."""
    wanted = None if keys is None else set(keys)
    columns: Select[Any] = select(runs.c.key, runs.c.status, runs.c.started, runs.c.attempts, runs.c.heartbeat, *OWNER)
    candidates = columns.where(runs.c.status.in_(("queued", *HELD))).order_by(runs.c.priority.desc(), runs.c.position)
    if wanted is not None and len(wanted) <= _MANY_KEYS:
        candidates = candidates.where(runs.c.key.in_(wanted))
    with connection.execute(candidates.execution_options(yield_per=100)) as rows:
        for row in rows:
            if (wanted is None or row.key in wanted) and free(row) and _take(connection, row, owner, device):
                return str(row.key)
    return None


def _take(connection: Connection, row: Row[Any], owner: Owner, device: str | None) -> bool:
    unchanged = (
        (runs.c.key == row.key)
        & (runs.c.status == row.status)
        & runs.c.owner_pid.is_not_distinct_from(row.owner_pid)
        & runs.c.owner_started.is_not_distinct_from(row.owner_started)
    )
    if connection.scalar(select(runs.c.key).where(unchanged).with_for_update(skip_locked=True)) is None:
        return False
    values = {
        "status": "claimed",
        "started": row.started or now(),
        "finished": None,
        "error": None,
        "attempts": row.attempts + 1,
        "device": device,
        "heartbeat": now(),
        "stop_asked": False,
        "owner_host": owner.host,
        "owner_pid": owner.pid,
        "owner_started": owner.process_started,
        "owner_boot": owner.boot_id,
    }
    connection.execute(update(runs).where(runs.c.key == row.key).values(**values))
    return True


def begin_run(connection: Connection, key: str, owner: Owner) -> bool:
    """claimed → running; False when ``owner`` does not hold the run."""
    values = {"status": "running", "heartbeat": now()}
    return bool(connection.execute(update(runs).where(_held_by(key, owner)).values(**values)).rowcount)


def renew(connection: Connection, key: str, owner: Owner) -> None:
    """The heartbeat of ``owner``, if it holds the run."""
    connection.execute(update(runs).where(_held_by(key, owner)).values(heartbeat=now()))


def answer(connection: Connection, key: str, owner: Owner) -> Answer:
    """Whether ``owner`` goes on, is to stop, or no longer holds the run."""
    asked = connection.scalar(select(runs.c.stop_asked).where(_held_by(key, owner)))
    return "lost" if asked is None else "stop" if asked else "held"


def require_held(connection: Connection, key: str, owner: Owner) -> None:
    """NotHeld when another process trains the run by now, or nobody does."""
    if connection.scalar(select(runs.c.key).where(_held_by(key, owner)).with_for_update()) is None:
        raise NotHeld(
            "another process has taken the run over, or it was requeued",
            where=f"run {key[:12]}",
            mend="look who trains it with mmad status",
        )


def end_run(connection: Connection, key: str, owner: Owner, status: Status, error: str | None) -> bool:
    """The end of what ``owner`` did with the run; False when it does not hold it."""
    return bool(connection.execute(update(runs).where(_held_by(key, owner)).values(**_end(status, error))).rowcount)


def write_status(connection: Connection, key: str, status: Status, error: str | None) -> None:
    """Notes how a run stands, whoever holds it."""
    values: dict[str, object] = {"status": status, "error": error, "finished": None}
    values = values if status in HELD else _end(status, error)
    if connection.execute(update(runs).where(runs.c.key == key).values(**values)).rowcount == 0:
        full_key(connection, key)
        raise StoreError(f"{key!r} is not a whole key", where="run", mend="give all 64 digits")


def _end(status: Status, error: str | None) -> dict[str, object]:
    over = now() if status in ("finished", "failed", "stopped") else None
    return {"status": status, "error": error, "finished": over, **NO_OWNER}


def write_requeued(connection: Connection, keys: Sequence[str], statuses: Sequence[Status]) -> tuple[str, ...]:
    """The runs of ``keys`` in one of ``statuses`` become queued, held ones only if their owners are dead."""
    chosen = []
    for row in _rows(connection, keys, statuses):
        if row.status in HELD and not free(row):
            continue
        connection.execute(update(runs).where(runs.c.key == row.key).values(**_end("queued", None)))
        chosen.append(str(row.key))
    return tuple(chosen)


def force_requeued(connection: Connection, keys: Sequence[str]) -> tuple[str, ...]:
    """Held runs of ``keys`` become queued though their owner may live: it finds out at its next heartbeat."""
    chosen = tuple(str(row.key) for row in _rows(connection, keys, HELD))
    for key in chosen:
        connection.execute(update(runs).where(runs.c.key == key).values(**_end("queued", None)))
    return chosen


def ask_stop(connection: Connection, keys: Sequence[str]) -> dict[str, Status]:
    """Stops the runs of ``keys``: waiting ones at once, held ones at their next safe point; their statuses before."""
    before: dict[str, Status] = {}
    for row in _rows(connection, keys, ("queued", "interrupted", *HELD)):
        here = runs.c.key == row.key
        values = {"stop_asked": True} if row.status in HELD and not free(row) else _end("stopped", "stopped by hand")
        connection.execute(update(runs).where(here).values(**values))
        before[str(row.key)] = row.status
    return before


def write_priority(connection: Connection, keys: Sequence[str], priority: int) -> None:
    """The runs of ``keys`` are claimed before those of lower priority."""
    for chunk in _chunks(keys):
        connection.execute(update(runs).where(runs.c.key.in_(chunk)).values(priority=priority))


def read_owners(connection: Connection) -> dict[str, Owner]:
    """Who holds each claimed or running run."""
    held: Select[Any] = select(runs.c.key, *OWNER).where(runs.c.status.in_(HELD))
    return {row.key: owner for row in connection.execute(held) if (owner := owner_of(row)) is not None}


def read_free(connection: Connection, keys: Sequence[str]) -> frozenset[str]:
    """Which of ``keys`` could be claimed now."""
    return frozenset(str(row.key) for row in _rows(connection, keys, ("queued", *HELD)) if free(row))


def read_statuses(connection: Connection, keys: Sequence[str]) -> Mapping[str, tuple[Status, str | None, int]]:
    """Status, error and priority of each of ``keys``."""
    columns: Select[Any] = select(runs.c.key, runs.c.status, runs.c.error, runs.c.priority)
    found: dict[str, tuple[Status, str | None, int]] = {}
    for chunk in _chunks(keys):
        for row in connection.execute(columns.where(runs.c.key.in_(chunk))):
            found[str(row.key)] = (row.status, row.error, int(row.priority))
    return found


def _rows(connection: Connection, keys: Sequence[str], statuses: Sequence[str]) -> list[Row[Any]]:
    columns: Select[Any] = select(runs.c.key, runs.c.status, runs.c.heartbeat, runs.c.position, *OWNER)
    rows: list[Row[Any]] = []
    for chunk in _chunks(keys):
        rows += connection.execute(columns.where(and_(runs.c.key.in_(chunk), runs.c.status.in_(statuses))))
    return sorted(rows, key=lambda row: int(row.position))


def _chunks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[at : at + _MANY_KEYS] for at in range(0, len(keys), _MANY_KEYS))
