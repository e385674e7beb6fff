"""Reads the tables of a data set to the end, whatever is wrong in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import DataError
from mmad.data.audit.findings import Finding, finding, told_together
from mmad.data.box_table import read_boxes
from mmad.data.dataset import BOXES, STUDIES, TOML, DataSet
from mmad.data.image_files import check_images
from mmad.data.problems import Problem
from mmad.data.reading import assemble, check_files, read_description
from mmad.data.study_table import read_studies

#: Problems after which a row is left out; a box of such a study is no mistake of its own.
_LEFT_OUT = frozenset({"cell-empty", "study-twice", "split-unknown", "row-width"})
#: Problems of a study's image that leave nothing to decode.
NO_IMAGE = frozenset({"image-missing", "image-outside"})


@dataclass(frozen=True, eq=False)
class Tables:
    """What could be read, as a data set, and what was refused on the way.

    Sides that cannot be read are 0, cells that cannot be read are missing, and boxes may be without area or
    leave their image.
    """

    dataset: DataSet
    problems: tuple[Problem, ...]

    @property
    def without_image(self) -> frozenset[str]:
        """Studies whose image is not there, or not in the folder."""
        return frozenset(problem.row for problem in self.problems if problem.code in NO_IMAGE)

    def findings(self) -> list[Finding]:
        """The refusals, told together where they are of one kind."""
        return told_together(self.problems, self.dataset.root)


def read_tolerantly(root: Path) -> Tables:
    """The tables in ``root``. Raises DataError for a folder, a description or a table that is none."""
    problems: list[Problem] = []
    check_files(root)
    description = read_description(root / TOML)
    studies = read_studies(root / STUDIES, description.numeric, description.categorical, problems.append)
    check_images(root, studies, problems.append)
    left_out = {problem.row for problem in problems if problem.code in _LEFT_OUT}
    table = read_boxes(root / BOXES, studies, description.labels, problems.append)
    told = [p for p in problems if not (p.code == "box-without-study" and p.row in left_out)]
    return Tables(assemble(root, description, studies, table), tuple(told))


def unreadable(root: Path, error: DataError) -> Finding:
    """The finding of a data set whose tables cannot be read at all."""
    where = (error.where or "").removeprefix(f"{root}").removeprefix("/")
    return finding("data-unreadable", "error", where or str(root), error.what, error.mend or "")
