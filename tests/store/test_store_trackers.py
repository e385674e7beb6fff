"""Runs for experiment trackers, written and read back with the trackers' own libraries."""

from __future__ import annotations

import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from store_samples import fill

from mmad.base.errors import StoreError
from mmad.store.store import Store
from mmad.store.trackers import TRACKERS, Tracker, export_runs

NAME = "patience/patience 10/CXR/0"


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "mmad.sqlite") as opened:
        fill(opened)
        yield opened


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """The libraries warn of what they stand on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.slow
def test_mlflow_reads_parameters_and_every_epoch(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="pip install 'mmad[mlflow]'")
    from mlflow import MlflowClient

    assert NAME in export_runs(store, tmp_path / "out", "mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'out' / 'mlflow.db'}")
    (experiment,) = (e for e in client.search_experiments() if e.name == "patience")
    (run,) = (r for r in client.search_runs([experiment.experiment_id]) if r.info.run_name == NAME)
    assert run.info.status == "FINISHED"
    assert run.data.params["reduceLROnPlateau_patience"] == "10"
    assert run.data.tags["arm"] == "CXR"
    history = client.get_metric_history(run.info.run_id, "val_ap_iou")
    assert [(one.step, one.value) for one in history] == [
        (record.epoch, record.value("val", "ap_iou")) for record in store.epoch_records(run.data.tags["key"])
    ]


@pytest.mark.slow
def test_wandb_has_an_offline_run_to_sync(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="pip install 'mmad[wandb]'")
    written = export_runs(store, tmp_path / "out", "wandb")
    files = list((tmp_path / "out").rglob("*.wandb"))
    assert len(files) == len(written) > 0
    assert b"reduceLROnPlateau_patience" in b"".join(file.read_bytes() for file in files)


@pytest.mark.slow
def test_trackio_keeps_the_metrics_in_its_folder(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="pip install 'mmad[trackio]'")
    export_runs(store, tmp_path / "out", "trackio")
    (database,) = (tmp_path / "out").glob("*.db")
    with closing(sqlite3.connect(database)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM metrics").fetchone()
    assert count >= 3


@pytest.mark.parametrize("tracker", TRACKERS)
def test_what_is_missing_is_one_line(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: Tracker
) -> None:
    monkeypatch.setitem(__import__("sys").modules, tracker, None)
    with pytest.raises(
        StoreError, match=rf"{tracker} is not installed; install it with pip install 'mmad\[{tracker}\]'"
    ):
        export_runs(store, tmp_path / "out", tracker)
    assert not (tmp_path / "out").exists()
