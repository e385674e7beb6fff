"""Epochs, evaluations, checkpoints and what surrounded them, as rows. ``None`` for keys means every run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    type_coerce,
)
from sqlalchemy.types import NullType

from mmad.base.clock import now
from mmad.base.errors import StoreError
from mmad.base.formatting import short_key
from mmad.base.json_values import finite
from mmad.base.records import (
    AnalysisRecord,
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    Metric,
    ParameterCount,
    RegistrationRecord,
    Split,
)
from mmad.config.hypothesis import digest
from mmad.config.runs import Ablation
from mmad.store.checked_columns import DamagedValue
from mmad.store.engine import serialise
from mmad.store.run_rows import MANY_KEYS, record_of
from mmad.store.schema import (
    analyses,
    checkpoints,
    device_memory,
    documented_entries,
    documented_logs,
    environments,
    evaluation_classes,
    evaluations,
    metric_names,
    parameter_counts,
    run_epochs,
    run_metrics,
    runs,
    warnings,
)

#: Rows that are fetched at once: one by one takes twice as long.
_ROWS = 20_000

#: The columns that identify an evaluation of a run.
_IDENTITY = ("kind", "split", "overlap", "threshold", "max_detections", "proposals")
#: What is read of every metric, and the types of a sound value.
_METRIC = (run_metrics.c.run, run_metrics.c.epoch, run_metrics.c.metric, run_metrics.c.value)
_VALUES = frozenset({float, int, type(None)})
# statements of every epoch: put together once
_RUN_ID = select(runs.c.id).where(runs.c.key == bindparam("of_run"))
_METRIC_NAMES = select(metric_names)
_EPOCH_THERE = select(run_epochs.c.epoch).where(
    and_(run_epochs.c.run == bindparam("of_run"), run_epochs.c.epoch == bindparam("of_epoch"))
)
_DROP_CHECKPOINT = delete(checkpoints).where(
    and_(checkpoints.c.run_key == bindparam("of_run"), checkpoints.c.kind == bindparam("of_kind"))
)
_DROP_OTHERS = delete(evaluations).where(
    and_(
        evaluations.c.run_key == bindparam("of_run"),
        evaluations.c.kind == bindparam("of_kind"),
        evaluations.c.epoch != bindparam("of_epoch"),
    )
)
_DROP_EQUAL = delete(evaluations).where(
    and_(
        evaluations.c.run_key == bindparam("of_run"),
        *(evaluations.c[name] == bindparam(f"of_{name}") for name in _IDENTITY),
    )
)
_INSERT_EVALUATIONS = insert(evaluations).returning(evaluations.c.id, sort_by_parameter_order=True)


def _of_runs(statement: Select[Any], table: Table, keys: Collection[str]) -> Select[Any]:
    return statement if len(keys) > MANY_KEYS else statement.where(table.c.run_key.in_(keys))


def write_epoch(connection: Connection, key: str, record: EpochRecord) -> None:
    """Exactly one row per run and epoch: equal values change nothing, others take its place and are marked.

    Seconds and memory are no results: an epoch that was trained again and differs in them alone keeps its row.
    """
    run = connection.scalar(_RUN_ID, {"of_run": key})
    if run is None:
        raise StoreError(
            "names a run the database does not hold",
            where=f"run {short_key(key)}",
            hint="queue it first with mmad ablate",
        )
    replaced = 0
    if connection.scalar(_EPOCH_THERE, {"of_run": run, "of_epoch": record.epoch}) is not None:
        differing = _differing(read_epochs(connection, [key], record.epoch)[key][0], record)
        if not differing:
            return
        here = and_(run_epochs.c.run == run, run_epochs.c.epoch == record.epoch)
        replaced = 1 + (connection.scalar(select(run_epochs.c.replaced).where(here)) or 0)
        connection.execute(
            delete(run_metrics).where(and_(run_metrics.c.run == run, run_metrics.c.epoch == record.epoch)),
        )
        connection.execute(delete(run_epochs).where(here))
        text = f"epoch {record.epoch} was recorded again with other values: {', '.join(differing)}"
        write_warning(connection, key, text)
    row = {
        "run": run,
        "epoch": record.epoch,
        "lr": record.lr,
        "seconds": record.seconds,
        "peak_memory": int(record.peak_memory),
        "committed": now(),
        "replaced": replaced,
    }
    connection.execute(insert(run_epochs), row)
    if record.metrics:
        ids = metric_ids(connection, record.metrics)
        rows = [
            {"run": run, "epoch": record.epoch, "metric": number, "value": metric.value}
            for number, metric in zip(ids, record.metrics, strict=True)
        ]
        connection.execute(insert(run_metrics), rows)


def metric_ids(connection: Connection, measured: Sequence[Metric]) -> list[int]:
    """The numbers of the metrics of one record; those that were never measured before get theirs."""
    wanted = [(metric.split, metric.name, position) for position, metric in enumerate(measured)]
    if len({(metric.split, metric.name) for metric in measured}) < len(wanted):
        raise ValueError("a metric is measured twice in one epoch")
    known = _known_metrics(connection)
    if not known.keys() >= set(wanted):
        serialise(connection, "metric names")
        known = _known_metrics(connection)
        fresh = [one for one in wanted if one not in known]
        if fresh:
            rows = [{"split": split, "name": name, "position": position} for split, name, position in fresh]
            connection.execute(insert(metric_names), rows)
            known = _known_metrics(connection)
    return [known[one] for one in wanted]


def _known_metrics(connection: Connection) -> dict[tuple[str, str, int], int]:
    return {(row.split, row.name, row.position): row.id for row in connection.execute(_METRIC_NAMES)}


def _differing(old: EpochRecord, new: EpochRecord) -> list[str]:
    """Names of what differs between two records of one epoch; NaN equals NaN."""
    before, after = _values(old), _values(new)
    names = [*before, *(name for name in after if name not in before)]
    return [name for name in names if not _same(before.get(name), after.get(name))]


def _values(record: EpochRecord) -> dict[str, float]:
    return {"lr": record.lr} | {f"{metric.split}_{metric.name}": metric.value for metric in record.metrics}


def _same(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return a == b or (math.isnan(a) and math.isnan(b))


def read_epochs(
    connection: Connection, keys: Collection[str], epoch: int | None = None
) -> dict[str, list[EpochRecord]]:
    """The committed epochs of ``keys`` in order; runs without one are left out."""
    wanted = set(keys)
    chosen_runs = select(runs.c.id, runs.c.key).where(runs.c.id.is_not(None))
    if len(wanted) <= MANY_KEYS:
        chosen_runs = chosen_runs.where(runs.c.key.in_(wanted))
    key_of = {row.id: row.key for row in connection.execute(chosen_runs) if row.key in wanted}
    names = {row.id: (row.position, row.split, row.name) for row in connection.execute(_METRIC_NAMES)}
    c = run_metrics.c
    raw: Any = select(*(type_coerce(column, NullType()) for column in _METRIC))
    heads: Select[Any] = select(run_epochs)
    if len(key_of) <= MANY_KEYS:
        raw, heads = raw.where(c.run.in_(key_of)), heads.where(run_epochs.c.run.in_(key_of))
    if epoch is not None:
        raw, heads = raw.where(c.epoch == epoch), heads.where(run_epochs.c.epoch == epoch)
    measured: dict[tuple[int, int], list[tuple[int, Any]]] = {}
    of, at, own = None, None, []
    for part in connection.execute(raw.order_by(c.run, c.epoch, c.metric)).partitions(_ROWS):
        _refuse_damaged_metrics(part)
        for run, number, metric, value in part:
            if number != at or run != of:
                of, at, own = run, number, measured.setdefault((run, number), [])
            own.append((metric, math.nan if value is None else value))
    found: dict[str, list[EpochRecord]] = {}
    for row in connection.execute(heads.order_by(run_epochs.c.run, run_epochs.c.epoch)):
        if row.run in key_of:
            values = _in_their_order(measured.pop((row.run, row.epoch), ()), names)
            record = EpochRecord(row.epoch, row.lr, row.seconds, row.peak_memory, values)
            found.setdefault(key_of[row.run], []).append(record)
    return found


def _in_their_order(
    values: Sequence[tuple[int, float]], names: Mapping[int, tuple[int, Split, str]]
) -> tuple[Metric, ...]:
    """The metrics of one epoch as they were recorded; those whose name is damaged are left out."""
    placed = sorted((names[metric], value) for metric, value in values if metric in names)
    return tuple(Metric(split, name, value) for (_, split, name), value in placed)


def first_epochs(connection: Connection, keys: Collection[str]) -> dict[str, datetime]:
    """When the first epoch of each of ``keys`` was committed; runs without one are left out."""
    wanted, c = set(keys), run_epochs.c
    first = select(c.run, func.min(c.epoch).label("epoch")).group_by(c.run).subquery()
    chosen = select(runs.c.key, c.committed).join(runs, runs.c.id == c.run)
    chosen = chosen.join(first, and_(first.c.run == c.run, first.c.epoch == c.epoch))
    if len(wanted) <= MANY_KEYS:
        chosen = chosen.where(runs.c.key.in_(wanted))
    return {row.key: row.committed for row in connection.execute(chosen) if row.key in wanted}


def epoch_seconds(connection: Connection, keys: Collection[str]) -> dict[str, float]:
    """The seconds of all epochs of each of ``keys``; runs without one are left out."""
    wanted, c = set(keys), run_epochs.c
    summed = select(runs.c.key, func.sum(c.seconds)).join(runs, runs.c.id == c.run).group_by(runs.c.key)
    return {key: total for key, total in connection.execute(summed) if key in wanted and total is not None}


def row_digests(connection: Connection, keys: Collection[str]) -> dict[str, str]:
    """A SHA-256 of every row that was measured of each of ``keys``: equal while none of them changed.

    The metrics of a run's epochs enter with their number and three sums, which any other value changes: reading half a
    million of them would take longer than all else that a report reads.
    """
    wanted = set(keys)
    key_of = {number: key for number, key in connection.execute(select(runs.c.id, runs.c.key)) if key in wanted}
    named = repr(connection.execute(_raw(metric_names)).all())
    found = {key: hashlib.sha256(named.encode()) for key in key_of.values()}
    c = run_metrics.c
    place = c.epoch * 1009 + c.metric
    bounded = c.value / (1 + func.abs(c.value))
    sums = (func.count(), func.count(c.value), func.sum(c.value), func.sum(bounded), func.sum(bounded * place))
    statements: list[tuple[Select[Any], bool]] = [
        (select(c.run, func.sum(place), *sums).group_by(c.run), True),
        (_raw(run_epochs).order_by(run_epochs.c.run, run_epochs.c.epoch), True),
        (_raw(checkpoints).order_by(checkpoints.c.run_key, checkpoints.c.kind), False),
        (_raw(evaluations).order_by(evaluations.c.id), False),
        (_raw(evaluation_classes, evaluations.c.run_key).join(evaluations).order_by(
            evaluation_classes.c.evaluation_id, evaluation_classes.c.position), False),
        (_raw(parameter_counts).order_by(parameter_counts.c.run_key, parameter_counts.c.position), False),
    ]  # fmt: skip
    for statement, numbered in statements:
        result = connection.execute(statement)
        at = list(result.keys()).index("run" if numbered else "run_key")
        for row in result:
            key = key_of.get(row[at]) if numbered else row[at]
            if key in found:
                found[key].update(repr(tuple(row)).encode("utf-8", "surrogatepass"))
    return {key: digest.hexdigest() for key, digest in found.items()}


def _raw(table: Table, *more: Column[Any]) -> Select[Any]:
    """The rows as the database holds them, unchecked."""
    columns: list[Any] = [type_coerce(column, NullType()).label(column.name) for column in (*table.c, *more)]
    found: Select[Any] = select(*columns)
    return found


def _refuse_damaged_metrics(part: Sequence[Sequence[Any]]) -> None:
    """DamagedValue for what the columns' own types would refuse one by one, which takes longer than all else."""
    *numbers, values = zip(*part, strict=True)
    for column, held in zip(_METRIC[:-1], numbers, strict=True):
        if set(map(type, held)) != {int} or min(held) < 0:
            raise DamagedValue(column, "holds a damaged value")
    if not set(map(type, values)) <= _VALUES:
        raise DamagedValue(run_metrics.c.value, "holds a damaged value")


