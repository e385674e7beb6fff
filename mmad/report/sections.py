"""The model of a report: its sections in order, the same for every form of report."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

from mmad.analysis.comparison import ComparisonTable, NotComparable, compared_kind, comparison_tables
from mmad.analysis.report_frame import AblationFrame, CheckpointResult, MemberFrame, ReportFrame, RunFrame
from mmad.analysis.verdicts import Statistics
from mmad.base.errors import MmadError, SpecError
from mmad.base.formatting import clip, moment, plural, short_key
from mmad.base.paths import file_stem
from mmad.base.records import KIND_WORDS, Status
from mmad.config.protocol import Proposals
from mmad.data.phantom import is_phantom
from mmad.experiment_log.model import RESULTS, Checkpoint, Log, LogEntry, LogNote, LossTable
from mmad.experiment_log.parser import heading_name
from mmad.experiment_log.shipped import SHIPPED, SOURCE_SHA256, Library, entry, proposals_of, setup_of
from mmad.report.against import Against
from mmad.report.badges import Badge, audit_badges, evaluation_badges, legend, member_badges, setup_badges
from mmad.report.cohort import Cohort, CohortKey, Flow
from mmad.report.pictures import Pictures
from mmad.store.measurements import LogRecord
from mmad.store.notes import Notes

#: The statuses of a run, in the order of a summary.
STATUSES: tuple[Status, ...] = ("finished", "running", "claimed", "queued", "interrupted", "stopped", "failed")


@dataclass(frozen=True)
class RunSection:
    """The section of one run, under the first member that asked for it."""

    anchor: str
    title: str
    members: tuple[MemberFrame, ...]
    blocks: tuple[MemberFrame, ...]

    @property
    def member(self) -> MemberFrame:
        return self.members[0]

    @property
    def run(self) -> RunFrame:
        return self.member.run

    @cached_property
    def badges(self) -> tuple[Badge, ...]:
        """The conditions of its figures, and what all its members add to them."""
        conditions = self.member.compared.conditions(compared_kind([self.member.compared]))
        marks = [*evaluation_badges(conditions), *setup_badges(self.run), *audit_badges(self.run)]
        return tuple(legend([*marks, *(badge for member in self.members for badge in member_badges(member))]))


@dataclass(frozen=True)
class CountRow:
    """Parameter counts that settings of an arm have in common."""

    arm: str
    settings: tuple[str, ...]
    counts: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class AblationSection:
    """The section of one ablation: its members, comparisons, audit warnings, and the runs that it shows."""

    anchor: str
    frame: AblationFrame
    runs: tuple[RunSection, ...]
    shown_elsewhere: tuple[tuple[MemberFrame, str], ...]
    statistics: Statistics

    @property
    def title(self) -> str:
        return self.frame.record.title or self.frame.record.name

    @cached_property
    def comparisons(self) -> tuple[ComparisonTable, ...]:
        return comparison_tables(self.frame.record, self.frame.comparisons)

    @property
    def refusals(self) -> tuple[NotComparable, ...]:
        return tuple(one for one in self.frame.comparisons if isinstance(one, NotComparable))

    @cached_property
    def badges(self) -> tuple[tuple[Badge, ...], ...]:
        """Those of each comparison."""
        return tuple(_table_badges(self.frame, one) for one in self.comparisons)

    @cached_property
    def count_rows(self) -> tuple[CountRow, ...]:
        modules = tuple(dict.fromkeys(c.module for m in self.frame.members for c in m.run.counts))
        return _count_rows(self.frame, modules)

    @cached_property
    def headlines(self) -> tuple[str, ...]:
        """What may be said of each comparison."""
        return tuple(headline(one, self.statistics) for one in self.comparisons)

    @property
    def audit(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(line for m in self.frame.members for line in m.run.audit))

    @property
    def legend(self) -> tuple[Badge, ...]:
        """The badges of the comparisons and of the runs."""
        marks = [badge for group in self.badges for badge in group]
        return tuple(legend([*marks, *(badge for run in self.runs for badge in run.badges)]))

    @property
    def finals(self) -> bool:
        """Whether some arms are compared by their final checkpoints."""
        return any(one.kind == "final" for one in self.comparisons)


@dataclass(frozen=True)
class ReportModel:
    """A whole report. ``anchors`` maps a run's key to its section."""

    created: datetime
    database: str
    ablations: tuple[AblationSection, ...]
    statuses: tuple[tuple[str, int], ...]
    attention: tuple[RunSection, ...]
    anchors: dict[str, str]
    statistics: Statistics = field(default_factory=Statistics)
    pictures: Pictures = field(default_factory=Pictures)
    cohorts: Mapping[CohortKey, Cohort] = field(default_factory=dict)
    flows: Mapping[CohortKey, Flow] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    logbook: Logbook | None = None
    against: Against | None = None

    @property
    def runs(self) -> tuple[RunSection, ...]:
        return tuple(r for a in self.ablations for r in a.runs)

    @property
    def synthetic(self) -> str:
        """``Synthetic data``, where every run or some are trained on drawn images; else empty."""
        drawn = [is_phantom(section.run.record.dataset_name) for section in self.runs]
        return "Synthetic data" if all(drawn) else "Partly synthetic data" if any(drawn) else ""

    @property
    def legend(self) -> tuple[Badge, ...]:
        """Every badge once."""
        return tuple(legend(badge for ablation in self.ablations for badge in ablation.legend))

    @property
    def lead(self) -> str:
        """The sentence on which checkpoints are compared."""
        return lead(any(ablation.finals for ablation in self.ablations))


