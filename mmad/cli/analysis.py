"""``mmad eval``, ``mmad compare`` and ``mmad controls``: what the stored checkpoints are worth."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

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
from mmad.base.formatting import plural, short_key
from mmad.cli.options import (
    DEFAULT_DB,
    CheckpointOption,
    DatabaseOption,
    EnsembleOption,
    JsonOption,
    MovedDataOption,
    refuse_idle,
)
from mmad.cli.output import console, print_json, progress_bar

if TYPE_CHECKING:
    from rich.console import Console

    from mmad.analysis.comparison import Comparison, Conditions, NotComparable
    from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions, EvaluationTarget
    from mmad.analysis.input_controls import Control
    from mmad.config.protocol import Overlap
    from mmad.report.tables import EvaluatedRun
    from mmad.store.lookup import FoundRun
    from mmad.store.store import Store

SplitOption = Annotated[str, typer.Option("--split", metavar="val|test", help="Which split.")]
ByOption = Annotated[
    list[str] | None, typer.Option("--by", metavar="COLUMN", help="Parts of the split by this column; repeatable.")
]
ByReaderOption = Annotated[
    bool, typer.Option("--by-reader", help="Add figures with the boxes of each reader alone as the reference.")
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
    return evaluation_options(split, checkpoint, overlap, proposals, resamples, named=lambda name: f"--{name}")


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

    line = conditions_line(conditions_of(target))
    return line if target.outside is None else f"on {target.outside.name} (external): {line}"


def conditions_line(found: Conditions) -> str:
    """The same of a comparison."""
    return (
        f"{found.split}, {found.checkpoint}, {found.overlap} ≥ {found.threshold:g}, "
        f"{found.max_detections} detections per image, {found.proposals} proposals"
    )


# ``mmad compare``: two arms, or every pair of an ablation: difference, interval, test, verdict.


COMPARE_HELP = """Compare two runs, or every pair of an ablation, on the same images: the other minus the reference.

A RUN is the beginning of a run's key, or ablation/setting/arm, which means all its seeds; arms are compared
over the seeds that both have finished. The verdict is higher or lower where the 95 % interval over seeds and patients
excludes 0, else not settled; interval and p hold for all pairs of the ablation together. One seed says nothing about
the arms: its interval is of the two networks, over patients. Over folds, seeds are averaged in each, and the
interval is that of the mean over folds. Only the primary checkpoint on test gets a verdict.

Runs of unequal data, protocol, epochs, schedule or starting weights cannot be compared. What the arms or settings of
one ablation file name (epochs, dataset_mode, ...) differs by design: the comparison says so.

--by-reader repeats the comparison with the boxes of each reader alone as the reference, on the images that they read,
and says under how many readers sign and verdict are the same.

