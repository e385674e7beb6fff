"""The paper's table: the four arms of ``ablations/paper.toml``, what was documented beside what was measured.

Example:

    with Store.open("db/mmad.sqlite") as store:
        table = paper_table(store)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from mmad.base.errors import DataError, EvaluationError, ReportError
from mmad.base.records import Split
from mmad.documented import Entry, entry
from mmad.evaluation.intervals import RESAMPLES, Interval
from mmad.report.analysis import estimate_of
from mmad.report.badges import Badge, audit_badges, judged_badges, legend, member_badges, setup_badges
from mmad.report.frames import AblationFrame, MemberFrame, load_frame
from mmad.report.judged import Archive, How, judge
from mmad.report.pairs import Conditions, conditions
from mmad.store.find import Found
from mmad.store.gateway import Store

#: The ablation the table is made of, and the table's figures: those of the best-AP checkpoints.
ABLATION = "paper"
MEASURES = ("val_ap", "val_ar", "test_ap", "test_ar")
NAN = float("nan")


@dataclass(frozen=True)
class PaperFigure:
    """One measure: as documented, and as measured here (bounds are NaN where there is no interval)."""

    documented: float | None
    measured: Interval | None


@dataclass(frozen=True)
class PaperRow:
    """One arm; ``note`` says why figures or intervals are missing."""

    arm: str
    documented: str | None
    documented_parameters: int | None
    parameters: int | None
    seeds: int
    figures: Mapping[str, PaperFigure]
    note: str


@dataclass(frozen=True)
class PaperTable:
    """All arms, won under equal conditions, with the marks of how."""

    title: str
    rows: tuple[PaperRow, ...]
    badges: tuple[Badge, ...]
    data: str
    resamples: int

    @property
    def notes(self) -> list[str]:
        """Why something is missing, arm by arm."""
        return [f"{row.arm}: {row.note}" for row in self.rows if row.note]


def paper_table(store: Store, *, ablation: str = ABLATION, resamples: int = RESAMPLES) -> PaperTable:
    """The table of what the store holds so far; unfinished arms have their documented figures alone.

    Raises:
        ReportError: the ablation was never started, or its arms were trained and judged under unequal conditions.
    """
    try:
        frame = load_frame(store, [ablation]).ablations[0]
    except ReportError as error:
        raise ReportError(error.what, mend=f"train it with `mmad ablate ablations/{ABLATION}.toml`") from error
    conditions = _equal_conditions(frame)
    archive = Archive()
    rows = tuple(_row(store, archive, arm, _of(frame, arm), resamples) for arm in frame.arms)
    badges = tuple(legend([*judged_badges(conditions), *_marks(frame)]))
    return PaperTable(frame.record.title, rows, badges, conditions.data, resamples)


def _marks(frame: AblationFrame) -> list[Badge]:
    """What weakens or lifts the figures of any arm."""
    marks = [
        badge
        for member in frame.members
        for badge in (*setup_badges(member.run), *audit_badges(member.run), *member_badges(member))
    ]
    return [badge for badge in marks if badge.tone == "caution"]


def _of(frame: AblationFrame, arm: str) -> list[MemberFrame]:
    return [member for member in frame.members if member.record.arm == arm]


def _equal_conditions(frame: AblationFrame) -> Conditions:
    """What all members share; a table never mixes two protocols."""
    found = [conditions(member) for member in frame.members]
    for other, member in zip(found, frame.members, strict=True):
        if differing := found[0].differing(other):
            raise ReportError(
                f"{frame.members[0].record.arm} and {member.record.arm} differ in {'; '.join(differing)}",
                where=f"ablation {frame.record.name}",
                mend="run the whole file under one protocol",
            )
    return found[0]


def _row(store: Store, archive: Archive, arm: str, members: Sequence[MemberFrame], resamples: int) -> PaperRow:
    name = next((member.record.documented for member in members if member.record.documented), None)
    log = None if name is None else entry(name)
    done = [member for member in members if member.run.finished and member.best_ap is not None]
    measured, note = _measured(store, archive, done, resamples)
    waiting = [f"{m.run.record.status} at epoch {m.run.record.epochs_done}" for m in members if m not in done]
    return PaperRow(
        arm=arm,
        documented=name,
        documented_parameters=None if log is None else log.params.get("model"),
        parameters=next((member.run.count("model") for member in members), None),
        seeds=len(done),
        figures={name: PaperFigure(_documented(log, name), measured.get(name)) for name in MEASURES},
        note="; ".join([*waiting, *([note] if note else [])]),
    )


def _documented(log: Entry | None, measure: str) -> float | None:
    best = None if log is None else log.results.get("best_ap")
    return None if best is None else float(getattr(best, measure))


def _measured(
    store: Store, archive: Archive, members: Sequence[MemberFrame], resamples: int
) -> tuple[dict[str, Interval], str]:
    """Each measure's mean over the seeds, with its interval where the kept detections give one; else why not."""
    found = {name: Interval(mean, NAN, NAN) for name in MEASURES if (mean := _mean(members, name)) is not None}
    why = ""
    for split in ("val", "test"):
        try:
            found |= _with_intervals(store, archive, members, split, resamples) if members else {}
        except (EvaluationError, DataError) as error:
            why = f"no interval: {error}"
    return found, why


def _mean(members: Sequence[MemberFrame], measure: str) -> float | None:
    values = [getattr(member.best_ap, measure) for member in members]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _with_intervals(
    store: Store, archive: Archive, members: Sequence[MemberFrame], split: Split, resamples: int
) -> dict[str, Interval]:
    how = How(split=split, checkpoint="best_ap", resamples=resamples)
    judged = [judge(store, Found(member.run.record, (member.record,)), how) for member in members]
    estimate = estimate_of(store, archive, judged, how).estimate
    return {f"{split}_ap": estimate.ap, f"{split}_ar": estimate.ar}
