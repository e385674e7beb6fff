"""Training what an ablation asks for and is not done yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmad.api.arguments import argument
from mmad.api.loading import Loaded, ProgressBar, _data_of, _listed, read_anew, silent
from mmad.api.planning import _ablations
from mmad.api.tuning import Choice, choice_notes, searched
from mmad.base.errors import SpecError, StoreError
from mmad.base.paths import DEFAULT_DATABASE, StorePaths

if TYPE_CHECKING:
    from mmad.config.runs import Ablation, RunSpec
    from mmad.data.audit.findings import AuditIssue
    from mmad.data.dataset import DataSet
    from mmad.scheduler.devices import Slots
    from mmad.scheduler.executors.factory import ExecutorChoice
    from mmad.scheduler.jobs import Summary
    from mmad.scheduler.progress import ProgressView
    from mmad.scheduler.scheduler import Options
    from mmad.scheduler.submit import Submission


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
    template: str | None = None,
    jobs: int | None = None,
    show: bool = False,
) -> Summary:
    """Train every run of ``ablation`` that is not finished, as ``mmad ablate`` does, and record it in ``db``.

    Runs train in worker processes. One that fails stops no other. The same call resumes what was interrupted.

    Args:
        ablation: of ``load_ablation``; or several.
        db: the database: an SQLite file (made if need be) or a URL.
        device: ``auto`` (every GPU found, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.
        executor: ``local`` (this machine), ``ray``, ``slurm`` or ``command``.
        only: only members of this setting, arm, ``seed=N`` or ``ablation/setting/arm``; ``*`` is anything.
        per_gpu: how many runs share a GPU; None for as many as its memory holds.
        weights_dir: folder with files of weights, looked into before ``MMAD_WEIGHTS`` and torch's own cache.
        priority: runs of higher priority train first (0); None leaves what they have.
        isolate: a process of its own for every run.
        max_hours: stop after so many hours.
        checkpoint_every: checkpoint within epochs too, every so many training steps.
        tensorboard: write TensorBoard event files beside the log.
        address: the Ray cluster (``HOST:PORT``); None for the one this machine is a node of.
        slurm: options of sbatch as ``key=value`` words.
        template: the shell command that ``command`` hands runs out with, such as ``ssh gpu1 {quoted}``.
        jobs: how many of these lines at once.
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
    from mmad.config.weights import with_weights
    from mmad.scheduler.executors.factory import ExecutorChoice
    from mmad.scheduler.progress import PlainView, choose_view
    from mmad.scheduler.scheduler import Options
    from mmad.scheduler.submit import halved
    from mmad.scheduler.tensorboard import require_tensorboard

    argument("per_gpu", per_gpu, int, least=1, optional=True)
    argument("priority", priority, int, optional=True)
    argument("jobs", jobs, int, least=1, optional=True)
    argument("max_hours", max_hours, int, float, least=0, optional=True)
    argument("checkpoint_every", checkpoint_every, int, least=1, optional=True)
    database = str(db)
    words, folder = _listed(only), None if weights_dir is None else Path(weights_dir)
    loaded = read_anew([(with_weights(one, folder), _data_of(one)) for one in _ablations(ablation)])
    for one, data in loaded:
        if data.dataset is None:
            raise SpecError(
                "was loaded without its data set", where=one.path, hint="load it with create=True, or name its folder"
            )
    choice = ExecutorChoice(executor, device, per_gpu, address, _listed(slurm), template, jobs)
    slots = choice.slots(lambda: known_memory(database))
    if tensorboard:
        require_tensorboard()
    check_ablations(loaded, database, only=words, weights_dir=folder, slots=slots)
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
            choice=choice,
            only=words,
            priority=priority,
            warn=lambda line: warnings.warn(line, stacklevel=6),
        )
    if summary.cancelled and (max_hours is None or seconds() - began < max_hours * 3600):
        raise KeyboardInterrupt
    return summary


