"""The description of a published data set: which tables it has, and what their columns are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from mmad.base.records import Split

#: Columns that tables get which are no table of boxes: the sides, the split of each image, and the size that it had.
SIDES = ("xmin", "ymin", "xmax", "ymax")
SPLIT = "split"
SIZE = ("image_width", "image_height")


class BoxFile(BaseModel):
    """A table of boxes below the folder, as a pattern; ``split`` is that of all its images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    split: Split | None = None


class PublishedSet(BaseModel):
    """A published data set. Files are patterns (``**/train.csv``) below the folder; what is not there is left out.

    ``patient_pattern`` finds the patient in the image's name; ``labels`` rename; ``subjects`` is a table of clinical
    values, with a row per image, of which the images with boxes are taken; ``splits`` are lists of images' names.
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
    patient_pattern: str | None = None
    no_finding: list[str] = []
    labels: dict[str, str] = {}
    subjects: str | None = None
    numeric: list[str] = []
    categorical: list[str] = []
    splits: dict[Split, str] = {}