def lead(finals: bool) -> str:
    """Which checkpoints are compared; ``finals``: somewhere final ones."""
    hint = " Where a run has none, both arms are compared by their final checkpoints, and the table says so."
    return "Figures are from the checkpoint with the best validation AP." + (hint if finals else "")


def build_model(
    frame: ReportFrame,
    *,
    created: datetime,
    database: str,
    statistics: Statistics | None = None,
    pictures: Pictures | None = None,
    cohorts: Mapping[CohortKey, Cohort] | None = None,
    flows: Mapping[CohortKey, Flow] | None = None,
    notes: Notes | None = None,
) -> ReportModel:
    """Order the sections of a report; each run has one section, under the first ablation that asks for it."""
    anchors = {key: run_anchor(key) for key in frame.taken}
    ablations = []
    known = statistics or Statistics()
    for ablation in frame.ablations:
        runs, elsewhere = [], []
        for member in ablation.members:
            if member.run.key in anchors:
                elsewhere.append((member, anchors[member.run.key]))
                continue
            anchors[member.run.key] = run_anchor(member.run.key)
            runs.append(_run_section(member, ablation, frame))
        shown_here = {r.run.key for r in runs}
        others = tuple((m, a) for m, a in elsewhere if m.run.key not in shown_here)
        ablations.append(AblationSection(ablation_anchor(ablation.record.name), ablation, tuple(runs), others, known))
    sections = [r for a in ablations for r in a.runs]
    counted = Counter(r.run.record.status for r in sections)
    return ReportModel(
        created=created,
        database=database,
        ablations=tuple(ablations),
        statuses=tuple((s, counted[s]) for s in STATUSES if counted[s]),
        attention=tuple(r for r in sections if not r.run.finished),
        anchors=anchors,
        statistics=known,
        pictures=pictures or Pictures(),
        cohorts=cohorts or {},
        flows=flows or {},
        notes=notes or Notes(),
    )


def run_anchor(key: str) -> str:
    """The place of a run's section in the page."""
    known = re.fullmatch(r"[0-9a-f]{64}", key)
    return f"run-{short_key(key) if known else short_key(hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest())}"


