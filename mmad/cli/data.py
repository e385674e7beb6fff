"""``mmad data``: make, import, check and look at data sets. One function per command."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.base.formatting import plural
from mmad.cli.options import JsonOption
from mmad.cli.output import console, print_json, progress_bar
from mmad.data.phantom import IMAGE_SIZE, STUDIES

if TYPE_CHECKING:
    from mmad.data.acquisition import Acquired
    from mmad.data.audit.findings import Audit, AuditIssue
    from mmad.data.audit.fix import Fixed
    from mmad.data.dataset import DataSet
    from mmad.data.exclusions import Excluded
    from mmad.data.importers.coco import CocoImport
    from mmad.data.importers.common import ImportReport
    from mmad.data.importers.reflacx.build import Built


data = typer.Typer(help="Make, import and check data sets.", rich_markup_mode=None, no_args_is_help=True)
importing = typer.Typer(
    help="Turn a folder of another form into a data set.", rich_markup_mode=None, no_args_is_help=True
)
data.add_typer(importing, name="import")
exporting = typer.Typer(help="Write a data set in another form.", rich_markup_mode=None, no_args_is_help=True)
data.add_typer(exporting, name="export")

# What the commands about data sets share: options and the words for what was made.


OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make; must not hold anything yet.")]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the data set.")]


def made_line(made: DataSet) -> str:
    """One line about a data set that was just made."""
    sizes = ", ".join(f"{split} {len(made.split(split))}" for split in ("train", "val", "test"))
    return f"{made.root}: {len(made.studies)} studies ({sizes}), {len(made.boxes)} boxes of {len(made.labels)} labels"


def left_out_lines(excluded: Sequence[Excluded]) -> list[str]:
    """One line for each reason for which something was left out of the source."""
    lines = []
    for one in excluded:
        kinds = (("patient", "patients"), ("image", "images"), ("reading", "readings"), ("box", "boxes"))
        counts = [plural(count, *kind) for kind in kinds if (count := getattr(one, kind[1]))]
        lines.append(f"left out: {', '.join(counts) or 'nothing that is counted'}: {one.reason}")
    return lines


def names(words: str | None) -> list[str] | None:
    """The words of a list separated by commas."""
    return None if words is None else [word.strip() for word in words.split(",") if word.strip()]


# ``mmad data phantom``: draw the embedded data set.


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
            help="How much the clinical values say of findings the image leaves ambiguous: 1 all (they do not "
            "overlap), 0 nothing; between them they overlap, as on a ward.",
        ),
    ] = 1.0,
    missing: Annotated[
        float, typer.Option("--missing", metavar="RATE", help="Share of the clinical cells that are empty.")
    ] = 0.05,
    artefacts: Annotated[
        bool,
        typer.Option("--artefacts", help="Side markers, tubes, lines, devices and uneven exposure over the image."),
    ] = False,
    image_format: Annotated[str, typer.Option("--format", metavar="png|jpeg", help="Of the image files.")] = "png",
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WIDTHxHEIGHT", help="Of an image, where it is not square, such as 2544x3056."),
    ] = None,
) -> None:
    """Draw the embedded data set: chest-like X-rays, clinical values.

    Prints how well its vital signs, and its images, tell the findings.
    """
    from mmad.data.phantom.cases import make_cases
    from mmad.data.phantom.generate import make_phantom
    from mmad.data.phantom.separability import separability

    width, height = _sides(size)
    with progress_bar(f"drawing {studies} radiographs in {out}") as report:
        made = make_phantom(
            out,
            studies=studies,
            image_size=image_size,
            seed=seed,
            clinical_effect=clinical_effect,
            missing=missing,
            artefacts=artefacts,
            format=image_format,
            width=width,
            height=height,
            progress=report,
        )
    typer.echo(made_line(made))
    measured = separability(made, make_cases(studies, seed, clinical_effect, missing))
    words = max((len(one.question) for one in measured), default=0)
    typer.echo(f"{'AUC of a linear classifier, other patients':{words}}  studies  vital signs  image")
    for one in measured:
        typer.echo(f"{one.question:{words}}  {one.studies:7}  {one.vitals:11.2f}  {one.image:5.2f}")


def _sides(size: str | None) -> tuple[int | None, int | None]:
    """Width and height of ``WIDTHxHEIGHT``; neither is given where the word is not."""
    if size is None:
        return None, None
    width, _, height = size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"{size!r} is not WIDTHxHEIGHT, such as 2544x3056", param_hint="--size")
    return int(width), int(height)


# ``mmad data reflacx``: the documented log's data set from the original distributions.


@data.command("reflacx")
def reflacx(
    reflacx: Annotated[Path, typer.Option("--reflacx", metavar="DIR", help="REFLACX 1.0.0, with main_data/.")],
    mimic_cxr_jpg: Annotated[
        Path, typer.Option("--mimic-cxr-jpg", metavar="DIR", help="MIMIC-CXR-JPG 2.0.0, with files/.")
    ],
    out: OutOption,
    mimic_iv: Annotated[
        Path | None, typer.Option("--mimic-iv", metavar="DIR", help="MIMIC-IV 1.x or 2.x, with hosp/ or core/.")
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
        str | None, typer.Option("--labels", metavar="A,B", help="Findings, in order; default: the log's five.")
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
            help="Readings whose eye tracking was discarded; default: kept in the mode full alone, as the log.",
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
    """Build the documented log's data set from REFLACX and MIMIC.

    Tables may be .csv or .csv.gz. Every reading that is left out is counted with its reason. MIMIC's licence
    covers what is made: it stays on this machine, and nothing that is printed holds a value of a patient.
    """
    from mmad.base.records import DOCUMENTED_LABELS
    from mmad.data.importers.reflacx.build import Choices, Sources, build_reflacx

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
    from mmad.data.importers.reflacx.boxes import NOTES, REASONS

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


# ``mmad data import csv``: images with tables of boxes and subjects.


NumericOption = Annotated[
    str | None,
    typer.Option("--numeric", metavar="A,B", help="Columns of numbers; default: chosen by name and content."),
]
CategoricalOption = Annotated[
    str | None,
    typer.Option("--categorical", metavar="A,B", help="Columns of words; default: chosen by name and content."),
]
IgnoreOption = Annotated[str | None, typer.Option("--ignore", metavar="A,B", help="Columns to leave out.")]
BoxSizeOption = Annotated[
    str | None,
    typer.Option(
        "--box-size",
        metavar="stated|file",
        help="Whose pixels the boxes are in, where the size that is stated is not the file's: scaled, or as they are.",
    ),
]
UnitOption = Annotated[
    list[str] | None, typer.Option("--unit", metavar="COLUMN=UNIT", help="Unit of a column; may be repeated.")
]
BitsOption = Annotated[
    int | None,
    typer.Option(
        "--bits",
        metavar="N",
        help="Bits that images of more than 8 use, such as 12; default: those of the highest value of all.",
    ),
]
LabelOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME", help="Keep only this label; may be repeated, in order.")
]
DicomHeaderOption = Annotated[
    bool, typer.Option("--dicom-header", help="Take age and sex from DICOM headers where no table has them.")
]


@importing.command("csv")
def import_csv_folder(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder with the images and the CSV files.")],
    out: OutOption,
    numeric: NumericOption = None,
    categorical: CategoricalOption = None,
    ignore: IgnoreOption = None,
    unit: UnitOption = None,
    dicom_header: DicomHeaderOption = False,
    bits: BitsOption = None,
    label: LabelOption = None,
    no_finding: Annotated[
        list[str] | None,
        typer.Option(
            "--no-finding",
            metavar="NAME",
            help="Label of rows which say that nothing was found; may be repeated. No finding is one anyway.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name; default: the folder's.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence; default: all in the sources.")] = None,
    subjects: Annotated[str, typer.Option("--subjects", metavar="FILE", help="One row per image.")] = "subjects.csv",
    boxes: Annotated[
        str, typer.Option("--boxes", metavar="FILE", help="One row per box; may be the same file.")
    ] = "boxes.csv",
    sources: Annotated[
        str, typer.Option("--sources", metavar="FILE", help="One row per image: where it is from.")
    ] = "provenance.csv",
    image_column: Annotated[str, typer.Option("--image-column", help="Path of the image.")] = "image",
    patient_column: Annotated[str, typer.Option("--patient-column", help="Id of the patient.")] = "patient_id",
    split_column: Annotated[str, typer.Option("--split-column", help="train, val or test.")] = "split",
    source_column: Annotated[str, typer.Option("--source-column", help="What the source is read from.")] = "licence",
    label_column: Annotated[str, typer.Option("--label-column", help="What a box shows.")] = "label",
    reading_column: Annotated[str, typer.Option("--reading-column", help="Who drew a box.")] = "reading",
    box_columns: Annotated[
        str, typer.Option("--box-columns", metavar="A,B,C,D", help="Left, top, right, bottom, or see --box-format.")
    ] = "xmin,ymin,xmax,ymax",
    box_format: Annotated[
        str | None,
        typer.Option(
            "--box-format",
            metavar="xyxy|xywh|cxcywh|relative-…",
            help="What the four columns are: corners; corner, width, height; centre, width, height; relative-xyxy, "
            "relative-xywh, relative-cxcywh: shares of the image. Default: what their names say.",
        ),
    ] = None,
    box_size: BoxSizeOption = None,
) -> None:
    """Import images with CSV tables of boxes and subjects.

    Every column is printed with what became of it and why. What says what was found, how the image was taken or
    which row it is, is left out unless --numeric or --categorical name it. Missing values stay missing. A row
    without a box says that its reading found nothing. A column source keeps where each image is from.
    """
    from mmad.data.importers.common import ImportReport
    from mmad.data.importers.csv import CsvLayout, import_csv

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
        reading=reading_column,
        box_format=box_format,
        box_size=box_size,
    )
    said = ImportReport()

    with progress_bar(f"importing {src} to {out}") as report:
        made = import_csv(
            src,
            out,
            layout=layout,
            numeric=names(numeric),
            categorical=names(categorical),
            ignore=names(ignore) or (),
            units=units(unit),
            labels=label or None,
            no_finding=no_finding or (),
            name=name,
            licence=licence,
            dicom_header=dicom_header,
            bits=bits,
            progress=report,
            report=said,
        )
    _print_made(said, made)


def _print_made(said: ImportReport, made: DataSet) -> None:
    _print_report(said)
    for line in (*left_out_lines(made.excluded), made_line(made)):
        typer.echo(line)


def _print_report(said: ImportReport) -> None:
    """What became of every column, what was done, and what may be wrong."""
    if said.columns:
        typer.echo(f"columns of {said.table}:")
        width = min(32, max(len(column.name) for column in said.columns))
    for column in said.columns:
        typer.echo(f"  {column.name or '(no name)':{width}}  {column.outcome}: {column.why}")
        for note in column.notes:
            typer.echo(f"  {'':{width}}    {note}")
    for note in said.notes:
        typer.echo(note)
    for warning in said.warnings:
        typer.echo(f"warning: {warning}")


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


# ``mmad data import coco``: a COCO detection file with its images, and clinical values joined to them.


@importing.command("coco")
def import_coco_file(
    annotations: Annotated[Path, typer.Argument(metavar="ANN.json", help="The COCO detection file.")],
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Folder below which the images are.")],
    out: OutOption,
    clinical: Annotated[
        Path | None, typer.Option("--clinical", metavar="CSV", help="Table of clinical values.")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="COLUMN",
            help="Column of --clinical that names the image: its file name, with or without ending, or its id.",
        ),
    ] = None,
    patient_column: Annotated[
        str | None, typer.Option("--patient-column", help="Column of --clinical with the patient's id.")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option("--split-column", help="Column of --clinical with train, val or test.")
    ] = None,
    numeric: NumericOption = None,
    categorical: CategoricalOption = None,
    ignore: IgnoreOption = None,
    unit: UnitOption = None,
    dicom_header: DicomHeaderOption = False,
    bits: BitsOption = None,
    label: LabelOption = None,
    name: Annotated[str | None, typer.Option("--name", help="Name; default: the file's.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence; default: the file's.")] = None,
    box_size: BoxSizeOption = None,
) -> None:
    """Import a COCO detection file with its images.

    Crowd regions are left out and counted; an annotation without a bbox gets the box around its polygons.
    Patients and splits come from the table's columns, else from keys patient and split of each image, else from
    DICOM headers, else every image is a patient of its own, which is said; whole patients are split 70/15/15.
    """
    from mmad.data.importers.coco import ClinicalTable, import_coco
    from mmad.data.importers.common import ImportReport

    table = None
    if clinical is not None:
        table = ClinicalTable(
            clinical,
            on,
            patient_column,
            split_column,
            names(numeric),
            names(categorical),
            units(unit),
            names(ignore) or (),
        )
    else:
        _refuse_without_table(
            {
                "--on": on,
                "--patient-column": patient_column,
                "--split-column": split_column,
                "--numeric": numeric,
                "--categorical": categorical,
                "--ignore": ignore,
                "--unit": unit,
            }
        )
    said = ImportReport()

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
            bits=bits,
            box_size=box_size,
            progress=report,
            report=said,
        )
    _print_made(said, made.dataset)
    for line in _import_lines(made):
        typer.echo(line)


def _refuse_without_table(options: Mapping[str, object]) -> None:
    for option, value in options.items():
        if value:
            raise typer.BadParameter("goes with --clinical CSV", param_hint=option)


def _import_lines(made: CocoImport) -> list[str]:
    """How boxes came about, and how the table was joined."""
    lines = []
    if made.outlined:
        lines.append(f"drawn around polygons: {made.outlined} boxes")
    if made.joined is not None:
        joined = made.joined
        lines.append(
            f"{joined.path}: joined on {joined.kind}, {joined.matched} of {len(joined.frame)} images have a row, "
            f"{joined.unmatched} rows name no image"
        )
    return lines


# ``mmad data import vindr`` and the like: published sets and annotation tools by their descriptions, and a user's own.


def _register_described(file: Path) -> None:
    @importing.command(file.stem, help=f"Import {tomllib.loads(file.read_text('utf-8'))['title']}.")
    def import_one(
        src: Annotated[Path, typer.Argument(metavar="DIR", help="Folder into which it was unpacked.")],
        out: OutOption,
        label: LabelOption = None,
    ) -> None:
        _import_described(src, file, out, label)


for _description in sorted((Path(__file__).parent.parent / "data" / "importers" / "described").glob("*.toml")):
    _register_described(_description)


@importing.command("described")
def import_described(
    src: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the images and the tables.")],
    describe: Annotated[Path, typer.Option("--describe", metavar="FILE.toml", help="Description of the tables.")],
    out: OutOption,
    label: LabelOption = None,
) -> None:
    """Import a data set by a description of your own.

    docs/data.md says what is in one.
    """
    _import_described(src, describe, out, label)


def _import_described(src: Path, description: Path, out: Path, label: list[str] | None) -> None:
    from mmad.data.importers.common import ImportReport
    from mmad.data.importers.described.importer import import_published, read_published_set

    said = ImportReport()
    of = read_published_set(description)
    with progress_bar(f"importing {src} to {out}") as report:
        made = import_published(src, out, of, labels=label or None, progress=report, report=said)
    _print_made(said, made)


# ``mmad data info``: check a data set and count what it holds.


@data.command("info")
def info(
    folder: FolderArgument,
    as_json: JsonOption = False,
) -> None:
    """Check a data set and count what it holds."""
    from dataclasses import asdict

    from mmad.data.reader import load_dataset
    from mmad.data.summary import summarise

    summary = summarise(load_dataset(folder))
    if as_json:
        print_json(_info_json(asdict(summary)))
        return
    typer.echo(f"{summary.name} ({summary.path}), licence: {summary.licence}")
    typer.echo(f"fingerprint {summary.fingerprint[:16]}, split by {summary.split_policy or 'unknown'}")
    for split in summary.splits:
        typer.echo(f"{split.split:5}  {split.studies} studies of {split.patients} patients, {split.boxes} boxes")
        for label in split.labels:
            boxes, studies = plural(label.boxes, "box", "boxes"), plural(label.studies, "study", "studies")
            typer.echo(f"       {label.label}: {boxes} in {studies}")
        if len((readers := summary.readers[split.split]).images_by_readings) > 2:
            typer.echo(f"       {readers.words}")
    if any(len(split.images_by_readings) > 2 for split in summary.readers.values()):
        typer.echo("boxes of all readings of an image are one reference, unless dataset_mode takes each by itself")
    whole = sum(split.studies for split in summary.splits)
    for column in summary.columns:
        kind = f"[{column.unit}]" if column.low is not None else "/".join(column.values)
        outside = f", {column.outside} outside {column.low:g} to {column.high:g}" if column.outside else ""
        typer.echo(f"column {column.name} {kind}: {column.present} of {whole} have a value{outside}")
    for line in (*left_out_lines(summary.excluded), *_acquired_lines(summary.acquired)):
        typer.echo(line)


def _acquired_lines(found: Acquired) -> list[str]:
    lines = []
    for what, counts in (("sites", found.sites), ("scanners", found.scanners), ("views", found.views)):
        if counts:
            listed = ", ".join(f"{name or 'not known'} {count}" for name, count in counts)
            lines.append(f"{what} (patients): {listed}")
    if found.first is not None:
        lines.append(f"taken from {found.first} to {found.last}")
    if found.shifted:
        lines.append(f"dates of {plural(found.shifted, 'image')} are shifted by the source")
    return lines


def _info_json(summary: dict[str, Any]) -> dict[str, Any]:
    """The stable form: splits by name, and in each the labels by name."""
    splits = {}
    for split in summary["splits"]:
        labels = {label["label"]: {"boxes": label["boxes"], "studies": label["studies"]} for label in split["labels"]}
        counts = {key: split[key] for key in ("studies", "patients", "boxes")}
        splits[split["split"]] = {**counts, "labels": labels}
    taken = {
        **summary["acquired"],
        **{name: dict(summary["acquired"][name]) for name in ("sites", "scanners", "views")},
    }
    return {**summary, "splits": splits, "acquired": taken}


# ``mmad data check``: what is wrong or suspicious in a data set, and a repaired copy of it.


FixOption = Annotated[bool, typer.Option("--fix", help="Write a repaired copy to --out; DIR stays as it is.")]
NewOption = Annotated[
    Path | None, typer.Option("--out", metavar="NEW", help="With --fix: folder to make; must not hold anything yet.")
]


@data.command("check")
def check(folder: FolderArgument, fix: FixOption = False, out: NewOption = None, as_json: JsonOption = False) -> None:
    """List what is wrong or suspicious in a data set, with hints.

    Errors make training impossible or its figures untrue: `mmad ablate` refuses them. Read the warnings, too.

    Exit code: 0 no error, 2 errors (with --fix: errors that are left in the copy).
    """
    from mmad.data.audit.fix import fix_folder
    from mmad.data.audit.run import audit_folder

    if fix != (out is not None):
        raise typer.BadParameter("--fix and --out NEW go together", param_hint="--fix")
    with progress_bar(f"looking at the images of {folder}") as report:
        audit = audit_folder(folder, report)
    fixed = None
    if out is not None:
        with progress_bar(f"writing a repaired copy to {out}") as report:
            fixed = fix_folder(folder, out, report)
    if as_json:
        print_json(_check_json(folder, audit, fixed))
    else:
        _show(folder, audit)
        if fixed is not None:
            _show_fixed(fixed)
    raise typer.Exit(2 if (fixed.audit if fixed is not None else audit).errors else 0)


def _check_json(folder: Path, audit: Audit, fixed: Fixed | None) -> dict[str, Any]:
    from mmad.data.audit.findings import audit_json

    copy = None
    if fixed is not None:
        copy = {"out": str(fixed.out), "done": list(fixed.done), **audit_json(fixed.audit)}
    return {"path": str(folder), **audit_json(audit), "fixed": copy}


def _show(folder: Path, audit: Audit) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from mmad.base.terminal import TerminalColumn, fitted_table

    out = console(width=160)
    for found in audit.findings:
        out.print(Text(f"{found.level}: {found.code}: {found.where}: {found.what}{_rows(found)}"))
        out.print(Padding(Text(f"→ {found.hint}"), (0, 0, 0, 2), expand=False))
    heads = ("label", "boxes", "studies", "small", "medium", "large")
    columns = [TerminalColumn(head, wraps=head == "label", right=head != "label") for head in heads]
    for split in audit.splits:
        rows = [[str(getattr(label, head)) for head in heads] for label in split.labels]
        studies, boxes = plural(split.studies, "study", "studies"), plural(split.boxes, "box", "boxes")
        title = f"{split.split}: {studies} of {plural(split.patients, 'patient')}, {boxes}"
        out.print(fitted_table(columns, rows, out.width, title=title))
    if audit.splits:
        typer.echo("boxes are small below 1 % of the image's area, large from 10 % on")
    typer.echo(f"{folder}: {plural(len(audit.errors), 'error')}, {plural(len(audit.warnings), 'warning')}")


def _rows(found: AuditIssue) -> str:
    if not found.rows or all(row in found.what for row in found.rows):
        return ""
    more = found.count - len(found.rows)
    return f" ({', '.join(found.rows)}{f' and {more} more' if more > 0 else ''})"


def _show_fixed(fixed: Fixed) -> None:
    for line in fixed.done or ("nothing was wrong that can be fixed",):
        typer.echo(line)
    audit = fixed.audit
    typer.echo(f"{fixed.out}: {plural(len(audit.errors), 'error')}, {plural(len(audit.warnings), 'warning')}")
    for found in audit.errors:
        typer.echo(f"left: {found.code}: {found.where}: {found.what}; {found.hint}")


# ``mmad data show``: a contact sheet of a data set, to be looked at before anything is trained on it.


@data.command("show")
def show(
    folder: FolderArgument,
    studies: Annotated[list[str] | None, typer.Argument(metavar="STUDY", help="Ids; default: spread over all.")] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Ends with .png or .html; is replaced.")] = Path(
        "sheet.png"
    ),
    split: Annotated[str | None, typer.Option("--split", metavar="NAME", help="Only train, val or test.")] = None,
    label: Annotated[str | None, typer.Option("--label", metavar="NAME", help="Only studies with this.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="At most so many studies.")] = 24,
) -> None:
    """Draw a contact sheet of images, boxes and clinical values.

    One PNG, or one HTML file that needs no network. It holds clinical values: keep it where the data are.
    """
    from mmad.data.contact_sheet import write_sheet
    from mmad.data.reader import load_dataset

    dataset = load_dataset(folder)
    with progress_bar(f"drawing {out}") as report:
        sheet = write_sheet(dataset, out, studies=studies or (), split=split, label=label, limit=limit, progress=report)
    typer.echo(f"{out}: {len(sheet.positions)} of {len(dataset.studies)} studies")


# ``mmad data cache``: which decoded images are cached, and clearing them.


@data.command("cache")
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove them; they are decoded again when needed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List or remove the cache of decoded images."""
    from dataclasses import asdict

    from mmad.data.image_cache import cache_contents, clear_cache

    found = clear_cache() if clear else cache_contents()
    if as_json:
        entries = [{**asdict(entry), "built": entry.built.isoformat()} for entry in found.entries]
        print_json({"path": found.path, "size": found.size, "cleared": clear, "entries": entries})
        return
    for entry in found.entries:
        what = f"{entry.images} images of {entry.image_size} px" if entry.images else "unfinished or outdated"
        typer.echo(f"{_mebibytes(entry.size):>12}  {entry.built:%Y-%m-%d %H:%M} UTC  {what}  {entry.file[:28]}…")
    files = f"{len(found.entries)} file{'s' * (len(found.entries) != 1)}"
    typer.echo(f"{found.path}: {files}, {_mebibytes(found.size)}{' removed' if clear else ''}")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


# ``mmad data export coco``: a data set as one COCO detection file.


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
    from mmad.data.reader import load_dataset

    dataset = load_dataset(folder)
    export_coco(dataset, out)
    typer.echo(f"{out}: {len(dataset.studies)} images, {len(dataset.boxes)} annotations; images in {folder}")


def register(app: typer.Typer) -> None:
    app.add_typer(data, name="data")
