"""``mmad data import coco``: a COCO detection file with its images, and clinical values joined to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.cli.common import progress_bar
from mmad.cli.data.common import OutOption, made_line, names
from mmad.cli.data.import_csv import CategoricalOption, DicomHeaderOption, LabelOption, NumericOption, UnitOption, units

if TYPE_CHECKING:
    from mmad.data.coco_import import CocoImport


def register(importing: typer.Typer) -> None:
    @importing.command("coco")
    def import_coco_file(
        annotations: Annotated[Path, typer.Argument(metavar="ANN.json", help="The COCO detection file.")],
        images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Folder below which the images are.")],
        out: OutOption,
        clinical: Annotated[
            Path | None, typer.Option("--clinical", metavar="CSV", help="Table of clinical values.", show_default=False)
        ] = None,
        on: Annotated[
            str | None,
            typer.Option(
                "--on",
                metavar="COLUMN",
                help="Column of --clinical that names the image: its file name, with or without ending, or its id.",
                show_default=False,
            ),
        ] = None,
        patient_column: Annotated[
            str | None,
            typer.Option("--patient-column", help="Column of --clinical with the patient's id.", show_default=False),
        ] = None,
        split_column: Annotated[
            str | None,
            typer.Option("--split-column", help="Column of --clinical with train, val or test.", show_default=False),
        ] = None,
        numeric: NumericOption = None,
        categorical: CategoricalOption = None,
        unit: UnitOption = None,
        dicom_header: DicomHeaderOption = False,
        label: LabelOption = None,
        name: Annotated[str | None, typer.Option("--name", help="Name; left out: the file's.")] = None,
        licence: Annotated[str | None, typer.Option("--licence", help="Licence; left out: the file's.")] = None,
    ) -> None:
        """Import a COCO detection file with its images.

        Crowd regions are left out and counted; an annotation without a bbox gets the box around its polygons.
        Patients and splits come from the table's columns, else from keys patient and split of each image, else every
        image is a patient of its own and whole patients are split 70/15/15.
        """
        from mmad.data.coco_import import ClinicalTable, import_coco

        table = None
        if clinical is not None:
            table = ClinicalTable(
                clinical, on, patient_column, split_column, names(numeric), names(categorical), units(unit)
            )
        else:
            _refuse_without_table(
                {
                    "--on": on,
                    "--patient-column": patient_column,
                    "--split-column": split_column,
                    "--numeric": numeric,
                    "--categorical": categorical,
                    "--unit": unit,
                }
            )
        with progress_bar(f"importing {annotations} to {out}") as report:
            made = import_coco(
                annotations,
                images,
                out,
                clinical=table,
                labels=label or None,
                name=name,
                licence=licence,
                dicom_header=dicom_header,
                progress=report,
            )
        for line in told(made):
            typer.echo(line)


def _refuse_without_table(options: Mapping[str, object]) -> None:
    for option, value in options.items():
        if value:
            raise typer.BadParameter("goes with --clinical CSV", param_hint=option)


def told(made: CocoImport) -> list[str]:
    """What was made, what was left out, and how the table was joined."""
    lines = [made_line(made.dataset)]
    if made.crowds:
        lines.append(f"left out: {made.crowds} crowd regions")
    if made.outlined:
        lines.append(f"drawn around polygons: {made.outlined} boxes")
    if made.joined is not None:
        joined = made.joined
        lines.append(
            f"{joined.table.path}: joined on {joined.kind}, {joined.matched} of {len(joined.rows)} images have a row, "
            f"{joined.unmatched} rows name no image"
        )
    return lines
