"""Merges another database into this one: equal runs once, conflicts named, all rows or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from mmad.base.errors import StoreError
from mmad.base.formatting import plural, short_key
from mmad.base.paths import StorePaths
from mmad.base.records import HELD
from mmad.store.engine import serialise
from mmad.store.export import batches
from mmad.store.maintenance import CopiedFiles, copy_files, refuse_running, refuse_same
from mmad.store.migrate import OlderSchema, back_up_database
from mmad.store.notes import KIND as NOTE
from mmad.store.schema import (
    ablations,
    analyses,
    checkpoints,
    device_memory,
    documented_entries,
    documented_logs,
    environments,
    evaluation_classes,
    evaluations,
    members,
    metric_names,
    parameter_counts,
    run_epochs,
    run_metrics,
    runs,
    warnings,
)
from mmad.store.store import Store

#: Columns of a run's row that say who trains it, which nobody does in a database that is merged.
_OWNER = ("owner_host", "owner_pid", "owner_started", "owner_boot", "heartbeat")
#: Columns of a run's row that its further training changes.
_PROGRESS = ("status", "started", "finished", "error", "attempts", "device")
_Row = dict[str, Any]


@dataclass(frozen=True)
class MergeConflict:
    """What the two databases say differently of one run, ablation, member or log."""

    about: Literal["run", "ablation", "member", "log"]
    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.about} {self.name}: {self.what}"


class ConflictsFound(StoreError):
    """The databases contradict one another; nothing was written."""

    def __init__(self, conflicts: Sequence[MergeConflict], where: str) -> None:
        self.conflicts = tuple(conflicts)
        super().__init__(
            f"{plural(len(conflicts), 'conflict')}, the first: {conflicts[0]}; nothing was written",
            where=where,
            hint="--keep-own keeps what this database has of each, and merges the rest",
        )


@dataclass(frozen=True)
class Merged:
    """What a merge brought, or would bring.

    Args:
        upgraded: whether the source is of an older schema and was read from an upgraded copy.
        added: keys of the runs that were not here; ``continued`` of those trained further there than here.
        equal: how many runs were here already.
        ablations, members, evaluations, notes, logs: how many rows of each are new here beside those runs' own.
        conflicts: where this database's own was kept.
        files: None where only rows were merged.
    """

    source: str
    target: str
    upgraded: bool
    added: tuple[str, ...]
    continued: tuple[str, ...]
    equal: int
    ablations: int
    members: int
    evaluations: int
    notes: int
    logs: int
    conflicts: tuple[MergeConflict, ...]
    files: CopiedFiles | None = None


def merge_database(
    other: str | Path, database: str | Path, *, files: bool = False, keep_own: bool = False, dry_run: bool = False
) -> Merged:
    """Writes into ``database`` every run, member, evaluation, note and log of ``other`` that it has not.

    A run of both is kept once where all that both measured is equal; one that was trained further in ``other``, and
    is not finished here, takes its state from there. What is finished here is never changed.

    Args:
        other: an SQLite file or a URL; only read. An SQLite file of an older schema is read from an upgraded copy.
        files: copy the runs' files (checkpoints, detections, logs) too, before the rows that name them.
        keep_own: keep what ``database`` has where the two contradict one another.
        dry_run: say what would be merged, and write nothing.

    Raises:
        ConflictsFound: they contradict one another, without ``keep_own``.
        StoreError: one is missing, is the other, or holds damaged values; ``other`` is of a newer schema, of an older
            one on a server, or has running runs.
    """
    refuse_same(other, database)
    with Store.open(database, create=False, read_only=dry_run) as receiver, _opened(other) as (sender, upgraded):
        refuse_running(sender)
        paths = StorePaths(str(other))
        source = paths.file.as_posix() if upgraded and paths.file is not None else sender.where
        with sender.database.reading() as reading:
            with receiver.database.reading() as own:
                plan = _Plan.of(reading, own)
            if plan.conflicts and not keep_own and not dry_run:
                raise ConflictsFound(plan.conflicts, receiver.where)
            if dry_run:
                return plan.merged(source, receiver.where, upgraded)
            copied = None
            if files:
                fresh = copy_files((*plan.added, *plan.continued), paths, receiver.paths)
                beside = copy_files(plan.equal, paths, receiver.paths, missing=True)
                copied = CopiedFiles(*(a + b for a, b in zip(fresh.counts, beside.counts, strict=True)))
            with receiver.database.writing() as writing:
                serialise(writing)
                if _Plan.of(reading, writing) != plan:
                    hint = "merge again once nothing is written there"
                    raise StoreError("changed while it was merged; nothing was kept", where=receiver.where, hint=hint)
                _Writer(reading, writing, plan).write()
        return plan.merged(source, receiver.where, upgraded, copied)


@contextmanager
def _opened(other: str | Path) -> Iterator[tuple[Store, bool]]:
    """The database for reading, and whether it is an upgraded copy."""
    try:
        store = Store.open(other, create=False, read_only=True)
    except OlderSchema as error:
        if (file := StorePaths(str(other)).file) is None:
            raise StoreError(error.what, where=error.where, hint="upgrade it first: mmad db upgrade --db URL") from None
        with TemporaryDirectory(prefix="mmad-merge-") as folder:
            copy = Path(folder) / "older.sqlite"
            back_up_database(file, copy)
            with Store.open(copy) as upgraded:
                yield upgraded, True
        return
    with store:
        yield store, False


# What there is to merge.


@dataclass(frozen=True)
class _Plan:
    """What is new in a database, and what contradicts this one; names and keys, no rows."""

    added: tuple[str, ...]
    continued: tuple[str, ...]
    equal: tuple[str, ...]
    ablations: tuple[str, ...]
    members: tuple[tuple[Any, ...], ...]
    evaluations: tuple[tuple[Any, ...], ...]
    analyses: tuple[tuple[str, str], ...]
    logs: tuple[str, ...]
    conflicts: tuple[MergeConflict, ...]

    @classmethod
    def of(cls, theirs: Connection, own: Connection) -> _Plan:
        conflicts: list[MergeConflict] = []
        named = _member_names(theirs)
        added, continued, equal, together = [], [], [], []
        mine = {row.key: row for row in own.execute(select(runs.c.key, runs.c.id, runs.c.status))}
        for row in theirs.execute(select(runs.c.key, runs.c.id, runs.c.status).order_by(runs.c.position)).all():
            here = mine.get(row.key)
            if here is None:
                added.append(row.key)
                continue
            epochs, known = _epochs(theirs, row.id), _epochs(own, here.id)
            if (what := _difference(known, epochs)) is not None:
                conflicts.append(MergeConflict("run", named.get(row.key) or short_key(row.key), what))
            elif here.status != "finished" and here.status not in HELD and (
                row.status == "finished" or len(epochs) > len(known)
            ):  # fmt: skip
                continued.append(row.key)
            else:
                equal.append(row.key)
                if row.status == here.status == "finished":
                    together.append(row.key)
        missing, contradicting = _evaluations(theirs, own, together, named)
        known_names, ablation_conflicts = _ablations(theirs, own)
        asked, member_conflicts = _members(theirs, own, {one.name for one in ablation_conflicts})
        logs, log_conflicts = _logs(theirs, own)
        kept = set(own.scalars(select(analyses.c.key)))
        kinds = select(analyses.c.key, analyses.c.kind).order_by(analyses.c.key)
        return cls(
            tuple(added),
            tuple(continued),
            tuple(equal),
            known_names,
            asked,
            missing,
            tuple((row.key, row.kind) for row in theirs.execute(kinds) if row.key not in kept),
            logs,
            (*conflicts, *contradicting, *ablation_conflicts, *member_conflicts, *log_conflicts),
        )

    def merged(self, source: str, target: str, upgraded: bool, files: CopiedFiles | None = None) -> Merged:
        notes = sum(kind == NOTE for _, kind in self.analyses)
        counts = (len(self.ablations), len(self.members), len(self.evaluations), notes, len(self.logs))
        return Merged(
            source, target, upgraded, self.added, self.continued, len(self.equal), *counts, self.conflicts, files
        )


def _member_names(connection: Connection) -> dict[str, str]:
    """The first member that asks for each run, ``ablation/setting/arm, seed 1``."""
    found: dict[str, str] = {}
    for row in connection.execute(select(members).order_by(members.c.ablation, members.c.position)):
        found.setdefault(row.run_key, f"{row.ablation}/{row.setting}/{row.arm}, seed {row.seed}")
    return found


def _epochs(connection: Connection, run: int) -> dict[int, dict[tuple[str, str], float | None]]:
    """What was measured in each epoch of the run with this number."""
    found: dict[int, dict[tuple[str, str], float | None]] = {}
    for epoch, lr in connection.execute(select(run_epochs.c.epoch, run_epochs.c.lr).where(run_epochs.c.run == run)):
        found[epoch] = {("", "learning rate"): _known(lr)}
    joined = select(run_metrics.c.epoch, metric_names.c.split, metric_names.c.name, run_metrics.c.value)
    joined = joined.join_from(run_metrics, metric_names, run_metrics.c.metric == metric_names.c.id)
    for epoch, split, name, value in connection.execute(joined.where(run_metrics.c.run == run)):
        found[epoch][split, name] = _known(value)
    return found


def _known(value: float | None) -> float | None:
    """None for NaN, which equals nothing."""
    return None if value is None or value != value else value


def _difference(
    own: Mapping[int, Mapping[tuple[str, str], float | None]],
    theirs: Mapping[int, Mapping[tuple[str, str], float | None]],
) -> str | None:
    """The first figure that two trainings of one run have differently, in an epoch that both have."""
    for epoch in sorted(own.keys() & theirs.keys()):
        for split, name in sorted(own[epoch].keys() & theirs[epoch].keys()):
            here, there = own[epoch][split, name], theirs[epoch][split, name]
            if here != there:
                return f"epoch {epoch}, {f'{split} {name}'.strip()} is {_shown(here)} here and {_shown(there)} there"
    return None


def _shown(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.6g}"


_EVALUATED = ("run_key", "kind", "split", "overlap", "threshold", "max_detections", "proposals")


def _evaluations(
    theirs: Connection, own: Connection, keys: Sequence[str], named: Mapping[str, str]
) -> tuple[tuple[tuple[Any, ...], ...], tuple[MergeConflict, ...]]:
    """Evaluations of runs that both finished: those that are not here, and those with other figures."""
    wanted = set(keys)
    columns = [*(evaluations.c[name] for name in _EVALUATED), evaluations.c.ap, evaluations.c.ar]
    order = select(*columns).order_by(evaluations.c.run_key, evaluations.c.id)
    mine = {tuple(row[:7]): (_known(row.ap), _known(row.ar)) for row in own.execute(order) if row.run_key in wanted}
    missing, conflicts = [], {}
    for row in theirs.execute(order):
        identity = tuple(row[:7])
        if row.run_key not in wanted:
            continue
        if identity not in mine:
            missing.append(identity)
        elif mine[identity] != (_known(row.ap), _known(row.ar)) and row.run_key not in conflicts:
            here, there = mine[identity][0], _known(row.ap)
            what = f"{row.kind} on {row.split} ({row.overlap}): AP is {_shown(here)} here and {_shown(there)} there"
            conflicts[row.run_key] = MergeConflict("run", named.get(row.run_key) or short_key(row.run_key), what)
    return tuple(missing), tuple(conflicts.values())


def _ablations(theirs: Connection, own: Connection) -> tuple[tuple[str, ...], tuple[MergeConflict, ...]]:
    mine = {row.name: row for row in own.execute(select(ablations))}
    fresh, conflicts = [], []
    for row in theirs.execute(select(ablations).order_by(ablations.c.name)):
        if (here := mine.get(row.name)) is None:
            fresh.append(row.name)
        elif here.source != row.source:
            what = f"another file has this name: {here.path} here, {row.path} there"
            conflicts.append(MergeConflict("ablation", row.name, what))
    return tuple(fresh), tuple(conflicts)


_ASKED = ("ablation", "setting", "arm", "seed", "replicate")


def _members(
    theirs: Connection, own: Connection, left_out: set[str]
) -> tuple[tuple[tuple[Any, ...], ...], tuple[MergeConflict, ...]]:
    columns = [*(members.c[name] for name in _ASKED), members.c.run_key]
    mine = {tuple(row[:5]): row.run_key for row in own.execute(select(*columns))}
    fresh, conflicts = [], []
    for row in theirs.execute(select(*columns).order_by(members.c.ablation, members.c.position)):
        here = mine.get(tuple(row[:5]))
        if row.ablation in left_out or here == row.run_key:
            continue
        if here is None:
            fresh.append(tuple(row[:5]))
        else:
            name = f"{row.ablation}/{row.setting}/{row.arm}, seed {row.seed}"
            what = f"is the run {short_key(here)} here and {short_key(row.run_key)} there"
            conflicts.append(MergeConflict("member", name, what))
    return tuple(fresh), tuple(conflicts)


def _logs(theirs: Connection, own: Connection) -> tuple[tuple[str, ...], tuple[MergeConflict, ...]]:
    columns = select(documented_logs.c.name, documented_logs.c.sha256).order_by(documented_logs.c.name)
    mine = {row.name: row.sha256 for row in own.execute(columns)}
    fresh, conflicts = [], []
    for row in theirs.execute(columns):
        if row.sha256 in mine.values():
            continue
        if row.name in mine:
            conflicts.append(MergeConflict("log", row.name, "another text has this name here"))
        else:
            fresh.append(row.name)
    return tuple(fresh), tuple(conflicts)


# Writing it.


class _Writer:
    """Writes what a plan names, with numbers of this database for runs, metrics and rows."""

    def __init__(self, theirs: Connection, own: Connection, plan: _Plan) -> None:
        self._theirs, self._own, self._plan = theirs, own, plan
        self._metrics: dict[int, int] = {}

    def write(self) -> None:
        self._number_metrics()
        numbers = {row.key: row.id for row in self._own.execute(select(runs.c.key, runs.c.id))}
        contents = set(self._own.scalars(select(runs.c.content)))
        number, place = (
            self._own.scalar(select(func.coalesce(func.max(column), 0))) or 0 for column in (runs.c.id, runs.c.position)
        )
        for n, key in enumerate((*self._plan.added, *self._plan.continued), 1):
            (row,) = self._rows(runs, runs.c.key == key)
            theirs = row["id"]
            if key in numbers:
                progress = {name: row[name] for name in _PROGRESS} | dict.fromkeys(_OWNER)
                self._own.execute(update(runs).where(runs.c.key == key).values(**progress))
                self._clear(key, numbers[key])
            else:
                content = None if row["content"] in contents else row["content"]
                numbers[key] = number + n
                self._own.execute(
                    insert(runs),
                    row | dict.fromkeys(_OWNER) | {"id": number + n, "position": place + n, "content": content},
                )
                contents.add(content)
            self._measured(key, theirs, numbers[key])
        for identity in self._plan.evaluations:
            same = (evaluations.c[name] == value for name, value in zip(_EVALUATED, identity, strict=True))
            self._evaluated(self._rows(evaluations, *same))
        self._asked()

    def _rows(self, table: Table, *where: Any) -> list[_Row]:
        return [dict(row) for part in batches(self._theirs, table, where=where) for row in part]

    def _put(self, table: Table, rows: list[_Row], *without: str) -> None:
        if rows:
            self._own.execute(insert(table), [{n: v for n, v in row.items() if n not in without} for row in rows])

    def _number_metrics(self) -> None:
        columns = (metric_names.c.split, metric_names.c.name, metric_names.c.position)
        known = {tuple(row[1:]): row[0] for row in self._own.execute(select(metric_names.c.id, *columns))}
        for number, *named in self._theirs.execute(select(metric_names.c.id, *columns)).all():
            if tuple(named) not in known:
                row = dict(zip(("split", "name", "position"), named, strict=True))
                key = self._own.execute(insert(metric_names), row).inserted_primary_key
                assert key is not None
                known[tuple(named)] = key[0]
            self._metrics[number] = known[tuple(named)]

    def _clear(self, key: str, number: int) -> None:
        """Removes what was measured of a run that was trained further in the other database."""
        ours = select(evaluations.c.id).where(evaluations.c.run_key == key)
        self._own.execute(delete(evaluation_classes).where(evaluation_classes.c.evaluation_id.in_(ours)))
        self._own.execute(delete(run_metrics).where(run_metrics.c.run == number))
        self._own.execute(delete(run_epochs).where(run_epochs.c.run == number))
        for table in (evaluations, parameter_counts, checkpoints, environments, warnings):
            self._own.execute(delete(table).where(table.c.run_key == key))

    def _measured(self, key: str, theirs: int, own: int) -> None:
        epochs = self._rows(run_epochs, run_epochs.c.run == theirs)
        self._put(run_epochs, [row | {"run": own} for row in epochs])
        for part in batches(self._theirs, run_metrics, where=(run_metrics.c.run == theirs,)):
            rows = [dict(row) | {"run": own, "metric": self._metrics[row["metric"]]} for row in part]
            self._put(run_metrics, rows)
        for table in (parameter_counts, checkpoints):
            self._put(table, self._rows(table, table.c.run_key == key))
        for table in (environments, warnings):
            self._put(table, self._rows(table, table.c.run_key == key), "id")
        self._evaluated(self._rows(evaluations, evaluations.c.run_key == key))

    def _evaluated(self, rows: list[_Row]) -> None:
        for row in rows:
            theirs = row.pop("id")
            key = self._own.execute(insert(evaluations), row).inserted_primary_key
            assert key is not None
            classes = self._rows(evaluation_classes, evaluation_classes.c.evaluation_id == theirs)
            self._put(evaluation_classes, [one | {"evaluation_id": key[0]} for one in classes])

    def _asked(self) -> None:
        """Ablations, members, notes and cached results, logs and remembered memory."""
        plan = self._plan
        self._put(ablations, [row for row in self._rows(ablations) if row["name"] in plan.ablations])
        wanted = set(plan.members)
        self._put(members, [row for row in self._rows(members) if tuple(row[name] for name in _ASKED) in wanted])
        keys = {key for key, _ in plan.analyses}
        for part in batches(self._theirs, analyses):
            self._put(analyses, [dict(row) for row in part if row["key"] in keys], "id")
        self._put(documented_logs, [row for row in self._rows(documented_logs) if row["name"] in plan.logs])
        self._put(documented_entries, [row for row in self._rows(documented_entries) if row["log"] in plan.logs])
        known = {tuple(row) for row in self._own.execute(select(device_memory.c.need, device_memory.c.device))}
        seen = [row for row in self._rows(device_memory) if (row["need"], row["device"]) not in known]
        self._put(device_memory, seen)