def check_ablations(
    loaded: Sequence[Loaded], db: str, *, only: Sequence[str], weights_dir: Path | None, slots: Slots
) -> list[Submission]:
    """The members that ``only`` names with the status of their runs; refuses what cannot be trained. Writes nothing.

    Raises:
        SpecError: a word of ``only`` that names no member, two files of one name, a setup the device cannot train, or
            an entry to mirror that no log has.
        MmadError: fewer GPUs than a run asks for.
        WeightsError: pretrained weights that are missing.
        DataError: a data set that nothing can be trained on, or a column without a value in the training split.
        StoreError: a database that cannot be read.
    """
    from mmad.api.experiment_logs import require_documented
    from mmad.data.clinical import ClinicalEncoder
    from mmad.data.image_cache import require_trainable
    from mmad.scheduler.submit import asked_for, check_weights, require_named

    require_documented([ablation for ablation, _ in loaded], db)
    named, loaded = loaded, due(loaded, db)
    require_named([ablation for ablation, _ in (*named, *loaded)], only)
    chosen = _narrowed(_as_recorded(loaded, db), only)
    asked = asked_for([ablation for ablation, _ in chosen], db)
    waiting = [one.member for one in asked if one.waits]
    check_weights(waiting, weights_dir)
    slots.require(max((member.run.setup.gpus_per_run for member in waiting), default=1))
    _check_networks([member.run for member in waiting], on_gpu=slots.on_gpu)
    for dataset, _ in _datasets(chosen, {member.run.key for member in waiting}):
        require_trainable(dataset)
    for ablation, data in chosen:
        runs = [one.run for one in ablation.members if one in waiting and one.run.protocol.fold is None]
        setups = [run.setup for run in runs if run.setup.use_clinical]
        if data.dataset is not None:
            for columns in {data.dataset.columns(one.clinical_numeric, one.clinical_categorical) for one in setups}:
                ClinicalEncoder.fit(data.dataset, columns)
    return asked


def run_ablations(
    loaded: Sequence[Loaded],
    db: str,
    slots: Slots,
    options: Options,
    view: ProgressView,
    *,
    choice: ExecutorChoice,
    only: Sequence[str] = (),
    priority: int | None = None,
    progress_bar: ProgressBar = silent,
    warn: Callable[[str], None],
) -> Summary:
    """Audit and decode the data sets, queue every run that is not finished, and train those that ``only`` names.

    Where seeds are added until pairs are settled, they are looked at when all are trained, and more seeds of those that
    are not settled follow. Where setups are searched, the trials come first, and what they choose follows; a trial that
    fails has come to nothing and stops no other.

    Args:
        loaded: ablations that ``check_ablations`` let pass.
        slots: of ``choice``.
        warn: hears each kind of warning of an audit once, and of finished runs that leave the reports.

    Raises:
        DataError: an error that the audit finds, or a damaged image.
        StoreError: a database that cannot be written.
        MmadError: a cluster's node that lacks something; a search whose choice changed, where ``only`` some runs train.
    """
    from mmad.base.clock import seconds
    from mmad.config.runs import TRIALS
    from mmad.scheduler.jobs import Summary

    began, whole, everything = seconds(), Summary((), (), ()), loaded
    tell = choice_notes(warn, whole=not only)
    while True:
        loaded = due(everything, db, tell)
        left = None if options.max_hours is None else options.max_hours - (seconds() - began) / 3600
        how = (choice, progress_bar, (lambda line: None) if whole.finished else warn)
        failed = {failure.job.key for failure in whole.failed}
        found = _run_once(loaded, db, slots, replace(options, max_hours=left), view, only, priority, failed, *how)
        whole = Summary(
            whole.finished + found.finished,
            whole.failed + found.failed,
            whole.interrupted + found.interrupted,
            found.cancelled,
            whole.stopped + found.stopped,
        )
        broken = any(not failure.job.ablation.endswith(TRIALS) for failure in found.failed)
        if found.cancelled or found.interrupted or found.stopped or broken:
            return whole
        if _asked(due(everything, db)) == _asked(loaded):
            return whole


def _asked(loaded: Sequence[Loaded]) -> set[tuple[str, str, str, int, int, str]]:
    """Each member with the key of its run."""
    members = (member for ablation, _ in loaded for member in ablation.members)
    return {(one.ablation, one.setting, one.arm, one.seed, one.replicate, one.run.key) for one in members}


def due(loaded: Sequence[Loaded], db: str, tell: Callable[[Ablation, Choice], None] | None = None) -> list[Loaded]:
    """The ablations with the members that are to be trained by now.

    Where setups are searched, these are the trials as an ablation of their own, and what has been chosen. Where seeds
    are added until pairs are settled, these are the seeds of the first look, those that are recorded, and one more of
    each pair that is not settled by the seeds that both arms have finished. ``tell`` is as of ``searched``.
    """
    return [(_due(ablation, db), data) for ablation, data in searched(loaded, db, tell)]


