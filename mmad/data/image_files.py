"""The image files of a data set: that they are there, and that no path leads out of the folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mmad.base.errors import DataError
from mmad.data.dataset import STUDIES, Study


def safe_relative(image: str) -> PurePosixPath | None:
    """``image`` as a plain path below the folder, or None when it is absolute or climbs out."""
    path = PurePosixPath(image)
    bad = path.is_absolute() or ".." in path.parts or "\\" in image or ":" in path.parts[0] if path.parts else True
    return None if bad or "\0" in image else path


def check_images(root: Path, studies: Sequence[Study]) -> None:
    """Refuse an image that is missing or stands outside ``root``; each folder is listed once. Raises DataError."""
    inside = root.resolve()
    listed: dict[PurePosixPath, dict[str, bool]] = {}
    for study in studies:
        path = safe_relative(study.image)
        at = f"{root / STUDIES}: study {study.study!r}"
        if path is None:
            raise DataError(
                f"image path {study.image!r} leaves the data set's folder", where=at, mend="write it relative to it"
            )
        if path.parent not in listed:
            listed[path.parent] = _files(root / path.parent, inside, at)
        found = listed[path.parent].get(path.name)
        if found is None:
            raise DataError(f"image {study.image!r} is missing", where=at, mend="add the file or take the row out")
        if not found and not (root / path).resolve().is_relative_to(inside):
            raise DataError(
                f"image {study.image!r} is a link out of the data set's folder", where=at, mend="copy the file instead"
            )


def _files(folder: Path, inside: Path, at: str) -> dict[str, bool]:
    """Names of the files in ``folder``; True for a plain file, False for a link that is yet to be followed."""
    if not folder.is_dir():
        return {}
    if not folder.resolve().is_relative_to(inside):
        raise DataError(
            f"folder {folder.name!r} is a link out of the data set's folder", where=at, mend="copy the files instead"
        )
    with os.scandir(folder) as entries:
        return {entry.name: not entry.is_symlink() for entry in entries if entry.is_file()}
