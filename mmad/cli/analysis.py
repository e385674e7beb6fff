"""What eval, compare and controls share: their options, and asking the network where that cannot be avoided."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast, get_args

import typer

from mmad.base.errors import EvaluationError
from mmad.cli.options import DEFAULT_DB, DatabaseOption, JsonOption, print_json, progress_bar
from mmad.cli.output import open_store
from mmad.config.protocol import Overlap, Proposals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from mmad.analysis.comparison import ArmComparison, NotComparable
    from mmad.analysis.controls import Alteration, Look
    from mmad.analysis.targets import DetectionStore, EvaluationTarget
    from mmad.base.records import CheckpointKind, Detections, Split
    from mmad.store.store import Store
    from mmad.training.inference import InferenceRunner


T = TypeVar("T")

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
    str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where the network looks again.")
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


def open_to_keep(database: str) -> Store:
    """The store, to keep what is computed; for reading only where it cannot be written."""
    from mmad.base.paths import StorePaths
    from mmad.store.store import Store

    file = StorePaths(database).file
    if file is not None and file.exists() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        return open_store(database)
    return Store.open(database, create=False)


def look_again(store: Store, archive: DetectionStore, judged: EvaluationTarget, device: str) -> None:
    """Make the detections again and keep them with their AP and AR."""
    from mmad.analysis.metrics import keep_detections

    archive.truth(judged)  # refuses before the network is built
    judge = _judge(store, archive, judged, device)
    file = judge.run.folder / judged.checkpoint.path
    with progress_bar(f"{judged.name}: looking at {judged.split}, {judged.protocol.proposals} proposals") as progress:
        found = judge.detections(file, judged.split, proposals=judged.protocol.proposals, report=progress)
    keep_detections(store, archive, judged, found)


def altered_looks(store: Store, archive: DetectionStore, judged: EvaluationTarget, device: str) -> Look:
    """The network of ``judged``, built when it is first asked to look."""
    judges: list[InferenceRunner] = []

    def look(alteration: Alteration | None, seed: int) -> Detections:
        from mmad.training.inference import UNALTERED, InputAlteration

        if not judges:
            judges.append(_judge(store, archive, judged, device))
        change = UNALTERED
        if alteration is not None:
            columns = (alteration.name,) if alteration.kind == "column" else ()
            change = InputAlteration(columns, alteration.kind == "records", alteration.kind == "image", seed)
        file = judges[0].run.folder / judged.checkpoint.path
        return judges[0].detections(file, judged.split, proposals=judged.protocol.proposals, alteration=change)

    return look


def _judge(store: Store, archive: DetectionStore, judged: EvaluationTarget, device: str) -> InferenceRunner:
    from mmad.scheduler.devices import find_slots
    from mmad.scheduler.worker import run_spec

    place = next(iter(find_slots(device).devices), "cpu")
    spec = run_spec(judged.run, archive.data)
    from mmad.training.inference import InferenceRunner

    return InferenceRunner(spec, dataset_path=Path(spec.data.path), run=store.run_paths(judged.run.key), device=place)


# ``mmad compare``: two arms, or every pair of an ablation: difference, interval, test, verdict.


COMPARE_HELP = """Compare two runs, or every pair of an ablation, on the same images: the other less the reference.

A RUN is the beginning of a run's key, or ablation/setting/arm, which means all its seeds; arms are compared
over the seeds that both have finished. Intervals are 95 % bootstrap percentiles over whole patients, with several
seeds widened by their spread. p covers seeds and patients, with one seed patients alone (a permutation test); for
an ablation it is adjusted over its pairs by Holm's method.