def write_checkpoints(connection: Connection, key: str, records: Sequence[CheckpointRecord]) -> None:
    """One row per kind. Evaluations of the checkpoint that had the kind before go with it."""
    if not records:
        return
    _drop_evaluations(connection, key, {(record.kind, record.epoch) for record in records})
    connection.execute(_DROP_CHECKPOINT, [{"of_run": key, "of_kind": record.kind} for record in records])
    connection.execute(insert(checkpoints), [{"run_key": key, **vars(record)} for record in records])


def read_checkpoints(connection: Connection, keys: Collection[str]) -> dict[str, list[CheckpointRecord]]:
    """The checkpoints of ``keys`` by kind; runs without one are left out."""
    wanted = set(keys)
    found: dict[str, list[CheckpointRecord]] = {}
    statement = _of_runs(select(checkpoints), checkpoints, wanted)
    for row in connection.execute(statement.order_by(checkpoints.c.run_key, checkpoints.c.kind)):
        if row.run_key in wanted:
            found.setdefault(row.run_key, []).append(record_of(CheckpointRecord, row))
    return found


def write_evaluations(connection: Connection, key: str, records: Sequence[EvaluationRecord]) -> None:
    """One row per kind, split and protocol. Those of an earlier checkpoint of the same kind go."""
    latest = {tuple(getattr(record, name) for name in _IDENTITY): record for record in records}
    if not latest:
        return
    _drop_evaluations(connection, key, {(record.kind, record.epoch) for record in latest.values()})
    identities = [dict(zip(_IDENTITY, identity, strict=True)) for identity in latest]
    connection.execute(
        _DROP_EQUAL, [{"of_run": key} | {f"of_{name}": value for name, value in one.items()} for one in identities]
    )
    rows = [
        one | {"run_key": key, "epoch": r.epoch, "ap": r.ap, "ar": r.ar, "detections": r.detections}
        for one, r in zip(identities, latest.values(), strict=True)
    ]
    numbers = connection.scalars(_INSERT_EVALUATIONS, rows).all()
    classes = [
        {"evaluation_id": number, "position": i, "label": label, "ap": finite(ap), "ar": finite(ar)}
        for number, record in zip(numbers, latest.values(), strict=True)
        for i, (label, ap, ar) in enumerate(record.per_class)
    ]
    if classes:
        connection.execute(insert(evaluation_classes), classes)