def ablation_anchor(name: str) -> str:
    """``ablation-NAME`` in characters that are safe in an address and a file name; unique for every name."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
    if slug and slug == name:
        return f"ablation-{slug}"
    return f"ablation-{slug[:40]}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _run_section(member: MemberFrame, ablation: AblationFrame, frame: ReportFrame) -> RunSection:
    everyone = frame.members_of(member.run.key)
    blocks: dict[object, MemberFrame] = {}
    for m in everyone:
        blocks.setdefault((m.record.arm, m.protocol), m)
    return RunSection(
        anchor=run_anchor(member.run.key),
        title=member_title(member, ablation),
        members=(member, *(m for m in everyone if m is not member)),
        blocks=tuple(blocks.values()),
    )


def member_title(member: MemberFrame, ablation: AblationFrame) -> str:
    """``patience 10 · CXR``, with the seed where the ablation has several."""
    record = member.record
    parts = [clip(record.setting, 80), clip(record.arm, 60)]
    if len({m.record.seed for m in ablation.members}) > 1:
        parts.append(f"seed {record.seed}")
    if record.replicate > 1:
        parts.append(f"replicate {record.replicate}")
    return " · ".join(p for p in parts if p)


def _table_badges(ablation: AblationFrame, table: ComparisonTable) -> tuple[Badge, ...]:
    """The badges of both arms: evaluation, setups and audit."""
    arms = (table.reference, table.other)
    runs = [m.run for row in table.rows for arm in arms for m in ablation.of(row.setting, arm)]
    marks = [badge for conditions in table.sides for badge in evaluation_badges(conditions)]
    return tuple(legend([*marks, *(b for run in runs for b in (*setup_badges(run), *audit_badges(run)))]))


def _count_rows(ablation: AblationFrame, modules: tuple[str, ...]) -> tuple[CountRow, ...]:
    groups: dict[tuple[str, tuple[int | None, ...]], list[str]] = {}
    for arm in ablation.arms:
        for setting in ablation.settings:
            counted = next((m.run for m in ablation.of(setting, arm) if m.run.counts), None)
            if counted is not None:
                groups.setdefault((arm, tuple(counted.count(m) for m in modules)), []).append(setting)
    return tuple(CountRow(arm, tuple(settings), counts) for (arm, counts), settings in groups.items())


def headline(comparison: ComparisonTable, statistics: Statistics) -> str:
    """What may be said of a pair of arms: the sentence of one setting, of several how many came out how."""
    rows = [replace(row, statistics=statistics.pair(row)) for row in comparison.rows if row.pairs]
    reference, other = clip(comparison.reference, 60), clip(comparison.other, 60)
    if not rows:
        return f"{other} against {reference}: no setting has finished in both arms."
    if len(rows) == 1:
        return f"{other} minus {reference}: {rows[0].sentence}"
    measure = "test AP of the final checkpoints" if comparison.kind == "final" else "test AP"
    counted = Counter(row.verdict for row in rows)
    words = ("higher", "lower", "not settled", "no verdict")
    parts = ", ".join(f"{counted[word]} {word}" for word in words if counted[word])
    single = sum("one_seed" in row.reasons for row in rows)
    seeds = f" {single} have one seed, which says nothing about the arms." if single else ""
    open_ends = len(comparison.rows) - len(rows)
    rest = f" {plural(open_ends, 'setting is', 'settings are')} not finished." if open_ends else ""
    return f"{other} against {reference} on {measure}, of {plural(len(rows), 'setting')}: {parts}.{seeds}{rest}"


# The entries of experiment logs as a section of the report: what each entry prints, beside what was measured.

_KINDS = {"best_ap": "Best AP", "best_ar": "Best AR", "final": "Final", "unlabelled": "Unlabelled"}
_FIGURES = ("val_ap", "val_ar", "test_ap", "test_ar")


@dataclass(frozen=True)
class MeasuredCheckpoint:
    """A run's checkpoint beside the one that an entry prints: (measured, measured minus documented) figures."""

    anchor: str
    title: str
    epoch: int
    figures: tuple[tuple[float | None, float | None], ...]
    badges: tuple[Badge, ...]

    @property
    def by_name(self) -> dict[str, tuple[float | None, float | None]]:
        """``figures`` by their names: ``val_ap``, ``test_ap``, ``val_ar``, ``test_ar``."""
        return dict(zip(_FIGURES, self.figures, strict=True))


@dataclass(frozen=True)
class PrintedEntry:
    """One checkpoint as an entry prints it, and the measured checkpoints of its kind."""

    kind: str
    epoch: int
    figures: tuple[float, ...]
    measured: tuple[MeasuredCheckpoint, ...]

    @property
    def by_name(self) -> dict[str, float]:
        """``figures`` by their names: ``val_ap``, ``test_ap``, ``val_ar``, ``test_ar``."""
        return dict(zip(_FIGURES, self.figures, strict=True))

    @property
    def test_ap(self) -> float:
        return self.by_name["test_ap"]


