"""``mmad eval``, ``compare`` and ``controls``: their options, and inference where that cannot be avoided."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from mmad.base.errors import EvaluationError
from mmad.cli.options import DEFAULT_DB, DatabaseOption, JsonOption, print_json, progress_bar
from mmad.cli.output import open_store
from mmad.config.protocol import Overlap, Proposals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from mmad.analysis.comparison import Comparison, NotComparable
    from mmad.analysis.controls import Alteration, Inference
    from mmad.analysis.targets import DetectionStore, EvaluationTarget
    from mmad.base.records import CheckpointKind, Detections, Split
    from mmad.store.store import Store
    from mmad.training.inference import InferenceRunner


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
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where inference is re-run.")
]
#: Not the variable MMAD_DATA: the runs know their data set.
MovedDataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Where the runs' data set lies now, if it was moved.", show_default=False
    ),
]
_OVERLAPS, _PROPOSALS = get_args(Overlap), get_args(Proposals)


def split_of(word: str) -> Split:
    """``val`` or ``test``. EvaluationError for another word."""
    return cast("Split", _one_of("--split", word, ("val", "test")))


def checkpoint_of(word: str | None) -> CheckpointKind | None:
    """The kind of checkpoint, or None. EvaluationError for another word."""
    kinds = ("best_ap", "best_ar", "final")
    return None if word is None else cast("CheckpointKind", _one_of("--checkpoint", word, kinds))


def overlap_of(word: str | None, option: str = "--overlap") -> Overlap | None:
    """One overlap, or None. EvaluationError for another word."""
    return None if word is None else cast(Overlap, _one_of(option, word, _OVERLAPS))


def proposals_of(word: str | None) -> Proposals | None:
    """One protocol of proposals, or None. EvaluationError for another word."""
    return None if word is None else cast(Proposals, _one_of("--protocol", word, _PROPOSALS))


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


def _one_of(option: str, word: str, known: Sequence[str]) -> str:
    from mmad.config.messages import did_you_mean

    if word not in known:
        raise EvaluationError(f"unknown word {word!r}", where=option, hint=did_you_mean(word, known))
    return word


def open_to_cache(database: str) -> Store:
    """The store, to cache what is computed; for reading only where it cannot be written."""
    from mmad.base.paths import StorePaths
    from mmad.store.store import Store

    file = StorePaths(database).file
    if file is not None and file.exists() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        return open_store(database)
    return Store.open(database, create=False)


def rerun_inference(store: Store, detections: DetectionStore, target: EvaluationTarget, device: str) -> None:
    """Make the detections again and keep them with their AP and AR."""
    from mmad.analysis.metrics import keep_detections

    detections.truth(target)  # refuses before the network is built
    runner = _runner(store, detections, target, device)
    file = runner.run.folder / target.checkpoint.path
    proposals = target.protocol.proposals
    with progress_bar(f"{target.name}: inference on {target.split}, {proposals} proposals") as progress:
        found = runner.detections(file, target.split, proposals=proposals, report=progress)
    keep_detections(store, detections, target, found)


def altered_inference(store: Store, detections: DetectionStore, target: EvaluationTarget, device: str) -> Inference:
    """The network of ``target``, built when it is first run."""
    runners: list[InferenceRunner] = []

    def infer(alteration: Alteration | None, seed: int) -> Detections:
        from mmad.training.inference import AS_IT_IS, InputAlteration

        if not runners:
            runners.append(_runner(store, detections, target, device))
        change = AS_IT_IS
        if alteration is not None:
            columns = (alteration.name,) if alteration.kind == "column" else ()
            change = InputAlteration(columns, alteration.kind == "records", alteration.kind == "image", seed)
        file = runners[0].run.folder / target.checkpoint.path
        return runners[0].detections(file, target.split, proposals=target.protocol.proposals, change=change)

    return infer


def _runner(store: Store, detections: DetectionStore, target: EvaluationTarget, device: str) -> InferenceRunner:
    from mmad.scheduler.devices import find_slots
    from mmad.scheduler.worker import run_spec

    place = next(iter(find_slots(device).devices), "cpu")
    spec = run_spec(target.run, detections.data)
    from mmad.training.inference import InferenceRunner

    return InferenceRunner(spec, dataset_path=Path(spec.data.path), run=store.run_paths(target.run.key), device=place)


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
    from mmad.analysis.targets import DetectionStore, EvaluationOptions

    named = runs or []
    if len(named) != (2 if ablation is None else 0):
        hint = "name two (mmad compare RUN_A RUN_B), or an ablation (mmad compare --ablation NAME)"
        raise EvaluationError(f"{len(named)} runs to compare", where="compare", hint=hint)
    options = EvaluationOptions(
        split_of(split), checkpoint_of(checkpoint), overlap_of(overlap), proposals_of(protocol), resamples
    )
    same = AgreementOptions(
        agreement_score, overlap_of(agreement_overlap, "--agreement-overlap") or "iou", agreement_threshold
    )
    detections = DetectionStore(data)
    refused: list[NotComparable] = []
    with open_to_cache(db) as store:
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
    from mmad.cli.output import conditions_line, console

    out = console()
    groups: dict[str, list[Comparison]] = {}
    for one in found:
        groups.setdefault(conditions_line(one.conditions[0]), []).append(one)
    for title, group in groups.items():
        _print_group(out, title, group)
    if detailed:
        for one in found:
            _print_details(out, one)
    for one in found:
        if one.note:
            print(f"{one.names[0]}: {one.note}", file=sys.stderr)
    for pair in refused:
        print(f"{pair.setting}: {pair.other} and {pair.reference} cannot be compared: {pair.reason}", file=sys.stderr)


def _print_group(out: Console, title: str, group: Sequence[Comparison]) -> None:
    from mmad.analysis.comparison import PairStatistics, spread_words
    from mmad.base.formatting import DASH, interval, p_value
    from mmad.cli.output import add_row, new_table, show

    heads = ("seeds", "reference AP", "other AP", "AP difference [95 %]", "AR difference [95 %]", "p", "p (Holm)")
    table = new_table("reference", "other", *heads, left=2)
    lines = []
    for one in group:
        known = one.statistics or PairStatistics()
        sides = [interval(side.estimate.ap) if side else DASH for side in (known.reference, known.other)]
        tests = [DASH] * 4
        if (difference := one.difference) is not None:
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
    from mmad.base.formatting import decimal, interval
    from mmad.cli.output import add_row, new_table, show

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
bootstrap percentiles over whole patients. Everything is computed from the kept detections, once, and cached in
the database; runs with a mask head have AP and AR of their masks, too. --protocol with one that was not kept,
and --again, re-run inference.

--json prints {"runs": [{key, ablation, setting, arm, seed, checkpoint, epoch, split, overlap, threshold,
max_detections, proposals, images, patients, resamples, ap, ar, per_class, thresholds, froc, confusion,
calibration, coco, masks}]}, one object per run, overlap and protocol; ap and ar are {value, low, high}.
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
    resamples: ResamplesOption = 1000,
    coco: Annotated[bool, typer.Option("--coco", help="Add COCO's twelve figures.")] = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="Add the table of findings.")] = False,
    device: DeviceOption = "auto",
    data: MovedDataOption = None,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.analysis.json import plain_evaluation
    from mmad.analysis.metrics import coco_of, estimate_of, has_masks, masks_of, note_evaluation, profile_of
    from mmad.analysis.targets import DetectionStore, EvaluationOptions, evaluation_target
    from mmad.cli.output import Evaluated, print_evaluated
    from mmad.evaluation.operating_points import check_scores
    from mmad.store.lookup import find_seeds

    scores = numbers("--score-thresholds", score_thresholds)
    check_scores(scores)
    options = [
        EvaluationOptions(split_of(split), checkpoint_of(checkpoint), overlap_of(o), proposals_of(p), resamples)
        for p in listed(protocol)
        for o in listed(overlap)
    ]
    detections = DetectionStore(data)
    with open_to_cache(db) as store:
        found = {one.run.key: one for name in runs for one in find_seeds(store, name)}
        targets = [evaluation_target(store, one, asked) for asked in options for one in found.values()]
        seen = set()
        for one in targets:
            if one.file not in seen and (again or (protocol is not None and not one.file.exists())):
                rerun_inference(store, detections, one, device)
            seen.add(one.file)
        done = []
        for one in targets:
            measured = estimate_of(store, detections, [one], options[0])
            figures = coco_of(store, detections, one) if coco else None
            profile = profile_of(store, detections, one, scores, options[0])
            masks = masks_of(store, detections, one, options[0])
            done.append(Evaluated(one, measured, profile, figures, masks))
            if masks is None and has_masks(one):
                print(f"{one.name}: its masks are not kept; make them with `{one.remake()}`", file=sys.stderr)
            note_evaluation(store, detections, one)
    if as_json:
        print_json(
            {"runs": [plain_evaluation(e.target, e.measured, e.profile, e.coco, e.masks, options[0]) for e in done]}
        )
    else:
        print_evaluated(done, per_class=per_class)


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
    device: DeviceOption = "auto",
    data: MovedDataOption = None,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.analysis.controls import alteration_words, controls_of, meaning, unclinical
    from mmad.analysis.json import plain_controls
    from mmad.analysis.targets import DetectionStore, EvaluationOptions, evaluation_target
    from mmad.base.formatting import decimal, interval
    from mmad.cli.output import add_row, console, new_table, protocol_line, show
    from mmad.store.lookup import find_run

    options = EvaluationOptions(split_of(split), checkpoint_of(checkpoint), resamples=resamples)
    detections = DetectionStore(data)
    with open_to_cache(db) as store:
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
