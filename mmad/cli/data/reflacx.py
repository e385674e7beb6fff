"""``mmad data reflacx``: the documented log's data set from the original distributions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.cli.common import JsonOption, print_json, progress_bar
from mmad.cli.data.common import OutOption, made_line, names

if TYPE_CHECKING:
    from mmad.data.reflacx.build import Built


def register(data: typer.Typer) -> None:
    @data.command("reflacx")
    def reflacx(
        reflacx: Annotated[Path, typer.Option("--reflacx", metavar="DIR", help="REFLACX 1.0.0, with main_data/.")],
        mimic_cxr_jpg: Annotated[
            Path, typer.Option("--mimic-cxr-jpg", metavar="DIR", help="MIMIC-CXR-JPG 2.0.0, with files/.")
        ],
        out: OutOption,
        mimic_iv: Annotated[
            Path | None,
            typer.Option("--mimic-iv", metavar="DIR", help="MIMIC-IV 1.x or 2.x, with hosp/ or core/."),
        ] = None,
        mimic_iv_ed: Annotated[
            Path | None, typer.Option("--mimic-iv-ed", metavar="DIR", help="MIMIC-IV-ED 1.0 or 2.x, with ed/.")
        ] = None,
        mode: Annotated[
            str,
            typer.Option(
                "--mode",
                metavar="unified|normal|full",
                help="A study is an image with all its readings, a reading, or a reading without clinical data.",
            ),
        ] = "unified",
        split: Annotated[
            str,
            typer.Option(
                "--split",
                metavar="patient|reflacx|documented",
                help="Whole patients 70/15/15, REFLACX's own, or by row as the documented log.",
            ),
        ] = "patient",
        split_seed: Annotated[
            int, typer.Option("--split-seed", metavar="N", help="Shuffles the rows of --split documented.")
        ] = 0,
        labels: Annotated[
            str | None,
            typer.Option("--labels", metavar="A,B", help="Findings, in order; left out: the log's five."),
        ] = None,
        phases: Annotated[
            str, typer.Option("--phases", metavar="1,2,3", help="Phases of REFLACX to take readings from.")
        ] = "1,2,3",
        without_stay: Annotated[
            str,
            typer.Option(
                "--without-stay", metavar="drop|keep", help="Readings without an ED stay; kept: no clinical data."
            ),
        ] = "drop",
        discarded: Annotated[
            str | None,
            typer.Option(
                "--discarded",
                metavar="drop|keep",
                help="Readings whose eye tracking was discarded; left out: kept in the mode full alone, as the log.",
            ),
        ] = None,
        images: Annotated[
            str,
            typer.Option(
                "--images", metavar="link|copy", help="Hard links where they can be made, else copies; or copies."
            ),
        ] = "link",
        as_json: JsonOption = False,
    ) -> None:
        """Build the documented log's data set from REFLACX, MIMIC-CXR-JPG, MIMIC-IV and MIMIC-IV-ED.

        Tables may be .csv or .csv.gz. Every reading that is left out is counted with its reason. MIMIC's licence
        covers what is made: it stays on this machine, and nothing that is printed holds a value of a patient.
        """
        from mmad.base.records import DOCUMENTED_LABELS
        from mmad.data.reflacx.build import build_reflacx
        from mmad.data.reflacx.choices import Choices, Sources

        choices = Choices(
            mode=mode,
            split=split,
            labels=DOCUMENTED_LABELS if labels is None else names(labels) or (),
            phases=_phases(phases),
            without_stay=without_stay,
            discarded=discarded,
            images=images,
            split_seed=split_seed,
        )
        with progress_bar(f"building {out}") as report:
            built = build_reflacx(Sources(reflacx, mimic_cxr_jpg, mimic_iv, mimic_iv_ed), out, choices, report)
        if as_json:
            print_json(_json(built))
        else:
            _print(built)


def _phases(words: str) -> list[int]:
    found = names(words) or []
    if not all(word.isdecimal() for word in found):
        raise typer.BadParameter("numbers separated by commas", param_hint="--phases")
    return [int(word) for word in found]


def _print(built: Built) -> None:
    from mmad.data.reflacx.counts import NOTES, REASONS

    counts, ellipses = built.counts, built.counts.ellipses
    typer.echo(f"{counts.readings} readings: {counts.kept} kept, {counts.readings - counts.kept} left out")
    for reason, readings in counts.dropped.items():
        if readings:
            typer.echo(f"{len(readings):7}  {REASONS[reason]}")
    typer.echo(f"{ellipses.rows} ellipses of the readings kept: {ellipses.drawn} drawn, as {ellipses.boxes} boxes")
    for count, words in (
        (ellipses.other_findings, "other findings only"),
        (ellipses.no_area, "no area inside the image"),
        (ellipses.duplicates, "row stands twice"),
        (ellipses.clipped, "of those drawn were clipped to the image"),
    ):
        if count:
            typer.echo(f"{count:7}  {words}")
    if any(counts.notes.values()):
        typer.echo("of what was kept:")
    for note, count in counts.notes.items():
        if count:
            typer.echo(f"{count:7}  {NOTES[note]}")
    typer.echo(f"{counts.linked} images linked, {counts.copied} copied; mode {built.dataset.mode}")
    typer.echo(f"{made_line(built.dataset)}; split policy {built.dataset.split_policy}")


def _json(built: Built) -> dict[str, Any]:
    """The stable form: every reason and note has its place, with 0 where it did not occur."""
    from dataclasses import asdict

    dataset, counts = built.dataset, built.counts
    return {
        "path": str(dataset.root),
        "mode": dataset.mode,
        "split_policy": dataset.split_policy,
        "studies": {split: len(dataset.split(split)) for split in ("train", "val", "test")},
        "readings": {
            "read": counts.readings,
            "kept": counts.kept,
            "left_out": {reason: {"count": len(ids), "readings": list(ids)} for reason, ids in counts.dropped.items()},
        },
        "ellipses": asdict(counts.ellipses),
        "notes": dict(counts.notes),
        "images": {"linked": counts.linked, "copied": counts.copied},
    }
