"""``mmad eval``, ``mmad compare`` and ``mmad controls``: what the stored checkpoints are worth."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from mmad.api.results import (
    Evaluation,
    altered_inference,
    evaluation_of,
    evaluation_options,
    known_word,
    open_store,
    rerun_inference,
)
from mmad.base.errors import EvaluationError
from mmad.base.formatting import DASH, decimal, interval, p_value, plural, signed
from mmad.cli.options import DEFAULT_DB, DatabaseOption, JsonOption, MovedDataOption
from mmad.cli.output import add_row, console, new_table, print_json, progress_bar, show
from mmad.config.protocol import Overlap
from mmad.evaluation.operating_points import gaps
from mmad.evaluation.tide import NOTE
from mmad.report.tables import bounds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mmad.analysis.comparison import Comparison, Conditions, NotComparable
    from mmad.analysis.metrics import Diagnosis, MaskFigures, Profile
    from mmad.analysis.targets import EvaluationOptions, EvaluationTarget
    from mmad.evaluation.coco_summary import CocoSet

SplitOption = Annotated[str, typer.Option("--split", metavar="val|test", help="Which split.")]
CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="best_ap|best_ar|final",
        help="Which checkpoint; left out: best_ap, or final where no best one was kept.",
        show_default=False,
    ),
]
ResamplesOption = Annotated[int, typer.Option("--resamples", metavar="N", help="Resamples of the patients.")]
RerunDeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where inference is re-run.")
]


def _options(
    split: str,
    checkpoint: str | None,
    overlap: str | None = None,
    proposals: str | None = None,
    *,
    resamples: int = 1000,
) -> EvaluationOptions:
    """The words of the options; EvaluationError for an unknown one."""
    options = {"proposals": "--protocol"}
    return evaluation_options(
        split, checkpoint, overlap, proposals, resamples, named=lambda name: options.get(name, f"--{name}")
    )


def listed(words: str | None) -> list[str | None]:
    """``iou,iobb`` as a list without repeats; [None] for nothing."""
    return [None] if words is None else list(dict.fromkeys(word.strip() for word in words.split(",")))


def numbers(option: str, words: str) -> list[float]:
    """``0.05,0.1`` as numbers. EvaluationError naming the word that is none."""
    found = []
    for word in words.split(","):
        try:
            found.append(float(word))
        except ValueError:
            hint = "use numbers with commas between them, such as 0.05,0.1,0.3"
            raise EvaluationError(f"{word.strip()!r} is not a number", where=option, hint=hint) from None
    return found


def protocol_line(target: EvaluationTarget) -> str:
    """Split, checkpoint and protocol in words."""
    from mmad.analysis.comparison import conditions_of

    return conditions_line(conditions_of(target))


def conditions_line(found: Conditions) -> str:
    """The same of a comparison."""
    return (
        f"{found.split}, {found.checkpoint}, {found.overlap} ≥ {found.threshold:g}, "
        f"{found.max_detections} detections per image, {found.proposals} proposals"
    )


# ``mmad compare``: two arms, or every pair of an ablation: difference, interval, test, verdict.


COMPARE_HELP = """Compare two runs, or every pair of an ablation, on the same images: the other minus the reference.

A RUN is the beginning of a run's key, or ablation/setting/arm, which means all its seeds; arms are compared
over the seeds that both have finished. Intervals are 95 % bootstrap percentiles over whole patients, with several
seeds widened by their spread. p covers seeds and patients, with one seed patients alone (a permutation test); for
an ablation it is adjusted over its pairs by Holm's method.

Runs of unequal data, protocol, epochs, schedule or starting weights cannot be compared. What the arms or settings of
one ablation file name (epochs, dataset_mode, ...) differs by design: the comparison says so.

