"""The frames put in the order in which a report tells them, for every form of report alike."""

from __future__ import annotations

import hashlib
import re
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from mmad.base.records import Status
from mmad.report.badges import Badge, audit_badges, judged_badges, legend, member_badges, setup_badges
from mmad.report.certainty import Certainty
from mmad.report.frames import AblationFrame, MemberFrame, ReportFrame, RunFrame
from mmad.report.pairs import Comparison, Refusal, compare, compared_kind, conditions
from mmad.report.pictures import Pictures
from mmad.report.words import clip, direction, plural, signed

if TYPE_CHECKING:
    from mmad.report.logbook import Logbook

#: What becomes of a run, in the order a summary counts it.
STATUSES: tuple[Status, ...] = (
    "finished",
    "running",
    "claimed",
    "queued",
    "interrupted",
    "stopped",
    "failed",
)


@dataclass(frozen=True)
class RunStory:
    """One run where the report shows it: under the first member that asked for it."""

    anchor: str
    title: str
    members: tuple[MemberFrame, ...]
    blocks: tuple[MemberFrame, ...]
    badges: tuple[Badge, ...]

    @property
    def member(self) -> MemberFrame:
        return self.members[0]

    @property
    def run(self) -> RunFrame:
        return self.member.run

    @property
    def by_final(self) -> bool:
        """Whether the run is shown by its final checkpoint, for want of a best one."""
        return self.member.best_ap is None and self.member.final is not None

    @property
    def seconds(self) -> float:
        return sum(e.seconds for e in self.run.epochs if e.seconds == e.seconds)


@dataclass(frozen=True)
class CountRow:
    """Parameter counts that the settings of an arm share."""

    arm: str
    settings: tuple[str, ...]
    counts: tuple[int | None, ...]


@dataclass(frozen=True)
class AblationStory:
    """One ablation: what was asked, how the arms compare, what its data's audit warned of, and the runs told here."""

    anchor: str
    frame: AblationFrame
    comparisons: tuple[Comparison, ...]
    refusals: tuple[Refusal, ...]
    badges: tuple[tuple[Badge, ...], ...]
    modules: tuple[str, ...]
    count_rows: tuple[CountRow, ...]
    runs: tuple[RunStory, ...]
    told_elsewhere: tuple[tuple[MemberFrame, str], ...]
    headlines: tuple[str, ...]
    audit: tuple[str, ...]

    @property
    def title(self) -> str:
        return self.frame.record.title or self.frame.record.name


@dataclass(frozen=True)
class Story:
    """A whole report. ``anchors`` leads from a run's key to its section."""

    created: datetime
    database: str
    ablations: tuple[AblationStory, ...]
    statuses: tuple[tuple[str, int], ...]
    attention: tuple[RunStory, ...]
    legend: tuple[Badge, ...]
    anchors: dict[str, str]
    certainty: Certainty = field(default_factory=Certainty)
    pictures: Pictures = field(default_factory=Pictures)
    logbook: Logbook | None = None

    @property
    def runs(self) -> tuple[RunStory, ...]:
        return tuple(r for a in self.ablations for r in a.runs)

    @property
    def lead(self) -> str:
        """By which checkpoints the arms are compared."""
        finals = any(c.kind == "final" for a in self.ablations for c in a.comparisons)
        mend = " Where a run kept none, both arms are compared by their final checkpoints, and the table says so."
        return "Figures are those of the checkpoint with the best validation AP." + (mend if finals else "")


def tell(
    frame: ReportFrame,
    *,
    created: datetime,
    database: str,
    certainty: Certainty | None = None,
    pictures: Pictures | None = None,
) -> Story:
    """Order a report's material; every run is told once, under the first ablation that asks for it."""
    anchors: dict[str, str] = {}
    ablations = []
    for ablation in frame.ablations:
        runs, elsewhere = [], []
        for member in ablation.members:
            if member.run.key in anchors:
                elsewhere.append((member, anchors[member.run.key]))
                continue
            anchors[member.run.key] = _anchor(member.run.key)
            runs.append(_run_story(member, ablation, frame))
        told_here = {r.run.key for r in runs}
        ablations.append(_ablation_story(ablation, runs, [(m, a) for m, a in elsewhere if m.run.key not in told_here]))
    stories = [r for a in ablations for r in a.runs]
    counted = Counter(r.run.record.status for r in stories)
    used = [b for a in ablations for group in a.badges for b in group] + [b for r in stories for b in r.badges]
    return Story(
        created=created,
        database=database,
        ablations=tuple(ablations),
        statuses=tuple((s, counted[s]) for s in STATUSES if counted[s]),
        attention=tuple(r for r in stories if not r.run.finished),
        legend=tuple(legend(used)),
        anchors=anchors,
        certainty=certainty or Certainty(),
        pictures=pictures or Pictures(),
    )


