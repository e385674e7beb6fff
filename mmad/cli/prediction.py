"""``mmad predict`` and ``mmad export``: a trained run at work, here and in other programs."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from mmad.base.formatting import decimal, plural
from mmad.cli.options import DEFAULT_DB, CheckpointOption, DatabaseOption, EnsembleOption, MovedDataOption
from mmad.cli.output import console, progress_bar

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Beginning of a key, or ablation/setting/arm[/seed].")]
NewFolderOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")]
FalsePositivesOption = Annotated[
    float,
    typer.Option(
        "--false-positives",
        metavar="N",
        help="False positives per validation image; sets the score from which a box is shown.",
    ),
]
InferenceDeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where the network runs.")
]

PREDICT_HELP = """Find boxes on new images with a run's stored checkpoint.

Images are read as those of the run's data set were, DICOM too. --clinical names a CSV table with a column image and
columns of the data set, in its units; what is missing is imputed as in training. Boxes below the operating
point are not shown: the lowest score with at most --false-positives false positives per validation image.

DIR is new and holds boxes.csv (an image without a box has a row without label), boxes.json in COCO's form, and
pictures/. Of a run's masks nothing is written. With --ensemble RUN is ablation/setting/arm: the boxes of all its seeds
and folds are fused (weighted box fusion, equal weights).
"""


def predict(
    run: RunArgument,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Images, or folders of images.")],
    out: NewFolderOption,
    clinical: Annotated[
        Path | None, typer.Option("--clinical", metavar="TABLE", help="The patients' clinical values.")
    ] = None,
    ensemble: EnsembleOption = False,
    checkpoint: CheckpointOption = None,
    false_positives: FalsePositivesOption = 0.5,
    device: InferenceDeviceOption = "auto",
    data: MovedDataOption = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    from mmad.api.prediction import predict
    from mmad.api.results import open_store

    with open_store(db) as store:
        made = predict(
            store,
            run,
            images,
            clinical=clinical,
            out=out,
            ensemble=ensemble,
            checkpoint=checkpoint,
            false_positives=false_positives,
            device=device,
            data=data,
            progress_bar=progress_bar,
        )
    for note in made.notes:
        print(f"mmad: note: {note}", file=sys.stderr)
    printer = console()
    count = Counter(made.labels[label - 1] for one in made.found for label in one.labels.tolist())
    bare = sum(not len(one.labels) for one in made.found)
    words = f"{plural(count.total(), 'box', 'boxes')} in {plural(len(made.found), 'image')}, {bare} without a box"
    printer.print(f"{made.run}, {made.checkpoint}: {words}", soft_wrap=True)
    printer.print(f"score of at least {decimal(made.point.score)}: {made.point.rule}", soft_wrap=True)
    for label, boxes in count.most_common():
        printer.print(f"  {label}: {boxes}", soft_wrap=True)
    printer.print(out.as_posix(), soft_wrap=True)


EXPORT_HELP = """Write a run's kept checkpoint as files that programs without mmad read.

DIR is new and holds weights.safetensors, model.json (setup, labels, clinical statistics, suppression, operating point)
and network.pt2: the network up to boxes and logits before suppression, of torch.export.
"""


def export(
    run: RunArgument,
    out: NewFolderOption,
    checkpoint: CheckpointOption = None,
    false_positives: FalsePositivesOption = 0.5,
    device: InferenceDeviceOption = "auto",
    data: MovedDataOption = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    from mmad.api.prediction import export
    from mmad.api.results import open_store

    with open_store(db) as store:
        folder = export(
            store,
            run,
            out,
            checkpoint=checkpoint,
            false_positives=false_positives,
            device=device,
            data=data,
            progress_bar=progress_bar,
        )
    for file in sorted(folder.iterdir()):
        console().print(file.as_posix(), soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to ``app``."""
    app.command("predict", help=PREDICT_HELP)(predict)
    app.command("export", help=EXPORT_HELP)(export)