--json prints {"resamples", "pairs": [{setting, reference, other, seeds, checkpoint, split, overlap, threshold,
max_detections, proposals, differs_by_design, images, patients, ap, ar, per_class, p, p_holm, p_patients, seed_share,
sd, verdict, words, needed, agreement, studies, note}], "refused": [{setting, reference, other, reason}]}.
"""


def compare(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN_A RUN_B]", help="The reference, then the other.")
    ] = None,
    ablation: Annotated[
        str | None, typer.Option("--ablation", metavar="NAME", help="Every pair of this ablation.", show_default=False)
    ] = None,
    split: SplitOption = "test",
    checkpoint: CheckpointOption = None,
    overlap: Annotated[
        str | None,
        typer.Option("--overlap", metavar="iou|iobb", help="Left out: what the members asked for.", show_default=False),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            metavar="clean|sampled|with_ground_truth",
            help="Whose proposals; left out: what the members asked for.",
            show_default=False,
        ),
    ] = None,
    agreement_score: Annotated[
        float,
        typer.Option("--agreement-score", metavar="S", help="Least score of detections compared with each other."),
    ] = 0.3,
    agreement_overlap: Annotated[
        str, typer.Option("--agreement-overlap", metavar="iou|iobb", help="By which overlap two detections are one.")
    ] = "iou",
    agreement_threshold: Annotated[
        float | None,
        typer.Option(
            "--agreement-threshold",
            metavar="T",
            help="From which overlap on; left out: the protocol's.",
            show_default=False,
        ),
    ] = None,
    resamples: ResamplesOption = 1000,
    data: MovedDataOption = None,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.analysis.json import plain_comparisons
    from mmad.analysis.metrics import AgreementOptions
    from mmad.analysis.statistics import compare_ablation, compare_arms
    from mmad.analysis.targets import DetectionStore

    named = runs or []
    if len(named) != (2 if ablation is None else 0):
        from mmad.base.formatting import plural

        hint = "name two runs (mmad compare RUN_A RUN_B), or an ablation alone (mmad compare --ablation NAME)"
        what = plural(len(named), "run") + ("" if ablation is None else f" and the ablation {ablation}")
        raise EvaluationError(f"{what} to compare", where="compare", hint=hint)
    options = _options(split, checkpoint, overlap, protocol, resamples=resamples)
    known_word("--agreement-overlap", agreement_overlap, get_args(Overlap))
    same = AgreementOptions(agreement_score, cast(Overlap, agreement_overlap), agreement_threshold)
    detections = DetectionStore(data)
    refused: list[NotComparable] = []
    with open_store(db) as store:
        if ablation is not None:
            with progress_bar(f"comparing the pairs of {ablation}") as progress:
                found, refused = compare_ablation(store, detections, ablation, options, progress, same)
        else:
            found = [compare_arms(store, detections, named[0], named[1], options, same)]
    if as_json:
        print_json(plain_comparisons(found, refused, options))
        return
    _print(found, refused, detailed=ablation is None)


def _print(found: Sequence[Comparison], refused: Sequence[NotComparable], *, detailed: bool) -> None:

    out = console()
    groups: dict[str, list[Comparison]] = {}
    for one in found:
        groups.setdefault(conditions_line(one.sides[0]), []).append(one)
    for title, group in groups.items():
        _print_group(out, title, group)
    if detailed:
        for one in found:
            _print_details(out, one)
    for one in found:
        if one.note:
            print(f"{one.names[0]}: {one.note}", file=sys.stderr)
    for pair in refused:
        print(f"{pair.setting}: {pair.reference} and {pair.other} cannot be compared: {pair.reason}", file=sys.stderr)


def _print_group(out: Console, title: str, group: Sequence[Comparison]) -> None:
    from mmad.analysis.comparison import PairStatistics, spread_words

    heads = ("seeds", "reference AP", "other AP", "AP difference [95 %]", "AR difference [95 %]", "p", "p (Holm)")
    table = new_table("reference", "other", *heads, left=2)
    lines = []
    for one in group:
        known = one.statistics or PairStatistics()
        sides = [interval(side.estimate.ap) if side else DASH for side in (known.reference, known.other)]
        tests = [DASH] * 4
        if (difference := known.difference) is not None:
            tests = [*(interval(value, sign=True) for value in (difference.ap, difference.ar))]
            tests += [p_value(difference.p), p_value(known.p_holm)]
        add_row(table, *one.names, str(len(one.pairs)), *sides, *tests)
        reference, other = one.names
        lines.append(f"{other} against {reference}: {one.verdict}{f'; {one.design}' if one.design else ''}")
        lines.append(spread_words(difference) if difference else "")
    show(out, title, table)
    for line in filter(None, lines):
        out.print(line, soft_wrap=True)
    out.print()


def _print_details(out: Console, comparison: Comparison) -> None:

    known = comparison.statistics
    if known is None or known.difference is None or (same := known.agreement) is None:
        return
    table = new_table("finding", "AP difference [95 %]", "AR difference [95 %]")
    for label, ap, ar in known.difference.per_class:
        add_row(table, label, interval(ap, sign=True), interval(ar, sign=True))
    show(out, "Findings", table)
    table = new_table("finding", "both", "reference alone", "other alone", "agreement")
    for s in same.shared:
        add_row(table, s.label, str(s.both), str(s.first), str(s.second), decimal(s.agreement))
    show(out, f"Detections with score ≥ {same.score:g}, the same from {same.overlap} ≥ {same.threshold:g} on", table)
    if same.studies:
        table = new_table("study", "gain")
        for study, gain in same.studies:
            add_row(table, study, f"{gain:+d}")
        show(out, "Studies that differ most (hits minus false alarms, other minus reference)", table)


def _register_compare(app: typer.Typer) -> None:
    """Adds ``mmad compare`` to ``app``."""
    app.command("compare", help=COMPARE_HELP)(compare)


# ``mmad eval``: kept checkpoints with intervals, at score thresholds, under any protocol.


HELP = """Evaluate kept checkpoints: AP and AR with intervals, score thresholds, FROC, confusion, calibration.

