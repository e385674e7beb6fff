"""``Store``: everything the other rooms may ask of the database, in records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import wraps
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Connection, func, select

from mmad.base.clock import now
from mmad.base.errors import StoreError
from mmad.base.paths import RunPaths, StorePaths
from mmad.base.records import (
    AblationRecord,
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    ParameterCount,
    RunRecord,
    Status,
)
from mmad.config.runs import Ablation, Member, file_name
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


P = ParamSpec("P")
T = TypeVar("T")
Keys = Collection[str]


def _reading(
    ask: Callable[Concatenate[Connection, P], T], *, writing: bool = False
) -> Callable[Concatenate[Store, P], T]:
    """The method of ``Store`` that does what ``ask`` does, in a transaction of its own."""

    @repeatable
    @wraps(ask)
    def method(store: Store, /, *words: P.args, **options: P.kwargs) -> T:
        with store.database.writing() if writing else store.database.reading() as connection:
            return ask(connection, *words, **options)

    return method


def _writing(do: Callable[Concatenate[Connection, P], T]) -> Callable[Concatenate[Store, P], T]:
    """The same of what writes."""
    return _reading(do, writing=True)


def _reading_each(
    read: Callable[[Connection, Keys], dict[str, list[T]]],
) -> Callable[[Store, Keys], dict[str, list[T]]]:
    """The same of what reads lists about many runs; every one of the keys is in the answer."""

    @repeatable
    @wraps(read)
    def method(store: Store, /, keys: Keys) -> dict[str, list[T]]:
        with store.database.reading() as connection:
            found = read(connection, keys)
        return {key: found.get(key, []) for key in keys}

    return method


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

    refuse_other_file = _reading(run_rows.refuse_other_file)

    @repeatable
    def ablations(self) -> list[AblationRecord]:
        """Every ablation with its members, by name."""
        with self.database.reading() as connection:
            registered = measurements.read_registrations(connection)
            found = run_rows.read_ablations(connection)
        return [replace(one, registrations=tuple(registered.get(file_name(one.name), ()))) for one in found]

    members = _reading(run_rows.read_members)
    member_counts = _reading(run_rows.count_members)
    run_records = _reading(run_rows.read_runs)
    epochs_done = _reading(run_rows.read_epochs_done)
    some_runs = _reading(run_rows.read_some_runs)
    run = _reading(run_rows.read_run)

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

    end = _writing(claims.end_run)

    @repeatable
    def end_free(self, key: str, status: Status, error: str | None = None) -> bool:
        """Notes the end of a queued run, or of one whose owner is gone; False where one that lives holds it."""
        with self.database.writing() as connection:
            return claims.end_free(connection, self._observer, key, status, error)

    owners = _reading(claims.read_owners)

    @repeatable
    def free(self, keys: Sequence[str]) -> frozenset[str]:
        """Which of ``keys`` could be claimed now."""
        with self.database.reading() as connection:
            return claims.read_free(connection, self._observer, keys)

    forget = _writing(run_rows.delete_unasked)
    statuses = _reading(claims.read_statuses)
    priorities = _reading(claims.read_priorities)
    status = _reading(run_status.read_store_status)

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

    take_away = _writing(claims.force_requeued)

    @repeatable
    def stop(self, keys: Sequence[str]) -> dict[str, Status]:
        """Stops runs: waiting ones at once, held ones at their next safe point. Their statuses before, by key."""
        with self.database.writing() as connection:
            return claims.ask_stop(connection, self._observer, keys)

    prioritise = _writing(claims.write_priority)
    replace_run = _writing(run_rows.write_replacement)
    put_memory = _writing(measurements.write_memory)
    memory = _reading(measurements.read_memory)

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

    put_parameter_counts = _writing(measurements.write_parameter_counts)

    def parameter_counts(self, key: str) -> list[ParameterCount]:
        """The parameter counts of the run's detector, in the order they were given."""
        return self.all_parameter_counts([key])[key]

    add_environment = _writing(measurements.write_environment)

    @repeatable
    def environments(self, key: str) -> list[EnvironmentRecord]:
        """Where and with what the run was trained: one per stretch between interruptions."""
        with self.database.reading() as connection:
            return measurements.read_environments(connection, [key]).get(key, [])

    latest_versions = _reading(measurements.read_versions)

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

    put_analysis = _writing(measurements.write_analysis)

    @repeatable
    def put_analyses(self, analyses: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """Caches several, each as (kind, subject, value), in one transaction: a disk is waited for once."""
        with self.database.writing() as connection:
            for kind, subject, value in analyses:
                measurements.write_analysis(connection, kind, subject, value)

    remove_analysis = _writing(measurements.remove_analysis)
    get_analysis = _reading(measurements.read_analysis)
    analyses = _reading(measurements.read_analyses)
    state = _reading(read_state)

    # documented logs

    put_log = _writing(measurements.write_log)
    logs = _reading(measurements.read_logs)

    # many runs at once; every one of ``keys`` is in the answer

    all_epochs = _reading_each(measurements.read_epochs)
    first_epochs = _reading(measurements.first_epochs)
    all_checkpoints = _reading_each(measurements.read_checkpoints)
    all_evaluations = _reading_each(measurements.read_evaluations)
    all_parameter_counts = _reading_each(measurements.read_parameter_counts)
    all_environments = _reading_each(measurements.read_environments)
    epoch_seconds = _reading(measurements.epoch_seconds)
    row_digests = _reading(measurements.row_digests)
    all_warnings = _reading_each(measurements.read_warnings)


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