--json prints {"resamples", "estimand", "pairs": [{setting, reference, other, seeds, folds, checkpoint, split, overlap,
threshold, max_detections, proposals, differs_by_design, images, patients, ap, level, ar, per_class, p, family,
ap_pointwise, p_pointwise, freedom, freedom_hillis, variance_lent_by, p_patients, seed_share, sd, verdict, reasons,
words, by_checkpoint, sign_depends_on_checkpoint, queued_after_test_figures, registration, decision, plan, agreement,
studies, external, interactions, by_reader, note}], "refused": [{setting, reference, other, reason}]}.
"""


def compare(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN_A RUN_B", help="The reference, then the other; or an ablation.")
    ] = None,
    ablation: Annotated[
        str | None, typer.Option("--ablation", metavar="NAME", help="Every pair of this ablation.")
    ] = None,
    split: SplitOption = "test",
    checkpoint: CheckpointOption = None,
    overlap: Annotated[
        str | None, typer.Option("--overlap", metavar="iou|iobb", help="Default: what the members asked for.")
    ] = None,
    proposals: Annotated[
        str | None,
        typer.Option(
            "--proposals",
            metavar="clean|sampled|with_ground_truth",
            help="Whose proposals; default: what the members asked for.",
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
        typer.Option("--agreement-threshold", metavar="T", help="From which overlap on; default: the protocol's."),
    ] = None,
    effect: Annotated[
        float | None,
        typer.Option(
            "--effect",
            metavar="AP",
            help="The smallest difference that matters, for the plan; default: the file's, else 0.02, 0.05 and 0.10.",
        ),
    ] = None,
    by: ByOption = None,
    by_reader: ByReaderOption = False,
    resamples: ResamplesOption = 1000,
    data: MovedDataOption = None,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.analysis.cached_statistics import AgreementOptions
    from mmad.analysis.evaluation_json import plain_comparisons
    from mmad.analysis.evaluation_target import DetectionStore
    from mmad.analysis.verdicts import compare_ablation, compare_arms
    from mmad.config.protocol import Overlap
    from mmad.store.lookup import is_ablation

    options = _options(split, checkpoint, overlap, proposals, resamples=resamples)
    known_word("--agreement-overlap", agreement_overlap, get_args(Overlap))
    same = AgreementOptions(agreement_score, cast("Overlap", agreement_overlap), agreement_threshold)
    if effect is not None and not 0 < effect <= 1:
        raise EvaluationError(f"an effect of {effect:g}", where="--effect", hint="use a number above 0 and up to 1")
    effects = None if effect is None else (effect,)
    detections = DetectionStore(data)
    refused: list[NotComparable] = []
    named = runs or []
    with open_store(db) as store:
        if len(named) == 1 and ablation is None and is_ablation(store, named[0]):
            named, ablation = [], named[0]
        if len(named) != (2 if ablation is None else 0):
            hint = "name two runs (mmad compare RUN_A RUN_B), or an ablation alone (mmad compare ABLATION)"
            what = plural(len(named), "run") + ("" if ablation is None else f" and the ablation {ablation}")
            raise EvaluationError(f"{what} to compare", where="compare", hint=hint)
        if ablation is not None:
            with progress_bar(f"comparing the pairs of {ablation}") as progress:
                asked = (store, detections, ablation, options, progress, same, by or ())
                found, refused = compare_ablation(*asked, by_reader=by_reader)
        else:
            arms = (store, detections, named[0], named[1], options, same, by or ())
            found = [compare_arms(*arms, by_reader=by_reader)]
    if as_json:
        print_json(plain_comparisons(found, refused, options, effects))
        return
    _print(found, refused, effects, detailed=ablation is None)


def _print(
    found: Sequence[Comparison], refused: Sequence[NotComparable], effects: Sequence[float] | None, *, detailed: bool
) -> None:
    from mmad.analysis.comparison import NOTHING_REGISTERED, benefits, registration_words, shared_words

    out = console()
    groups: dict[tuple[str, str, str], list[Comparison]] = {}
    for one in found:
        groups.setdefault((conditions_line(one.sides[0]), one.reference, one.other), []).append(one)
    for (title, *_), group in groups.items():
        _print_group(out, title, group, effects)
    registered = [one.registration for one in found]
    said = [NOTHING_REGISTERED if one is None else registration_words(one) for one in registered]
    for line in (*shared_words(found), *dict.fromkeys(said)):
        out.print(line)
    for benefit in benefits(found):
        out.print(benefit.line)
    if detailed:
        for one in found:
            _print_details(out, one)
    for one in found:
        if one.note:
            print(f"{one.names[0]}: {one.note}", file=sys.stderr)
    for pair in refused:
        print(f"{pair.setting}: {pair.reference} and {pair.other} cannot be compared: {pair.reason}", file=sys.stderr)


def _print_group(out: Console, title: str, group: Sequence[Comparison], effects: Sequence[float] | None) -> None:
    from mmad.analysis.comparison import (
        ADDING_SEEDS,
        PairStatistics,
        checkpoint_words,
        plan_words,
        pooled_words,
        spread_words,
    )
    from mmad.report.tables import (
        external_pairs_table,
        interactions_table,
        measures_table,
        pairs_table,
        reader_verdicts_table,
    )
    from mmad.report.writers.tables import print_table

    known = [(one, one.statistics or PairStatistics()) for one in group]
    briefly = [(_brief(one), found) for one, found in known]
    print_table(out, pairs_table(briefly), title)
    print_table(out, measures_table(briefly))
    if any(found.external for _, found in known):
        external = external_pairs_table(briefly)
        print_table(out, external, f"{external.title}. {external.note}")
    if any(found.interactions for _, found in known):
        parts = interactions_table(briefly)
        print_table(out, parts, f"{parts.title} {parts.note}")
    if any(found.by_reader for _, found in known):
        readers = reader_verdicts_table(briefly)
        print_table(out, readers, f"{readers.title}. {readers.note}")
    for one, found in known:
        reference, other = one.names
        lines = [f"{other} minus {reference}: {one.sentence}{f' {one.design}.' if one.design else ''}"]
        if not one.sign_depends:
            lines.append(checkpoint_words(one))
        if found.difference is not None:
            lines += [spread_words(found.difference), *plan_words(found.difference, effects or one.effects)]
        lines.append(pooled_words(one, found))
        for line in filter(None, lines):
            out.print(line)
    if any(
        len(one.pairs) > 1 and one.verdict == "not settled" and one.looks is None and not one.folds for one in group
    ):
        out.print(ADDING_SEEDS)
    out.print()


def _brief(one: Comparison) -> Comparison:
    """The same, named for the heads of a table: without the parts of their paths in which both agree."""
    paths = one.reference.split("/"), one.other.split("/")
    same = next((n for n, (a, b) in enumerate(zip(*paths, strict=False)) if a != b), 0)
    reference, other = ("/".join(path[same:]) for path in paths)
    return replace(one, reference=reference, other=other)


def _print_details(out: Console, comparison: Comparison) -> None:
    from mmad.report.tables import agreement_table, pair_findings_table, studies_table
    from mmad.report.writers.tables import print_table

    known = comparison.statistics
    if known is None or known.difference is None or (same := known.agreement) is None:
        return
    print_table(out, pair_findings_table([(_brief(comparison), known)]))
    print_table(out, agreement_table(same))
    if same.studies:
        print_table(out, studies_table(same))


# ``mmad eval``: kept checkpoints with intervals, at score thresholds, under any protocol.


HELP = """Evaluate kept checkpoints: AP and AR with intervals, score thresholds, FROC, confusion, calibration.