RUN is the beginning of a run's key, or ablation/setting/arm, which means all its seeds. Intervals are 95 %
over whole patients, left out one after the other; fewer than 10 patients give none. Everything is computed from
the kept detections, once, and cached in the database; runs with a mask head have AP and AR of their masks, too.
--protocol with one that was not kept, and --again, re-run inference.

--json prints {"runs": [{key, ablation, setting, arm, seed, checkpoint, epoch, split, overlap, threshold,
max_detections, proposals, images, patients, ap, ar, per_class, thresholds, froc, confusion, calibration,
diagnosis, coco, masks}]}, one object per run, overlap and protocol; ap and ar are {value, low, high, patients}.
"""


def evaluate(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Keys, or ablation/setting/arm[/seed].")],
    split: SplitOption = "test",
    checkpoint: CheckpointOption = None,
    score_thresholds: Annotated[
        str, typer.Option("--score-thresholds", metavar="S,S,...", help="Scores to cut the detections at.")
    ] = "0.05,0.1,0.3",
    overlap: Annotated[
        str | None,
        typer.Option("--overlap", metavar="iou,iobb", help="Left out: what the member asked for.", show_default=False),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            metavar="clean,sampled,with_ground_truth",
            help="Whose proposals; left out: what the member asked for. Re-runs inference for what was not kept.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Re-run inference even for what was kept.")] = False,
    false_positives: Annotated[
        float,
        typer.Option(
            "--false-positives",
            metavar="R",
            help="Per image on validation: fixes the score at which images and patients are told apart.",
        ),
    ] = 0.5,
    coco: Annotated[bool, typer.Option("--coco", help="Add COCO's twelve figures.")] = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="Add the table of findings.")] = False,
    device: RerunDeviceOption = "auto",
    data: MovedDataOption = None,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.analysis.json import plain_evaluation
    from mmad.analysis.metrics import has_masks
    from mmad.analysis.targets import DetectionStore, evaluation_target
    from mmad.evaluation.operating_points import check_scores
    from mmad.store.lookup import find_seeds

    scores = numbers("--score-thresholds", score_thresholds)
    check_scores(scores)
    options = [_options(split, checkpoint, o, p) for p in listed(protocol) for o in listed(overlap)]
    detections = DetectionStore(data)
    with open_store(db) as store:
        found = {one.run.key: one for name in runs for one in find_seeds(store, name)}
        targets = [evaluation_target(store, one, asked) for asked in options for one in found.values()]
        seen = set()
        for one in targets:
            if one.file not in seen and (again or (protocol is not None and not one.file.exists())):
                rerun_inference(store, detections, one, device, progress_bar)
            seen.add(one.file)
        done = []
        for one in targets:
            done.append(evaluation_of(store, detections, one, scores, coco=coco, false_positives=false_positives))
            if done[-1].masks is None and has_masks(one):
                print(f"{one.name}: its masks are not kept; make them with `{one.remake()}`", file=sys.stderr)
    if as_json:
        print_json(
            {"runs": [plain_evaluation(e.target, e.measured, e.profile, e.coco, e.masks, e.diagnosis) for e in done]}
        )
    else:
        _print_evaluations(done, per_class=per_class)


def _print_evaluations(done: Sequence[Evaluation], *, per_class: bool) -> None:
    """Tables of what was evaluated under one protocol; never two protocols in one."""
    out = console()
    for title in dict.fromkeys(protocol_line(e.target) for e in done):
        group = [e for e in done if protocol_line(e.target) == title]
        _print_evaluation_group(out, title, group, per_class)


def _heads_of(targets: Sequence[EvaluationTarget]) -> list[str]:
    """Short names that are still distinct: the arm, else arm and seed, else the whole path."""
    for parts in (slice(2, 3), slice(2, None), slice(1, 3), slice(1, None)):
        names = ["/".join(one.name.split("/")[parts]) or one.name for one in targets]
        if len(set(names)) == len(names):
            return names
    return [one.name for one in targets]


def _print_evaluation_group(out: Console, title: str, group: Sequence[Evaluation], per_class: bool) -> None:
    names = _heads_of([e.target for e in group])
    size = group[0].measured
    words = f"{plural(size.images, 'image')} of {plural(size.patients, 'patient')}"
    show(out, f"{title} ({words})", _head_table(group))
    show(out, "AP by score threshold (gap to the first) [95 %]", _gap_table(names, group))
    show(out, "Operating points", _operating_table(names, group))
    show(out, "FROC: sensitivity by false positives per image [95 %]", _froc_table(names, group, per_class))
    for name, e in zip(names, group, strict=True):
        score = e.profile.rows[-1].score
        show(out, f"{name}: true (rows) against detected, score ≥ {score:g}", _confusion_table(e.profile))
    for name, e in zip(names, group, strict=True):
        found = e.diagnosis
        at = f"score ≥ {found.score:.3g}: {found.rule}" if found.score is not None else f"no score fixed: {found.why}"
        show(out, f"{name}: images and patients told apart [95 %], {at}", _diagnosis_table(found, per_class))
        if per_class:
            show(out, f"{name}: boxes at that score", _box_table(found))
            show(out, f"{name}: calibration of an image's highest score [95 %]", _score_table(found))
    show(out, f"AP that repairing each kind of error would gain ({NOTE})", _error_table(names, group))
    if per_class:
        show(out, "Findings", _class_table(names, group))
    if group[0].coco is not None:
        show(out, "COCO", _coco_table(names, [e.coco for e in group if e.coco is not None]))
    drawn = [(name, e.masks) for name, e in zip(names, group, strict=True) if e.masks is not None]
    if drawn:
        show(out, "Masks", _mask_table(drawn, per_class))
        if group[0].coco is not None:
            show(out, "COCO, masks", _coco_table([name for name, _ in drawn], [m.coco for _, m in drawn]))


def _head_table(group: Sequence[Evaluation]) -> Table:
    table = new_table("run", "epoch", "AP [95 %]", "AR [95 %]", "FROC [95 %]", "ECE")
    for e in group:
        found, profile = e.measured.estimate, e.profile
        figures = (interval(found.ap), interval(found.ar), interval(profile.froc_band.score))
        error = decimal(profile.calibration.error)
        add_row(table, e.target.name, str(e.target.checkpoint.epoch), *figures, error)
    return table


def _gap_table(names: Sequence[str], group: Sequence[Evaluation]) -> Table:
    """The documented log's threshold gap: AP by score threshold, and its gap to the first row."""
    table = new_table("score ≥", *names)
    for place, point in enumerate(group[0].profile.rows):
        add_row(table, f"{point.score:g}", *(_gap_cell(e.profile, place) for e in group))
    return table


