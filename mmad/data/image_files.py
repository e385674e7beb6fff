"""The image files of a data set: that they are there, and that no path leads out of the folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mmad.base.errors import DataError
from mmad.data.dataset import STUDIES, Study


def is_inside(image: str) -> bool:
    """Whether ``image`` is a plain relative path with forward slashes that never climbs out of its folder."""
    parts = image.split("/")
    return not (image.startswith("/") or ".." in parts or "\\" in image or ":" in parts[0] or "\0" in image)


def check_images(root: Path, studies: Sequence[Study]) -> None:
    """Refuse an image that is missing or stands outside ``root``; each folder is listed once. Raises DataError."""
    inside = root.resolve()
    listed: dict[str, dict[str, bool]] = {}
    for study in studies:
        folder, _, name = study.image.rpartition("/")
        if not is_inside(study.image):
            raise _refused(root, study, "path leaves the data set's folder", "write it relative to that folder")
        if folder not in listed:
            if not (root / folder).resolve().is_relative_to(inside):
                raise _refused(root, study, "is reached by a link out of the data set's folder", "copy the files there")
            listed[folder] = _files(root / folder)
        plain = listed[folder].get(name)
        if plain is None:
            raise _refused(root, study, "is missing", "add the file or take the row out")
        if not plain and not (root / study.image).resolve().is_relative_to(inside):
            raise _refused(root, study, "is a link out of the data set's folder", "copy the file there")


def _refused(root: Path, study: Study, what: str, mend: str) -> DataError:
    return DataError(f"image {study.image!r} {what}", where=f"{root / STUDIES}: study {study.study!r}", mend=mend)


def _files(folder: Path) -> dict[str, bool]:
    """Names of the files in ``folder``; True for a plain file, False for a link that is yet to be followed."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: not entry.is_symlink() for entry in entries if entry.is_file()}
