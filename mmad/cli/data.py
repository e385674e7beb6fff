"""``mmad data``: make, import and look at data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.cli.common import JsonOption, print_json, progress_bar
from mmad.data.phantom import IMAGE_SIZE, STUDIES, make_phantom

if TYPE_CHECKING:
    from mmad.data.dataset import DataSet

data = typer.Typer(help="Make, import and check data sets.", rich_markup_mode=None, no_args_is_help=True)
importing = typer.Typer(
    help="Turn a folder of another form into a data set.", rich_markup_mode=None, no_args_is_help=True
)
data.add_typer(importing, name="import")

OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make; must not hold anything yet.")]


def register(app: typer.Typer) -> None:
    app.add_typer(data, name="data")


@data.command("phantom")
def phantom(
    out: OutOption,
    studies: Annotated[int, typer.Option("--studies", metavar="N", help="How many images.")] = STUDIES,
    image_size: Annotated[int, typer.Option("--image-size", metavar="PX", help="Side of an image.")] = IMAGE_SIZE,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Same seed, same bytes.")] = 0,
    clinical_effect: Annotated[
        float,
        typer.Option(
            "--clinical-effect",
            metavar="E",
            help="How much the clinical values tell of findings the image leaves ambiguous: 1 all, 0 nothing.",
        ),
    ] = 1.0,
) -> None:
    """Draw the embedded data set: chest-like radiographs with five findings and clinical values."""
    with progress_bar(f"drawing {studies} radiographs in {out}") as report:
        made = make_phantom(
            out,
            studies=studies,
            image_size=image_size,
            seed=seed,
            clinical_effect=clinical_effect,
            progress=report,
        )
    typer.echo(_line(made))


@importing.command("csv")
def import_csv_folder(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder with the images and the CSV files.")],
    out: OutOption,
    numeric: Annotated[
        str | None,
        typer.Option("--numeric", metavar="A,B", help="Columns of numbers; left out: guessed.", show_default=False),
    ] = None,
    categorical: Annotated[
        str | None,
        typer.Option("--categorical", metavar="A,B", help="Columns of words; left out: guessed.", show_default=False),
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option("--unit", metavar="COLUMN=UNIT", help="Unit of a column; may be repeated.", show_default=False),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME", help="Keep only this label; may be repeated, in order."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name; left out: the folder's.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence; left out: all in the sources.")] = None,
    subjects: Annotated[str, typer.Option("--subjects", metavar="FILE", help="One row per image.")] = "subjects.csv",
    boxes: Annotated[str, typer.Option("--boxes", metavar="FILE", help="One row per box.")] = "boxes.csv",
    sources: Annotated[
        str, typer.Option("--sources", metavar="FILE", help="One row per image: where it is from.")
    ] = "provenance.csv",
    image_column: Annotated[str, typer.Option("--image-column", help="Path of the image.")] = "image",
    patient_column: Annotated[str, typer.Option("--patient-column", help="Id of the patient.")] = "patient_id",
    split_column: Annotated[str, typer.Option("--split-column", help="train, val or test.")] = "split",
    source_column: Annotated[str, typer.Option("--source-column", help="What the source is read from.")] = "licence",
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
            numeric=_names(numeric),
            categorical=_names(categorical),
            units=_units(unit),
            labels=label or None,
            name=name,
            licence=licence,
            progress=report,
        )
    typer.echo(_line(made))


@data.command("info")
def info(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the data set.")],
    as_json: JsonOption = False,
) -> None:
    """Check a data set and count what it holds."""
    from dataclasses import asdict

    from mmad.data.dataset import load_dataset
    from mmad.data.summary import summarise

    summary = summarise(load_dataset(folder))
    if as_json:
        print_json(_json(asdict(summary)))
        return
    typer.echo(f"{summary.name} ({summary.path}), licence: {summary.licence}")
    typer.echo(f"fingerprint {summary.fingerprint[:16]}, split by {summary.split_policy or 'unknown'}")
    for split in summary.splits:
        typer.echo(f"{split.split:5}  {split.studies} studies of {split.patients} patients, {split.boxes} boxes")
        for label, count, studies in split.labels:
            typer.echo(f"       {label}: {count} boxes in {studies} studies")
    whole = sum(split.studies for split in summary.splits)
    for column in summary.columns:
        kind = f"[{column.unit}]" if column.low is not None else "/".join(column.values)
        outside = f", {column.outside} outside {column.low:g} to {column.high:g}" if column.outside else ""
        typer.echo(f"column {column.name} {kind}: {column.present} of {whole} have a value{outside}")


def _json(summary: dict[str, Any]) -> dict[str, Any]:
    """The stable form: splits by name, and in each the labels by name."""
    splits = {}
    for split in summary["splits"]:
        labels = {label: {"boxes": boxes, "studies": studies} for label, boxes, studies in split["labels"]}
        counts = {key: split[key] for key in ("studies", "patients", "boxes")}
        splits[split["split"]] = {**counts, "labels": labels}
    return {**summary, "splits": splits}


def _line(made: DataSet) -> str:
    sizes = ", ".join(f"{split} {len(made.split(split))}" for split in ("train", "val", "test"))
    return f"{made.root}: {len(made.studies)} studies ({sizes}), {len(made.boxes)} boxes of {len(made.labels)} labels"


def _names(words: str | None) -> list[str] | None:
    return None if words is None else [word.strip() for word in words.split(",") if word.strip()]


def _four(words: str) -> tuple[str, str, str, str]:
    names = _names(words) or []
    if len(names) != 4:
        raise typer.BadParameter("four names, separated by commas", param_hint="--box-columns")
    return names[0], names[1], names[2], names[3]


def _units(words: list[str] | None) -> dict[str, str]:
    units = {}
    for word in words or ():
        column, equals, unit = word.partition("=")
        if not equals:
            raise typer.BadParameter(f"{word!r} is not COLUMN=UNIT", param_hint="--unit")
        units[column.strip()] = unit.strip()
    return units