def _gap_cell(profile: Profile, place: int) -> str:
    """The AP and its interval; from the second row on the AP and its gap, with the gap's interval."""
    rows, band = profile.rows, profile.bands[place]
    ap = decimal(rows[place].ap, 4)
    if not place:
        return f"{ap} {bounds(band.ap)}".rstrip()
    return f"{ap} ({signed(gaps(rows)[place], 4)} {bounds(band.gap, sign=True)}".rstrip() + ")"


def _operating_table(names: Sequence[str], group: Sequence[Evaluation]) -> Table:
    heads = ("AR", "precision [95 %]", "recall [95 %]", "F1 [95 %]", "detections per image")
    table = new_table("run", "score ≥", *heads)
    for name, e in zip(names, group, strict=True):
        for p, band in zip(e.profile.rows, e.profile.bands, strict=True):
            figures = map(interval, (band.precision, band.recall, band.f1))
            add_row(table, name, f"{p.score:g}", decimal(p.ar), *figures, decimal(p.per_image, 2))
    return table


def _froc_table(names: Sequence[str], group: Sequence[Evaluation], per_class: bool) -> Table:
    """One row per rate; with ``per_class`` then one per finding, its mean over the rates."""
    table = new_table("false positives per image", *names)
    bands = [e.profile.froc_band for e in group]
    for place, rate in enumerate(group[0].profile.froc.rates):
        add_row(table, f"{rate:g}", *(interval(band.sensitivity[place]) for band in bands))
    if per_class:
        for k, finding in enumerate(bands[0].per_class):
            add_row(table, f"mean, {finding.label}", *(interval(band.per_class[k].score) for band in bands))
    return table