RUN is an ablation, ablation/setting/arm, which means all its seeds, or the beginning of a run's key. Intervals are 95 %
over whole patients, left out one after the other; fewer than 10 patients give none. Everything is computed from
the kept detections, once, and cached in the database; runs with a mask head have AP and AR of their masks, too.
--proposals with one that was not kept, --on and --again run the network.

--on DIR evaluates on all studies of another data set, standardised by the run's training split: labels are the same by
name or by --map, clinical columns by name and unit. The operating point stays the one of the run's own validation. An
ablation is evaluated on the data sets that its file declares as [[external]], too.

--ensemble evaluates all seeds of each setting and arm together, their boxes fused (weighted box fusion, equal weights);
with --on those of all folds, too. It is a detector of its own, never the estimand, and takes no verdict. Masks are not
fused.

--by COLUMN divides the split by a clinical column (ages at 40 and 65, other numbers into thirds) or by source.

--by-reader says what readers find of each other's boxes, on images that several have read, and the detector beside
them, at its operating point.

--json prints {"runs": [{key, ablation, setting, arm, seed, checkpoint, epoch, split, overlap, threshold,
max_detections, proposals, outside, ensemble, images, patients, ap, ar, per_class, thresholds, froc, confusion,
calibration, diagnosis, subgroups, readers, coco, masks}]}, one object per run, overlap and protocol; ap and ar are
{value, low, high, patients}.
"""


def evaluate(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN", help="Ablations, ablation/setting/arm[/seed], or a key's beginning.")
    ],
    split: SplitOption = "test",
    checkpoint: CheckpointOption = None,
    score_thresholds: Annotated[
        str, typer.Option("--score-thresholds", metavar="S,S,...", help="Scores to cut the detections at.")
    ] = "0.05,0.1,0.3",
    overlap: Annotated[
        str | None, typer.Option("--overlap", metavar="iou,iobb", help="Default: what the member asked for.")
    ] = None,
    proposals: Annotated[
        str | None,
        typer.Option(
            "--proposals",
            metavar="clean,sampled,with_ground_truth",
            help="Whose proposals; default: what the member asked for. Re-runs inference for what was not kept.",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Re-run inference even for what was kept.")] = False,
    false_positives: Annotated[
        float,
        typer.Option(
            "--false-positives",
            metavar="R",
            help="False positives per validation image; sets the score from which a box counts.",
        ),
    ] = 0.5,
    coco: Annotated[bool, typer.Option("--coco", help="Add COCO's twelve figures.")] = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="Add the table of findings.")] = False,
    by: ByOption = None,
    by_reader: ByReaderOption = False,
    ensemble: EnsembleOption = False,
    on: Annotated[
        Path | None, typer.Option("--on", metavar="DIR", help="All studies of another data set instead.")
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="THEIRS=OURS", help="With --on: a label of it is a finding of the run."),
    ] = None,
    device: RerunDeviceOption = "auto",
    data: MovedDataOption = None,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.analysis.cached_statistics import has_masks
    from mmad.analysis.evaluation_json import plain_evaluation
    from mmad.analysis.evaluation_target import DetectionStore, ensemble_note, ensemble_of, evaluation_target
    from mmad.analysis.external import outside_target
    from mmad.evaluation.operating_points import check_scores

    scores = numbers("--score-thresholds", score_thresholds)
    check_scores(scores)
    mapped = _label_map(maps or (), on, split)
    options = [_options(split, checkpoint, o, p) for p in listed(proposals) for o in listed(overlap)]
    detections = DetectionStore(data)
    left_out: list[str] = []
    with open_store(db) as store:
        found = _groups(store, runs, ensemble=ensemble, across_folds=on is not None)
        wholes = [[evaluation_target(store, one, asked) for one in group] for asked in options for group in found]
        if on is not None:
            wholes = [[outside_target(store, detections, one, on, mapped) for one in whole] for whole in wholes]
        elif split == "test" and not ensemble:
            there, left_out = _declared(store, detections, runs, [one for (one,) in wholes])
            wholes += [[one] for one in there]
        targets = [one for whole in wholes for one in whole]
        made = [ensemble_of(whole) for whole in wholes] if ensemble else targets
        outside = [one.outside for one in targets if one.outside is not None]
        for line in dict.fromkeys(f"{on or one.name}: {note}" for one in outside for note in one.notes):
            print(line, file=sys.stderr)
        seen = set()
        for one in targets:
            wanted = proposals is not None or one.outside is not None
            if one.file not in seen and (again or (wanted and not one.file.exists())):
                rerun_inference(store, detections, one, device, progress_bar)
            seen.add(one.file)
        done = []
        for one in made:
            asked = (store, detections, one, scores)
            readers = by_reader and (on is not None or one.outside is None)
            rate = false_positives
            done.append(evaluation_of(*asked, coco=coco, false_positives=rate, by=by or (), by_reader=readers))
            if one.seeds and has_masks(one):
                print(f"{one.name}: masks are not fused", file=sys.stderr)
            elif done[-1].masks is None and has_masks(one) and one.outside is None:
                print(f"{one.name}: its masks are not kept; make them with `{one.remake()}`", file=sys.stderr)
    if as_json:
        print_json(
            {
                "runs": [
                    plain_evaluation(
                        e.target, e.measured, e.profile, e.coco, e.masks, e.diagnosis, e.subgroups, e.readers
                    )
                    for e in done
                ]
            }
        )
    else:
        _print_evaluations(done, per_class=per_class)
        for note in dict.fromkeys(ensemble_note(one) for one in made if one.seeds):
            console().print(note)
    for problem in left_out:
        print(f"mmad: not evaluated on external data: {problem}", file=sys.stderr)
    if left_out:
        raise typer.Exit(2)


def _groups(store: Store, names: Sequence[str], *, ensemble: bool, across_folds: bool) -> list[list[FoundRun]]:
    """The runs that are named, each by itself or an arm's seeds together, ``across_folds`` those of all folds."""
    from mmad.store.lookup import find_ensembles, find_runs

    if ensemble:
        return [group for name in names for group in find_ensembles(store, name, across_folds=across_folds)]
    return [[one] for one in {one.run.key: one for name in names for one in find_runs(store, name)}.values()]


