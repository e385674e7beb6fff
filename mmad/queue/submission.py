"""From expanded ablations to the jobs of a command: what is done, what is missing, what goes into the queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import SpecError, StoreError, WeightsError
from mmad.base.paths import StorePaths
from mmad.base.records import RunRecord, Status
from mmad.queue.jobs import Job
from mmad.spec.runs import Ablation, Member
from mmad.spec.weights import find_weights, weights_file
from mmad.store.gateway import Store


@dataclass(frozen=True)
class Asked:
    """One member that a user asked for, and how the run that answers it stands."""

    member: Member
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
    return [Asked(m, known[m.run.key].status if m.run.key in known else "queued") for m in members]


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


def queue_up(ablations: Sequence[Ablation], database: str) -> list[Job]:
    """Records ``ablations`` in ``database`` (made if need be); the jobs of their runs that are not finished.

    Raises:
        StoreError: a database that cannot be written.
    """
    with Store.open(database) as store:
        for ablation in ablations:
            store.add_ablation(ablation)
        statuses = {run.key: run.status for run in store.runs()}
    jobs: dict[str, Job] = {}
    for ablation in ablations:
        for member in ablation.members:
            if statuses[member.run.key] != "finished":
                jobs.setdefault(member.run.key, job_of(member))
    return list(jobs.values())


def job_of(member: Member) -> Job:
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
    )


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
