"""The published tables: the arms of ``ablations/mdf_net.toml`` as published, as documented and as measured.

The other tables of a report are in ``mmad.report.tables``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from mmad.analysis.cached_statistics import estimate_of
from mmad.analysis.comparison import Conditions, NotComparable, compare
from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions, evaluation_target
from mmad.analysis.report_frame import AblationFrame, CheckpointResult, MemberFrame, load_frame
from mmad.base.errors import DataError, EvaluationError, ReportError
from mmad.base.formatting import level_words
from mmad.base.records import KIND_WORDS, CheckpointKind, Split
from mmad.evaluation.resampling import LEVEL, Interval
from mmad.experiment_log.published import PublishedRow, published_table
from mmad.experiment_log.shipped import entry
from mmad.report.badges import Badge, audit_badges, evaluation_badges, legend, member_badges, setup_badges
from mmad.report.table_model import FRACTION, Column, ReportTable, Row, Shown, Value
from mmad.report.tables import bounded, bounded_columns
from mmad.store.lookup import FoundRun
from mmad.store.store import Store

#: The ablations of the tables, and the figures of the first one.
ABLATION, FEATURES = "mdf_net", "clinical_features"
MEASURES = {"val_ap": "validation AP", "val_ar": "validation AR", "test_ap": "test AP", "test_ar": "test AR"}
BESIDE = "Published and documented figures were obtained on other data (REFLACX with MIMIC), for orientation."
NAN = float("nan")
_KINDS: tuple[CheckpointKind, ...] = ("best_ap", "best_ar")
_KIND_WORDS = {**KIND_WORDS, "higher_test_ap": "the higher test AP, for reproduction alone"}


def paper_tables(store: Store, *, ablation: str = ABLATION) -> tuple[ReportTable, ...]:
    """The table of the arms and, where they mirror published rows, those by finding and by clinical columns.

    Raises:
        ReportError: as ``paper_table``.
    """
    table = paper_table(store, ablation=ablation)
    frame = load_frame(store, [ablation]).ablations[0]
    if not any(_published(members) for _, _, members in _groups(frame)):
        return (table,)
    return table, _published_findings(frame), _published_features(store)


def paper_table(store: Store, *, ablation: str = ABLATION) -> ReportTable:
    """The store's results so far: per setting and arm what is measured at best-AP checkpoints and what the log prints.

    Where the published table shows the arm's entry, the published row follows, what is measured at the kind of
    checkpoint that it used, and at whichever of a run's kept checkpoints has the higher test AP: that choice reads the
    test and is made here alone. The note says what lifts the published difference,
    ``footnotes`` what is missing.

    Raises:
        ReportError: the ablation was never started, or its arms were trained or evaluated under unequal conditions.
    """
    try:
        frame = load_frame(store, [ablation]).ablations[0]
    except ReportError as error:
        raise ReportError(
            error.what, hint=f"the published table is repeated by `mmad ablate ablations/{ABLATION}.toml`"
        ) from error
    conditions = {setting: _conditions(frame, setting) for setting in frame.settings}
    first, _ = next(iter(conditions.values()))
    badges = legend([*evaluation_badges(first), *_marks(frame)])
    design = dict.fromkeys(words for _, said in conditions.values() for words in said)
    under = "; ".join([f"data: {first.data}", *(badge.text for badge in badges), *design])
    detections = DetectionStore()
    found = {
        (setting, arm): _paper_rows(store, detections, setting, arm, members, under)
        for setting, arm, members in _groups(frame)
    }
    columns = (
        Column("arm", "arm of the ablation"),
        Column("source", "measured, the documented entry, or published"),
        Column("checkpoint", "best_ap, best_ar, or higher_test_ap: whichever of the two tests better"),
        Column("epoch", "its epoch", "epoch, from 1"),
        Column("setting", "setting of the ablation"),
        Column("seeds", "seeds that are finished", "seeds"),
        Column("parameters", "parameters of the detector", "parameters"),
        *(column for name, words in MEASURES.items() for column in bounded_columns(name, words)),
        Column("under", "the conditions of the measured figures"),
        Column("note", "why figures or intervals are missing, or how the checkpoint was chosen"),
        Column("_checkpoint", "the checkpoint in words"),
        Column("_setting", "the setting, where there are several"),
    )
    note = f"Measured figures with {level_words(LEVEL)} intervals over patients and seeds. {BESIDE}"
    shown = (
        Shown("arm", "Arm", "text", below="_setting"), Shown("source", "Source", "text", below="_checkpoint"),
        Shown("parameters", "Parameters", "whole"), *(Shown(name, words) for name, words in MEASURES.items()),
    )  # fmt: skip
    several = len(frame.settings) > 1
    notes = tuple(
        f"{arm}{f', {setting}' if several else ''}: {rows[0][-2]}"
        for (setting, arm), rows in found.items()
        if rows[0][-2]
    )
    if any(row[1] == "published" for rows in found.values() for row in rows):
        note += f" What lifts the published difference: {'; '.join(published_table().what_lifts_it)}."
    rows = [(*row, row[4] if several else None) for rows in found.values() for row in rows]
    return ReportTable.of(
        "paper", frame.record.title, columns, rows, shown=shown, note=note, conditions=f"{under}.",
        footnotes=notes,
    )  # fmt: skip


def _marks(frame: AblationFrame) -> list[Badge]:
    """The badges that warn of inflated or weakened figures in any arm."""
    marks = [
        badge
        for member in frame.members
        for badge in (*setup_badges(member.run), *audit_badges(member.run), *member_badges(member))
    ]
    return [badge for badge in marks if badge.tone == "caution"]


def _groups(frame: AblationFrame) -> Iterator[tuple[str, str, tuple[MemberFrame, ...]]]:
    """Setting, arm and members, those of one setting together."""
    for setting in frame.settings:
        for arm in frame.arms:
            if members := frame.of(setting, arm):
                yield setting, arm, members


def _conditions(frame: AblationFrame, setting: str) -> tuple[Conditions, tuple[str, ...]]:
    """The conditions of the first arm, and what differs by design; a table never mixes two protocols."""
    first, *others = frame.arms
    design = []
    for arm in others:
        found = compare(
            *([m.compared for m in frame.of(setting, one)] for one in (first, arm)),
            names=(first, arm), file=frame.record, kind="best_ap",
        )  # fmt: skip
        if isinstance(found, NotComparable):
            where, hint = f"ablation {frame.record.name}", "run the whole file under one protocol"
            raise ReportError(found.error().what, where=where, hint=hint)
        if found.by_design:
            design.append(f"{arm} {found.design}")
    return frame.of(setting, first)[0].compared.conditions("best_ap"), tuple(design)


def _documented_entry(members: Sequence[MemberFrame]) -> str | None:
    return next((member.record.documented for member in members if member.record.documented), None)


def _published(members: Sequence[MemberFrame]) -> PublishedRow | None:
    """The published row that shows the entry of ``members``."""
    name = _documented_entry(members)
    return next((row for row in published_table().rows if row.run == name), None)


def _paper_rows(
    store: Store,
    detections: DetectionStore,
    setting: str,
    arm: str,
    members: Sequence[MemberFrame],
    under: str,
) -> list[tuple[Value, ...]]:
    """The measured row of an arm, what the log prints for it, if it mirrors an entry, and the published rows."""
    done = [member for member in members if member.run.finished and member.best_ap is not None]
    waiting = [
        "has no best-AP checkpoint" if m.run.finished else f"{m.run.record.status} at epoch {m.run.record.epochs_done}"
        for m in members
        if m not in done
    ]
    counted = next((member.run.count("model") for member in members), None)

    def row(source: str, kind: str, epoch: int | None, parameters: int | None, figures: Sequence[Value], note: str = "",
            seeds: int | None = None, conditions: str | None = None) -> tuple[Value, ...]:  # fmt: skip
        head = (arm, source, kind, epoch, setting, seeds, parameters)
        return (*head, *figures, conditions, note or None, _KIND_WORDS[kind])

    def measured(kind: CheckpointKind, notes: Sequence[str] = ()) -> tuple[Value, ...]:
        found, why = _measured(store, detections, done, kind)
        figures = [x for measure in MEASURES for x in bounded(found.get(measure))]
        note = "; ".join([*notes, *([why] if why else [])])
        return row("measured", kind, _epoch(done, kind), counted, figures, note, len(done), under)

    rows = [measured("best_ap", waiting)]
    name = _documented_entry(members)
    if name is None:
        return rows
    log = entry(name)
    printed = log.params.get("model")
    best = log.results.get("best_ap")
    figures = [x for m in MEASURES for x in (None if best is None else float(getattr(best, m)), None, None)]
    rows.append(row(name, "best_ap", best.epoch if best else None, printed, figures))
    if (shown := _published(members)) is not None:
        own = log.results[shown.checkpoint]
        values = (own.val_ap, own.val_ar, shown.ap, shown.ar)
        note = "the higher test AP of the run's two kept checkpoints"
        figures = [x for value in values for x in (value, None, None)]
        rows.append(row("published", shown.checkpoint, shown.epoch, printed, figures, note))
        if shown.checkpoint != "best_ap":
            rows.append(measured(shown.checkpoint))
        better = [_higher_test_ap(member) for member in done]
        means = [_mean(better, measure) for measure in MEASURES]
        figures = [x for value in means for x in (value, None, None)]
        epochs = {one.epoch for one in better}
        epoch = epochs.pop() if len(epochs) == 1 else None
        note = "chosen by the test figures: for reproduction alone"
        rows.append(row("measured", "higher_test_ap", epoch, counted, figures, note, len(done), under))
    return rows


def _higher_test_ap(member: MemberFrame) -> CheckpointResult:
    """The kept checkpoint that tests better, as the published rows were chosen. It makes a figure optimistic."""
    kept = [one for kind in _KINDS if (one := member.outcome(kind)) is not None]
    return max(kept, key=lambda one: -1.0 if one.test_ap is None else one.test_ap)


def _epoch(members: Sequence[MemberFrame], kind: CheckpointKind) -> int | None:
    epochs = {one.epoch for member in members if (one := member.outcome(kind)) is not None}
    return epochs.pop() if len(epochs) == 1 else None


def _measured(
    store: Store, detections: DetectionStore, members: Sequence[MemberFrame], kind: CheckpointKind
) -> tuple[dict[str, Interval], str]:
    """(mean of each measure over the seeds, with an interval where stored detections allow one; reason if not)."""
    outcomes = [one for member in members if (one := member.outcome(kind)) is not None]
    if len(outcomes) < len(members):
        return {}, f"a run has no {_KIND_WORDS[kind].replace(' ', '-')} checkpoint"
    found = {name: Interval(mean, NAN, NAN) for name in MEASURES if (mean := _mean(outcomes, name)) is not None}
    why = ""
    for split in ("val", "test"):
        try:
            found |= _with_intervals(store, detections, members, split, kind) if members else {}
        except (EvaluationError, DataError) as error:
            why = f"no interval: {error}"
    return found, why


def _mean(outcomes: Sequence[CheckpointResult], measure: str) -> float | None:
    return _mean_of([getattr(one, measure) for one in outcomes])


def _mean_of(values: Sequence[float | None]) -> float | None:
    """The mean, where every value is known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _with_intervals(
    store: Store,
    detections: DetectionStore,
    members: Sequence[MemberFrame],
    split: Split,
    kind: CheckpointKind,
) -> dict[str, Interval]:
    options = EvaluationOptions(split=split, checkpoint=kind)
    targets = [evaluation_target(store, FoundRun(member.run.record, (member.record,)), options) for member in members]
    estimate = estimate_of(store, detections, targets).estimate
    return {f"{split}_ap": estimate.ap, f"{split}_ar": estimate.ar}