def _drop_evaluations(connection: Connection, key: str, current: Collection[tuple[str, int]]) -> None:
    """Removes the evaluations of each (kind, epoch) in ``current`` that belong to another epoch's checkpoint."""
    connection.execute(_DROP_OTHERS, [{"of_run": key, "of_kind": kind, "of_epoch": epoch} for kind, epoch in current])


def read_evaluations(connection: Connection, keys: Collection[str]) -> dict[str, list[EvaluationRecord]]:
    """The evaluations of ``keys`` in the order they were written; runs without one are left out."""
    wanted = set(keys)
    classes: dict[int, list[tuple[str, float | None, float | None]]] = {}
    joined = select(evaluation_classes).join(evaluations)
    order = (evaluation_classes.c.evaluation_id, evaluation_classes.c.position)
    for row in connection.execute(_of_runs(joined, evaluations, wanted).order_by(*order)):
        classes.setdefault(row.evaluation_id, []).append((row.label, row.ap, row.ar))
    found: dict[str, list[EvaluationRecord]] = {}
    for row in connection.execute(_of_runs(select(evaluations), evaluations, wanted).order_by(evaluations.c.id)):
        if row.run_key in wanted:
            record = record_of(EvaluationRecord, row, per_class=tuple(classes.get(row.id, ())))
            found.setdefault(row.run_key, []).append(record)
    return found