def _declared(
    store: Store, detections: DetectionStore, names: Sequence[str], targets: Sequence[EvaluationTarget]
) -> tuple[list[EvaluationTarget], list[str]]:
    """``targets`` on the external data sets that the named ablations' files declare, and why some are left out."""
    from mmad.analysis.external import declared_targets
    from mmad.config.ablation_file import external_tables
    from mmad.store.lookup import is_ablation, named_ablation

    files = {one.name: one for one in store.ablations()}
    found: list[EvaluationTarget] = []
    left_out: dict[str, None] = {}
    for name in (named_ablation(store, name) for name in names if is_ablation(store, name)):
        tables = external_tables(files[name].source, files[name].path)
        for own in (one for one in targets if one.member is not None and one.member.ablation == name):
            there, refused = declared_targets(store, detections, own, tables)
            found += there
            left_out |= dict.fromkeys(map(str, refused))
    return found, list(left_out)


def _label_map(maps: Sequence[str], on: Path | None, split: str) -> dict[str, str]:
    """``THEIRS=OURS`` as labels; EvaluationError for words of another form, and for what does not go with --on."""
    if on is None and maps:
        raise EvaluationError("maps labels of no data set", where="--map", hint="name it with --on DIR")
    if on is not None and split != "test":
        what = "all studies of the other data set are evaluated, whatever their split"
        raise EvaluationError(what, where="--on", hint="leave --split out")
    for words in maps:
        if not all(words.partition("=")[::2]):
            raise EvaluationError(f"{words!r} is not THEIRS=OURS", where="--map", hint="such as --map Mass=Nodule")
    return {theirs: ours for theirs, _, ours in (words.partition("=") for words in maps)}


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