def _published_findings(frame: AblationFrame) -> ReportTable:
    """Test AP and AR of each finding in the published rows, beside the seeds' mean at the same kind of checkpoint."""
    columns = (
        Column("finding", "the finding"), Column("arm", "arm of the ablation"), Column("run", "the entry published"),
        Column("checkpoint", "which checkpoint was evaluated"), Column("published_ap", "published test AP", FRACTION),
        Column("published_ar", "published test AR", FRACTION), Column("ap", "measured test AP", FRACTION),
        Column("ar", "measured test AR", FRACTION), Column("_checkpoint", "the checkpoint in words"),
    )  # fmt: skip
    rows: list[Row] = []
    for _, arm, members in _groups(frame):
        if (shown := _published(members)) is None:
            continue
        outcomes = [one for m in members if m.run.finished and (one := m.outcome(shown.checkpoint)) is not None]
        for finding, figures in shown.findings.items():
            own = [values for one in outcomes for label, *values in one.test_classes if label == finding]
            means = [_mean_of([values[i] for values in own]) for i in (0, 1)]
            rows.append((finding, arm, shown.run, shown.checkpoint, *figures, *means, _KIND_WORDS[shown.checkpoint]))
    shown_columns = (
        Shown("finding", "Finding", "text"), Shown("arm", "Arm", "text", below="_checkpoint"),
        Shown("published_ap", "AP, published"), Shown("ap", "AP, measured"),
        Shown("published_ar", "AR, published"), Shown("ar", "AR, measured"),
    )  # fmt: skip
    note = f"Test figures at the kind of checkpoint that was published. {BESIDE}"
    title = f"{frame.record.title} by finding"
    return ReportTable.of("paper-findings", title, columns, sorted(rows, key=lambda r: str(r[0])), shown=shown_columns,
                          note=note)  # fmt: skip


