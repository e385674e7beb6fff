"""What the commands about data sets share: options and the words for what was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmad.data.dataset import DataSet

OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make; must not hold anything yet.")]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the data set.")]


def made_line(made: DataSet) -> str:
    """One line about a data set that was just made."""
    sizes = ", ".join(f"{split} {len(made.split(split))}" for split in ("train", "val", "test"))
    return f"{made.root}: {len(made.studies)} studies ({sizes}), {len(made.boxes)} boxes of {len(made.labels)} labels"


def names(words: str | None) -> list[str] | None:
    """The words of a list separated by commas."""
    return None if words is None else [word.strip() for word in words.split(",") if word.strip()]