def _evaluated(target: EvaluationTarget, name: str, **found: Any) -> EvaluatedRun:
    """What was found of a target, for the report's tables."""
    from mmad.analysis.verdicts import RunStatistics
    from mmad.report.tables import EvaluatedRun

    member, key = target.member, "" if target.seeds else short_key(target.run.key)
    who: tuple[str | int | None, ...] = (None,) * 5
    if member is not None:
        seed = (None, None) if target.seeds else (member.seed, member.replicate)
        who = (member.ablation, member.setting, member.arm, *seed)
    coco, stats = found.pop("coco", None), RunStatistics(target.checkpoint.kind, **found)
    epoch = None if target.seeds else target.checkpoint.epoch
    return EvaluatedRun((*who, key), name, "", target.protocol, stats, epoch, coco)


def _print_evaluation_group(out: Console, title: str, group: Sequence[Evaluation], per_class: bool) -> None:
    from mmad.report import tables
    from mmad.report.writers.tables import print_table

    size = group[0].measured
    words = f"{plural(size.images, 'image')} of {plural(size.patients, 'patient')}"
    runs = [
        _evaluated(
            e.target,
            name,
            measured=e.measured,
            profile=e.profile,
            masks=e.masks,
            coco=e.coco,
            diagnosis=e.diagnosis,
            subgroups=e.subgroups,
            readers=e.readers,
        )
        for name, e in zip(_heads_of([e.target for e in group]), group, strict=True)
    ]
    whole = "" if per_class else "_brief"
    whole_names = [replace(run, name=e.name) for run, e in zip(runs, group, strict=True)]
    print_table(out, tables.evaluation_table(whole_names), f"{title} ({words})")
    print_table(out, tables.thresholds_table(runs))
    print_table(out, tables.froc_table(runs, brief=whole))
    for run in runs:
        confusion = tables.confusion_table([run]).without("_run")
        title = f"{run.name}: true (rows) against detected, score ≥ {confusion.frame['score'].iloc[0]:g}"
        print_table(out, confusion, title)
    for run in runs:
        made = [tables.detected_table([run], brief=whole)]
        made += [tables.boxes_table([run]), tables.image_scores_table([run])] if per_class else []
        for table in made:
            print_table(out, table.without("_run"), f"{run.name}: {table.title}. {table.note}")
    if any(run.stats.subgroups for run in runs):
        parts = tables.subgroups_table(runs)
        print_table(out, parts, f"{parts.title}. {parts.note}")
    for run in runs:
        if run.stats.readers is not None:
            readers = tables.readers_table([run]).without("_run")
            print_table(out, readers, f"{run.name}: {readers.title}. {readers.note}")
    errors = tables.errors_table(runs, across="_run").without("_run")
    print_table(out, errors, f"{errors.title}. {errors.note}")
    if per_class:
        print_table(out, tables.classes_table(runs))
    if any(run.stats.masks for run in runs):
        print_table(out, tables.masks_table(runs, brief=whole))
    if group[0].coco is not None:
        print_table(out, tables.coco_table(runs, across="_run").without("_run"))


