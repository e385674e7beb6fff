"""What an ablation expands to, what is done, what would run and how long that would take."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmad.api.arguments import argument
from mmad.api.loading import ChosenData, _data_of
from mmad.api.tuning import searched
from mmad.base.paths import DEFAULT_DATABASE, StorePaths

if TYPE_CHECKING:
    import pandas as pd

    from mmad.base.records import EpochRecord, RunRecord
    from mmad.config.estimate import Estimator, Sizes
    from mmad.config.runs import Ablation, Member, RunSpec


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
        One row a member (of a search: the trials by now, and what they chose): ``ablation``, ``setting``, ``arm``,
        ``seed``, ``replicate``, ``documented`` (the log's entry it mirrors, or None), ``key`` (members with equal
        content share one run), ``provisional`` (the data set was not there), ``status`` (``new`` where the database
        has no such run), ``epochs`` and ``seconds`` (estimate of what the run still takes, NaN where unknown).

    Raises:
        StoreError: a database that cannot be read.
    """
    import pandas as pd

    ablations = _ablations(ablation)
    recorded, estimator = known_runs(str(db), None if trials is None else str(trials), ablations)
    loaded = searched([(one, _data_of(one)) for one in ablations], str(db))
    rows = [row for one, data in loaded for row in planned(one, data, recorded, estimator)]
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

    found = [given] if isinstance(given, Ablation | str) else list(given)
    for one in found:
        argument("ablation", one, Ablation, hint='load it: mmad.load_ablation("ablations/quickstart.toml")')
    return [one for one in found if isinstance(one, Ablation)]


def known_runs(db: str, trials: str | None, ablations: Sequence[Ablation]) -> tuple[Mapping[str, RunRecord], Estimator]:
    """The runs of ``db`` by key, and what estimates the time of others from them; makes no database.

    Raises:
        SpecError: two of ``ablations`` are files of one name, or one mirrors an entry that no log has.
        StoreError: a database that cannot be read, or that has another file of one's name.
    """
    from mmad.api.experiment_logs import require_documented
    from mmad.config.estimate import Estimator, Trials
    from mmad.scheduler.submit import require_distinct

    runs, epochs = _recorded(db)
    require_distinct(ablations, db)
    require_documented(ablations, db)
    return {run.key: run for run in runs}, Estimator(
        runs, epochs, None if trials is None else Trials(*_recorded(trials))
    )


def _recorded(db: str) -> tuple[Sequence[RunRecord], Mapping[str, Sequence[EpochRecord]]]:
    if StorePaths(db).missing:
        return (), {}
    from mmad.store.store import Store

    with Store.open(db, read_only=True, lenient=True) as store:
        runs = store.run_records()
        return runs, store.all_epochs([run.key for run in runs])


def planned(
    ablation: Ablation, data: ChosenData, recorded: Mapping[str, RunRecord], estimator: Estimator
) -> tuple[PlannedMember, ...]:
    """Every member of ``ablation`` with what ``known_runs`` says of its run."""
    from mmad.config.runs import older_keys
    from mmad.store.lookup import trained_for

    ablation = ablation.recorded_as(older_keys(recorded.values()))
    rows: list[PlannedMember] = []
    first: dict[str, int] = {}
    for position, member in enumerate(ablation.members):
        run = trained_for(recorded, member.run.key) if member.run.key in recorded else None
        key = member.run.key if run is None else run.key
        shared = first.setdefault(key, position)
        rows.append(
            PlannedMember(
                member=member,
                key=key,
                status="new" if run is None else run.status,
                shared_with=shared if shared != position else None,
                seconds=estimator.seconds(member.run, 0 if run is None else run.epochs_done, _sizes(data, member.run)),
            )
        )
    return tuple(rows)


@dataclass(frozen=True)
class Reason:
    """Why a member's run trains, or does not: the finished run that is nearest to it, and what differs, field by field.

    ``differences`` holds both values, the member's first, by name: ``setup.lr``, ``protocol.epochs``, ``data``,
    ``recipe``. ``nearest`` is None where the run is finished itself, or none that can be read is.
    """

    row: PlannedMember
    nearest: str | None
    differences: Mapping[str, tuple[object, object]]

    @property
    def only_renewed(self) -> bool:
        """Whether the same run is finished under another recipe, or with weights of another or unknown content."""
        return self.nearest is not None and self.differences.keys() <= {"recipe", WEIGHTS}


#: What a run's content calls the SHA-256 of its pretrained weights.
WEIGHTS = "protocol.weights_hash"


def reasons(rows: Sequence[PlannedMember], recorded: Mapping[str, RunRecord]) -> tuple[Reason, ...]:
    """Why the run of each of ``rows`` trains again, or for the first time."""
    finished = _finished(recorded)
    return tuple(_reason(row, finished) for row in rows)


def renewed(rows: Sequence[PlannedMember], recorded: Mapping[str, RunRecord]) -> tuple[Reason, ...]:
    """Those new rows whose run is finished already but for the recipe or the content of its weights."""
    from mmad.config.runs import RECIPE

    new = [row for row in rows if row.status == "new" and row.open]
    if not new:
        return ()
    hashes = {row.member.run.protocol.weights_hash for row in new}
    older = {
        key: run
        for key, run in recorded.items()
        if run.recipe != RECIPE or run.protocol.get("weights_hash", "") not in hashes
    }
    finished = _finished(older)
    return tuple(reason for row in new if (reason := _reason(row, finished)).only_renewed) if finished else ()


def _finished(recorded: Mapping[str, RunRecord]) -> dict[str, RunSpec]:
    """The finished runs that this version can read, the latest first."""
    from pydantic import ValidationError

    from mmad.store.run_rows import spec_of

    found: dict[str, RunSpec] = {}
    for key, record in reversed(list(recorded.items())):
        if record.status == "finished":
            with contextlib.suppress(ValidationError):
                found[key] = spec_of(record)
    return found


def _reason(row: PlannedMember, finished: Mapping[str, RunSpec]) -> Reason:
    if row.status == "finished" or not finished:
        return Reason(row, None, {})
    compared = {key: row.member.run.differences(spec) for key, spec in finished.items()}
    nearest = min(compared, key=lambda key: len(compared[key]))
    return Reason(row, nearest, compared[nearest])


def _sizes(data: ChosenData, run: RunSpec) -> Sizes | None:
    """Studies of each split that ``run`` sees."""
    from mmad.base.records import SPLITS
    from mmad.config.estimate import Sizes
    from mmad.data.folds import PARTS

    found, fold = data.dataset, run.protocol.fold
    if found is None or fold is None:
        return None if found is None else Sizes(*(len(found.split(split)) for split in SPLITS))
    test = len(found.studies) // fold.of
    val = (len(found.studies) - test) // PARTS
    return Sizes(len(found.studies) - test - val, val, test)
