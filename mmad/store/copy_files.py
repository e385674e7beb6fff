"""Copies the files that runs have beside their database: checkpoints, detections, logs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import StoreError
from mmad.base.paths import StorePaths
from mmad.store.gateway import Store


@dataclass(frozen=True)
class CopiedFiles:
    """How many files and bytes were copied, and how many were there already."""

    copied: int
    size: int
    there: int


def copy_files(sender: Store, target: StorePaths) -> CopiedFiles:
    """Copies the folders of the sender's runs to where ``target`` looks for them, each file whole or not at all.

    A file that is there with equal size and time is left alone. StoreError where one cannot be read or written.
    """
    copied = size = there = 0
    for run in sender.runs():
        source, folder = sender.run_paths(run.key).folder, target.run(run.key).folder
        if source.resolve() == folder.resolve():
            there += sum(path.is_file() for path in source.rglob("*"))
            continue
        for path in sorted(source.rglob("*")):
            if path.is_symlink() or not path.is_file() or path.name.startswith("."):
                continue
            if _copy(path, folder / path.relative_to(source)):
                copied, size = copied + 1, size + path.stat().st_size
            else:
                there += 1
    return CopiedFiles(copied, size, there)


def _copy(source: Path, target: Path) -> bool:
    """Whether ``source`` had to be copied to ``target``."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        own = source.stat()
        if target.is_file() and (target.stat().st_size, target.stat().st_mtime_ns) == (own.st_size, own.st_mtime_ns):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, partial)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(
            f"cannot be copied to {target.parent} ({error.strerror}); no row was copied",
            where=source,
            mend="free space or check permissions there, then copy again: what is there already is kept",
        ) from error
    return True