def write_parameter_counts(connection: Connection, key: str, counts: Sequence[ParameterCount]) -> None:
    """The counts of a run, as a whole."""
    connection.execute(delete(parameter_counts).where(parameter_counts.c.run_key == key))
    rows = [{"run_key": key, "module": c.module, "count": c.count, "position": i} for i, c in enumerate(counts)]
    if rows:
        connection.execute(insert(parameter_counts), rows)


def read_parameter_counts(connection: Connection, keys: Collection[str]) -> dict[str, list[ParameterCount]]:
    """The counts of ``keys`` in the order they were written; runs without one are left out."""
    wanted = set(keys)
    found: dict[str, list[ParameterCount]] = {}
    statement = _of_runs(select(parameter_counts), parameter_counts, wanted)
    for row in connection.execute(statement.order_by(parameter_counts.c.run_key, parameter_counts.c.position)):
        if row.run_key in wanted:
            found.setdefault(row.run_key, []).append(record_of(ParameterCount, row))
    return found


def write_environment(connection: Connection, key: str, record: EnvironmentRecord) -> None:
    """One more stretch of the run, with where and with what it is trained; the same one twice counts once."""
    versions = json.dumps(dict(record.versions), ensure_ascii=False)
    _insert_once(connection, environments, {"run_key": key, **vars(record), "versions": versions})