@dataclass(frozen=True)
class EntryView:
    """One entry as the report shows it.

    Args:
        arm: CXR or CXR+Clinical, empty where no setup is known.
        era: A, B or C of a clinical branch, else empty.
        proposals: the source of an evaluation's proposals; None where that is not known.
        runs: counts the runs that mirror it.
        others: the runs without a matching checkpoint.
    """

    anchor: str
    id: str
    heading: str
    below: str
    arm: str
    era: str
    proposals: Proposals | None
    figures: str
    setup: str
    inferred: str
    losses: str
    params: tuple[tuple[str, int], ...]
    results: tuple[PrintedEntry, ...]
    notes: tuple[str, ...]
    runs: int
    others: tuple[tuple[str, str, str], ...]

    @property
    def represented(self) -> PrintedEntry | None:
        """The best-AP checkpoint, else the final or unlabelled one, else the first; None where none is printed."""
        by_kind = {printed.kind: printed for printed in reversed(self.results)}
        kinds = ("Best AP", "Final", "Unlabelled")
        return next((by_kind[kind] for kind in kinds if kind in by_kind), next(iter(self.results), None))


@dataclass(frozen=True)
class LogText:
    """A paragraph of a log beside its entries; ``label`` is ``Q``, ``E1``, ``L1``, …, or empty for prose."""

    label: str
    text: str


@dataclass(frozen=True)
class LogHeading:
    """A heading below a chapter's that is no entry's own."""

    heading: str


@dataclass(frozen=True)
class Chapter:
    """What stands under one of a log's first headings, in the order of print."""

    title: str
    parts: tuple[EntryView | LogText | LogHeading | LossTable, ...]


@dataclass(frozen=True)
class LogView:
    """One log, chapter by chapter."""

    name: str
    chapters: tuple[Chapter, ...]

    @property
    def shipped(self) -> bool:
        return self.name == SHIPPED

    @property
    def entries(self) -> tuple[EntryView, ...]:
        return tuple(part for chapter in self.chapters for part in chapter.parts if isinstance(part, EntryView))

    def chapter_of(self, entry: EntryView) -> str:
        return next(chapter.title for chapter in self.chapters if entry in chapter.parts)

    @property
    def highest(self) -> tuple[EntryView, ...]:
        """The entry with the highest test AP under each source of proposals, the most inflated first."""
        found: dict[Proposals | None, EntryView] = {}
        for one in self.entries:
            if one.represented is not None:
                best = found.setdefault(one.proposals, one).represented
                if best is not None and one.represented.test_ap > best.test_ap:
                    found[one.proposals] = one
        return tuple(found[key] for key in ("with_ground_truth", "sampled", "clean", None) if key in found)


@dataclass(frozen=True)
class Logbook:
    """Every log; ``anchors`` maps the name by which members mirror an entry to its place in the page."""

    logs: tuple[LogView, ...]
    anchors: dict[str, str]

    @property
    def entries(self) -> int:
        return sum(len(log.entries) for log in self.logs)


Mirror = tuple[MemberFrame, AblationSection]


def logbook_of(model: ReportModel, records: Sequence[LogRecord], show: bool | None = None) -> Logbook | None:
    """The entries of the shipped log and of the imported ``records``, with the runs of ``model`` beside them.

    Args:
        show: whether to show them; None where a member mirrors an entry or a log was imported.
    """
    if show is False:
        return None
    documented = {m.record.documented for a in model.ablations for m in a.frame.members if m.record.documented}
    if not (show or documented or records):
        return None
    texts = {record.name: Log.from_json(record.name, record.content, record.entries) for record in records}
    library = Library.of(texts.values())
    logs, shipped = dict(library.logs), {record.name for record in records if record.sha256 == SOURCE_SHA256}
    for name in shipped:  # the shipped log's own text: its words join the facts
        words = {entry.id: entry for entry in logs.pop(name)}
        logs[SHIPPED] = tuple(
            words[one.id].model_copy(update={"inferred": one.inferred}) if one.id in words else one
            for one in logs[SHIPPED]
        )
        texts[SHIPPED] = texts.pop(name)
    names = {
        name: (SHIPPED if at[0] in shipped else at[0], at[1])
        for name in sorted(documented)
        if (at := _find(library, name)) is not None
    }
    if not (show or names or records):
        return None
    mirrors: dict[tuple[str, str], list[Mirror]] = {}
    for ablation in model.ablations:
        for member in ablation.frame.members:
            if (at := names.get(member.record.documented or "")) is not None:
                mirrors.setdefault(at, []).append((member, ablation))
    views = []
    for log, entries in logs.items():
        shown = {
            entry.id: _entry_view(log, entry, mirrors.get((log, entry.id), ()), model.anchors) for entry in entries
        }
        views.append(LogView(log, _chapters(entries, shown, texts.get(log))))
    return Logbook(tuple(views), {name: anchor_of(*at) for name, at in names.items()})


