"""From expanded ablations to the jobs of a command: what is done, what is missing, what goes into the queue."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from mmad.base.errors import SpecError, StoreError, WeightsError
from mmad.base.paths import StorePaths
from mmad.base.records import RunRecord, Status
from mmad.queue.attempt import run_spec
from mmad.queue.jobs import Job
from mmad.spec.nearest import did_you_mean
from mmad.spec.runs import NAMING_FIELDS, Ablation, Member
from mmad.spec.setup import ModelSetup
from mmad.spec.weights import find_weights, weights_file
from mmad.store.gateway import Store

#: Fields of a setup that change no shape and keep no state.
_WEIGHTLESS = frozenset(
    {
        "lr",
        "weight_decay",
        "warmup_epochs",
        "lr_scheduler",
        "plateau_metric",
        "reduceLROnPlateau_factor",
        "reduceLROnPlateau_patience",
        "reduceLROnPlateau_full_stop",
        "multiStepLR_milestones",
        "multiStepLR_gamma",
        "loss_weights",
        "gt_in_train_till",
        "horizontal_flip",
        "pretrained",
        "gradient_accumulation",
        "gradient_clip_norm",
        "measure_test",
        "use_early_stop_model",
    }
)


@dataclass(frozen=True)
class Asked:
    """One member that a user asked for, the key of the run that answers it, and how that stands."""

    member: Member
    key: str
    status: Status

    @property
    def waits(self) -> bool:
        """Whether the run still has to be trained, or trained on."""
        return self.status != "finished"


def asked_for(ablations: Sequence[Ablation], database: str) -> list[Asked]:
    """Every member of ``ablations`` with the status of its run; writes nothing, makes no database.

    Raises:
        SpecError: two files of one name.
        StoreError: a database that cannot be read.
    """
    _distinct(ablations)
    known = _known(database)
    members = [member for ablation in ablations for member in ablation.members]
    return [_asked(member, known) for member in members]


def _asked(member: Member, known: Mapping[str, RunRecord]) -> Asked:
    if member.run.key not in known:
        return Asked(member, member.run.key, "queued")
    trained = _trained(known, member.run.key)
    return Asked(member, trained.key, trained.status)


def check_weights(members: Iterable[Member], weights_dir: Path | None = None) -> None:
    """Refuses members whose pretrained weights are not here.

    Raises:
        WeightsError: names the missing files and the three ways out.
    """
    missing: dict[str, str] = {}
    for member in members:
        setup, protocol = member.run.setup, member.run.protocol
        if setup.pretrained and protocol.weights != "none" and find_weights(setup.image_backbone, weights_dir) is None:
            missing.setdefault(setup.image_backbone, weights_file(setup.image_backbone))
    if missing:
        names = ", ".join(f"{backbone} ({file})" for backbone, file in missing.items())
        raise WeightsError(
            f"pretrained weights are missing for {names}",
            mend="fetch them with mmad weights --fetch, name their folder with --weights-dir, "
            "or train from scratch with --weights none",
        )


def narrowed(ablation: Ablation, only: Sequence[str]) -> Ablation:
    """``ablation`` with the members that one of ``only`` names: a setting, an arm, ``seed=N``, or a path of them.

    ``*`` and ``?`` stand for anything, as in file names. No words leave all members.
    """
    if not only:
        return ablation
    return replace(ablation, members=tuple(m for m in ablation.members if any(_named(m, word) for word in only)))


def require_named(ablations: Sequence[Ablation], only: Sequence[str]) -> None:
    """Refuses a word of ``--only`` that names no member.

    Raises:
        SpecError: with the nearest name.
    """
    members = [member for ablation in ablations for member in ablation.members]
    for word in only:
        if not any(_named(member, word) for member in members):
            names = list(dict.fromkeys(name for member in members for name in _names(member)[:3]))
            raise SpecError(f"no setting, arm or seed {word!r}", where="--only", mend=did_you_mean(word, names))


def _named(member: Member, word: str) -> bool:
    return any(word == name or fnmatchcase(name, word) for name in _names(member))


def _names(member: Member) -> tuple[str, ...]:
    path = f"{member.ablation}/{member.setting}/{member.arm}"
    return (member.setting, member.arm, f"seed={member.seed}", path, f"{path}/{member.seed}")


def queue_up(
    ablations: Sequence[Ablation],
    database: str,
    *,
    only: Sequence[str] = (),
    priority: int | None = None,
) -> list[Job]:
    """Records ``ablations`` in ``database`` (made if need be); the jobs of their runs that are not finished.

    Args:
        only: words that narrow the jobs, as for ``narrowed``; all members are recorded.
        priority: of the jobs' runs; None leaves what they have.

    Raises:
        StoreError: a database that cannot be written.
    """
    with Store.open(database) as store:
        for ablation in ablations:
            store.add_ablation(ablation)
        records = {run.key: run for run in store.runs()}
        jobs: dict[str, Job] = {}
        for ablation in ablations:
            for member in narrowed(ablation, only).members:
                trained = _trained(records, member.run.key)
                if trained.status != "finished":
                    jobs.setdefault(trained.key, _job_of_run(job_of(member, ablation), trained))
        if priority is not None:
            store.prioritise(list(jobs), priority)
    return list(jobs.values())


def _trained(records: Mapping[str, RunRecord], key: str) -> RunRecord:
    """The run ``key``, or the one that is trained in its place."""
    record = records[key]
    while record.stand_in is not None:
        record = records[record.stand_in]
    return record


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
        data=str(Path(run.data.path).absolute()),
        need=need_of(run.setup),
        accumulates=ablation is not None and ablation.on_out_of_memory == "accumulate",
        parent=run.continues,
    )


def _job_of_run(job: Job, trained: RunRecord) -> Job:
    """``job`` for the run that is trained in its run's place, if another is."""
    if trained.key == job.key:
        return job
    return replace(job, key=trained.key, need=need_of(run_spec(trained).setup))