def read_environments(connection: Connection, keys: Collection[str]) -> dict[str, list[EnvironmentRecord]]:
    """The stretches of ``keys``, oldest first; runs without one are left out."""
    wanted = set(keys)
    found: dict[str, list[EnvironmentRecord]] = {}
    for row in connection.execute(_of_runs(select(environments), environments, wanted).order_by(environments.c.id)):
        if row.run_key in wanted:
            found.setdefault(row.run_key, []).append(record_of(EnvironmentRecord, row))
    return found


def read_versions(connection: Connection, keys: Collection[str]) -> dict[str, Mapping[str, str]]:
    """The versions of the latest stretch of each of ``keys``; runs without one are left out."""
    wanted, c = set(keys), environments.c
    chosen = _of_runs(select(c.run_key, c.versions), environments, wanted)
    return {row.run_key: row.versions for row in connection.execute(chosen.order_by(c.id)) if row.run_key in wanted}


def write_warning(connection: Connection, key: str, text: str, created: datetime | None = None) -> None:
    """One more thing the reader of the results should know; the same one of the same moment counts once."""
    _insert_once(connection, warnings, {"run_key": key, "text": text, "created": created or now()})


def _insert_once(connection: Connection, table: Table, row: Mapping[str, object]) -> None:
    """Inserts ``row`` unless an equal one is there: the answer to an earlier writing of it was lost on the way."""
    same = and_(*(table.c[name].is_not_distinct_from(value) for name, value in row.items()))
    if connection.scalar(select(table.c.id).where(same).limit(1)) is None:
        connection.execute(insert(table), row)


def read_warnings(connection: Connection, keys: Collection[str]) -> dict[str, list[str]]:
    """The warnings of ``keys``, oldest first; runs without one are left out."""
    wanted = set(keys)
    found: dict[str, list[str]] = {}
    for row in connection.execute(_of_runs(select(warnings), warnings, wanted).order_by(warnings.c.id)):
        if row.run_key in wanted:
            found.setdefault(row.run_key, []).append(row.text)
    return found


# Analyses: each is computed once and found again by the hash of all that decides it.