def _chapters(entries: Sequence[LogEntry], views: Mapping[str, EntryView], text: Log | None) -> tuple[Chapter, ...]:
    """The entries by the first headings above them and, where the log's text is known, all that stands between them."""
    depth = _dividing_depth([entry.sections for entry in entries])
    found: list[tuple[str, list[Any]]] = [("", [])]

    def chapter(title: str) -> list[Any]:
        name = heading_name(title)
        if found[-1][0] != name:
            found.append((name, []))
        return found[-1][1]

    placed: set[str] = set()
    if text is not None:
        own = {entry.heading for entry in entries if entry.heading}
        above = {one.sections[depth] for one in entries if depth is not None and len(one.sections) > depth}
        top = min(map(_level, above), default=0)
        pieces: list[tuple[int, Any]] = [(note.line, note) for note in text.headings]
        pieces += [(entry.line, views[entry.id]) for entry in entries if entry.line]
        pieces += [(note.line, LogText("", note.text)) for note in text.prose]
        pieces += [(one.line, LogText(f"{one.kind}{one.number or ''}", one.text)) for one in text.remarks]
        pieces += [(table.line, table) for table in text.tables]
        placed = {entry.id for entry in entries if entry.line}
        for _, piece in sorted(pieces, key=lambda one: one[0]):  # a heading before the entry that it begins
            if not isinstance(piece, LogNote):
                found[-1][1].append(piece)
            elif piece.text in above or _level(piece.text) == top:
                chapter(piece.text)
            elif piece.text not in own:
                found[-1][1].append(LogHeading(heading_name(piece.text)))
    for one in entries:
        if one.id not in placed:
            divided = depth is not None and len(one.sections) > depth
            chapter(one.sections[depth or 0] if divided else "").append(views[one.id])
    return tuple(Chapter(title, tuple(parts)) for title, parts in found if parts)


def _level(heading: str) -> int:
    """How many ``#`` a heading begins with."""
    return len(heading) - len(heading.lstrip("#"))


def _dividing_depth(sections: Sequence[tuple[str, ...]]) -> int | None:
    """The first level of headings on which entries differ; None where it holds their own headings alone."""
    depth = 0
    while len({above[depth : depth + 1] for above in sections}) == 1 and any(len(one) > depth + 1 for one in sections):
        depth += 1
    return depth if any(len(one) > depth + 1 for one in sections) else None


def _find(library: Library, name: str) -> tuple[str, str] | None:
    try:
        found = library.find(name)
    except SpecError:
        return None  # an entry that this version does not know
    return found.log, found.entry.id


def anchor_of(log: str, id: str) -> str:
    """``log-e030`` of the shipped log, ``log-NAME--e030`` of another; unique for every entry."""
    stem = file_stem(id, "").removesuffix("--")
    return f"log-{stem}" if log == SHIPPED else f"log-{file_stem(log, stem)}"


def _entry_view(log: str, entry: LogEntry, mirrors: Sequence[Mirror], anchors: dict[str, str]) -> EntryView:
    heading, below = _headings(entry)
    clinical = bool(entry.fields.get("use_clinical"))
    kinds = [*(k for k in RESULTS if k in entry.results), *(k for k in entry.results if k not in RESULTS)]
    results = tuple(_printed(kind, entry.results[kind], mirrors, anchors) for kind in kinds)
    shown = {b.anchor for printed in results for b in printed.measured}
    runs = {m.run.key: (m, a) for m, a in mirrors}
    return EntryView(
        anchor=anchor_of(log, entry.id),
        id=entry.id,
        heading=heading,
        below=below,
        arm=("CXR+Clinical" if clinical else "CXR") if entry.has_setup else "",
        era=_era(entry) if clinical else "",
        proposals=proposals_of(entry.id) if log == SHIPPED else None,
        figures=" ".join(group.raw for group in entry.figures),
        setup=f"ModelSetup({_fields(entry.fields)})" if entry.setup else "",
        inferred=_fields(entry.inferred),
        losses=", ".join(f"{name} {factor}" for name, factor in entry.losses.weights.items()) if entry.losses else "",
        params=tuple(entry.params.items()),
        results=results,
        notes=tuple(note.text for note in entry.notes),
        runs=len(runs),
        others=tuple(
            (at, _title(m, a), m.run.record.status) for key, (m, a) in runs.items() if (at := anchors[key]) not in shown
        ),
    )


