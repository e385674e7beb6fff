"""``mmad data import csv``: images with tables of boxes and subjects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmad.cli.common import progress_bar
from mmad.cli.data.common import OutOption, made_line, names

NumericOption = Annotated[
    str | None,
    typer.Option("--numeric", metavar="A,B", help="Columns of numbers; left out: guessed.", show_default=False),
]
CategoricalOption = Annotated[
    str | None,
    typer.Option("--categorical", metavar="A,B", help="Columns of words; left out: guessed.", show_default=False),
]
UnitOption = Annotated[
    list[str] | None,
    typer.Option("--unit", metavar="COLUMN=UNIT", help="Unit of a column; may be repeated.", show_default=False),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME", help="Keep only this label; may be repeated, in order."),
]
DicomHeaderOption = Annotated[
    bool, typer.Option("--dicom-header", help="Take age and sex from DICOM headers where no table has them.")
]


def register(importing: typer.Typer) -> None:
    @importing.command("csv")
    def import_csv_folder(
        src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder with the images and the CSV files.")],
        out: OutOption,
        numeric: NumericOption = None,
        categorical: CategoricalOption = None,
        unit: UnitOption = None,
        dicom_header: DicomHeaderOption = False,
        label: LabelOption = None,
        name: Annotated[str | None, typer.Option("--name", help="Name; left out: the folder's.")] = None,
        licence: Annotated[str | None, typer.Option("--licence", help="Licence; left out: all in the sources.")] = None,
        subjects: Annotated[
            str, typer.Option("--subjects", metavar="FILE", help="One row per image.")
        ] = "subjects.csv",
        boxes: Annotated[str, typer.Option("--boxes", metavar="FILE", help="One row per box.")] = "boxes.csv",
        sources: Annotated[
            str, typer.Option("--sources", metavar="FILE", help="One row per image: where it is from.")
        ] = "provenance.csv",
        image_column: Annotated[str, typer.Option("--image-column", help="Path of the image.")] = "image",
        patient_column: Annotated[str, typer.Option("--patient-column", help="Id of the patient.")] = "patient_id",
        split_column: Annotated[str, typer.Option("--split-column", help="train, val or test.")] = "split",
        source_column: Annotated[
            str, typer.Option("--source-column", help="What the source is read from.")
        ] = "licence",
        label_column: Annotated[str, typer.Option("--label-column", help="What a box shows.")] = "label",
        box_columns: Annotated[
            str, typer.Option("--box-columns", metavar="A,B,C,D", help="Left, top, right, bottom.")
        ] = "xmin,ymin,xmax,ymax",
    ) -> None:
        """Import images with a table of boxes and a table of subjects.

        Guessed columns hold numbers only, or two to eight words, in at least a fifth of the rows. Missing values
        stay missing. A column source keeps where each image is from.
        """
        from mmad.data.csv_import import CsvLayout, import_csv

        layout = CsvLayout(
            subjects=subjects,
            boxes=boxes,
            sources=sources,
            image=image_column,
            patient=patient_column,
            split=split_column,
            source=source_column,
            label=label_column,
            sides=_four(box_columns),
        )
        with progress_bar(f"importing {src} to {out}") as report:
            made = import_csv(
                src,
                out,
                layout=layout,
                numeric=names(numeric),
                categorical=names(categorical),
                units=units(unit),
                labels=label or None,
                name=name,
                licence=licence,
                dicom_header=dicom_header,
                progress=report,
            )
        typer.echo(made_line(made))


def _four(words: str) -> tuple[str, str, str, str]:
    found = names(words) or []
    if len(found) != 4:
        raise typer.BadParameter("four names, separated by commas", param_hint="--box-columns")
    return found[0], found[1], found[2], found[3]


def units(words: list[str] | None) -> dict[str, str]:
    """``COLUMN=UNIT`` words as a mapping."""
    found = {}
    for word in words or ():
        column, equals, unit = word.partition("=")
        if not equals:
            raise typer.BadParameter(f"{word!r} is not COLUMN=UNIT", param_hint="--unit")
        found[column.strip()] = unit.strip()
    return found