# ``mmad controls``: what a run's AP loses without a clinical column, the right record, the image.


CONTROLS_HELP = """Measure what a run relies on: inference of its stored checkpoint with part of its input altered.

Each clinical column is permuted among the studies, then whole clinical records are, then every image is
blanked. The drop in AP is the mean over the repeats, its 95 % interval from resamples of whole patients. Cached
in the database: a second call computes nothing.

--missing takes clinical values away instead, more and more of them (--shares): at random, by another column (age), by
the view, by the value itself, whole columns, whole records. What is missing is the same for every arm and seed, each
share contains the smaller ones, and there are 10 draws or more.

--table measures what the clinical values alone say of each finding: area under the ROC curve (AUROC) of whole
images, by the run's best detection, by a logistic regression and by boosting of the clinical values (scikit-learn),
both fitted on the training split. Nothing is altered, and no network runs.

--json prints what mmad eval prints about the run (of an ablation: a list, one object a run; key ... proposals), with
--table the table: [{label, images, positives, run, logistic, boosting}], else resamples, and controls: [{kind (column,
records, image, missing), column, mechanism and share (of missing alone), repeats, before, after, ap, ar, per_class,
words}]; ap and ar are the drop as {value, low, high}.
"""


def controls(
    context: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="An ablation, ablation/setting/arm[/seed], or a key's beginning.")
    ],
    split: SplitOption = "test",
    checkpoint: CheckpointOption = None,
    repeats: Annotated[int, typer.Option("--repeats", metavar="N", help="Draws of each alteration.")] = 5,
    missing: Annotated[
        str | None,
        typer.Option(
            "--missing",
            metavar="all|random,column,view,value,columns,records",
            help="Measure what missing clinical values cost, by these mechanisms.",
        ),
    ] = None,
    shares: Annotated[
        str, typer.Option("--shares", metavar="S,...", help="Shares of the values that --missing takes away.")
    ] = "0.1,0.3,0.5,0.7,0.9",
    table: Annotated[
        bool, typer.Option("--table", help="Ask what the clinical table says of each finding without the image.")
    ] = False,
    resamples: ResamplesOption = 1000,
    device: RerunDeviceOption = "auto",
    data: MovedDataOption = None,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.analysis.evaluation_json import plain_controls
    from mmad.analysis.evaluation_target import DetectionStore, evaluation_target
    from mmad.analysis.input_controls import (
        alteration_words,
        controls_of,
        meaning,
        missing_alterations,
        unclinical,
    )
    from mmad.report.tables import controls_table, missing_by_arm, missingness_table
    from mmad.report.writers.tables import print_table
    from mmad.store.lookup import find_run, find_runs, is_ablation

    if table:
        refuse_idle(
            context, "leave it out: --table alters nothing", "repeats", "missing", "shares", "device", "resamples"
        )
        _print_clinical_table(run, _options(split, checkpoint), data, db, as_json=as_json)
        return
    if missing is None:
        refuse_idle(context, "add --missing, or leave it out", "shares")
    wanted = numbers("--shares", shares)
    options = _options(split, checkpoint, resamples=resamples)
    detections = DetectionStore(data)
    found: list[tuple[EvaluationTarget, list[Control]]] = []
    with open_store(db) as store:
        several = is_ablation(store, run)
        runs = find_runs(store, run) if several else [find_run(store, run)]
        targets = [evaluation_target(store, one, options) for one in runs]
        if several and missing is not None:  # what reads no clinical data misses nothing
            targets = [target for target in targets if not unclinical([target])] or targets
        for target in targets:
            asked = None if missing is None else missing_alterations(detections, target, missing, wanted)
            if unclinical([target]):
                print(
                    f"{target.name} reads no clinical data: only its image can be altered; "
                    "for the other controls name a run with use_clinical = true",
                    file=sys.stderr,
                )
            infer = altered_inference(store, detections, target, device)
            with progress_bar(f"{target.name}: inference on altered data") as progress:
                made = controls_of(
                    store, detections, target, infer, asked=asked, repeats=repeats, options=options, progress=progress
                )
            found.append((target, made))
    if as_json:
        plain = [plain_controls(target, made, options) for target, made in found]
        print_json(plain if several else plain[0])
        return
    out = console()
    for target, made in found:
        shown = (controls_table if missing is None else missingness_table)(
            [_evaluated(target, target.name, controls=tuple(made))]
        )
        print_table(out, shown.without("_run", "meaning"), f"{target.name}: {protocol_line(target)}")
        for control in made:
            out.print(f"{alteration_words(control.alteration)}: {meaning(control)}")
    if several and missing is not None:
        arms = missing_by_arm([_evaluated(target, target.name, controls=tuple(made)) for target, made in found])
        if arms.rows:
            print_table(out, arms, f"{arms.title}. {arms.note}")


