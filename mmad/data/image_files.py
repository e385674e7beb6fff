"""The image files of a data set: that they are there, and that no path leads out of the folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mmad.base.errors import DataError
from mmad.data.dataset import STUDIES, Study
from mmad.data.problems import Problem, Refuse, raise_first


def is_inside(image: str) -> bool:
    """Whether ``image`` is a plain relative path with forward slashes that never climbs out of its folder."""
    parts = image.split("/")
    return not (image.startswith("/") or ".." in parts or "\\" in image or ":" in parts[0] or "\0" in image)


def leads_out(inside: Path, path: Path) -> bool:
    """Whether ``path`` leads, by links, out of the resolved folder ``inside``; what leads nowhere does not."""
    try:
        return not path.resolve().is_relative_to(inside)
    except (OSError, RuntimeError):  # a ring of links
        return False


def check_images(root: Path, studies: Sequence[Study], refuse: Refuse = raise_first) -> None:
    """Refuse an image that is missing or stands outside ``root``; each folder is listed once."""
    folders = _Folders(root)
    for study in studies:
        wrong = folders.wrong(study.image)
        if wrong is not None:
            code, what, mend = wrong
            at = f"{root / STUDIES}: study {study.study!r}"
            refuse(Problem(code, DataError(f"image {study.image!r} {what}", where=at, mend=mend), study.study))


class _Folders:
    """The folders of a data set's images, each listed when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._inside = root.resolve()
        self._listed: dict[str, dict[str, bool] | None] = {}

    def wrong(self, image: str) -> tuple[str, str, str] | None:
        """(code, what is wrong, mend) of the path ``image``, or None."""
        if not is_inside(image):
            return "image-outside", "path leaves the data set's folder", "write it relative to that folder"
        folder, _, name = image.rpartition("/")
        if folder not in self._listed:
            out = leads_out(self._inside, self._root / folder)
            self._listed[folder] = None if out else _files(self._root / folder)
        files = self._listed[folder]
        if files is None:
            return "image-outside", "is reached by a link out of the data set's folder", "copy the files there"
        plain = files.get(name)
        if plain is None:
            return "image-missing", "is missing", "add the file or take the row out"
        if not plain and leads_out(self._inside, self._root / image):
            return "image-outside", "is a link out of the data set's folder", "copy the file there"
        return None


def _files(folder: Path) -> dict[str, bool]:
    """Names of the files in ``folder``; True for a plain file, False for a link that is yet to be followed."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: not entry.is_symlink() for entry in entries if _is_file(entry)}
    except OSError:  # missing, a ring of links, a name longer than any
        return {}


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a ring of links
        return False