def _due(ablation: Ablation, db: str) -> Ablation:
    if ablation.looks is None:
        return ablation
    from mmad.analysis.comparison import Comparison
    from mmad.analysis.evaluation_target import DetectionStore
    from mmad.analysis.verdicts import finished_pairs
    from mmad.store.store import Store

    first, _ = ablation.looks
    counts: dict[tuple[str, str], int] = {}
    recorded: set[tuple[str, str, int]] = set()
    if not StorePaths(db).missing:
        with Store.open(db, create=False, lenient=True) as store:
            recorded = {(one.setting, one.arm, one.seed) for one in store.members(ablation.name)}
            pairs = finished_pairs(store, DetectionStore(), ablation.name) if recorded else []
        for one in pairs:
            if isinstance(one, Comparison) and one.verdict == "not settled":
                for arm in (one.reference, one.other):
                    counts[one.setting, arm] = max(counts.get((one.setting, arm), 0), len(one.pairs) + 1)
    return replace(
        ablation,
        members=tuple(
            one
            for one in ablation.members
            if one.seed < max(first, counts.get((one.setting, one.arm), 0))
            or (one.setting, one.arm, one.seed) in recorded
        ),
    )


def _run_once(
    loaded: Sequence[Loaded],
    db: str,
    slots: Slots,
    options: Options,
    view: ProgressView,
    only: Sequence[str],
    priority: int | None,
    failed: Container[str],
    choice: ExecutorChoice,
    progress_bar: ProgressBar,
    warn: Callable[[str], None],
) -> Summary:
    from mmad.data.audit.table_checks import tiny_box_lines
    from mmad.data.image_cache import prepare_images
    from mmad.scheduler.jobs import Summary
    from mmad.scheduler.scheduler import run_jobs
    from mmad.scheduler.submit import asked_for, queue_up

    loaded = _as_recorded(loaded, db)
    chosen, everything = _narrowed(loaded, only), [ablation for ablation, _ in loaded]
    waiting = {one.member.run.key for one in asked_for([ablation for ablation, _ in chosen], db) if one.waits}
    issues = _audit((dataset for dataset, _ in _datasets(chosen, waiting)), progress_bar, warn)
    for dataset, sizes in _datasets(chosen, waiting):  # a damaged image stops the command, not its runs one by one
        for line in tiny_box_lines(dataset, sizes):
            warn(f"{dataset.root}: {line}")
        with progress_bar(f"reading {len(dataset.studies)} images of {dataset.root}") as progress:
            prepare_images(dataset, sizes, progress)
    runs = [member.run for ablation, _ in chosen for member in ablation.members if member.run.key in waiting]
    trains = choice.executor(db, slots, options, runs)
    jobs = [job for job in queue_up(everything, db, only=only, priority=priority, warn=warn) if job.key not in failed]
    if not jobs:
        return Summary((), (), ())
    _record_warnings(db, everything, issues)
    return run_jobs(db, jobs, slots, view, options, executor=trains)


def known_memory(db: str) -> dict[tuple[str, str], int]:
    """What the database remembers of the memory that runs take; nothing where there is none yet."""
    from mmad.store.store import Store

    if StorePaths(db).missing:
        return {}
    try:
        with Store.open(db, create=False) as store:
            return dict(store.memory())
    except StoreError as error:
        if error.what.startswith("is empty"):
            return {}
        raise


def _as_recorded(loaded: Sequence[Loaded], db: str) -> list[Loaded]:
    """The ablations under the keys that ``db`` has for their runs."""
    from mmad.config.runs import older_keys
    from mmad.scheduler.submit import recorded_runs

    older = older_keys(recorded_runs(db).values())
    return [(ablation.recorded_as(older), data) for ablation, data in loaded]


def _narrowed(loaded: Sequence[Loaded], only: Sequence[str]) -> list[Loaded]:
    from mmad.scheduler.submit import narrowed

    return [(narrowed(ablation, only), data) for ablation, data in loaded]


def _check_networks(runs: Sequence[RunSpec], *, on_gpu: bool) -> None:
    """Refuses what only the device or timm can tell, before anything is queued."""
    from mmad.base.records import ClinicalColumns
    from mmad.config.named_parts import TIMM

    if not on_gpu and any(run.setup.mixed_precision for run in runs):
        raise SpecError(
            "mixed_precision = true needs a GPU of NVIDIA or AMD",
            hint="set mixed_precision = false, or use --device cuda",
        )
    if not on_gpu and any(run.setup.sync_batch_norm and run.setup.gpus_per_run > 1 for run in runs):
        raise SpecError("sync_batch_norm = true needs GPUs", hint="set sync_batch_norm = false, or use --device cuda")
    for setup in {run.key: run.setup for run in runs if run.setup.image_backbone.startswith(TIMM)}.values():
        from mmad.detector.build import parameter_counts

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