def _era(entry: LogEntry) -> str:
    try:
        return setup_of(entry).resolved_era
    except MmadError:
        return ""  # a field that this version has not, or a value it refuses


def _headings(entry: LogEntry) -> tuple[str, str]:
    """The entry's heading without figures (or the one above it in brackets), and the headings above."""
    above = [heading_name(text) for text in entry.sections]
    if entry.heading:
        return heading_name(entry.heading), " › ".join(above[:-1])
    return (f"({above[-1]})" if above else ""), " › ".join(above[:-1])


def _fields(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())


def _title(member: MemberFrame, ablation: AblationSection) -> str:
    return f"{clip(member.record.ablation, 40)}: {member_title(member, ablation.frame)}"


def _printed(kind: str, result: Checkpoint, mirrors: Iterable[Mirror], anchors: dict[str, str]) -> PrintedEntry:
    documented = tuple(getattr(result, name) for name in _FIGURES)
    measured = []
    for member, ablation in mirrors:
        outcome = _outcome(member, kind)
        if outcome is not None:
            values = [getattr(outcome, name) for name in _FIGURES]
            less = [None if v is None else v - d for v, d in zip(values, documented, strict=True)]
            figures, badges = tuple(zip(values, less, strict=True)), _badges(member, outcome)
            title = _title(member, ablation)
            measured.append(MeasuredCheckpoint(anchors[member.run.key], title, outcome.epoch, figures, badges))
    return PrintedEntry(_KINDS.get(kind, clip(kind, 40)), result.epoch, documented, tuple(measured))


def _outcome(member: MemberFrame, kind: str) -> CheckpointResult | None:
    """The run's checkpoint of the entry's kind; for an unlabelled one the checkpoint that represents the run."""
    if kind == "unlabelled":
        return member.alone
    return next((o for _, o in member.outcomes if o is not None and o.kind == kind), None)


def _badges(member: MemberFrame, outcome: CheckpointResult) -> tuple[Badge, ...]:
    """Overlap, proposals, and everything that inflates or weakens the figures."""
    found = evaluation_badges(member.compared.conditions(outcome.kind))
    return tuple(b for n, b in enumerate(found) if n in (0, 2) or b.tone == "caution")


# What the documented log prints for a run, beside what was measured here.


@dataclass(frozen=True)
class Mirrored:
    """A member, the entry it mirrors, and one checkpoint of both; ``checkpoint`` is the log's word for it."""

    member: MemberFrame
    entry: str
    checkpoint: str
    documented: Checkpoint
    measured: CheckpointResult | None

    @property
    def figures(self) -> tuple[tuple[float, float | None], ...]:
        """(documented, measured) test AP, validation AP, test AR, validation AR."""
        names = ("test_ap", "val_ap", "test_ar", "val_ar")
        return tuple((getattr(self.documented, n), getattr(self.measured, n, None)) for n in names)


def mirrored(ablation: AblationFrame) -> tuple[Mirrored, ...]:
    """Every member that mirrors an entry with printed results, in the file's order.

    The checkpoint is the best-AP one where both the entry and the run have it, else the final one, else the entry's
    unlabelled one beside the checkpoint that represents the run.
    """
    return tuple(found for member in ablation.members if (found := _mirrored(member)) is not None)


def _mirrored(member: MemberFrame) -> Mirrored | None:
    if not member.record.documented:
        return None
    try:
        results = entry(member.record.documented).results
    except SpecError:
        return None  # an entry that this version does not know
    measured = {kind: outcome for kind in ("best_ap", "final") if (outcome := member.outcome(kind)) is not None}
    kinds = [kind for kind in ("best_ap", "final") if kind in results]
    kind = next((k for k in kinds if k in measured), kinds[0] if kinds else next(iter(results), None))
    if kind is None:
        return None
    checkpoint = member.alone if kind == "unlabelled" else measured.get(kind)
    return Mirrored(member, member.record.documented, KIND_WORDS.get(kind, kind), results[kind], checkpoint)


# The pages of a report: one page for everything, or an overview with linked pages of the ablations.

#: An ablation with more runs is split over several pages.
RUNS_PER_PAGE = 24
#: In the head of every page except the overview, and nowhere else.
PAGE_MARK = b'<meta name="mmad:page" '


