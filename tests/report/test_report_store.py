"""A report from a real database, as the command line makes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_fixtures import WHEN, Sample

from mmad.analysis.report_frame import load_frame
from mmad.base.records import CheckpointRecord, EpochRecord, Metric
from mmad.config.load import load_ablation
from mmad.config.runs import DataSource
from mmad.report.write_report import write_report
from mmad.store.store import Store

FILE = """
title = "Patience"
description = "Two values."
[setup]
backbone = "mobilenet_v3"
lr_scheduler = "ReduceLROnPlateau"
[arms.CXR]
use_clinical = false
[arms."CXR+Clinical"]
use_clinical = true
[grid]
reduceLROnPlateau_patience = [5, 10]
[protocol]
epochs = 3
"""


@pytest.fixture
def store(tmp_path: Path, sample: Sample) -> Store:
    """Two settings × two arms; three runs finished, one is queued."""
    file = tmp_path / "patience.toml"
    file.write_text(FILE)
    data = DataSource(path=str(tmp_path / "data"), name="phantom", fingerprint="5f" * 32)
    ablation = load_ablation(file, weights="none").on(data)
    store = Store.open(tmp_path / "db" / "mmad.sqlite")
    store.add_ablation(ablation)
    keys = list(dict.fromkeys(m.run.key for m in ablation.members))
    model = sample.source.run_list[0].key
    for n, key in enumerate(keys[:3]):
        kept = [
            CheckpointRecord(kind, 3, "checkpoints/epoch-00003.pt", "ab" * 32, 10, WHEN)  # type: ignore[arg-type]
            for kind in ("best_ap", "best_ar", "final")
        ]
        for epoch in sample.source.epochs[model][:3]:
            store.commit_epoch(key, _lifted(epoch, 0.1 * n), kept if epoch.epoch == 3 else ())
        store.put_parameter_counts(key, sample.source.counts[model])
        store.add_environment(key, sample.source.places[model][0])
        store.add_warning(key, "a warning")
        store.end_free(key, "finished")
    return store


def _lifted(epoch: EpochRecord, by: float) -> EpochRecord:
    metrics = (Metric(m.split, m.name, m.value + by) if m.name.startswith("ap_") else m for m in epoch.metrics)
    return replace(epoch, metrics=tuple(metrics))


@pytest.mark.usefixtures("_undrawn")
def test_a_real_store_is_reported(store: Store, tmp_path: Path) -> None:
    with store:
        frame = load_frame(store)
        (ablation,) = frame.ablations
        assert ablation.record.title == "Patience · weights=none"
        assert ablation.arms == ("CXR", "CXR+Clinical")
        member = ablation.members[0]
        assert member.best_ap is not None
        assert member.best_ap.val_ap == member.run.epochs[2].value("val", "ap_iou")
        assert member.run.warnings == ("a warning",)
        report = write_report(store, html=tmp_path / "r.html", database=store.where, created=WHEN)
    assert (report.runs, report.unfinished) == (4, 1)
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "+0.100" in text
    assert "not compared yet: CXR+Clinical queued" in text
    assert "weights: none" in text
