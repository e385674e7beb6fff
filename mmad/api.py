"""What Python and the command line share: load, plan, train, evaluate, compare and report, each in one call.

``import mmad`` shows the functions a program needs; the commands call the same ones and add words. A module is
imported when it is needed, so that planning and reporting never load torch, and nothing loads pandas before it makes
a table.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from mmad.base.errors import DataError, EvaluationError, ReportError, SpecError, StoreError
from mmad.base.paths import DEFAULT_DATABASE, StorePaths
from mmad.base.records import SPLITS

if TYPE_CHECKING:
    import pandas as pd

    from mmad.analysis.comparison import Comparison, MeasuredRun
    from mmad.analysis.controls import Alteration, Inference
    from mmad.analysis.metrics import MaskFigures, Profile
    from mmad.analysis.targets import DetectionStore, EvaluationOptions, EvaluationTarget
    from mmad.base.records import CheckpointKind, Detections, EpochRecord, RunRecord, Split
    from mmad.config.estimate import Estimator, Sizes
    from mmad.config.protocol import EvaluationProtocol, Overlap, Proposals
    from mmad.config.runs import Ablation, DataSource, Member, RunSpec
    from mmad.config.setup import ModelSetup
    from mmad.data.audit.findings import AuditIssue
    from mmad.data.dataset import DataSet
    from mmad.evaluation.bootstrap import Interval
    from mmad.evaluation.coco_summary import CocoSet
    from mmad.report.build import Report
    from mmad.scheduler.devices import Slots
    from mmad.scheduler.jobs import Summary
    from mmad.scheduler.progress import ProgressView
    from mmad.scheduler.scheduler import Options
    from mmad.scheduler.submit import Submission
    from mmad.store.store import Store
    from mmad.training.inference import InferenceRunner

#: Hears how many of how many steps are done.
Progress = Callable[[int, int], None]
#: From a label to what shows the progress of a long task while it is entered.
ProgressBar = Callable[[str], AbstractContextManager[Progress]]


@contextlib.contextmanager
def silent(label: str) -> Iterator[Progress]:
    """A ``ProgressBar`` that shows nothing."""
    yield lambda done, whole: None


def _listed(words: str | Sequence[str]) -> tuple[str, ...]:
    """One word, or several, as a tuple."""
    return (words,) if isinstance(words, str) else tuple(words)


# An ablation file with its data set.


#: The word that stands for the embedded data set, and where it is drawn.
PHANTOM = "phantom"
PHANTOM_FOLDER = Path("data/phantom")


@dataclass(frozen=True)
class ChosenData:
    """The data set of an ablation. ``dataset`` is None when it is not there yet (``source`` says where)."""

    source: DataSource
    dataset: DataSet | None
    note: str | None = None


#: An ablation and its data set.
Loaded = tuple["Ablation", ChosenData]


def load_ablation(
    path: str | Path,
    *,
    data: str | Path | None = None,
    overrides: str | Sequence[str] = (),
    weights: str | None = None,
    create: bool = True,
) -> Ablation:
    """Read, check and expand an ablation file on its data set.

    Args:
        path: the TOML file.
        data: folder of the data set, or ``"phantom"`` for the embedded one (drawn in ``data/phantom``, with the
            parameters of the file's ``[phantom]`` table); None for what the file names.
        overrides: ``field=value`` words that win over the file, in order; recorded with every member.
        weights: ``"none"`` trains from scratch what the setup names as pretrained; ``"imagenet"`` is the default.
        create: draw a missing phantom, and refuse another missing folder. False reads what is there; without a data
            set the keys are provisional, and the ablation can be planned but not trained.

    Returns:
        The ablation; its ``members`` hold setting, arm, seed and the run with setup, protocol and key.

    Raises:
        SpecError: whatever is wrong in the file or the overrides, with file, line, key and hint.
        DataError: a data set that is missing or cannot be read, or a clinical column that it has not.
    """
    return load_with_data(Path(path), data=data, overrides=overrides, weights=weights, create=create)[0]


def load_with_data(
    file: Path,
    *,
    data: str | Path | None,
    overrides: str | Sequence[str] = (),
    weights: str | None = None,
    create: bool = False,
    progress_bar: ProgressBar = silent,
) -> Loaded:
    """As ``load_ablation``, with the data set; ``progress_bar`` shows how a phantom is drawn."""
    from mmad.config.load import load_ablation

    ablation = load_ablation(file, overrides=_listed(overrides), weights=weights)  # refuses before any data is drawn
    return on_data(ablation, data, create=create, progress_bar=progress_bar)


def on_data(
    ablation: Ablation, data: str | Path | None, *, create: bool = False, progress_bar: ProgressBar = silent
) -> Loaded:
    """``ablation`` on the data set that ``data`` or its file names, arguments as for ``load_with_data``."""
    file = Path(ablation.path)
    chosen = resolve_data(
        data, ablation.data, beside=file.parent, phantom=ablation.phantom, create=create, progress_bar=progress_bar
    )
    ablation = ablation.on(chosen.source)
    if chosen.dataset is not None:
        setups = {member.run.key: member.run.setup for member in ablation.members}
        _require_samples({setup.dataset_mode for setup in setups.values()}, chosen.dataset)
        for setup in setups.values():
            _require_fit(setup, chosen.dataset, file)
    return ablation, chosen


def _require_samples(modes: set[str], dataset: DataSet) -> None:
    """Refuse a ``dataset_mode`` that the data set has no samples for."""
    from mmad.data.dataset import samples

    for mode in sorted(modes):
        samples(dataset, mode)


def _require_fit(setup: ModelSetup, dataset: DataSet, file: Path) -> None:
    """Refuse a setup whose clinical branch does not fit the data set's columns."""
    from mmad.config.checks import require_fit

    columns = dataset.columns(setup.clinical_numeric, setup.clinical_categorical)
    try:
        require_fit(setup, columns)
    except SpecError as error:
        raise SpecError(error.what, where=file, hint=error.hint) from None


def resolve_data(
    data: str | Path | None,
    file_value: str = PHANTOM,
    *,
    beside: Path | None = None,
    phantom: Mapping[str, Any] | None = None,
    create: bool = False,
    progress_bar: ProgressBar = silent,
) -> ChosenData:
    """The data set that is asked for.

    Args:
        data: a folder, or ``phantom``; wins over the file.
        file_value: the ``data`` key of an ablation file: a folder, or ``phantom``.
        beside: the folder that a relative ``file_value`` starts from.
        phantom: the ``[phantom]`` table; other parameters get other folders.
        create: draw a missing phantom, and refuse another missing folder; else both are only noted.
        progress_bar: shows how the phantom is drawn.

    Raises:
        DataError: a data set that cannot be read; one that was asked for and is not there.
    """
    chosen = str(data or file_value)
    if chosen == PHANTOM and not (data and Path(chosen).is_dir()):
        return _phantom(phantom or {}, create, progress_bar)
    folder = Path(chosen) if data else (beside or Path()) / chosen
    if data or create or folder.is_dir():
        return _read(folder)
    note = f"the data set {folder} is not there: keys are provisional; name one with --data"
    return ChosenData(_absent(folder, folder.name), None, note)


def _phantom(parameters: Mapping[str, Any], create: bool, progress_bar: ProgressBar) -> ChosenData:
    folder = PHANTOM_FOLDER
    if parameters:
        text = json.dumps(dict(parameters), sort_keys=True)
        folder = folder.with_name(f"phantom-{hashlib.sha256(text.encode()).hexdigest()[:8]}")
    if folder.is_dir():
        return _read(folder)
    if not create:
        note = f"the embedded data set is not drawn yet ({folder}): keys are provisional; `mmad ablate` draws it"
        return ChosenData(_absent(folder, PHANTOM), None, note)
    from mmad.data.phantom.generate import make_phantom

    with progress_bar(f"drawing the embedded data set in {folder}") as progress:
        make_phantom(folder, **parameters, progress=progress)
    return _read(folder)


def _read(folder: Path) -> ChosenData:
    from mmad.config.runs import DataSource
    from mmad.data.reader import load_dataset

    dataset = load_dataset(folder)
    source = DataSource(path=str(folder.resolve()), name=dataset.name, fingerprint=dataset.fingerprint())
    return ChosenData(source, dataset)


def _absent(folder: Path, name: str) -> DataSource:
    from mmad.config.runs import DataSource

    return DataSource(path=str(folder.resolve()), name=name, fingerprint=None)


def _data_of(ablation: Ablation) -> ChosenData:
    """The data set that ``ablation`` was loaded with; DataError when it changed since."""
    source = ablation.members[0].run.data
    if source.fingerprint is None:
        return ChosenData(source, None)
    found = _read(Path(source.path))
    if found.source.fingerprint != source.fingerprint:
        raise DataError("changed since the ablation was loaded", where=source.path, hint="load the ablation again")
    return found


# What an ablation expands to, what is done, what would run and how long it would take.


@dataclass(frozen=True)
class PlannedMember:
    """One member with what is known about its run.

    ``shared_with`` is the position of the first member that the same run answers, ``seconds`` what the run still
    takes (None: unknown).
    """

    member: Member
    key: str
    status: str
    shared_with: int | None
    seconds: float | None

    @property
    def open(self) -> bool:
        """Whether the run still costs time (a shared one is counted with its first member)."""
        return self.status != "finished" and self.shared_with is None


def plan(
    ablation: Ablation | Sequence[Ablation], db: str | Path = DEFAULT_DATABASE, *, trials: str | Path | None = None
) -> pd.DataFrame:
    """What ``ablation`` expands to, what is done and what would run. Nothing is written.

    Args:
        ablation: of ``load_ablation``; or several.
        db: the database: an SQLite file or a URL; it need not be there.
        trials: a database of runs tried with ``steps_per_epoch``, which gives the time of runs like none recorded.

    Returns:
        One row a member: ``ablation``, ``setting``, ``arm``, ``seed``, ``replicate``, ``documented`` (the log's entry
        it mirrors, or None), ``key`` (members with equal content share one run), ``provisional`` (the data set was
        not there), ``status`` (``new`` where the database has no such run), ``epochs`` and ``seconds`` (estimate of
        what the run still takes, NaN where unknown).

    Raises:
        StoreError: a database that cannot be read.
    """
    import pandas as pd

    recorded, estimator = known_runs(str(db), None if trials is None else str(trials))
    rows = [row for one in _ablations(ablation) for row in planned(one, _data_of(one), recorded, estimator)]
    return pd.DataFrame(
        {
            "ablation": [row.member.ablation for row in rows],
            "setting": [row.member.setting for row in rows],
            "arm": [row.member.arm for row in rows],
            "seed": [row.member.seed for row in rows],
            "replicate": [row.member.replicate for row in rows],
            "documented": [row.member.documented for row in rows],
            "key": [row.key for row in rows],
            "provisional": [row.member.run.provisional for row in rows],
            "status": [row.status for row in rows],
            "epochs": [row.member.run.protocol.epochs for row in rows],
            "seconds": pd.Series([0.0 if row.status == "finished" else row.seconds for row in rows], dtype="float64"),
        }
    )


def _ablations(given: Ablation | Sequence[Ablation]) -> list[Ablation]:
    from mmad.config.runs import Ablation

    return [given] if isinstance(given, Ablation) else list(given)


def known_runs(db: str, trials: str | None = None) -> tuple[Mapping[str, RunRecord], Estimator]:
    """The runs of ``db`` by key, and what estimates the time of others from them; makes no database."""
    from mmad.config.estimate import Estimator, Trials

    runs, epochs = _recorded(db)
    return {run.key: run for run in runs}, Estimator(
        runs, epochs, None if trials is None else Trials(*_recorded(trials))
    )


def _recorded(db: str) -> tuple[Sequence[RunRecord], Mapping[str, Sequence[EpochRecord]]]:
    if _missing(db):
        return (), {}
    from mmad.store.store import Store

    with Store.open(db, read_only=True) as store:
        runs = store.run_records()
        return runs, store.all_epochs([run.key for run in runs])


def _missing(db: str) -> bool:
    file = StorePaths(db).file
    return file is not None and not file.exists()


def planned(
    ablation: Ablation, data: ChosenData, recorded: Mapping[str, RunRecord], estimator: Estimator
) -> tuple[PlannedMember, ...]:
    """Every member of ``ablation`` with what ``known_runs`` says of its run."""
    rows: list[PlannedMember] = []
    first: dict[str, int] = {}
    sizes = _sizes(data)
    for position, member in enumerate(ablation.members):
        key = member.run.key
        run = recorded.get(key)
        shared = first.setdefault(key, position)
        rows.append(
            PlannedMember(
                member=member,
                key=key,
                status="new" if run is None else run.status,
                shared_with=shared if shared != position else None,
                seconds=estimator.seconds(member.run, 0 if run is None else run.epochs_done, sizes),
            )
        )
    return tuple(rows)


def _sizes(data: ChosenData) -> Sizes | None:
    from mmad.config.estimate import Sizes

    found = data.dataset
    return None if found is None else Sizes(*(len(found.split(split)) for split in SPLITS))


# Training what an ablation asks for and is not done yet.


def train(
    ablation: Ablation | Sequence[Ablation],
    db: str | Path = DEFAULT_DATABASE,
    *,
    device: str = "auto",
    executor: str = "local",
    only: str | Sequence[str] = (),
    per_gpu: int | None = 1,
    weights_dir: str | Path | None = None,
    priority: int | None = None,
    isolate: bool = False,
    max_hours: float | None = None,
    checkpoint_every: int | None = None,
    tensorboard: bool = False,
    address: str | None = None,
    slurm: str | Sequence[str] = (),
    show: bool = False,
) -> Summary:
    """Train every run of ``ablation`` that is not finished, as ``mmad ablate`` does, and record it in ``db``.

    Runs train in worker processes. One that fails stops no other. The same call resumes what was interrupted.

    Args:
        ablation: of ``load_ablation``; or several.
        db: the database: an SQLite file (made if need be) or a URL.
        device: ``auto`` (every GPU found, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.
        executor: ``local`` (this machine), ``ray`` or ``slurm``.
        only: only members of this setting, arm, ``seed=N`` or ``ablation/setting/arm``; ``*`` is anything.
        per_gpu: how many runs share a GPU; None for as many as its memory holds.
        weights_dir: folder with torchvision's weights files, looked into before torch's own cache.
        priority: runs of higher priority train first (0); None leaves what they have.
        isolate: a process of its own for every run.
        max_hours: stop after so many hours.
        checkpoint_every: checkpoint within epochs too, every so many training steps.
        tensorboard: write TensorBoard event files beside the log.
        address: the Ray cluster (``HOST:PORT``); None for the one this machine is a node of.
        slurm: options of sbatch as ``key=value`` words.
        show: show progress on standard output: a live table on a terminal, else a line per event.

    Returns:
        ``finished``, ``failed`` (with the error), ``interrupted`` and ``stopped`` runs, and whether ``max_hours``
        ``cancelled`` it; all empty where everything was finished already.

    Raises:
        MmadError: whatever has to be fixed before anything runs: weights that are missing, a data set that nothing can
            be trained on, no such device, a database that cannot be written.
        KeyboardInterrupt: after Ctrl-C; the runs are stopped after their present step and recorded first.

    Warns:
        UserWarning: what the audit of a data set finds; recorded with its runs, too.
    """
    import sys
    import warnings

    from mmad.base.clock import seconds
    from mmad.scheduler.executors.factory import executor_slots
    from mmad.scheduler.progress import PlainView, choose_view
    from mmad.scheduler.scheduler import Options
    from mmad.scheduler.submit import halved
    from mmad.scheduler.tensorboard import require_tensorboard

    database = str(db)
    loaded = [(one, _data_of(one)) for one in _ablations(ablation)]
    for one, data in loaded:
        if data.dataset is None:
            raise SpecError(
                "was loaded without its data set", where=one.path, hint="load it with create=True, or name its folder"
            )
    cluster = (address, _listed(slurm))
    slots = executor_slots(executor, device, per_gpu, *cluster, memory=lambda: known_memory(database))
    if tensorboard:
        require_tensorboard()
    words, folder = _listed(only), None if weights_dir is None else Path(weights_dir)
    check_ablations(loaded, database, only=words, weights_dir=folder, on_gpu=slots.on_gpu)
    options = Options(
        weights_dir=folder,
        command_line=f"mmad.train({', '.join(repr(one.path) for one, _ in loaded)})",
        isolate=isolate,
        max_hours=max_hours,
        checkpoint_every=checkpoint_every,
        tensorboard=tensorboard,
        halve=halved,
    )
    began = seconds()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        summary = run_ablations(
            loaded,
            database,
            slots,
            options,
            choose_view(sys.stdout) if show else PlainView(nowhere, nowhere),
            only=words,
            priority=priority,
            executor=executor,
            address=address,
            slurm=cluster[1],
            warn=lambda line: warnings.warn(line, stacklevel=5),
        )
    if summary.cancelled and (max_hours is None or seconds() - began < max_hours * 3600):
        raise KeyboardInterrupt
    return summary


def check_ablations(
    loaded: Sequence[Loaded], db: str, *, only: Sequence[str], weights_dir: Path | None, on_gpu: bool
) -> list[Submission]:
    """The members that ``only`` names with the status of their runs; refuses what cannot be trained. Writes nothing.

    Raises:
        SpecError: a word of ``only`` that names no member, two files of one name, a setup the device cannot train.
        WeightsError: pretrained weights that are missing.
        DataError: a data set that nothing can be trained on.
        StoreError: a database that cannot be read.
    """
    from mmad.data.image_cache import require_trainable
    from mmad.scheduler.submit import asked_for, check_weights, require_named

    require_named([ablation for ablation, _ in loaded], only)
    chosen = _narrowed(loaded, only)
    asked = asked_for([ablation for ablation, _ in chosen], db)
    waiting = [one.member for one in asked if one.waits]
    check_weights(waiting, weights_dir)
    _check_networks([member.run for member in waiting], on_gpu=on_gpu)
    for dataset, _ in _datasets(chosen, {member.run.key for member in waiting}):
        require_trainable(dataset)
    return asked


def run_ablations(
    loaded: Sequence[Loaded],
    db: str,
    slots: Slots,
    options: Options,
    view: ProgressView,
    *,
    only: Sequence[str] = (),
    priority: int | None = None,
    executor: str = "local",
    address: str | None = None,
    slurm: Sequence[str] = (),
    progress_bar: ProgressBar = silent,
    warn: Callable[[str], None],
) -> Summary:
    """Audit and decode the data sets, queue every run that is not finished, and train those that ``only`` names.

    Args:
        loaded: ablations that ``check_ablations`` let pass; all their members are recorded.
        slots: of ``executor_slots`` for this ``executor``.
        warn: hears each kind of warning of an audit once.

    Raises:
        DataError: an error that the audit finds, or a damaged image.
        StoreError: a database that cannot be written.
        MmadError: a cluster's node that lacks something.
    """
    from mmad.data.image_cache import prepare_images
    from mmad.scheduler.executors.factory import make_executor
    from mmad.scheduler.jobs import Summary
    from mmad.scheduler.scheduler import run_jobs
    from mmad.scheduler.submit import asked_for, queue_up

    chosen, everything = _narrowed(loaded, only), [ablation for ablation, _ in loaded]
    waiting = {one.member.run.key for one in asked_for([ablation for ablation, _ in chosen], db) if one.waits}
    issues = _audit((dataset for dataset, _ in _datasets(chosen, waiting)), progress_bar, warn)
    for dataset, sizes in _datasets(chosen, waiting):  # a damaged image stops the command, not its runs one by one
        with progress_bar(f"reading {len(dataset.studies)} images of {dataset.root}") as progress:
            prepare_images(dataset, sizes, progress)
    runs = [member.run for ablation, _ in chosen for member in ablation.members if member.run.key in waiting]
    trains = make_executor(executor, db, slots, options, address, slurm, runs=runs)
    jobs = queue_up(everything, db, only=only, priority=priority)
    if not jobs:
        return Summary((), (), ())
    _record_warnings(db, everything, issues)
    return run_jobs(db, jobs, slots, view, options, executor=trains)


def known_memory(db: str) -> dict[tuple[str, str], int]:
    """What the database remembers of the memory that runs take; nothing where there is none yet."""
    from mmad.store.store import Store

    if _missing(db):
        return {}
    try:
        with Store.open(db, create=False) as store:
            return dict(store.memory())
    except StoreError as error:
        if error.what.startswith("is empty"):
            return {}
        raise


def _narrowed(loaded: Sequence[Loaded], only: Sequence[str]) -> list[Loaded]:
    from mmad.scheduler.submit import narrowed

    return [(narrowed(ablation, only), data) for ablation, data in loaded]


def _check_networks(runs: Sequence[RunSpec], *, on_gpu: bool) -> None:
    """Refuses what only the device or timm can tell, before anything is queued."""
    from mmad.base.records import ClinicalColumns
    from mmad.config.checks import TIMM

    if not on_gpu and any(run.setup.mixed_precision for run in runs):
        raise SpecError(
            "mixed_precision = true needs a CUDA device", hint="set mixed_precision = false, or use --device cuda"
        )
    for setup in {run.key: run.setup for run in runs if run.setup.image_backbone.startswith(TIMM)}.values():
        from mmad.detector import parameter_counts

        parameter_counts(setup, columns=ClinicalColumns())  # those of the data set were checked when it was loaded


def _datasets(loaded: Iterable[Loaded], waiting: Container[str]) -> Iterator[tuple[DataSet, set[int]]]:
    """Each data set that is there with the sizes of images that the waiting runs on it want."""
    for ablation, data in loaded:
        sizes = {member.run.setup.image_size for member in ablation.members if member.run.key in waiting}
        if data.dataset is not None and sizes:
            yield data.dataset, sizes


#: Fingerprint of a data set → what its audit warns of.
_Issues = Mapping[str, "tuple[AuditIssue, ...]"]


def _audit(datasets: Iterable[DataSet], progress_bar: ProgressBar, warn: Callable[[str], None]) -> _Issues:
    """What each data set's audit warns of; DataError for an error.

    An audit is made once for a data set's content and remembered in the cache.
    """
    from mmad.data.audit.run import remembered_audit, require_sound

    issues: dict[str, tuple[AuditIssue, ...]] = {}
    for dataset in datasets:
        fingerprint = dataset.fingerprint()
        if fingerprint in issues:
            continue
        with progress_bar(f"checking {len(dataset.studies)} studies of {dataset.root}") as progress:
            audit = remembered_audit(dataset, progress)
        require_sound(dataset, audit)
        issues[fingerprint] = audit.warnings
        for line in _issue_lines(audit.warnings):
            warn(f"{dataset.root}: {line}")
    return issues


def _issue_lines(issues: Iterable[AuditIssue]) -> list[str]:
    """One line per code: its first issue, and how many more there are."""
    groups: dict[str, list[AuditIssue]] = {}
    for issue in issues:
        groups.setdefault(issue.code, []).append(issue)
    return [
        f"{code}: {group[0].what}" + (f" (and {len(group) - 1} more like it)" if len(group) > 1 else "")
        for code, group in groups.items()
    ]


def _record_warnings(db: str, ablations: Iterable[Ablation], issues: _Issues) -> None:
    """Records each data set's warnings with the runs that train on it, once."""
    from mmad.store.store import Store

    wanted = {member.run.key for ablation in ablations for member in ablation.members}
    with Store.open(db) as store:
        runs = {run.key: run.dataset_fingerprint for run in store.run_records() if run.key in wanted}
        lines = {key: [issue.line for issue in issues.get(fingerprint, ())] for key, fingerprint in runs.items()}
        known = store.all_warnings([key for key in runs if lines[key]])
        for key, recorded in known.items():
            for line in lines[key]:
                if line not in recorded:
                    store.add_warning(key, line)


# Reading what was recorded.


def open_store(db: str | Path = DEFAULT_DATABASE, *, read_only: bool = False) -> Store:
    """Open the database of an earlier training; use it as a context manager.

    Args:
        db: the database: an SQLite file or a URL.
        read_only: never write, so that intervals are computed anew each time. A file that cannot be written is opened
            so, too. An older schema is upgraded first in either case.

    Raises:
        StoreError: missing, locked, not a database of mmad, or of a newer schema.
    """
    from mmad.store.migrate import OlderSchema
    from mmad.store.store import Store

    file = StorePaths(str(db)).file
    locked = file is not None and file.exists() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))
    if not (read_only or locked):
        return Store.open(db, create=False)
    try:
        return Store.open(db, create=False, read_only=True)
    except OlderSchema:
        Store.open(db, create=False).close()
        return Store.open(db, create=False, read_only=True)


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint of one run, evaluated on one split under one protocol.

    Args:
        target: the run, its checkpoint, the split and the protocol.
        measured: AP and AR with 95 % bootstrap intervals over whole patients.
        profile: operating points, FROC, confusion and calibration.
        coco: COCO's twelve figures, where they were asked for.
        masks: AP and AR of the masks; None for a run without a mask head, or whose masks were not stored.
    """

    target: EvaluationTarget
    measured: MeasuredRun
    profile: Profile
    coco: CocoSet | None = None
    masks: MaskFigures | None = None

    @property
    def name(self) -> str:
        """``ablation/setting/arm/seed``."""
        return self.target.name

    @property
    def protocol(self) -> EvaluationProtocol:
        """Overlap, its threshold, detections per image, and the source of the proposals."""
        return self.target.protocol

    @property
    def ap(self) -> Interval:
        """Average precision in [0, 1], mean over the findings: ``value``, and ``low`` to ``high``."""
        return self.measured.estimate.ap

    @property
    def ar(self) -> Interval:
        """Average recall in [0, 1], mean over the findings: ``value``, and ``low`` to ``high``."""
        return self.measured.estimate.ar

    @property
    def findings(self) -> pd.DataFrame:
        """One row a finding: ``finding``, and AP and AR with the bounds of their intervals."""
        from mmad.analysis.comparison import findings_frame

        return findings_frame(self.measured.estimate.per_class)

    @property
    def thresholds(self) -> pd.DataFrame:
        """One row a score: ``score``, ``ap``, ``ar``, ``precision``, ``recall``, ``f1``, ``per_image`` (detections)."""
        import pandas as pd

        return pd.DataFrame([vars(row) for row in self.profile.rows])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from mmad.analysis.comparison import conditions_of, html_rows
        from mmad.base.formatting import interval

        rows = {"AP [95 %]": interval(self.ap), "AR [95 %]": interval(self.ar)}
        size = {"images": self.measured.images, "patients": self.measured.patients}
        return html_rows({"run": self.name, **rows, **size, **conditions_of(self.target).words()})


def evaluate(
    store: Store,
    run: str,
    *,
    split: str = "test",
    checkpoint: str | None = None,
    overlap: str | None = None,
    proposals: str | None = None,
    scores: Sequence[float] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    coco: bool = False,
    rerun: bool = False,
    device: str = "auto",
    data: str | Path | None = None,
) -> Evaluation:
    """AP and AR of a run's checkpoint with intervals, operating points, FROC, confusion and calibration.

    Everything is computed from the stored detections, once, and cached in the store. The network runs only where
    there are no detections under ``proposals``, or with ``rerun``.

    Args:
        store: of ``open_store``.
        run: ``ablation/setting/arm`` (``/seed`` if there are several), or the beginning of a key.
        split: ``test`` or ``val``.
        checkpoint: ``best_ap``, ``best_ar`` or ``final``; None for ``best_ap``, or ``final`` where no best one is
            stored.
        overlap: ``iou`` or ``iobb``; None for what the member asked for.
        proposals: ``clean``, ``sampled`` or ``with_ground_truth``; None for what the member asked for.
        scores: score thresholds of the operating points, in [0, 1]; None for 0.05, 0.1 and 0.3.
        resamples: of the patients, for the intervals.
        seed: of the resamples.
        coco: add COCO's twelve figures.
        rerun: run the network again even if its detections are stored.
        device: where the network runs: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        data: where the data set lies now, if it was moved.

    Raises:
        StoreError: no such run.
        EvaluationError: a run that is not finished, an unknown word, or detections that are missing or damaged.
        DataError: a data set that is gone or changed.
    """
    from mmad.analysis.metrics import SCORES
    from mmad.analysis.targets import DetectionStore, evaluation_target
    from mmad.store.lookup import find_run

    options = evaluation_options(split, checkpoint, overlap, proposals, resamples, seed)
    detections = DetectionStore(None if data is None else Path(data))
    target = evaluation_target(store, find_run(store, run), options)
    if rerun or (proposals is not None and not target.file.exists()):
        rerun_inference(store, detections, target, device)
    return evaluation_of(store, detections, target, options, SCORES if scores is None else scores, coco=coco)


def evaluation_of(
    store: Store,
    detections: DetectionStore,
    target: EvaluationTarget,
    options: EvaluationOptions,
    scores: Sequence[float],
    *,
    coco: bool = False,
) -> Evaluation:
    """All figures of ``target``, from its stored detections; AP and AR become a row of the store."""
    from mmad.analysis.metrics import coco_of, estimate_of, masks_of, note_evaluation, profile_of

    found = Evaluation(
        target,
        estimate_of(store, detections, [target], options),
        profile_of(store, detections, target, scores, options),
        coco_of(store, detections, target) if coco else None,
        masks_of(store, detections, target, options),
    )
    note_evaluation(store, detections, target)
    return found


def rerun_inference(
    store: Store,
    detections: DetectionStore,
    target: EvaluationTarget,
    device: str = "auto",
    progress_bar: ProgressBar = silent,
) -> None:
    """Run the network of ``target`` again, and store its detections with their AP and AR."""
    from mmad.analysis.metrics import keep_detections

    detections.truth(target)  # refuses before the network is built
    runner = inference_runner(store, detections, target, device)
    file = runner.run.folder / target.checkpoint.path
    with progress_bar(f"{target.name}: inference on {target.split}, {target.protocol.proposals} proposals") as progress:
        found = runner.detections(file, target.split, proposals=target.protocol.proposals, report=progress)
    keep_detections(store, detections, target, found)


def altered_inference(store: Store, detections: DetectionStore, target: EvaluationTarget, device: str) -> Inference:
    """Runs the network of ``target``, built on the first call, on altered inputs."""
    runners: list[InferenceRunner] = []

    def infer(alteration: Alteration | None, seed: int) -> Detections:
        from mmad.training.inference import UNALTERED, InputAlteration

        if not runners:
            runners.append(inference_runner(store, detections, target, device))
        change = UNALTERED
        if alteration is not None:
            columns = (alteration.name,) if alteration.kind == "column" else ()
            change = InputAlteration(columns, alteration.kind == "records", alteration.kind == "image", seed)
        file = runners[0].run.folder / target.checkpoint.path
        return runners[0].detections(file, target.split, proposals=target.protocol.proposals, alteration=change)

    return infer


def inference_runner(
    store: Store, detections: DetectionStore, target: EvaluationTarget, device: str
) -> InferenceRunner:
    from mmad.scheduler.devices import find_slots
    from mmad.scheduler.worker import run_spec

    place = next(iter(find_slots(device).devices), "cpu")
    spec = run_spec(target.run, detections.data)
    from mmad.training.inference import InferenceRunner

    return InferenceRunner(spec, dataset_path=Path(spec.data.path), run=store.run_paths(target.run.key), device=place)


def evaluation_options(
    split: str,
    checkpoint: str | None,
    overlap: str | None,
    proposals: str | None,
    resamples: int,
    seed: int = 0,
    *,
    named: Callable[[str], str] = str,
) -> EvaluationOptions:
    """The words of a call, each checked; ``named`` says what its user calls a parameter."""
    from mmad.analysis.targets import EvaluationOptions
    from mmad.config.protocol import Overlap, Proposals

    kinds = ("best_ap", "best_ar", "final")
    return EvaluationOptions(
        cast("Split", known_word(named("split"), split, ("val", "test"))),
        cast("CheckpointKind | None", known_word(named("checkpoint"), checkpoint, kinds)),
        cast("Overlap | None", known_word(named("overlap"), overlap, get_args(Overlap))),
        cast("Proposals | None", known_word(named("proposals"), proposals, get_args(Proposals))),
        resamples,
        seed,
    )


def known_word(where: str, word: str | None, known: Sequence[str]) -> str | None:
    """``word``, or None; EvaluationError with the nearest of ``known`` for another one."""
    from mmad.config.messages import did_you_mean

    if word is not None and word not in known:
        raise EvaluationError(f"unknown word {word!r}", where=where, hint=did_you_mean(word, known))
    return word


def compare(
    store: Store,
    reference: str,
    other: str,
    *,
    split: str = "test",
    checkpoint: str | None = None,
    overlap: str | None = None,
    proposals: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    data: str | Path | None = None,
) -> Comparison:
    """Compare two arms on the same images: is ``other`` better than ``reference``?

    Conditions that one ablation file varies between them (such as ``epochs``) differ by design: ``by_design``.

    Args:
        store: of ``open_store``.
        reference: ``ablation/setting/arm``, which means all its seeds, or one run (``/seed``, or the beginning of a
            key).
        other: likewise.
        split: ``test`` or ``val``.
        checkpoint: as for ``evaluate``; ``overlap``, ``proposals``, ``resamples``, ``seed`` and ``data`` likewise.

    Raises:
        StoreError: no such run.
        EvaluationError: runs that are not finished, share no seed, or cannot be compared, naming what differs.
        DataError: a data set that is gone or changed.
    """
    from mmad.analysis.statistics import compare_arms
    from mmad.analysis.targets import DetectionStore

    options = evaluation_options(split, checkpoint, overlap, proposals, resamples, seed)
    return compare_arms(store, DetectionStore(None if data is None else Path(data)), reference, other, options)


# The report.


def write_report(
    store: Store,
    *,
    html: str | Path | None = None,
    markdown: str | Path | None = None,
    csv: str | Path | None = None,
    latex: str | Path | None = None,
    pages: bool | None = None,
    ablations: str | Sequence[str] = (),
    data: str | Path | None = None,
    pictures: int | None = None,
    log: bool | None = None,
    every: float | None = None,
    progress: Progress = lambda done, whole: None,
) -> Report:
    """Write the report of everything recorded, in one or several forms.

    Intervals and verdicts come from what the store caches; what is not there yet is computed from the stored
    detections and cached, unless the store is open for reading only.

    Args:
        store: of ``open_store``.
        html: the page: one file that needs no network.
        markdown: the same as Markdown, with its charts in a folder beside it.
        csv: a folder for every table as CSV, figures in full.
        latex: a folder for every table as LaTeX.
        pages: whether the HTML is an overview with linked pages beside it (``NAME_pages``); None for one file up to
            300 runs.
        ablations: only these.
        data: where the runs' data set lies now, if it was moved.
        pictures: studies shown of each pair; None shows a few where the data set's licence allows it, 0 none.
        log: whether the HTML shows the entries of experiment logs; None where an ablation mirrors one or one was
            imported.
        every: seconds after which the page reloads itself, while it is rewritten; None for a page that does not.
        progress: hears how many of how many runs are drawn.

    Returns:
        The files that were written, and counts of ablations, runs and runs that are not finished.

    Raises:
        ReportError: nothing to report, an unknown ablation, or a file that cannot be written; an older report is then
            left as it was.
    """
    from mmad.report.build import write_report

    def path(given: str | Path | None) -> Path | None:
        return None if given is None else Path(given)

    if html is None and markdown is None and csv is None and latex is None:
        raise ReportError("nothing to write", hint="name a file or a folder: html=, markdown=, csv= or latex=")
    return write_report(
        store,
        html=path(html),
        markdown=path(markdown),
        csv=path(csv),
        latex=path(latex),
        pages=pages,
        ablations=_listed(ablations),
        database=store.where,
        data=path(data),
        pictures=pictures,
        log=log,
        every=every,
        progress=progress,
        computing=progress,
        picturing=progress,
    )