--json prints {"resamples", "pairs": [{setting, reference, other, seeds, checkpoint, split, overlap, threshold,
max_detections, proposals, images, patients, ap, ar, per_class, p, p_holm, p_patients, seed_share, sd, verdict,
words, needed, agreement, studies, note}], "refused": [{setting, reference, other, reason}]}.
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
        float, typer.Option("--agreement-score", metavar="S", help="Least score of detections held against each other.")
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
    from mmad.analysis.comparison import compare_ablation, compare_arms
    from mmad.analysis.json import plain_contrasts
    from mmad.analysis.metrics import AgreementOptions
    from mmad.analysis.targets import DetectionStore, EvaluationOptions

    named = runs or []
    if len(named) != (2 if ablation is None else 0):
        hint = "name two (mmad compare RUN_A RUN_B), or an ablation (mmad compare --ablation NAME)"
        raise EvaluationError(f"{len(named)} runs to compare", where="compare", hint=hint)
    how = EvaluationOptions(
        split_of(split), checkpoint_of(checkpoint), overlap_of(overlap), proposals_of(protocol), resamples
    )
    same = AgreementOptions(
        agreement_score, overlap_of(agreement_overlap, "--agreement-overlap") or "iou", agreement_threshold
    )
    archive = DetectionStore(data)
    refused: list[NotComparable] = []
    with open_to_keep(db) as store:
        if ablation is not None:
            with progress_bar(f"comparing the pairs of {ablation}") as progress:
                found, refused = compare_ablation(store, archive, ablation, how, progress, same)
        else:
            found = [compare_arms(store, archive, named[0], named[1], how, same)]
    if as_json:
        print_json(plain_contrasts(found, refused, how))
        return
    _print(found, refused, detailed=ablation is None)


def _print(found: Sequence[ArmComparison], refused: Sequence[NotComparable], *, detailed: bool) -> None:
    from mmad.cli.output import console, protocol_line

    out = console()
    for title in dict.fromkeys(protocol_line(c.reference.runs[0]) for c in found):
        _print_group(out, title, [c for c in found if protocol_line(c.reference.runs[0]) == title])
    if detailed:
        for contrast in found:
            _print_details(out, contrast)
    for contrast in found:
        if contrast.note:
            print(f"{contrast.reference.name}: {contrast.note}", file=sys.stderr)
    for pair in refused:
        print(f"{pair.setting}, {pair.reference} against {pair.other}: {pair.reason}", file=sys.stderr)


def _print_group(out: Console, title: str, group: Sequence[ArmComparison]) -> None:
    from mmad.analysis.wording import interval, p_value, spread_words, verdict
    from mmad.cli.output import add_row, new_table, show

    heads = ("seeds", "reference AP", "other AP", "AP difference [95 %]", "AR difference [95 %]", "p", "p (Holm)")
    table = new_table("reference", "other", *heads, left=2)
    for c in group:
        sides = [interval(side.measured.estimate.ap) for side in (c.reference, c.other)]
        differences = [interval(value, sign=True) for value in (c.difference.ap, c.difference.ar)]
        tests = [p_value(c.difference.p), p_value(c.p_holm)]
        add_row(table, c.reference.name, c.other.name, str(c.difference.seeds), *sides, *differences, *tests)
    show(out, title, table)
    for c in group:
        out.print(f"{c.other.name} against {c.reference.name}: {verdict(c.difference)}", soft_wrap=True)
        if words := spread_words(c.difference):
            out.print(words, soft_wrap=True)
    out.print()


def _print_details(out: Console, contrast: ArmComparison) -> None:
    from mmad.analysis.wording import interval
    from mmad.base.formatting import decimal
    from mmad.cli.output import add_row, new_table, show

    table = new_table("finding", "AP difference [95 %]", "AR difference [95 %]")
    for label, ap, ar in contrast.difference.per_class:
        add_row(table, label, interval(ap, sign=True), interval(ar, sign=True))
    show(out, "Findings", table)
    table = new_table("finding", "both", "reference alone", "other alone", "agreement")
    for s in contrast.alike.shared:
        add_row(table, s.label, str(s.both), str(s.first), str(s.second), decimal(s.agreement))
    alike = contrast.alike
    show(out, f"Detections with score ≥ {alike.score:g}, the same from {alike.overlap} ≥ {alike.threshold:g} on", table)
    if contrast.alike.studies:
        table = new_table("study", "gain")
        for study, gain in contrast.alike.studies:
            add_row(table, study, f"{gain:+d}")
        show(out, "Studies that differ most (hits less false alarms, other less reference)", table)


def _register_compare(app: typer.Typer) -> None:
    """Adds ``mmad compare`` to ``app``."""
    app.command("compare", help=COMPARE_HELP)(compare)


