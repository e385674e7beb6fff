"""Ablations, members and runs as rows: what was asked for, who trains it, how far it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from mmad.base.clock import now
from mmad.base.errors import StoreError
from mmad.base.records import AblationRecord, MemberRecord, RunRecord, Status
from mmad.spec.nearest import nearest
from mmad.spec.protocol import EvaluationProtocol
from mmad.spec.runs import Ablation, Member, RunSpec
from mmad.store.engine import serialise
from mmad.store.owner import Owner
from mmad.store.schema import ablations, epochs, members, runs

OWNER = (runs.c.owner_host, runs.c.owner_pid, runs.c.owner_started, runs.c.owner_boot)
NO_OWNER: dict[str, None] = {column.name: None for column in OWNER}


def write_ablation(connection: Connection, ablation: Ablation) -> None:
    """One row per ablation, member and run key; runs that are there keep all but the data set's path."""
    serialise(connection)
    for member in ablation.members:
        if member.run.provisional:
            raise StoreError(
                f"{member.setting} / {member.arm}: the data set {member.run.data.path} was not looked at, so the run "
                "has no final key",
                where=ablation.name,
                mend="name its folder with --data",
            )
    keys = [member.run.key for member in ablation.members]
    _write_runs(connection, dict(zip(keys, (member.run for member in ablation.members), strict=True)))
    connection.execute(delete(members).where(members.c.ablation == ablation.name))
    connection.execute(delete(ablations).where(ablations.c.name == ablation.name))
    row = {
        "name": ablation.name,
        "title": ablation.title,
        "description": ablation.description,
        "path": ablation.path,
        "source": ablation.source,
        "compare": to_json([list(pair) for pair in ablation.compare]),
        "added": now(),
    }
    connection.execute(insert(ablations), row)
    if ablation.members:
        rows = [_member_row(ablation.name, m, keys[i], i) for i, m in enumerate(ablation.members)]
        connection.execute(insert(members), rows)


def _write_runs(connection: Connection, wanted: Mapping[str, RunSpec]) -> None:
    lies = {
        row.key: (row.dataset_path, row.dataset_name)
        for row in connection.execute(select(runs.c.key, runs.c.dataset_path, runs.c.dataset_name))
    }
    last = connection.scalar(select(func.max(runs.c.position)))
    position = 0 if last is None else last + 1
    fresh: list[dict[str, object]] = []
    for key, run in wanted.items():
        if key in lies:
            if lies[key] != (run.data.path, run.data.name):
                moved = {"dataset_path": run.data.path, "dataset_name": run.data.name}
                connection.execute(update(runs).where(runs.c.key == key).values(**moved))
        else:
            fresh.append(_run_row(key, run, position + len(fresh)))
    if fresh:
        connection.execute(insert(runs), fresh)


def _run_row(key: str, run: RunSpec, position: int) -> dict[str, object]:
    content = run.content()
    return {
        "key": key,
        "position": position,
        "status": "queued",
        "setup": to_json(content["setup"]),
        "protocol": to_json(content["protocol"]),
        "dataset_name": run.data.name,
        "dataset_path": run.data.path,
        "dataset_fingerprint": run.data.fingerprint,
        "recipe": run.recipe,
        "created": now(),
    }


def _member_row(ablation: str, member: Member, key: str, position: int) -> dict[str, object]:
    return {
        "ablation": ablation,
        "setting": member.setting,
        "arm": member.arm,
        "seed": member.seed,
        "replicate": member.replicate,
        "run_key": key,
        "position": position,
        "documented": member.documented,
        **member.evaluation.model_dump(mode="json"),
        "inferred": to_json(list(member.inferred)),
        "overrides": to_json(list(member.overrides)),
    }


def read_ablations(connection: Connection) -> list[AblationRecord]:
    """Every ablation by name, with its members in the file's order."""
    of: dict[str, list[MemberRecord]] = {}
    for row in connection.execute(select(members).order_by(members.c.ablation, members.c.position)):
        of.setdefault(row.ablation, []).append(
            MemberRecord(
                ablation=row.ablation,
                setting=row.setting,
                arm=row.arm,
                seed=row.seed,
                replicate=row.replicate,
                key=row.run_key,
                position=row.position,
                documented=row.documented,
                evaluation={field: row._mapping[field] for field in EvaluationProtocol.model_fields},
                inferred=tuple(json.loads(row.inferred)),
                overrides=tuple(json.loads(row.overrides)),
            )
        )
    return [
        AblationRecord(
            name=row.name,
            title=row.title,
            description=row.description,
            path=row.path,
            source=row.source,
            compare=tuple((a, b) for a, b in json.loads(row.compare)),
            members=tuple(of.get(row.name, ())),
        )
        for row in connection.execute(select(ablations).order_by(ablations.c.name))
    ]


def _select_runs() -> Select[Any]:
    done = select(func.max(epochs.c.epoch)).where(epochs.c.run_key == runs.c.key).scalar_subquery()
    return select(runs, func.coalesce(done, 0).label("epochs_done")).order_by(runs.c.position)


