"""``mmad controls``: what a run's AP loses without a clinical column, the right record, the image."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json, progress_bar
from mmad.cli.judging import (
    CheckpointOption,
    DeviceOption,
    MovedDataOption,
    ResamplesOption,
    SplitOption,
    altered_looks,
    checkpoint_of,
    open_to_keep,
    split_of,
)

HELP = """Ask what a run relies on: its kept checkpoint looks at the split with something altered.

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
    from mmad.cli.eval_tables import add_row, new_table, protocol_line, show
    from mmad.cli.reading import console
    from mmad.report.controls import controls_of, unclinical
    from mmad.report.judged import Archive, How, judge
    from mmad.report.plain import plain_controls
    from mmad.report.verdicts import alteration_words, interval, meaning
    from mmad.report.words import decimal
    from mmad.store.find import find_run

    how = How(split_of(split), checkpoint_of(checkpoint), resamples=resamples)
    archive = Archive(data)
    with open_to_keep(db) as store:
        judged = judge(store, find_run(store, run), how)
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


def register(app: typer.Typer) -> None:
    """Adds ``mmad controls`` to ``app``."""
    app.command("controls", help=HELP)(controls)
