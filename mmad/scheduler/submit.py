"""From expanded ablations to the jobs of a command: what is done, what is missing, what goes into the queue."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from mmad.base.errors import SpecError, StoreError, WeightsError
from mmad.base.formatting import plural
from mmad.base.paths import DEFAULT_DATABASE, StorePaths, without_secrets
from mmad.base.records import RunRecord, Status
from mmad.config.messages import did_you_mean
from mmad.config.runs import TRIAL, Ablation, Member, file_name, older_keys
from mmad.config.setup import ModelSetup
from mmad.config.weights import find_weights, weights_file
from mmad.scheduler.jobs import Job, Summary
from mmad.scheduler.process import run_shell
from mmad.scheduler.worker import run_spec
from mmad.store.lookup import trained_for, unasked_runs
from mmad.store.store import Store

T = TypeVar("T")

#: Seconds that the command at a queue's end (a mail, the report) may take.
HOOK_SECONDS = 600.0


@dataclass(frozen=True)
class Submission:
    """One member that a user asked for, the key of the run that is trained for it, and that run's status."""

    member: Member
    key: str
    status: Status

    @property
    def waits(self) -> bool:
        """Whether the run still has to be trained, or trained on."""
        return self.status != "finished"


def asked_for(ablations: Sequence[Ablation], database: str) -> list[Submission]:
    """Every member of ``ablations`` with the status of its run; writes nothing, makes no database.

    Raises:
        SpecError: two files of one name.
        StoreError: a database that cannot be read, or that has another file of one's name.
    """
    known = recorded_runs(database)
    require_distinct(ablations, database)
    older = older_keys(known.values())
    members = [member for ablation in ablations for member in ablation.recorded_as(older).members]
    return [_submission(member, known) for member in members]


def _submission(member: Member, known: Mapping[str, RunRecord]) -> Submission:
    if member.run.key not in known:
        return Submission(member, member.run.key, "queued")
    trained = trained_for(known, member.run.key)
    return Submission(member, trained.key, trained.status)


def check_weights(members: Iterable[Member], weights_dir: Path | None = None) -> None:
    """Refuses members whose pretrained weights are not here.

    Raises:
        WeightsError: names the missing files and the three ways out.
    """
    missing: dict[str, str] = {}
    for run in (member.run for member in members):
        backbone, weights = run.setup.image_backbone, run.protocol.weights
        if not run.from_scratch and find_weights(backbone, weights_dir, weights) is None:
            missing.setdefault(backbone, weights_file(backbone, weights))
    if missing:
        names = ", ".join(f"{backbone} ({file})" for backbone, file in missing.items())
        raise WeightsError(
            f"pretrained weights are missing for {names}",
            hint="fetch them with mmad weights --fetch, name their folder with --weights-dir, "
            "or train from scratch with --weights none",
        )


def narrowed(ablation: Ablation, only: Sequence[str]) -> Ablation:
    """``ablation`` with the members that one of ``only`` names: a setting, an arm, ``seed=N``, or a path of them.

    ``*`` and ``?`` stand for anything, as in file names. No words leave all members.
    """
    return replace(ablation, members=tuple(m for m in ablation.members if is_named(m, only))) if only else ablation


def is_named(member: Member, only: Sequence[str]) -> bool:
    """Whether one of ``only`` names ``member``, as for ``narrowed``."""
    return not only or any(_named(member, word) for word in only)


def require_named(ablations: Sequence[Ablation], only: Sequence[str]) -> None:
    """Refuses a word of ``--only`` that names no member.

    Raises:
        SpecError: with the nearest name.
    """
    members = [member for ablation in ablations for member in ablation.members]
    for word in only:
        if not any(_named(member, word) for member in members):
            names = list(dict.fromkeys(name for member in members for name in names_of(member)[:3]))
            raise SpecError(f"no setting, arm or seed {word!r}", where="--only", hint=did_you_mean(word, names))


def _named(member: Member, word: str) -> bool:
    return any(word == name or fnmatchcase(name, word) for name in names_of(member))


