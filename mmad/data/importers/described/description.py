"""The description of a published data set: which tables it has, and what their columns are."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mmad.base.records import Split

#: Columns that tables get which are no table of boxes: the sides, the split of each image, and the size that it had.
SIDES = ("xmin", "ymin", "xmax", "ymax")
SPLIT = "split"
SIZE = ("image_width", "image_height")


def _pattern(text: str) -> str:
    parts = PurePosixPath(text).parts
    if not parts or text.startswith("/") or any(p == ".." or "\0" in p or ("**" in p and p != "**") for p in parts):
        raise ValueError("is no pattern of files below the folder, such as **/train.csv")
    return text


def _with_group(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if not groups:
        raise ValueError("has no group: write parentheses around the patient")
    return text


FilePattern = Annotated[str, AfterValidator(_pattern)]


class BoxFile(BaseModel):
    """A table of boxes below the folder, as a pattern; ``split`` is that of all its images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: FilePattern
    split: Split | None = None


class PublishedSet(BaseModel):
    """A published data set. Files are patterns (``**/train.csv``) below the folder; what is not there is left out.

    The first group of ``patient_pattern`` is the patient in an image's name; ``labels`` rename; ``subjects`` is a table
    of clinical values, with a row per image, of which the images with boxes are taken; ``splits`` are lists of images'
    names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    licence: str
    boxes: list[BoxFile] = Field(min_length=1)
    form: str = "table"
    image: str = "image"
    label: str = "label"
    sides: tuple[str, str, str, str] = SIDES
    box_format: str | None = None
    reading: str = "reading"
    patient: str | None = None
    patient_pattern: Annotated[str, AfterValidator(_with_group)] | None = None
    no_finding: list[str] = []
    labels: dict[str, str] = {}
    subjects: FilePattern | None = None
    numeric: list[str] = []
    categorical: list[str] = []
    splits: dict[Split, FilePattern] = {}