def _run_record(row: Row[Any]) -> RunRecord:
    return RunRecord(
        key=row.key,
        status=row.status,
        setup=json.loads(row.setup),
        protocol=json.loads(row.protocol),
        dataset_name=row.dataset_name,
        dataset_path=row.dataset_path,
        dataset_fingerprint=row.dataset_fingerprint,
        recipe=row.recipe,
        created=row.created,
        started=row.started,
        finished=row.finished,
        error=row.error,
        epochs_done=row.epochs_done,
    )


def _owner(row: Row[Any]) -> Owner | None:
    if row.owner_pid is None:
        return None
    return Owner(row.owner_host, row.owner_pid, row.owner_started, row.owner_boot)


def read_runs(connection: Connection) -> list[RunRecord]:
    """Every run in the order of the queue."""
    return [_run_record(row) for row in connection.execute(_select_runs())]


def read_run(connection: Connection, key: str) -> RunRecord:
    """The run whose key begins with ``key``. StoreError when there is none or more than one."""
    return _run_record(connection.execute(_select_runs().where(runs.c.key == full_key(connection, key))).one())


def full_key(connection: Connection, key: str) -> str:
    """The one key that begins with ``key``. StoreError naming the candidates, or the nearest."""
    if connection.scalar(select(runs.c.key).where(runs.c.key == key)) is not None:
        return key
    keys = list(connection.scalars(select(runs.c.key).order_by(runs.c.position)))
    matches = [candidate for candidate in keys if key and candidate.startswith(key)]
    if len(matches) == 1:
        return str(matches[0])
    if matches:
        shown = ", ".join(short(match) for match in matches[:5]) + (", …" if len(matches) > 5 else "")
        raise StoreError(f"{len(matches)} runs begin with {key}: {shown}", where="run", mend="give more of the key")
    near = nearest(key, [candidate[: max(len(key), 8)] for candidate in keys])
    mend = f"did you mean {near}?" if near else "mmad runs lists them all"
    raise StoreError(f"no run {key!r}", where="run", mend=mend)


def short(key: str) -> str:
    """The first 12 digits of a key, as people read it."""
    return key[:12]


def read_owners(connection: Connection) -> dict[str, Owner]:
    """Who holds each running run."""
    held: Select[Any] = select(runs.c.key, *OWNER).where(runs.c.status == "running")
    return {row.key: owner for row in connection.execute(held) if (owner := _owner(row)) is not None}


def claim_run(connection: Connection, keys: Iterable[str] | None, owner: Owner) -> str | None:
    """Hands the first free run of the queue to ``owner``; None when there is none.

    Free is a queued run, and a running one that nobody holds or whose owner is known to be dead.
    """
    wanted = None if keys is None else set(keys)
    free: Select[Any] = select(runs.c.key, runs.c.status, runs.c.started, *OWNER)
    candidates = free.where(runs.c.status.in_(("queued", "running"))).order_by(runs.c.position)
    if wanted is not None and len(wanted) <= 500:
        candidates = candidates.where(runs.c.key.in_(wanted))
    with connection.execute(candidates.execution_options(yield_per=100)) as rows:
        for row in rows:
            if wanted is not None and row.key not in wanted:
                continue
            holder = _owner(row)
            if row.status == "running" and holder is not None and not holder.dead:
                continue
            if _take(connection, row, owner):
                return str(row.key)
    return None


def _take(connection: Connection, row: Row[Any], owner: Owner) -> bool:
    unchanged = (
        (runs.c.key == row.key)
        & (runs.c.status == row.status)
        & runs.c.owner_pid.is_not_distinct_from(row.owner_pid)
        & runs.c.owner_started.is_not_distinct_from(row.owner_started)
    )
    if connection.scalar(select(runs.c.key).where(unchanged).with_for_update(skip_locked=True)) is None:
        return False
    values = {
        "status": "running",
        "started": row.started or now(),
        "finished": None,
        "error": None,
        "owner_host": owner.host,
        "owner_pid": owner.pid,
        "owner_started": owner.process_started,
        "owner_boot": owner.boot_id,
    }
    connection.execute(update(runs).where(runs.c.key == row.key).values(**values))
    return True


def write_status(connection: Connection, key: str, status: Status, error: str | None) -> None:
    """Notes how a run stands; whoever held it holds it on only while it is running."""
    values: dict[str, object] = {"status": status, "error": error}
    if status == "running":
        values["finished"] = None
    else:
        values |= NO_OWNER
        values["finished"] = now() if status in ("finished", "failed") else None
    changed = connection.execute(update(runs).where(runs.c.key == key).values(**values))
    if changed.rowcount == 0:
        full_key(connection, key)
        raise StoreError(f"{key!r} is not a whole key", where="run", mend="give all 64 digits")


def write_requeued(connection: Connection, keys: Sequence[str], running: bool) -> tuple[str, ...]:
    """Failed and interrupted runs (and running ones, if asked) of ``keys`` become queued; returns their keys."""
    statuses = ["failed", "interrupted", *(["running"] if running else [])]
    wanted = set(keys)
    found = connection.scalars(select(runs.c.key).where(runs.c.status.in_(statuses)).order_by(runs.c.position))
    chosen = tuple(key for key in found if key in wanted)
    for key in chosen:
        values = {"status": "queued", "error": None, "finished": None, **NO_OWNER}
        connection.execute(update(runs).where(runs.c.key == key).values(**values))
    return chosen


def to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