def _print_clinical_table(run: str, options: EvaluationOptions, data: Path | None, db: str, *, as_json: bool) -> None:
    from mmad.analysis.clinical_table import table_auroc
    from mmad.analysis.evaluation_json import plain_clinical_table
    from mmad.analysis.evaluation_target import DetectionStore, evaluation_target
    from mmad.report.tables import clinical_table
    from mmad.report.writers.tables import print_table
    from mmad.store.lookup import find_run, find_runs, is_ablation

    detections = DetectionStore(data)
    with open_store(db) as store:
        several = is_ablation(store, run)
        found = find_runs(store, run) if several else [find_run(store, run)]
        targets = [evaluation_target(store, one, options) for one in found]
        tables = [table_auroc(store, detections, target) for target in targets]
    if as_json:
        plain = [plain_clinical_table(*one) for one in zip(targets, tables, strict=True)]
        print_json(plain if several else plain[0])
        return
    for target, rows in zip(targets, tables, strict=True):
        made = clinical_table([(_evaluated(target, target.name), rows)])
        print_table(console(), made.without("_run"), f"{target.name}: {protocol_line(target)}. {made.note}")


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to ``app``."""
    app.command("compare", help=COMPARE_HELP)(compare)
    app.command("eval", help=HELP)(evaluate)
    app.command("controls", help=CONTROLS_HELP)(controls)