def _anchor(key: str) -> str:
    known = re.fullmatch(r"[0-9a-f]{64}", key)
    return f"run-{key[:12] if known else hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:12]}"


def ablation_anchor(name: str) -> str:
    """``ablation-NAME`` in letters that an address and a file may hold; its own for every name."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
    if slug and slug == name:
        return f"ablation-{slug}"
    return f"ablation-{slug[:40]}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _run_story(member: MemberFrame, ablation: AblationFrame, frame: ReportFrame) -> RunStory:
    everyone = frame.members_of(member.run.key)
    blocks: dict[object, MemberFrame] = {}
    for m in everyone:
        blocks.setdefault((m.record.arm, m.judged), m)
    badges = [b for m in everyone for b in member_badges(m)]
    judged = judged_badges(conditions(member), compared_kind([member]))
    return RunStory(
        anchor=_anchor(member.run.key),
        title=member_title(member, seeds=len({m.record.seed for m in ablation.members}) > 1),
        members=(member, *(m for m in everyone if m is not member)),
        blocks=tuple(blocks.values()),
        badges=tuple(legend([*judged, *setup_badges(member.run), *audit_badges(member.run), *badges])),
    )


def member_title(member: MemberFrame, *, seeds: bool) -> str:
    """``patience 10 · CXR``, with the seed where an ablation has several."""
    record = member.record
    parts = [clip(record.setting, 80), clip(record.arm, 60)]
    if seeds:
        parts.append(f"seed {record.seed}")
    if record.replicate > 1:
        parts.append(f"replicate {record.replicate}")
    return " · ".join(p for p in parts if p)


def _ablation_story(
    ablation: AblationFrame, runs: Iterable[RunStory], elsewhere: Iterable[tuple[MemberFrame, str]]
) -> AblationStory:
    comparisons, refusals = compare(ablation)
    modules = tuple(dict.fromkeys(c.module for m in ablation.members for c in m.run.counts))
    return AblationStory(
        anchor=ablation_anchor(ablation.record.name),
        frame=ablation,
        comparisons=comparisons,
        refusals=refusals,
        badges=tuple(tuple(legend([*judged_badges(c.conditions, c.kind), *_setup_marks(c)])) for c in comparisons),
        modules=modules,
        count_rows=_count_rows(ablation, modules),
        runs=tuple(runs),
        told_elsewhere=tuple(elsewhere),
        headlines=tuple(headline(c) for c in comparisons),
        audit=tuple(dict.fromkeys(line for m in ablation.members for line in m.run.audit)),
    )


def _setup_marks(comparison: Comparison) -> list[Badge]:
    runs = [m.run for row in comparison.rows for m in (*row.reference, *row.other)]
    return [b for run in runs for b in (*setup_badges(run), *audit_badges(run))]


def _count_rows(ablation: AblationFrame, modules: tuple[str, ...]) -> tuple[CountRow, ...]:
    groups: dict[tuple[str, tuple[int | None, ...]], list[str]] = {}
    for arm in ablation.arms:
        for setting in ablation.settings:
            counted = next((m.run for m in ablation.of(setting, arm) if m.run.counts), None)
            if counted is not None:
                groups.setdefault((arm, tuple(counted.count(m) for m in modules)), []).append(setting)
    return tuple(CountRow(arm, tuple(settings), counts) for (arm, counts), settings in groups.items())


def headline(comparison: Comparison) -> str:
    """One sentence on the test AP of a pair of arms: a count and a mean, no more than was measured."""
    differences = comparison.differences
    reference, other = clip(comparison.reference, 60), clip(comparison.other, 60)
    if not differences:
        return f"{other} against {reference}: no setting has finished in both arms."
    mean = statistics.fmean(differences)
    measure = "test AP of the final checkpoints" if comparison.kind == "final" else "test AP"
    if len(differences) == 1:
        word = {"up": "higher than", "down": "lower than", "even": "equal to"}[direction(mean)]
        by = "" if word == "equal to" else f", by {abs(mean):.3f}"
        return f"{other} is {word} {reference} on {measure}{by}."
    better = sum(direction(d) == "up" for d in differences)
    open_ends = len(comparison.rows) - len(differences)
    rest = f" {plural(open_ends, 'setting is', 'settings are')} not finished." if open_ends else ""
    return (
        f"{other} is higher than {reference} on {measure} in {better} of {plural(len(differences), 'setting')}; "
        f"the mean difference is {signed(mean)}.{rest}"
    )
