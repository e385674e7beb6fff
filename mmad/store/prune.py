"""Which files below a database's runs nothing needs any more, and their end."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import StoreError
from mmad.base.paths import RunPaths
from mmad.base.records import CheckpointKind, CheckpointRecord, RunRecord
from mmad.store.check_files import note_pruned
from mmad.store.gateway import Store

#: What a finished run keeps unless said otherwise.
KEPT: tuple[CheckpointKind, ...] = ("best_ap", "best_ar", "final")


@dataclass(frozen=True)
class Surplus:
    """A file or folder that may go: of which run (a name of a folder where no run is known), its bytes and why.

    ``kind`` is that of a checkpoint which the database holds.
    """

    path: Path
    key: str
    size: int
    reason: str
    kind: CheckpointKind | None = None


def find_surplus(
    store: Store, keys: Collection[str], *, keep: Sequence[CheckpointKind] = KEPT, orphans: bool = False
) -> list[Surplus]:
    """What nothing needs of the runs ``keys``: finished runs' checkpoints beside those of ``keep``, checkpoints that
    were set aside, and what interrupted writes left of finished runs. Runs that may go on lose nothing they need, nor
    do those that an unfinished one goes on from.

    Args:
        orphans: also whole folders of runs that the database does not hold.
    """
    records = {run.key: run for run in store.runs()}
    held = store.all_checkpoints(list(records))
    parents = {run.protocol["continues"]["key"] for run in records.values() if _goes_on(run)}
    found: list[Surplus] = []
    for key in records:
        if key in keys:
            found += _of_run(store, records[key], held[key], keep, whole=key in parents)
    return found + (list(_orphans(store)) if orphans else [])


def _goes_on(run: RunRecord) -> bool:
    """Whether the run still has to take over what another one left."""
    return run.status != "finished" and run.protocol.get("continues") is not None


def _of_run(
    store: Store, run: RunRecord, rows: Sequence[CheckpointRecord], keep: Sequence[CheckpointKind], *, whole: bool
) -> Iterator[Surplus]:
    paths = store.run_paths(run.key)
    for aside in sorted(paths.folder.glob(f"{paths.checkpoints.name}.*")):
        yield Surplus(aside, run.key, _size(aside), "set aside: of epochs that this database does not hold")
    if run.status != "finished":
        return
    needed = {paths.folder / row.path: row.kind for row in rows if whole or row.kind in keep}
    names = {paths.folder / row.path: row.kind for row in rows}
    for file in sorted(paths.checkpoints.glob("*")) if paths.checkpoints.is_dir() else ():
        if file not in needed:
            kind = names.get(file)
            yield Surplus(file, run.key, _size(file), f"checkpoint {kind}" if kind else "of no kept checkpoint", kind)


def _orphans(store: Store) -> Iterator[Surplus]:
    folders = sorted(store.paths.runs.glob("??/*"))
    records = {run.key for run in store.runs()}  # read last: a run is queued before it has a folder
    for folder in folders:
        if folder.is_dir() and folder.name not in records and folder.name[:2] == folder.parent.name:
            yield Surplus(folder, folder.name, _size(folder), "of a run that this database does not hold")


def delete(surplus: Sequence[Surplus]) -> int:
    """Deletes what was found; the bytes that became free. The names of checkpoints stay in the run's ``pruned``.

    Raises:
        StoreError: something cannot be deleted; what came before it is gone.
    """
    freed = 0
    for one in surplus:
        try:
            if one.path.is_dir():
                shutil.rmtree(one.path)
            else:
                if one.kind is not None:
                    note_pruned(RunPaths(one.path.parent.parent), one.path)
                one.path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot be deleted ({error.strerror})", where=one.path, mend="check its permissions, then go on"
            ) from error
        freed += one.size
    return freed


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