def need_of(setup: ModelSetup) -> str:
    """A hash of all of a setup that decides how much memory its training takes."""
    content = setup.model_dump(mode="json", exclude=set(NAMING_FIELDS | _WEIGHTLESS))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def halved(store: Store, job: Job) -> Job | None:
    """Records the run of half the batch and twice the accumulated steps in place of ``job``'s; None at an odd batch.

    Its key is another, because BatchNorm sees other batches; a warning of the new run says so.
    """
    run = run_spec(store.run(job.key))
    batch, steps = run.setup.batch_size, run.setup.gradient_accumulation
    if batch % 2:
        return None
    setup = run.setup.model_copy(update={"batch_size": batch // 2, "gradient_accumulation": steps * 2})
    smaller = replace(run, setup=setup)
    store.stand_in(job.key, smaller)
    store.add_warning(
        smaller.key,
        f"trained with batch_size {batch // 2} and gradient_accumulation {steps * 2}, because batch_size {batch} was "
        "out of memory: BatchNorm sees other batches, so it is not quite the run that was asked for",
    )
    return replace(job, key=smaller.key, need=need_of(setup))


def _known(database: str) -> Mapping[str, RunRecord]:
    file = StorePaths(database).file
    if file is not None and not file.exists():
        return {}
    try:
        with Store.open(database, create=False) as store:
            return {run.key: run for run in store.runs()}
    except StoreError as error:
        if error.what.startswith("is empty"):  # another command makes it at this moment, or somebody touched it
            return {}
        raise


def _distinct(ablations: Sequence[Ablation]) -> None:
    paths: dict[str, str] = {}
    for ablation in ablations:
        other = paths.setdefault(ablation.name, ablation.path)
        if Path(other).absolute() != Path(ablation.path).absolute():
            raise SpecError(
                f"has the same name as {other}, and a name is one ablation in the database",
                where=ablation.path,
                mend="rename one of the files",
            )
