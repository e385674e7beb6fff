"""``mmad data phantom``: draw the embedded data set."""

from __future__ import annotations

from typing import Annotated

import typer

from mmad.cli.common import progress_bar
from mmad.cli.data.common import OutOption, made_line
from mmad.data.phantom import IMAGE_SIZE, STUDIES, make_phantom


def register(data: typer.Typer) -> None:
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
        typer.echo(made_line(made))