def _published_features(store: Store) -> ReportTable:
    """Published test AP and AR by clinical columns, beside what ``ablations/clinical_features.toml`` measured."""
    members: list[MemberFrame] = []
    if any(record.name == FEATURES for record in store.ablations()):
        members = [m for m in load_frame(store, [FEATURES]).ablations[0].members if m.setup.get("use_clinical")]
    columns = (
        Column("columns", "clinical columns that the network reads"),
        Column("published_ap", "published test AP", FRACTION), Column("published_ar", "published test AR", FRACTION),
        Column("seeds", "seeds that are finished", "seeds"), Column("ap", "measured test AP", FRACTION),
        Column("ar", "measured test AR", FRACTION),
    )  # fmt: skip
    rows: list[Row] = []
    for row in published_table().clinical_features:
        done = [m.best_ap for m in members if m.record.setting == row.columns and m.run.finished and m.best_ap]
        rows.append((row.columns, row.ap, row.ar, len(done), _mean(done, "test_ap"), _mean(done, "test_ar")))
    shown = (
        Shown("columns", "Clinical columns", "text"), Shown("published_ap", "AP, published"),
        Shown("ap", "AP, measured"), Shown("published_ar", "AR, published"), Shown("ar", "AR, measured"),
    )  # fmt: skip
    note = (
        "Measured at best-AP checkpoints; of the published rows the checkpoint is not known, and that of all columns "
        f"is MDF-Net's. {BESIDE}"
    )
    return ReportTable.of("paper-features", "Clinical columns", columns, rows, shown=shown, note=note)
