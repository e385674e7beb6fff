"""``mmad data show``: a contact sheet of a data set, to be looked at before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmad.cli.common import progress_bar
from mmad.cli.data.common import FolderArgument


def register(data: typer.Typer) -> None:
    @data.command("show")
    def show(
        folder: FolderArgument,
        studies: Annotated[
            list[str] | None, typer.Argument(metavar="STUDY...", help="Ids; left out: spread over all.")
        ] = None,
        out: Annotated[
            Path, typer.Option("--out", metavar="FILE", help="Ends with .png or .html; is replaced.")
        ] = Path("sheet.png"),
        split: Annotated[str | None, typer.Option("--split", metavar="NAME", help="Only train, val or test.")] = None,
        label: Annotated[str | None, typer.Option("--label", metavar="NAME", help="Only studies with this.")] = None,
        limit: Annotated[int, typer.Option("--limit", metavar="N", help="At most so many studies.")] = 24,
    ) -> None:
        """Draw a contact sheet: pictures with boxes, ids, splits, readings and clinical values.

        One PNG, or one HTML file that needs no network. It holds clinical values: keep it where the data are.
        """
        from mmad.data.dataset import load_dataset
        from mmad.data.sheet_files import write_sheet

        dataset = load_dataset(folder)
        with progress_bar(f"drawing {out}") as report:
            sheet = write_sheet(
                dataset, out, studies=studies or (), split=split, label=label, limit=limit, progress=report
            )
        typer.echo(f"{out}: {len(sheet.positions)} of {len(dataset.studies)} studies")
