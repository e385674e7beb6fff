"""Writes the runs of a database where experiment trackers read them, through the trackers' own libraries.

A tracked run is one run of one ablation: its setup and protocol as parameters, every metric of every epoch at its step,
and who asked for it. Nothing leaves this machine: MLflow gets a database of its own, W&B an offline folder that can be
synced, trackio its folder.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from mmad.base.errors import StoreError
from mmad.base.files import FolderFilled, folder_beside
from mmad.base.records import OnProgress
from mmad.store.store import Store

Tracker = Literal["mlflow", "wandb", "trackio"]
TRACKERS: tuple[Tracker, ...] = get_args(Tracker)
#: What MLflow takes in one call at most, and of one parameter.
_BATCH, _PARAM_LENGTH = 100, 6000


@dataclass(frozen=True)
class TrackedRun:
    """One run of one ablation; ``epochs`` are (epoch, metrics by name, finite ones alone)."""

    ablation: str
    name: str
    key: str
    status: str
    started: datetime | None
    finished: datetime | None
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    epochs: Sequence[tuple[int, Mapping[str, float]]]


def export_runs(store: Store, folder: Path, tracker: Tracker, progress: OnProgress | None = None) -> tuple[str, ...]:
    """Writes every run that has begun into the new ``folder``; the names of those that were written.

    Raises:
        StoreError: the tracker's library is not installed, or the folder holds something.
    """
    try:
        importlib.import_module(tracker)
    except ImportError:
        raise StoreError(f"{tracker} is not installed", hint=f"install it with pip install 'mmad[{tracker}]'") from None
    keys = [(one.name, key) for one in store.ablations() for key in dict.fromkeys(m.key for m in one.members)]
    written: list[str] = []
    try:
        with folder_beside(folder) as part, warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")  # what a library says of its own dependencies
            with _WRITERS[tracker](part, folder) as write:
                for n, (ablation, key) in enumerate(keys):
                    if (found := _tracked(store, ablation, key)) is not None:
                        write(found)
                        written.append(found.name)
                    if progress is not None:
                        progress(n + 1, len(keys))
    except FolderFilled:
        raise StoreError("holds something already", where=folder, hint="name a folder that is new or empty") from None
    except OSError as error:
        raise StoreError(f"cannot be written ({error.strerror})", where=folder, hint="name another folder") from error
    return tuple(written)


def _tracked(store: Store, ablation: str, key: str) -> TrackedRun | None:
    """The run for a tracker; None where no epoch of it is recorded."""
    run, epochs = store.run(key), store.epoch_records(key)
    if not epochs:
        return None
    members = [m for one in store.ablations() if one.name == ablation for m in one.members if m.key == key]
    first = members[0]
    tags = {"key": key, "setting": first.setting, "arm": first.arm, "seed": str(first.seed), "data": run.dataset_name}
    tags |= {"status": run.status, "members": "; ".join(member.path for member in members)}
    steps = []
    for record in epochs:
        values = {f"{m.split}_{m.name}": m.value for m in record.metrics} | {"lr": record.lr, "seconds": record.seconds}
        steps.append((record.epoch, {name: value for name, value in values.items() if math.isfinite(value)}))
    params = {**run.setup, **run.protocol, "dataset_fingerprint": run.dataset_fingerprint}
    return TrackedRun(ablation, first.path, key, run.status, run.started, run.finished, params, tags, tuple(steps))


_Write = Callable[[TrackedRun], None]


@contextlib.contextmanager
def _mlflow(part: Path, folder: Path) -> Iterator[_Write]:
    """``mlflow.db``, for ``mlflow ui --backend-store-uri sqlite:///DIR/mlflow.db``; an experiment an ablation."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(tracking_uri=f"sqlite:///{part.absolute() / 'mlflow.db'}")
    experiments: dict[str, str] = {}

    def write(run: TrackedRun) -> None:
        if run.ablation not in experiments:
            place = (folder.absolute() / "artifacts").as_uri()
            experiments[run.ablation] = client.create_experiment(run.ablation, artifact_location=place)
        made = client.create_run(experiments[run.ablation], run_name=run.name, start_time=_milliseconds(run.started))
        moment = _milliseconds(run.started) or 0
        params = [Param(name, str(value)[:_PARAM_LENGTH]) for name, value in run.params.items()]
        metrics = [Metric(name, value, moment, epoch) for epoch, found in run.epochs for name, value in found.items()]
        tags = [RunTag(name, value) for name, value in run.tags.items()]
        for start in range(0, max(map(len, (params, metrics, tags))), _BATCH):
            several = slice(start, start + _BATCH)
            client.log_batch(made.info.run_id, metrics[several], params[several], tags[several])
        status = {"finished": "FINISHED", "failed": "FAILED"}.get(run.status, "KILLED")
        client.set_terminated(made.info.run_id, status, _milliseconds(run.finished))

    yield write


@contextlib.contextmanager
def _wandb(part: Path, folder: Path) -> Iterator[_Write]:
    """Offline runs, which ``wandb sync DIR/wandb/offline-run-*`` sends; a project an ablation."""
    import wandb

    settings = wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True)

    def write(run: TrackedRun) -> None:
        made = wandb.init(
            project=_plain(run.ablation),
            name=run.name,
            id=f"{run.key[:16]}",
            group=run.tags["setting"],
            config={**run.params, **{f"mmad_{name}": value for name, value in run.tags.items()}},
            mode="offline",
            dir=part,
            settings=settings,
        )
        for epoch, values in run.epochs:
            made.log(dict(values), step=epoch)
        made.finish()

    try:
        yield write
    finally:
        wandb.teardown()  # its service writes the files, and ends when all of them are whole


@contextlib.contextmanager
def _trackio(part: Path, folder: Path) -> Iterator[_Write]:
    """A folder that ``TRACKIO_DIR=DIR trackio show`` shows; a project an ablation."""
    before = os.environ.get("TRACKIO_DIR")
    os.environ["TRACKIO_DIR"] = str(part.absolute())
    try:
        trackio = importlib.import_module("trackio")
        # the folder is read once, when the library is first imported
        for module in ("utils", "sqlite_storage"):
            found = importlib.import_module(f"trackio.{module}")
            if hasattr(found, "TRACKIO_DIR"):
                setattr(found, "TRACKIO_DIR", part.absolute())  # noqa: B010

        def write(run: TrackedRun) -> None:
            config = {name: value for name, value in {**run.params, **run.tags}.items() if not name.startswith("_")}
            trackio.init(project=_plain(run.ablation), name=run.name, config=config, embed=False, auto_log_gpu=False)
            for epoch, values in run.epochs:
                trackio.log(dict(values), step=epoch)
            trackio.finish()

        yield write
    finally:
        if before is None:
            del os.environ["TRACKIO_DIR"]
        else:
            os.environ["TRACKIO_DIR"] = before


_WRITERS: Mapping[Tracker, Callable[[Path, Path], contextlib.AbstractContextManager[_Write]]] = {
    "mlflow": _mlflow,
    "wandb": _wandb,
    "trackio": _trackio,
}


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _plain(name: str) -> str:
    """A name that every tracker takes for a project's."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)[:120]