def _confusion_table(profile: Profile) -> Table:
    labels = profile.confusion.labels
    table = new_table("", *labels, "missed")
    for label, row in zip((*labels, "nothing there"), profile.confusion.counts.tolist(), strict=True):
        add_row(table, label, *map(str, row))
    return table


def _diagnosis_table(found: Diagnosis, per_class: bool) -> Table:
    """Any finding; with ``per_class`` then each."""
    table = new_table("finding", "of", "with", "without", "sensitivity", "specificity", "AUROC", left=2)
    for place in range(len(found.images) if per_class else 1):
        for kind, one in (("images", found.images[place]), ("patients", found.patients[place])):
            figures = map(interval, (one.sensitivity, one.specificity, one.auroc))
            add_row(table, one.label, kind, str(one.positives), str(one.negatives), *figures)
    return table


def _box_table(found: Diagnosis) -> Table:
    """True boxes found and missed, and detections of nothing, at the score; wAFROC needs none."""
    table = new_table("finding", "found", "missed", "false positives", "wAFROC [95 %]")
    for place, merit in enumerate(found.wafroc):
        names = ("true_positives", "false_negatives", "false_positives")
        counts = [str(getattr(found.counts[place], name)) for name in names] if found.counts else [DASH] * 3
        value = interval(merit.value) + ("" if merit.name == "wAFROC" else f" ({merit.name})")
        add_row(table, merit.label, *counts, value)
    return table


def _score_table(found: Diagnosis) -> Table:
    table = new_table("finding", "intercept", "slope", "Brier", "ECE")
    for one in found.calibration:
        lines = (interval(one.intercept, sign=True), interval(one.slope), interval(one.brier))
        add_row(table, one.label, *lines, decimal(one.reliability.error))
    return table


def _error_table(names: Sequence[str], group: Sequence[Evaluation]) -> Table:
    table = new_table("error", *names)
    costs = [e.diagnosis.errors for e in group]
    for place, kind in enumerate(costs[0].kinds):
        cells = (f"{decimal(cost.kinds[place].ap)} ({cost.kinds[place].count})" for cost in costs)
        add_row(table, kind.kind, *cells)
    add_row(table, "all false positives", *(decimal(cost.false_positives) for cost in costs))
    add_row(table, "all false negatives", *(decimal(cost.false_negatives) for cost in costs))
    return table


