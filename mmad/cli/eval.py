"""``mmad eval``: kept checkpoints with intervals, at score thresholds, under any protocol."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json
from mmad.cli.judging import (
    CheckpointOption,
    DeviceOption,
    MovedDataOption,
    ResamplesOption,
    SplitOption,
    checkpoint_of,
    listed,
    look_again,
    numbers,
    open_to_keep,
    overlap_of,
    proposals_of,
    split_of,
)

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
    from mmad.cli.eval_tables import Evaluated, print_evaluated
    from mmad.evaluation.thresholds import check_scores
    from mmad.report.analysis import coco_of, estimate_of, profile_of
    from mmad.report.judged import Archive, How, judge
    from mmad.report.mask_figures import has_masks, masks_of
    from mmad.report.plain import plain_evaluation
    from mmad.report.recorded import note_evaluation
    from mmad.store.find import find_seeds

    scores = numbers("--score-thresholds", score_thresholds)
    check_scores(scores)
    hows = [
        How(split_of(split), checkpoint_of(checkpoint), overlap_of(o), proposals_of(p), resamples)
        for p in listed(protocol)
        for o in listed(overlap)
    ]
    archive = Archive(data)
    with open_to_keep(db) as store:
        found = {one.run.key: one for name in runs for one in find_seeds(store, name)}
        asked = [judge(store, one, how) for how in hows for one in found.values()]
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


def register(app: typer.Typer) -> None:
    """Adds ``mmad eval`` to ``app``."""
    app.command("eval", help=HELP)(evaluate)
