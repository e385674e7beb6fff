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
        missing: Annotated[
            float, typer.Option("--missing", metavar="RATE", help="Share of the clinical cells that are empty.")
        ] = 0.05,
        artefacts: Annotated[
            bool,
            typer.Option("--artefacts", help="Side markers, tubes, lines, devices and uneven exposure over the films."),
        ] = False,
        image_format: Annotated[str, typer.Option("--format", metavar="png|jpeg", help="Of the image files.")] = "png",
        size: Annotated[
            str | None,
            typer.Option(
                "--size",
                metavar="WIDTHxHEIGHT",
                help="Of an image, where it is not square, such as 2544x3056.",
                show_default=False,
            ),
        ] = None,
    ) -> None:
        """Draw the embedded data set: chest-like radiographs with five findings and clinical values."""
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


def _sides(size: str | None) -> tuple[int | None, int | None]:
    """Width and height of ``WIDTHxHEIGHT``; neither is given where the word is not."""
    if size is None:
        return None, None
    width, _, height = size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"{size!r} is not WIDTHxHEIGHT, such as 2544x3056", param_hint="--size")
    return int(width), int(height)