# ``mmad eval``: kept checkpoints with intervals, at score thresholds, under any protocol.


HELP = """Judge kept checkpoints: AP and AR with intervals, score thresholds, FROC, confusion, calibration.

RUN is the beginning of a run's key, or ablation/setting/arm, which means all its seeds. Intervals are 95 %
bootstrap percentiles over whole patients. Everything is computed from the kept detections, once, and kept in
the database; runs with a mask head have AP and AR of their masks, too. --protocol with one that was not kept,
and --again, ask the network to look again.

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
            help="Whose proposals; left out: what the member asked for. Looks again at what was not kept.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Look again even at what was kept.")] = False,
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
    hows = [
        EvaluationOptions(split_of(split), checkpoint_of(checkpoint), overlap_of(o), proposals_of(p), resamples)
        for p in listed(protocol)
        for o in listed(overlap)
    ]
    archive = DetectionStore(data)
    with open_to_keep(db) as store:
        found = {one.run.key: one for name in runs for one in find_seeds(store, name)}
        asked = [evaluation_target(store, one, how) for how in hows for one in found.values()]
        seen = set()
        for one in asked:
            if one.file not in seen and (again or (protocol is not None and not one.file.exists())):
                look_again(store, archive, one, device)
            seen.add(one.file)
        done = []
        for one in asked:
            measured = estimate_of(store, archive, [one], hows[0])
            figures = coco_of(store, archive, one) if coco else None
            profile, masks = profile_of(store, archive, one, scores, hows[0]), masks_of(store, archive, one, hows[0])
            done.append(Evaluated(one, measured, profile, figures, masks))
            if masks is None and has_masks(one):
                print(f"{one.name}: its masks are not kept; make them with `{one.remake()}`", file=sys.stderr)
            note_evaluation(store, archive, one)
    if as_json:
        print_json(
            {"runs": [plain_evaluation(e.judged, e.measured, e.profile, e.coco, e.masks, hows[0]) for e in done]}
        )
    else:
        print_evaluated(done, per_class=per_class)


def _register_eval(app: typer.Typer) -> None:
    """Adds ``mmad eval`` to ``app``."""
    app.command("eval", help=HELP)(evaluate)


# ``mmad controls``: what a run's AP loses without a clinical column, the right record, the image.


CONTROLS_HELP = """Ask what a run relies on: its kept checkpoint looks at the split with something altered.

Each clinical column is dealt out anew among the studies, then whole clinical records are, then every image is
blanked. The drop in AP is the mean over the repeats, its 95 % interval from resamples of whole patients. Kept
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
    from mmad.analysis.controls import controls_of, unclinical
    from mmad.analysis.json import plain_controls
    from mmad.analysis.targets import DetectionStore, EvaluationOptions, evaluation_target
    from mmad.analysis.wording import alteration_words, interval, meaning
    from mmad.base.formatting import decimal
    from mmad.cli.output import add_row, console, new_table, protocol_line, show
    from mmad.store.lookup import find_run

    how = EvaluationOptions(split_of(split), checkpoint_of(checkpoint), resamples=resamples)
    archive = DetectionStore(data)
    with open_to_keep(db) as store:
        judged = evaluation_target(store, find_run(store, run), how)
        if unclinical([judged]):
            print(
                f"{judged.name} reads no clinical data: only its image can be altered; "
                "for the other controls name a run with use_clinical = true",
                file=sys.stderr,
            )
        look = altered_looks(store, archive, judged, device)
        with progress_bar(f"{judged.name}: looking at altered data") as progress:
            found = controls_of(store, archive, judged, look, repeats=repeats, how=how, progress=progress)
    if as_json:
        print_json(plain_controls(judged, found, how))
        return
    out = console()
    table = new_table("altered", "repeats", "AP as it is", "AP altered", "drop in AP [95 %]")
    for control in found:
        cost = control.drop
        figures = (decimal(cost.before), decimal(cost.after), interval(cost.ap, sign=True))
        add_row(table, alteration_words(control.alteration), str(cost.repeats), *figures)
    show(out, f"{judged.name}: {protocol_line(judged)}", table)
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
