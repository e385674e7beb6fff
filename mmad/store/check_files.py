"""Looks whether the files that rows name are there, and hold what they held."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmad.base.paths import RunPaths
from mmad.base.records import CheckpointRecord
from mmad.store.finding import Finding
from mmad.store.gateway import Store

_MEND = "name the folder of the runs as MMAD_RUNS, restore it from a backup, or train the run anew in another database"
_BLOCK = 2**20
#: In a run's folder: the names of checkpoints that a person had deleted, one a line.
_PRUNED = "pruned"


@dataclass(frozen=True)
class CheckedFiles:
    """How many files were looked for and how many read to their end, and what is wrong with them."""

    looked_for: int
    read: int
    findings: tuple[Finding, ...]


def check_files(store: Store, *, deep: bool, progress: Callable[[int, int], None] | None = None) -> CheckedFiles:
    """Looks for every checkpoint and file of detections that a row names.

    ``deep`` compares each checkpoint's SHA-256 with its row's, and the check sums within each file of
    detections; else a checkpoint's size is compared.
    """
    looks = list(_looks(store))
    findings: list[Finding] = []
    read = 0
    for number, (key, file, record) in enumerate(looks, start=1):
        what, whole = _wrong(file, record, deep)
        read += whole
        if what is not None:
            named = "detections" if record is None else f"checkpoint {record.kind}"
            findings.append(Finding("files", file.as_posix(), f"{what} ({named} of run {key[:12]})", _MEND))
        if progress is not None:
            progress(number, len(looks))
    return CheckedFiles(len(looks), read, tuple(findings))


def note_pruned(run: RunPaths, checkpoint: Path) -> None:
    """Remembers that ``checkpoint`` is about to be deleted on purpose."""
    with (run.folder / _PRUNED).open("a", encoding="utf-8") as names:
        names.write(f"{run.relative(checkpoint)}\n")


def read_pruned(run: RunPaths) -> frozenset[str]:
    """The checkpoints of ``run`` that were deleted on purpose and are not there again, as the store names them."""
    file = run.folder / _PRUNED
    names = file.read_text("utf-8", "replace").splitlines() if file.is_file() else []
    return frozenset(name for name in names if not (run.folder / name).exists())


def _looks(store: Store) -> Iterator[tuple[str, Path, CheckpointRecord | None]]:
    """Each file once, with its run and, of a checkpoint, the row that names it."""
    keys = [run.key for run in store.runs()]
    checkpoints, evaluations = store.all_checkpoints(keys), store.all_evaluations(keys)
    for key in keys:
        folder = store.run_paths(key).folder
        gone = read_pruned(store.run_paths(key))
        kept = {(record.path, record.sha256): record for record in checkpoints[key] if record.path not in gone}
        for record in kept.values():
            yield key, folder / record.path, record
        for name in dict.fromkeys(record.detections for record in evaluations[key]):
            if name is not None:
                yield key, folder / name, None


def _wrong(file: Path, record: CheckpointRecord | None, deep: bool) -> tuple[str | None, bool]:
    """What is wrong with ``file``, or None; and whether it was read to its end."""
    try:
        size = file.stat().st_size
        if record is not None and size != record.size:
            return f"has {size} bytes, its row says {record.size}", False
        if not deep:
            return None, False
        if record is not None:
            digest = _sha256(file)
            return (None if digest == record.sha256 else f"is another file: its SHA-256 begins {digest[:12]}"), True
        with zipfile.ZipFile(file) as packed:
            broken = packed.testzip()
        return (None if broken is None else f"is damaged at {broken}"), True
    except FileNotFoundError:
        return "is not there", False
    except OSError as error:
        return f"cannot be read ({error.strerror or error})", False
    except zipfile.BadZipFile as error:
        return f"is damaged ({error})", True


def _sha256(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
