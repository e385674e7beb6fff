"""``Store``: everything the other rooms may ask of the database, in records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sqlalchemy import Connection, func, select

from mmad.base.clock import now
from mmad.base.errors import StoreError
from mmad.base.paths import RunPaths, StorePaths
from mmad.base.records import (
    AblationRecord,
    AnalysisRecord,
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    MemberRecord,
    ParameterCount,
    RunRecord,
    Status,
)
from mmad.config.runs import Ablation, Member, RunSpec, file_name
from mmad.store import claims, measurements, run_rows, run_status
from mmad.store.claims import Owner
from mmad.store.damage import Damage
from mmad.store.engine import BUSY_SECONDS, Database, repeatable, serialise
from mmad.store.lookup import epochs_frame, find_run, member_summaries, named_ablation, results_frame
from mmad.store.migrate import prepare
from mmad.store.schema import (
    ablations,
    analyses,
    checkpoints,
    documented_logs,
    environments,
    evaluations,
    members,
    run_epochs,
    runs,
    warnings,
)

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class StoreState:
    """Two states are equal while nothing was recorded between them that a report would show.

    Intervals and the like, which a report itself computes and caches, do not count. ``statuses`` holds (status, runs).
    """

    statuses: tuple[tuple[str, int], ...]
    marks: tuple[object, ...]


#: Kinds of analyses that somebody asked for and a report shows.
_SHOWN = ("control", "external", "interactions", "note", "reader_differences", "readers", "subgroups")


def read_state(connection: Connection) -> StoreState:
    """A few aggregates: some milliseconds on a hundred thousand epochs."""
    statuses = connection.execute(select(runs.c.status, func.count()).group_by(runs.c.status).order_by(runs.c.status))
    found = tuple((str(status), int(count)) for status, count in statuses)
    asked = (
        select(func.max(runs.c.created), func.max(runs.c.started), func.max(runs.c.finished)),
        select(func.count(), func.max(run_epochs.c.committed), func.sum(run_epochs.c.replaced)).select_from(run_epochs),
        select(func.count(), func.max(evaluations.c.id)).select_from(evaluations),
        select(func.count(), func.max(checkpoints.c.created)).select_from(checkpoints),
        select(func.count(), func.max(warnings.c.id)).select_from(warnings),
        select(func.max(environments.c.id)),
        select(func.count(), func.max(ablations.c.added)).select_from(ablations),
        select(func.count()).select_from(members),
        select(func.count(), func.max(documented_logs.c.imported)).select_from(documented_logs),
        select(func.count(), func.max(analyses.c.created)).where(analyses.c.kind.in_(_SHOWN)),
    )
    marks = tuple(value for query in asked for value in connection.execute(query).one())
    return StoreState(found, marks)


T = TypeVar("T")


class Store:
    """The database of runs. Every method is one transaction; every failure of the database a StoreError.

    ``key`` is a run's whole key except where a prefix is said to do. What is written about a run that the
    store does not hold is refused. What was under way when a server was lost is done again, and counts once.

    ``database`` is for this room alone, which reads whole tables where it checks, copies and exports.
    """

    def __init__(self, database: Database, paths: StorePaths) -> None:
        self.database = database
        self.paths = paths
        self._observer = claims.Observer()

    @classmethod
    def open(
        cls,
        database: str | Path,
        *,
        create: bool = True,
        read_only: bool = False,
        timeout: float = BUSY_SECONDS,
        known: bool = False,
        lenient: bool = False,
    ) -> Store:
        """Opens ``database``, an SQLite file or an SQLAlchemy URL; creates or upgrades it if need be.

        Args:
            create: make a missing database (and its folder); else it is refused.
            read_only: never write; a missing, empty or older database is refused.
            timeout: seconds to wait for another process that writes, or for a server that is away.
            known: another process has reached the server at this address, so that silence there will pass.
            lenient: read what stands where a value is damaged, and warn of each such value; else it is a StoreError.
                From the first one on nothing is written.

        Raises:
            StoreError: missing, not writable, locked for longer than ``timeout``, not a database of mmad,
                or of a newer schema.
        """
        paths = StorePaths(str(database))
        create = create and not read_only
        if paths.file is not None:
            _check_file(paths.file, create)
        opened = Database(database, read_only=read_only, timeout=timeout, known=known, lenient=lenient)
        try:
            prepare(opened, create=create)
        except BaseException:
            opened.close()
            raise
        return cls(opened, paths)

    def close(self) -> None:
        """Lets go of the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The database's file, or its URL without the password."""
        return self.database.where

    @property
    def read_only(self) -> bool:
        """Whether it was opened for reading alone, so that nothing can be cached."""
        return self.database.read_only

    def leave_out(self, *tables: str) -> bool:
        """Hides the damaged values of ``tables`` (none: of all) from what is read later; whether there are new ones.

        They are found where they are met; this is for who reads a whole table at once. False in a store that is not
        lenient.
        """
        return self.database.leave_out(*tables)

    @property
    def left_out(self) -> tuple[Damage, ...]:
        """The damaged values that a lenient store left out so far."""
        return tuple(damage for found in self.database.left_out.values() for damage in found)

    def run_paths(self, key: str) -> RunPaths:
        """Where the files of the run ``key`` are."""
        return self.paths.run(key)

    # the queue

    @repeatable
    def add_ablation(self, ablation: Ablation, asked: Callable[[Member], bool] = lambda member: True) -> Ablation:
        """Records ``ablation`` with its members in place of its earlier form, and queues runs that are new.

        Members that are not ``asked`` for are neither recorded nor queued; those that were recorded before stay. Runs
        that are there stay as they are, also those no member points to any more; only where their data set and weights
        lie is recorded again. StoreError for a run whose data set or weights were not looked at, and for another file
        of a name that is recorded. Returns the ablation under the keys that its runs have here.
        """
        with self.database.writing() as connection:
            measurements.register(connection, ablation)
            return run_rows.write_ablation(connection, ablation, asked)

    @repeatable
    def refuse_other_file(self, ablation: Ablation) -> None:
        """StoreError where another file of the name of ``ablation``'s is recorded: it would take its members' place."""
        with self.database.reading() as connection:
            run_rows.refuse_other_file(connection, ablation)

    @repeatable
    def ablations(self) -> list[AblationRecord]:
        """Every ablation with its members, by name."""
        with self.database.reading() as connection:
            registered = measurements.read_registrations(connection)
            found = run_rows.read_ablations(connection)
        return [replace(one, registrations=tuple(registered.get(file_name(one.name), ()))) for one in found]

    @repeatable
    def members(self, ablation: str | None = None, most: int | None = None) -> list[MemberRecord]:
        """The members of every ablation (or of one), ablations by name, members in their order; ``most`` of them."""
        with self.database.reading() as connection:
            return run_rows.read_members(connection, ablation, most)

    @repeatable
    def member_counts(self) -> dict[str, int]:
        """How many members every ablation has, by name."""
        with self.database.reading() as connection:
            return run_rows.count_members(connection)

    @repeatable
    def run_records(self) -> list[RunRecord]:
        """Every run in the order of the run_rows."""
        with self.database.reading() as connection:
            return run_rows.read_runs(connection)

    @repeatable
    def epochs_done(self) -> dict[str, int]:
        """The last committed epoch of every run that has one, by key."""
        with self.database.reading() as connection:
            return run_rows.read_epochs_done(connection)

    @repeatable
    def some_runs(self, keys: Collection[str]) -> list[RunRecord]:
        """The runs of ``keys`` (whole ones) that are there, in the order of the run_rows."""
        with self.database.reading() as connection:
            return run_rows.read_some_runs(connection, frozenset(keys))

    @repeatable
    def run(self, key: str) -> RunRecord:
        """The run whose key is, or alone begins with, ``key``. StoreError naming candidates or the nearest."""
        with self.database.reading() as connection:
            return run_rows.read_run(connection, key)

    def claim(self, keys: Sequence[str] | None, owner: Owner, device: str | None = None) -> RunRecord | None:
        """Hands the first free run (of ``keys``, or of all) to ``owner``, as claimed; None when there is none.

        Free are queued runs, and held ones whose owner is gone: a process known to be dead, or one that cannot be
        asked whose heartbeat this store saw unchanged for ``claims.LEASE`` seconds.
        """
        return self._claim(keys, owner, device, now(), count())

    @repeatable
    def _claim(
        self, keys: Sequence[str] | None, owner: Owner, device: str | None, moment: datetime, attempts: Iterator[int]
    ) -> RunRecord | None:
        with self.database.writing() as connection:
            # the transaction before may have counted, and its answer alone be lost
            key = claims.claimed_at(connection, owner, moment) if next(attempts) else None
            key = key or claims.claim_run(connection, self._observer, keys, owner, device, moment)
            return None if key is None else run_rows.read_run(connection, key)

    @repeatable
    def begin(
        self,
        key: str,
        owner: Owner,
        environment: EnvironmentRecord | None = None,
        counts: Sequence[ParameterCount] | None = None,
    ) -> bool:
        """Notes that ``owner`` trains the run it claimed, where, and what; False when it does not hold it."""
        with self.database.writing() as connection:
            serialise(connection, key)
            if not claims.begin_run(connection, key, owner):
                return False
            if counts is not None:
                measurements.write_parameter_counts(connection, key, counts)
            if environment is not None:
                measurements.write_environment(connection, key, environment)
            return True

    @repeatable
    def beat(self, key: str, owner: Owner, *, renew: bool = True) -> claims.Answer:
        """The heartbeat of ``owner``; whether it still holds the run, is asked to stop, or has lost it.

        Without ``renew`` nothing is written: it only asks.
        """
        if renew:
            with self.database.writing() as connection:
                claims.renew(connection, key, owner)
        with self.database.reading() as connection:
            return claims.answer(connection, key, owner)

    @repeatable
    def end(self, key: str, owner: Owner, status: Status, error: str | None = None) -> Status | None:
        """Notes how the run of ``owner`` ended, and frees it; its status, None when ``owner`` does not hold it.

        A run that was asked to stop and is interrupted is stopped for good.
        """
        with self.database.writing() as connection:
            return claims.end_run(connection, key, owner, status, error)

    @repeatable
    def end_free(self, key: str, status: Status, error: str | None = None) -> bool:
        """Notes the end of a queued run, or of one whose owner is gone; False where one that lives holds it."""
        with self.database.writing() as connection:
            return claims.end_free(connection, self._observer, key, status, error)

    @repeatable
    def owners(self) -> dict[str, Owner]:
        """Who holds each claimed or running run, by key."""
        with self.database.reading() as connection:
            return claims.read_owners(connection)

    @repeatable
    def free(self, keys: Sequence[str]) -> frozenset[str]:
        """Which of ``keys`` could be claimed now."""
        with self.database.reading() as connection:
            return claims.read_free(connection, self._observer, keys)

    @repeatable
    def forget(self, keys: Collection[str]) -> tuple[str, ...]:
        """Deletes every row of those of ``keys`` that no member asks for and nobody trains; their keys."""
        with self.database.writing() as connection:
            return run_rows.delete_unasked(connection, keys)

    @repeatable
    def statuses(self, keys: Sequence[str]) -> Mapping[str, tuple[Status, str | None, int]]:
        """Status, error and priority of each run of ``keys`` that is there."""
        with self.database.reading() as connection:
            return claims.read_statuses(connection, keys)

    @repeatable
    def priorities(self) -> dict[str, int]:
        """The priority of every queued run that has one other than 0."""
        with self.database.reading() as connection:
            return claims.read_priorities(connection)

    @repeatable
    def status(self) -> run_status.StoreStatus:
        """How far every ablation is, what runs now and what failed."""
        with self.database.reading() as connection:
            return run_status.read_store_status(connection)

    @repeatable
    def queue_status(
        self, ablation: str | None = None, *, shown: int = 20, costs: tuple[run_status.Cost, ...] | None = None
    ) -> run_status.QueueStatus:
        """How far the queue is, or that of one ablation.

        Args:
            shown: failed and waiting runs at most.
            costs: those of an earlier look, in place of adding up again what every waiting run takes.
        """
        with self.database.reading() as connection:
            return run_status.read_queue_status(connection, ablation, failed=shown, waiting=shown, costs=costs)

    @repeatable
    def requeue(self, keys: Sequence[str], statuses: Sequence[Status] = ("failed", "interrupted")) -> tuple[str, ...]:
        """Queues the runs of ``keys`` in one of ``statuses`` again; the keys of those it did.

        Claimed and running ones are queued only when nobody alive holds them, as ``claim`` has it.
        """
        with self.database.writing() as connection:
            return claims.write_requeued(connection, self._observer, keys, statuses)

    @repeatable
    def take_away(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Queues held runs of ``keys`` though their owner may live; what that one writes later is refused."""
        with self.database.writing() as connection:
            return claims.force_requeued(connection, keys)

    @repeatable
    def stop(self, keys: Sequence[str]) -> dict[str, Status]:
        """Stops runs: waiting ones at once, held ones at their next safe point. Their statuses before, by key."""
        with self.database.writing() as connection:
            return claims.ask_stop(connection, self._observer, keys)

    @repeatable
    def prioritise(self, keys: Sequence[str], priority: int) -> None:
        """Has the runs of ``keys`` claimed before those of lower priority (0 by default)."""
        with self.database.writing() as connection:
            claims.write_priority(connection, keys, priority)

    @repeatable
    def replace_run(self, key: str, run: RunSpec) -> None:
        """Has ``run`` trained in place of the run ``key``: members point to it, their overrides say how it differs."""
        with self.database.writing() as connection:
            run_rows.write_replacement(connection, key, run)

    @repeatable
    def put_memory(self, memory_key: str, device: str, size: int) -> None:
        """Remembers that a setup took ``size`` bytes on a GPU of the model ``device``; the most counts."""
        with self.database.writing() as connection:
            measurements.write_memory(connection, memory_key, device, size)

    @repeatable
    def memory(self) -> dict[tuple[str, str], int]:
        """The bytes that were seen, by (memory key, device)."""
        with self.database.reading() as connection:
            return measurements.read_memory(connection)

    # what was measured

    @repeatable
    def commit_epoch(
        self,
        key: str,
        record: EpochRecord,
        checkpoints: Sequence[CheckpointRecord] = (),
        evaluations: Sequence[EvaluationRecord] = (),
        owner: Owner | None = None,
    ) -> None:
        """Records an epoch together with the checkpoints and evaluations that belong to it.

        The same epoch again with an equal rate and equal metrics (NaN equals NaN) changes nothing, whatever time it
        took; with others it takes the earlier one's place, which the row's ``replaced`` counts and a warning of the
        run says.
        An ``owner`` that does not hold the run any more is refused with ``claims.NotHeld``.
        """
        with self.database.writing() as connection:
            serialise(connection, key)
            if owner is not None:
                claims.require_held(connection, key, owner)
            measurements.write_epoch(connection, key, record)
            measurements.write_checkpoints(connection, key, checkpoints)
            measurements.write_evaluations(connection, key, evaluations)

    def runs(self, ablation: str | None = None) -> DataFrame:
        """The members of every ablation (or of one) with their results, one row a member, as ``mmad runs`` lists them.

        Columns, as in the view ``run_results``:

        * ``ablation``, ``setting``, ``arm``, ``seed``, ``replicate``: the member; ``documented``: the entry of the log
          that it mirrors, or missing
        * ``key``: of the run that answers it; ``status``, ``error``: of that run
        * ``epoch``: the last committed one, ``epochs``: how many were asked for
        * ``overlap``: under which its AP and AR are, with the rest of the evaluation protocol it asked for
        * ``best_ap_epoch``, ``best_ap_val_ap``, ``best_ap_val_ar``, ``best_ap_test_ap``, ``best_ap_test_ar``: of the
          checkpoint with the best validation AP; ``best_ar_…`` and ``final_…``: of the other two. Missing where there
          is no such checkpoint, or it was not measured under that protocol.

        Raises:
            StoreError: there is no such ablation.
        """
        if ablation is not None:
            ablation = named_ablation(self, ablation)
        return results_frame(member_summaries(self, ablation))

    def epochs(self, name: str) -> DataFrame:
        """The committed epochs of one run, one row an epoch, in order.

        Columns: ``epoch``, ``lr``, ``seconds``, ``peak_memory`` (bytes), then every metric as ``split_name``:
        ``train_loss``, ``train_loss_classifier``, …, ``val_ap_iou``, ``test_ar_iobb``; ``val_ap``, ``val_ar``,
        ``test_ap`` and ``test_ar`` are those under the overlap of the member that is meant. What was not measured, or
        is not a number, is missing.

        Args:
            name: a run as the commands take it: ``ablation/setting/arm`` (``/seed``, ``/replicate`` if need be), a key,
                or its beginning.

        Raises:
            StoreError: nothing or more than one run is meant; names the candidates or the nearest.
        """
        found = find_run(self, name)
        return epochs_frame(self.epoch_records(found.run.key), found.evaluation["overlap"])

    def epoch_records(self, key: str) -> list[EpochRecord]:
        """The committed epochs of the run, in order."""
        return self.all_epochs([key])[key]

    def checkpoints(self, key: str) -> list[CheckpointRecord]:
        """The checkpoints of the run, by kind."""
        return self.all_checkpoints([key])[key]

    @repeatable
    def put_evaluations(self, key: str, records: Sequence[EvaluationRecord]) -> None:
        """Records evaluations, one per kind, split and protocol; those of the kind's earlier checkpoint go."""
        with self.database.writing() as connection:
            serialise(connection, key)
            measurements.write_evaluations(connection, key, records)

    def evaluations(self, key: str) -> list[EvaluationRecord]:
        """The evaluations of the run's checkpoints."""
        return self.all_evaluations([key])[key]

    @repeatable
    def put_parameter_counts(self, key: str, counts: Sequence[ParameterCount]) -> None:
        """Records the parameter counts of the run's detector, in place of earlier ones."""
        with self.database.writing() as connection:
            serialise(connection, key)
            measurements.write_parameter_counts(connection, key, counts)

    def parameter_counts(self, key: str) -> list[ParameterCount]:
        """The parameter counts of the run's detector, in the order they were given."""
        return self.all_parameter_counts([key])[key]

    @repeatable
    def add_environment(self, key: str, record: EnvironmentRecord) -> None:
        """Records where and with what the run is resumed."""
        with self.database.writing() as connection:
            measurements.write_environment(connection, key, record)

    @repeatable
    def environments(self, key: str) -> list[EnvironmentRecord]:
        """Where and with what the run was trained: one per stretch between interruptions."""
        with self.database.reading() as connection:
            return measurements.read_environments(connection, [key]).get(key, [])

    @repeatable
    def latest_versions(self, keys: Collection[str]) -> dict[str, Mapping[str, str]]:
        """With which versions each of ``keys`` was trained last; runs that never began are left out."""
        with self.database.reading() as connection:
            return measurements.read_versions(connection, keys)

    def add_warning(self, key: str, text: str) -> None:
        """Records something the reader of the run's results should know."""
        self._put_warning(key, text, now())

    @repeatable
    def _put_warning(self, key: str, text: str, created: datetime) -> None:
        with self.database.writing() as connection:
            measurements.write_warning(connection, key, text, created)

    def warnings(self, key: str) -> list[str]:
        """The warnings of the run, oldest first."""
        return self.all_warnings([key])[key]

    # what was computed from stored detections

    @repeatable
    def put_analysis(self, kind: str, subject: Mapping[str, Any], value: Mapping[str, Any]) -> str:
        """Caches the result of an analysis under all that decides it, in place of an earlier one; its key.

        Args:
            kind: such as ``estimate`` or ``difference``, of at most 32 characters.
            subject: plain JSON of what decides the value.
            value: plain JSON, without NaN.
        """
        with self.database.writing() as connection:
            return measurements.write_analysis(connection, kind, subject, value)

    @repeatable
    def put_analyses(self, analyses: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """Caches several, each as (kind, subject, value), in one transaction: a disk is waited for once."""
        with self.database.writing() as connection:
            for kind, subject, value in analyses:
                measurements.write_analysis(connection, kind, subject, value)

    @repeatable
    def remove_analysis(self, key: str) -> None:
        """The analysis of ``key`` is forgotten, if it is there."""
        with self.database.writing() as connection:
            measurements.remove_analysis(connection, key)

    @repeatable
    def get_analysis(self, key: str) -> AnalysisRecord | None:
        """The analysis that is cached under ``key`` (see ``analysis_key``), or None."""
        with self.database.reading() as connection:
            return measurements.read_analysis(connection, key)

    @repeatable
    def analyses(self, kind: str | None = None) -> list[AnalysisRecord]:
        """The analyses of ``kind``, or all of them, oldest first."""
        with self.database.reading() as connection:
            return measurements.read_analyses(connection, kind)

    @repeatable
    def state(self) -> StoreState:
        """Equal to an earlier one while nothing new was recorded that a report would show."""
        with self.database.reading() as connection:
            return read_state(connection)

    # documented logs

    @repeatable
    def put_log(
        self, name: str, path: str, sha256: str, content: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]
    ) -> measurements.ImportedLog:
        """Stores an experiment log; see ``measurements.write_log`` for the name it gets.

        Args:
            name: its name; one that a log of another file has gets a number behind it.
            path: the file it was read from.
            sha256: of its text; equal text is the same log, whatever its file.
            content: plain JSON of all but the entries.
            entries: plain JSON of each entry, with its ``id``, in their order.
        """
        with self.database.writing() as connection:
            return measurements.write_log(connection, name, path, sha256, content, entries)

    @repeatable
    def logs(self) -> list[measurements.LogRecord]:
        """The logs that were imported, by name."""
        with self.database.reading() as connection:
            return measurements.read_logs(connection)

    # many runs at once; every one of ``keys`` is in the answer

    @repeatable
    def all_epochs(self, keys: Collection[str]) -> dict[str, list[EpochRecord]]:
        """The epochs of many runs, by key."""
        with self.database.reading() as connection:
            return _complete(keys, measurements.read_epochs(connection, keys))

    @repeatable
    def first_epochs(self, keys: Collection[str]) -> dict[str, datetime]:
        """When the first epoch of each run was committed; runs without an epoch are left out."""
        with self.database.reading() as connection:
            return measurements.first_epochs(connection, keys)

    @repeatable
    def all_checkpoints(self, keys: Collection[str]) -> dict[str, list[CheckpointRecord]]:
        """The checkpoints of many runs, by key."""
        with self.database.reading() as connection:
            return _complete(keys, measurements.read_checkpoints(connection, keys))

    @repeatable
    def all_evaluations(self, keys: Collection[str]) -> dict[str, list[EvaluationRecord]]:
        """The evaluations of many runs, by key."""
        with self.database.reading() as connection:
            return _complete(keys, measurements.read_evaluations(connection, keys))

    @repeatable
    def all_parameter_counts(self, keys: Collection[str]) -> dict[str, list[ParameterCount]]:
        """The parameter counts of many runs, by key."""
        with self.database.reading() as connection:
            return _complete(keys, measurements.read_parameter_counts(connection, keys))

    @repeatable
    def all_environments(self, keys: Collection[str]) -> dict[str, list[EnvironmentRecord]]:
        """Where and with what many runs were trained, by key."""
        with self.database.reading() as connection:
            return _complete(keys, measurements.read_environments(connection, keys))

    @repeatable
    def epoch_seconds(self, keys: Collection[str]) -> dict[str, float]:
        """The seconds of all epochs of many runs, by key; runs without an epoch are left out."""
        with self.database.reading() as connection:
            return measurements.epoch_seconds(connection, keys)

    @repeatable
    def row_digests(self, keys: Collection[str]) -> dict[str, str]:
        """For each run a digest of everything measured of it: another one once any of these rows is another."""
        with self.database.reading() as connection:
            return measurements.row_digests(connection, keys)

    @repeatable
    def all_warnings(self, keys: Collection[str]) -> dict[str, list[str]]:
        """The warnings of many runs, by key."""
        with self.database.reading() as connection:
            return _complete(keys, measurements.read_warnings(connection, keys))


def _complete(keys: Collection[str], found: dict[str, list[T]]) -> dict[str, list[T]]:
    return {key: found.get(key, []) for key in keys}


def _check_file(file: Path, create: bool) -> None:
    """Refuses what is no file; makes the folder of a new database."""
    try:
        if file.is_dir():
            raise StoreError("is a folder", where=file, hint="name a file in it, such as --db db/mmad.sqlite")
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
        elif not file.exists():
            raise StoreError("no such database", where=file, hint="run mmad ablate first, or name another with --db")
    except OSError as error:
        hint = "check its path and permissions, or name another file with --db"
        raise StoreError(f"cannot be reached ({error.strerror})", where=file, hint=hint) from None