def analysis_key(kind: str, subject: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of ``kind`` and ``subject``. ValueError for NaN."""
    return hashlib.sha256(_canonical_json({"kind": kind, "subject": subject}).encode()).hexdigest()


def write_analysis(connection: Connection, kind: str, subject: Mapping[str, Any], value: Mapping[str, Any]) -> str:
    """Caches the result of an analysis under all that decides it, in place of an earlier one; its key.

    Args:
        kind: such as ``estimate`` or ``difference``, of at most 32 characters.
        subject: plain JSON of what decides the value.
        value: plain JSON, without NaN.
    """
    serialise(connection)
    key = analysis_key(kind, subject)
    connection.execute(delete(analyses).where(analyses.c.key == key))
    row = {
        "kind": kind,
        "key": key,
        "subject": _canonical_json(subject),
        "value": json.dumps(value, ensure_ascii=False, allow_nan=False),
    }
    connection.execute(insert(analyses), row | {"created": now()})
    return key


def remove_analysis(connection: Connection, key: str) -> None:
    """Forget the analysis of ``key``, if it is there."""
    connection.execute(delete(analyses).where(analyses.c.key == key))


def read_analysis(connection: Connection, key: str) -> AnalysisRecord | None:
    """The analysis of ``key``, or None."""
    row = connection.execute(select(analyses).where(analyses.c.key == key)).first()
    return None if row is None else record_of(AnalysisRecord, row)


def read_analyses(connection: Connection, kind: str | None = None) -> list[AnalysisRecord]:
    """The analyses of ``kind`` (None: of every kind), oldest first."""
    statement = select(analyses).order_by(analyses.c.id)
    if kind is not None:
        statement = statement.where(analyses.c.kind == kind)
    return [record_of(AnalysisRecord, row) for row in connection.execute(statement)]


def _canonical_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


# Hypotheses: what ablations set out to show, as their files said it when runs were queued.

#: The kind of the analyses' rows that hold registered hypotheses: a subject names the ablation and counts them.
REGISTRATION = "registration"


def register(connection: Connection, ablation: Ablation) -> None:
    """Records what the file of ``ablation`` sets out to show, where that is not what was recorded last."""
    earlier = read_registrations(connection).get(ablation.name, [])
    content = None if ablation.hypothesis is None else ablation.hypothesis.content()
    if content != (earlier[-1].content if earlier else None):
        subject = {"ablation": ablation.name, "number": len(earlier)}
        write_analysis(connection, REGISTRATION, subject, {"hypothesis": content, "sha256": digest(content)})


def read_registrations(connection: Connection) -> dict[str, list[RegistrationRecord]]:
    """By ablation, oldest first; a row that is none is passed over."""
    found: dict[str, list[RegistrationRecord]] = {}
    for row in read_analyses(connection, REGISTRATION):
        name, content = row.subject.get("ablation"), row.value.get("hypothesis")
        if isinstance(name, str) and (content is None or isinstance(content, dict)):
            record = RegistrationRecord(content, str(row.value.get("sha256", "")), row.created)
            found.setdefault(name, []).append(record)
    return found


# The memory that setups were seen to take of a device, in bytes.


def write_memory(connection: Connection, memory_key: str, device: str, size: int) -> None:
    """Records the most that was seen; ``device`` is a model's name, such as ``NVIDIA A100``."""
    serialise(connection, f"{memory_key} {device}")  # several commands may see the same for the first time
    here = (device_memory.c.need == memory_key) & (device_memory.c.device == device)
    before = connection.scalar(select(device_memory.c.bytes).where(here))
    if before is not None and before >= size:
        return
    connection.execute(delete(device_memory).where(here))
    row = {"need": memory_key, "device": device, "bytes": int(size), "measured": now()}
    connection.execute(insert(device_memory), row)


def read_memory(connection: Connection) -> dict[tuple[str, str], int]:
    """The bytes by (memory key, device)."""
    return {(row.need, row.device): int(row.bytes) for row in connection.execute(select(device_memory))}


# Experiment logs: one row a log, one an entry.


@dataclass(frozen=True)
class LogRecord:
    """An imported log; ``content`` and ``entries`` are plain JSON."""

    name: str
    path: str
    sha256: str
    content: Mapping[str, Any]
    entries: tuple[Mapping[str, Any], ...]
    imported: datetime


@dataclass(frozen=True)
class ImportedLog:
    """The name a log got, and whether it is ``new``, ``changed`` or ``same``."""

    name: str
    state: str


def write_log(
    connection: Connection,
    name: str,
    path: str,
    sha256: str,
    content: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
) -> ImportedLog:
    """Stores a log in place of its earlier form: that of equal text, else that of the same file and name.

    Another file whose name is taken gets a number behind it.

    Args:
        path: the file it was read from.
        sha256: of its text; equal text is the same log, whatever its file.
        content: plain JSON of all but the entries.
        entries: plain JSON of each entry, with its ``id``, in their order.
    """
    serialise(connection)
    known = {record.name: record for record in read_logs(connection)}
    chosen = _free_name(known, name, path, sha256)
    earlier = known.get(chosen)
    state = "new" if earlier is None else "changed"
    if earlier is not None:
        if (earlier.sha256, earlier.content, list(earlier.entries)) == (sha256, content, list(entries)):
            return ImportedLog(chosen, "same")
        connection.execute(delete(documented_entries).where(documented_entries.c.log == chosen))
        connection.execute(delete(documented_logs).where(documented_logs.c.name == chosen))
    row = {"name": chosen, "path": path, "sha256": sha256, "content": _compact_json(content), "imported": now()}
    connection.execute(insert(documented_logs), row)
    rows = [
        {"log": chosen, "id": entry["id"], "position": position, "content": _compact_json(entry)}
        for position, entry in enumerate(entries)
    ]
    if rows:
        connection.execute(insert(documented_entries), rows)
    return ImportedLog(chosen, state)


def read_logs(connection: Connection) -> list[LogRecord]:
    """The logs that were imported, by name."""
    entries: dict[str, list[Mapping[str, Any]]] = {}
    order = select(documented_entries).order_by(documented_entries.c.log, documented_entries.c.position)
    for row in connection.execute(order):
        entries.setdefault(row.log, []).append(row.content)
    rows = connection.execute(select(documented_logs).order_by(documented_logs.c.name))
    return [LogRecord(r.name, r.path, r.sha256, r.content, tuple(entries.get(r.name, ())), r.imported) for r in rows]


def _free_name(known: Mapping[str, LogRecord], name: str, path: str, sha256: str) -> str:
    equal = [record.name for record in known.values() if record.sha256 == sha256]
    if equal:
        return equal[0]
    for number in count(1):
        candidate = name if number == 1 else f"{name}-{number}"
        if candidate not in known or known[candidate].path == path:
            return candidate
    raise AssertionError("numbers never end")


def _compact_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
