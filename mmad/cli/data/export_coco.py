"""``mmad data export coco``: a data set as one COCO detection file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmad.cli.data.common import FolderArgument


def register(exporting: typer.Typer) -> None:
    @exporting.command("coco")
    def export_coco_file(
        folder: FolderArgument,
        out: Annotated[Path, typer.Option("--out", metavar="FILE.json", help="File to write; must not be there yet.")],
    ) -> None:
        """Write a data set as one COCO detection file.

        The images stay where they are. Split, patient, reading, certainty and clinical values stand under keys of
        their own, so that mmad data import coco gives the same data set again.
        """
        from mmad.data.coco_export import export_coco
        from mmad.data.dataset import load_dataset

        dataset = load_dataset(folder)
        export_coco(dataset, out)
        typer.echo(f"{out}: {len(dataset.studies)} images, {len(dataset.boxes)} annotations; images in {folder}")
