"""``mmad compare``: two arms, or every pair of an ablation: difference, interval, test, verdict."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.base.errors import EvaluationError
from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json, progress_bar
from mmad.cli.judging import (
    CheckpointOption,
    MovedDataOption,
    ResamplesOption,
    SplitOption,
    checkpoint_of,
    open_to_keep,
    overlap_of,
    proposals_of,
    split_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from mmad.report.contrasts import Contrast, Uncompared

HELP = """Compare two runs, or every pair of an ablation, on the same images: the other less the reference.

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
    from mmad.report.analysis import Agreeing
    from mmad.report.contrasts import contrast, contrasts_of
    from mmad.report.judged import Archive, How
    from mmad.report.plain import plain_contrasts

    named = runs or []
    if len(named) != (2 if ablation is None else 0):
        mend = "name two (mmad compare RUN_A RUN_B), or an ablation (mmad compare --ablation NAME)"
        raise EvaluationError(f"{len(named)} runs to compare", where="compare", mend=mend)
    how = How(split_of(split), checkpoint_of(checkpoint), overlap_of(overlap), proposals_of(protocol), resamples)
    same = Agreeing(agreement_score, overlap_of(agreement_overlap, "--agreement-overlap") or "iou", agreement_threshold)
    archive = Archive(data)
    refused: list[Uncompared] = []
    with open_to_keep(db) as store:
        if ablation is not None:
            with progress_bar(f"comparing the pairs of {ablation}") as progress:
                found, refused = contrasts_of(store, archive, ablation, how, progress, same)
        else:
            found = [contrast(store, archive, named[0], named[1], how, same)]
    if as_json:
        print_json(plain_contrasts(found, refused, how))
        return
    _print(found, refused, detailed=ablation is None)


def _print(found: Sequence[Contrast], refused: Sequence[Uncompared], *, detailed: bool) -> None:
    from mmad.cli.eval_tables import protocol_line
    from mmad.cli.reading import console

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


def _print_group(out: Console, title: str, group: Sequence[Contrast]) -> None:
    from mmad.cli.eval_tables import add_row, new_table, show
    from mmad.report.verdicts import interval, p_value, spread_words, verdict

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


def _print_details(out: Console, contrast: Contrast) -> None:
    from mmad.cli.eval_tables import add_row, new_table, show
    from mmad.report.verdicts import interval
    from mmad.report.words import decimal

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


def register(app: typer.Typer) -> None:
    """Adds ``mmad compare`` to ``app``."""
    app.command("compare", help=HELP)(compare)