def names_of(member: Member) -> tuple[str, ...]:
    """What ``--only`` may call a member, ``seed=N`` and ``fold=N`` too; a setting is all of its folds and trials."""
    fold, searched = member.run.protocol.fold, member.setting.partition(TRIAL)[0]
    settings = tuple(dict.fromkeys((member.setting, searched, member.whole_setting)))
    named = [f"{setting}/{member.arm}" for setting in settings]
    files = dict.fromkeys((member.ablation, file_name(member.ablation)))
    paths = [f"{file}/{name}" for file in files for name in named]
    own = (*settings, member.arm, f"seed={member.seed}", *([] if fold is None else [f"fold={fold.number}"]))
    return (*own, *paths, *(f"{path}/{member.seed}" for path in paths))


def queue_up(
    ablations: Sequence[Ablation],
    database: str,
    *,
    only: Sequence[str] = (),
    priority: int | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> list[Job]:
    """Records ``ablations`` in ``database`` (made if need be); the jobs of their runs that are not finished.

    Args:
        only: words that narrow what is recorded and queued, as for ``narrowed``; members recorded before stay.
        priority: of the jobs' runs; None leaves what they have.
        warn: hears of finished runs that no member asks for any more.

    Raises:
        StoreError: a database that cannot be written.
    """
    with Store.open(database) as store:
        unasked = {run.key for run in unasked_runs(store)}
        ablations = [store.add_ablation(ablation, lambda member: is_named(member, only)) for ablation in ablations]
        records = {run.key: run for run in store.run_records()}
        jobs: dict[str, Job] = {}
        for ablation in ablations:
            for member in narrowed(ablation, only).members:
                trained = trained_for(records, member.run.key)
                if trained.status != "finished":
                    jobs.setdefault(trained.key, _job_for(job_of(member, ablation), trained))
        if priority is not None:
            store.prioritise(list(jobs), priority)
        left = [run for run in unasked_runs(store) if run.status == "finished" and run.key not in unasked]
        if left:
            names = ", ".join(ablation.name for ablation in ablations)
            warn(
                f"{plural(len(left), 'finished run')} of {names} will be in no report any more, since the file or the "
                "data set is another; they stay, and mmad runs lists them. A file of another name, or --db, keeps both"
            )
    return list(jobs.values())


def job_of(member: Member, ablation: Ablation | None = None) -> Job:
    """The job of a member's run."""
    run = member.run
    return Job(
        key=run.key,
        ablation=member.ablation,
        setting=member.setting,
        arm=member.arm,
        seed=member.seed,
        epochs=run.protocol.epochs,
        threads=run.protocol.threads,
        gpus=run.setup.gpus_per_run,
        data=str(Path(run.data.path).absolute()),
        memory_key=memory_key(run.setup),
        accumulates=ablation is not None and ablation.on_out_of_memory == "accumulate",
        parent=run.continues,
    )


def _job_for(job: Job, trained: RunRecord) -> Job:
    """``job`` for the run that is trained in place of its own, if another is."""
    if trained.key == job.key:
        return job
    return replace(job, key=trained.key, memory_key=memory_key(run_spec(trained).setup))


def memory_key(setup: ModelSetup) -> str:
    """A hash of all of a setup that decides how much memory its training takes."""
    return hashlib.sha256(setup.part("architecture", "speed").encode()).hexdigest()


def halved(store: Store, job: Job) -> Job | None:
    """Records the run of half the batch and twice the accumulated steps in place of ``job``'s.

    None at an odd batch, and where a GPU of several would have no image.

    Its key is another, because BatchNorm sees other batches; a warning of the new run says so.
    """
    run = run_spec(store.run(job.key))
    batch, steps = run.setup.batch_size, run.setup.gradient_accumulation
    if batch % 2 or batch // 2 < run.setup.gpus_per_run:
        return None
    setup = run.setup.model_copy(update={"batch_size": batch // 2, "gradient_accumulation": steps * 2})
    smaller = replace(run, setup=setup, recorded_as=None)
    store.replace_run(job.key, smaller)
    store.add_warning(
        smaller.key,
        f"trained with batch_size {batch // 2} and gradient_accumulation {steps * 2}, because batch_size {batch} was "
        "out of memory: BatchNorm sees other batches, so it is not quite the run that was asked for",
    )
    return replace(job, key=smaller.key, memory_key=memory_key(setup))


def recorded_runs(database: str) -> Mapping[str, RunRecord]:
    """The runs of ``database`` by key; none where there is none yet."""
    return _read(database, lambda store: {run.key: run for run in store.run_records()}) or {}


def _read(database: str, read: Callable[[Store], T], *, read_only: bool = False) -> T | None:
    """What ``read`` finds in ``database``, which is upgraded unless ``read_only``; None where there is none yet."""
    if StorePaths(database).missing:
        return None
    try:
        with Store.open(database, create=False, read_only=read_only, lenient=True) as store:
            return read(store)
    except StoreError as error:
        if error.what.startswith("is empty"):  # another command makes it at this moment, or somebody touched it
            return None
        raise


def require_distinct(ablations: Sequence[Ablation], database: str) -> None:
    """Refuses two files of one name, in one command or in ``database``: a name is one file there.

    Raises:
        SpecError: two of ``ablations`` are.
        StoreError: a database that cannot be read, or that has another file of one's name.
    """
    paths: dict[str, str] = {}
    for ablation in ablations:
        other = paths.setdefault(ablation.name, ablation.path)
        if Path(other).absolute() != Path(ablation.path).absolute():
            raise SpecError(
                f"has the same name as {other}, and a name is one ablation in the database",
                where=ablation.path,
                hint="rename one of the files",
            )
    _read(database, lambda store: [store.refuse_other_file(ablation) for ablation in ablations], read_only=True)


def run_hook(
    command: str,
    summary: Summary,
    *,
    database: str = str(DEFAULT_DATABASE),
    ablations: Sequence[str] | None = None,
    timeout: float = HOOK_SECONDS,
) -> str | None:
    """Runs ``command`` through the shell and waits for it; what it prints goes to standard error.

    It finds ``MMAD_FINISHED``, ``MMAD_FAILED``, ``MMAD_INTERRUPTED`` (numbers of runs), ``MMAD_EXIT_CODE``,
    ``MMAD_DB`` (so that ``mmad report`` reads the same database) and ``MMAD_ABLATIONS`` (names, a space between)
    in its environment, and ``hook_summary`` as one line of JSON on its standard input.

    Args:
        ablations: names of the ablations asked for; by default those that the runs of ``summary`` belong to.
        timeout: seconds after which the command, and what it started, is killed.

    Returns:
        One line of warning when the command could not be started, failed or took too long, else None.
    """
    content = hook_summary(summary, database=database, ablations=ablations)
    environment = {
        "MMAD_FINISHED": str(len(summary.finished)),
        "MMAD_FAILED": str(len(summary.failed)),
        "MMAD_INTERRUPTED": str(len(summary.interrupted)),
        "MMAD_EXIT_CODE": str(summary.exit_code),
        "MMAD_DB": _absolute(database),
        "MMAD_ABLATIONS": " ".join(content["ablations"]),
    }
    name = "the command of --on-finish"  # itself it may hold a token
    try:
        code = run_shell(command, json.dumps(content, ensure_ascii=True) + "\n", environment, timeout)
    except (OSError, ValueError) as error:
        return f"{name} could not be started: {error}"
    if code is None:
        return f"{name} was ended after {timeout:g} s"
    if code < 0:
        return f"{name} was killed by signal {-code}"
    return f"{name} failed with exit code {code}" if code else None


def hook_summary(summary: Summary, *, database: str, ablations: Sequence[str] | None = None) -> dict[str, Any]:
    """How a queue ended, as plain JSON; secrets of the database's URL are left out."""
    jobs = [*summary.finished, *(failure.job for failure in summary.failed), *summary.interrupted]
    names = ablations if ablations is not None else dict.fromkeys(job.ablation for job in jobs)
    return {
        "database": without_secrets(_absolute(database)),
        "ablations": list(names),
        "exit_code": summary.exit_code,
        "stopped": summary.cancelled,
        "finished": [_job_json(job) for job in summary.finished],
        "failed": [{**_job_json(failure.job), "error": failure.error} for failure in summary.failed],
        "interrupted": [_job_json(job) for job in summary.interrupted],
    }


def _job_json(job: Job) -> dict[str, Any]:
    whole = asdict(job)
    return {name: whole[name] for name in ("key", "ablation", "setting", "arm", "seed")}


def _absolute(database: str) -> str:
    file = StorePaths(database).file
    return database if file is None or "://" in database else str(file.absolute())