def _class_table(names: Sequence[str], group: Sequence[Evaluation]) -> Table:
    heads = [f"{name}: {figure}" for name in names for figure in ("AP [95 %]", "AR [95 %]")]
    table = new_table("finding", "patients", *heads)
    for k, (label, ap, _) in enumerate(group[0].measured.estimate.per_class):
        found = [e.measured.estimate.per_class[k] for e in group]
        add_row(table, label, str(ap.patients), *(interval(value) for _, ap, ar in found for value in (ap, ar)))
    return table


def _mask_table(drawn: Sequence[tuple[str, MaskFigures]], per_class: bool) -> Table:
    """AP and AR of masks; with ``per_class`` of each finding, too."""
    table = new_table("run", "finding", "AP [95 %]", "AR [95 %]", left=2)
    for name, masks in drawn:
        found = masks.estimate
        add_row(table, name, "all", interval(found.ap), interval(found.ar))
        for label, ap, ar in found.per_class if per_class else ():
            add_row(table, name, label, interval(ap), interval(ar))
    return table


def _coco_table(names: Sequence[str], found: Sequence[CocoSet]) -> Table:
    table = new_table("figure", *names)
    for figure in found[0].figures:
        add_row(table, figure, *(decimal(coco.figures[figure]) for coco in found))
    return table


def _register_eval(app: typer.Typer) -> None:
    """Adds ``mmad eval`` to ``app``."""
    app.command("eval", help=HELP)(evaluate)


# ``mmad controls``: what a run's AP loses without a clinical column, the right record, the image.


CONTROLS_HELP = """Ask what a run relies on: inference of its kept checkpoint with something in the split altered.

Each clinical column is permuted among the studies, then whole clinical records are, then every image is
blanked. The drop in AP is the mean over the repeats, its 95 % interval from resamples of whole patients. Cached
in the database: a second call computes nothing.

--json prints what mmad eval prints about the run (key ... proposals), resamples, and controls: [{kind (column,
records, image), column, repeats, before, after, ap, ar, per_class, words}]; ap and ar are the drop as {value,
low, high}.
"""


def controls(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Beginning of a key, or ablation/setting/arm[/seed].")],
    split: SplitOption = "test",
    checkpoint: CheckpointOption = None,
    repeats: Annotated[int, typer.Option("--repeats", metavar="N", help="Draws of each alteration.")] = 5,
    resamples: ResamplesOption = 1000,
    device: RerunDeviceOption = "auto",
    data: MovedDataOption = None,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.analysis.input_controls import alteration_words, controls_of, meaning, unclinical
    from mmad.analysis.json import plain_controls
    from mmad.analysis.targets import DetectionStore, evaluation_target
    from mmad.store.lookup import find_run

    options = _options(split, checkpoint, resamples=resamples)
    detections = DetectionStore(data)
    with open_store(db) as store:
        target = evaluation_target(store, find_run(store, run), options)
        if unclinical([target]):
            print(
                f"{target.name} reads no clinical data: only its image can be altered; "
                "for the other controls name a run with use_clinical = true",
                file=sys.stderr,
            )
        infer = altered_inference(store, detections, target, device)
        with progress_bar(f"{target.name}: inference on altered data") as progress:
            found = controls_of(store, detections, target, infer, repeats=repeats, options=options, progress=progress)
    if as_json:
        print_json(plain_controls(target, found, options))
        return
    out = console()
    table = new_table("altered", "repeats", "AP as it is", "AP altered", "drop in AP [95 %]")
    for control in found:
        cost = control.drop
        figures = (decimal(cost.before), decimal(cost.after), interval(cost.ap, sign=True))
        add_row(table, alteration_words(control.alteration), str(cost.repeats), *figures)
    show(out, f"{target.name}: {protocol_line(target)}", table)
    for control in found:
        out.print(f"{alteration_words(control.alteration)}: {meaning(control)}", soft_wrap=True)


def _register_controls(app: typer.Typer) -> None:
    """Adds ``mmad controls`` to ``app``."""
    app.command("controls", help=CONTROLS_HELP)(controls)


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to ``app``."""
    _register_compare(app)
    _register_eval(app)
    _register_controls(app)