@dataclass(frozen=True, eq=False)
class Part:
    """A page's part of an ablation: curves of some settings, and runs; the first part also has the tables."""

    ablation: AblationSection
    number: int
    of: int
    settings: tuple[str, ...]
    runs: tuple[RunSection, ...]
    first_run: int

    @property
    def anchor(self) -> str:
        return self.ablation.anchor if self.number == 1 else f"{self.ablation.anchor}.{self.number}"

    @property
    def span(self) -> str:
        """``Runs 25 to 48``."""
        last = self.first_run + len(self.runs) - 1
        return f"Runs {self.first_run} to {last}" if last > self.first_run else f"Run {self.first_run}"


@dataclass(frozen=True, eq=False)
class PageView:
    """One page: ``file`` is relative to the overview's folder, ``siblings`` the parts of every ablation in order."""

    file: str
    title: str
    overview: bool
    parts: tuple[Part, ...]
    siblings: tuple[tuple[Part, ...], ...]
    before: Part | None = None
    after: Part | None = None

    def shows(self, part: Part) -> bool:
        return part in self.parts

    def near(self, parts: Sequence[Part]) -> bool:
        """Whether the page is of these parts' ablation."""
        return any(self.shows(part) for part in parts)

    def siblings_of(self, part: Part) -> tuple[Part, ...]:
        """All parts of the part's ablation."""
        return next(parts for parts in self.siblings if part in parts)


class Links:
    """Links from one page to an anchor on any page; relative, so that the folder can be moved."""

    def __init__(self, here: str, overview: str, files: Mapping[str, str]) -> None:
        self._here, self._overview, self._files = here, overview, files

    def __call__(self, anchor: str) -> str:
        file = self._files.get(anchor, self._overview)
        if file == self._here:
            return f"#{anchor}"
        return f"{quote(posixpath.relpath(file, posixpath.dirname(self._here) or '.'))}#{anchor}"

    def of(self, here: str) -> Links:
        """The same links, seen from the page ``here``."""
        return Links(here, self._overview, self._files)


@dataclass(frozen=True)
class PageForm:
    """One file, or linked pages in ``folder`` beside the file ``overview``."""

    overview: str = ""
    folder: str = ""


def layout(model: ReportModel, form: PageForm) -> tuple[tuple[PageView, ...], Links]:
    """The pages, last the overview or the only one, and their links, seen from the last."""
    return linked(model, form.overview, form.folder) if form.folder else ((whole(model),), Links("", "", {}))


def whole(model: ReportModel) -> PageView:
    """Everything on one page."""
    siblings = tuple((Part(a, 1, 1, tuple(a.frame.settings), a.runs, 1),) for a in model.ablations)
    parts = tuple(part for (part,) in siblings)
    return PageView("", f"Ablation report · {moment(model.created)}", True, parts, siblings)


def linked(
    model: ReportModel, overview: str, folder: str, most: int = RUNS_PER_PAGE
) -> tuple[tuple[PageView, ...], Links]:
    """The pages of ablations in ``folder`` and, last, the overview; and its links."""
    siblings = tuple(_parts(a, most) for a in model.ablations)
    flat = [part for parts in siblings for part in parts]
    views = []
    for n, part in enumerate(flat):
        title = clip(part.ablation.title, 120) + (f", {part.span}" if part.of > 1 else "")
        before, after = flat[n - 1] if n else None, flat[n + 1] if n + 1 < len(flat) else None
        file = f"{folder}/{part.anchor}.html"
        views.append(PageView(file, f"{title} · Ablation report", False, (part,), siblings, before, after))
    head = PageView(overview, f"Ablation report · {moment(model.created)}", True, (), siblings)
    files = {a: v.file for v in views for p in v.parts for a in (p.anchor, *(r.anchor for r in p.runs))}
    return (*views, head), Links(overview, overview, files)


def _parts(ablation: AblationSection, most: int) -> tuple[Part, ...]:
    """Slices of at most ``most`` runs; a setting's curves are in the slice of its first run, or in the first slice."""
    slices = [ablation.runs[n : n + most] for n in range(0, len(ablation.runs), most)] or [()]
    home = dict.fromkeys(ablation.frame.settings, 0)
    for n in reversed(range(len(slices))):
        home |= {run.member.setting: n for run in slices[n]}
    return tuple(
        Part(ablation, n + 1, len(slices), tuple(s for s, place in home.items() if place == n), runs, n * most + 1)
        for n, runs in enumerate(slices)
    )
