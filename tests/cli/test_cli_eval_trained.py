"""A tiny pair trained for real, then judged: the network looks again, two arms are compared, controls are run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.detections_file import read_detections
from mmad.store.store import Store

pytestmark = pytest.mark.slow

FILE = """
title = "Pair"
data = "phantom-small"
[setup]
backbone = "custom1"
pretrained = false
image_size = 64
backbone_out_channels = 8
representation_size = 16
clinical_input_channels = 11
clinical_expand_conv_channels = 4
fuse_depth = 0
fusion_strategy = "add"
anchor_sizes = [8, 16, 32]
lr = 3e-3
batch_size = 4
box_score_thresh = 0.01
box_detections_per_img = 100
[arms.CXR]
use_clinical = false
[arms."CXR+Clinical"]
use_clinical = true
[protocol]
epochs = 2
"""
CXR, CLINICAL = "pair/default/CXR", "pair/default/CXR+Clinical"
Call = Callable[..., Any]


class Bench(NamedTuple):
    database: Path
    data: Path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, warm_workers: None) -> Bench:
    """The pair, trained in workers of its own."""
    from mmad.api.loading import load_with_data
    from mmad.scheduler.devices import find_slots
    from mmad.scheduler.progress import choose_view
    from mmad.scheduler.scheduler import run_jobs
    from mmad.scheduler.submit import queue_up

    folder = tmp_path_factory.mktemp("pair")
    make_phantom(folder / "phantom-small", studies=40, image_size=64)
    (folder / "pair.toml").write_text(FILE)
    ablation, _ = load_with_data(folder / "pair.toml", data=None)
    database = str(folder / "db" / "mmad.sqlite")
    summary = run_jobs(database, queue_up([ablation], database), find_slots("cpu"), choose_view())
    assert summary.exit_code == 0
    return Bench(Path(database), folder / "phantom-small")


def test_a_trained_pair_is_judged_compared_and_controlled(bench: Bench, call_mmad: Call) -> None:
    def call(*words: str) -> Any:
        few = () if words[0] == "eval" else ("--resamples", "50")
        called = call_mmad(*words, *few, "--db", bench.database)
        assert called.code == 0, called.err
        return called

    def evaluated(*words: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = json.loads(call("eval", *words, "--json").out)["runs"]
        return answer

    with Store.open(bench.database, read_only=True) as store:
        keys = {m.arm: m.key for m in store.ablations()[0].members}
        recorded = {e.overlap: e.ap for e in store.evaluations(keys["CXR"]) if (e.kind, e.split) == ("best_ap", "test")}
    plain = evaluated(CXR, CLINICAL, "--overlap", "iou,iobb")
    assert [r["ap"]["value"] for r in plain if r["arm"] == "CXR"] == pytest.approx([recorded["iou"], recorded["iobb"]])

    given = call("eval", CXR, "--proposals", "with_ground_truth,sampled", "--device", "cpu", "--json")
    assert "inference on test, with_ground_truth proposals …" in given.err
    runs = json.loads(given.out)["runs"]
    assert [r["proposals"] for r in runs] == ["with_ground_truth", "sampled"]
    file = kept_file(bench, keys["CXR"], runs[0]["epoch"], "with_ground_truth")
    clean = kept_file(bench, keys["CXR"], runs[0]["epoch"], "clean")
    assert read_detections(file).studies == read_detections(clean).studies
    assert file.read_bytes() != clean.read_bytes()
    with Store.open(bench.database, read_only=True) as store:
        rows = {(e.overlap, e.proposals) for e in store.evaluations(keys["CXR"]) if e.kind == "best_ap"}
    assert rows >= {(o, p) for o in ("iou", "iobb") for p in ("clean", "sampled", "with_ground_truth")}
    assert call("eval", CXR, "--proposals", "with_ground_truth").err == ""  # kept by now

    before = clean.read_bytes()
    clean.unlink()
    assert evaluated(CXR, "--again", "--device", "cpu")[0]["ap"] == plain[0]["ap"]
    assert clean.read_bytes() == before  # bit for bit what the training kept

    (pair,) = json.loads(call("compare", CXR, CLINICAL, "--json").out)["pairs"]
    assert pair["images"] == plain[0]["images"]
    assert call("compare", "--ablation", "pair").code == 0

    controls = json.loads(call("controls", CLINICAL, "--repeats", "2", "--device", "cpu", "--json").out)["controls"]
    assert {c["kind"] for c in controls} == {"column", "records", "image"}
    assert {c["before"] for c in controls} == {next(r for r in plain if r["arm"] != "CXR")["ap"]["value"]}
    again = call("controls", CLINICAL, "--repeats", "2", "--json")
    assert json.loads(again.out)["controls"] == controls
    assert again.err == ""

    moved = bench.data.rename(bench.data.with_name("moved"))
    assert evaluated(CXR, "--split", "val", "--checkpoint", "final", "--data", str(moved))[0]["images"] > 0
    refused = call_mmad("eval", CXR, "--split", "val", "--overlap", "iobb", "--db", bench.database)
    assert refused.code == 2
    assert "phantom-small" in refused.err


def kept_file(bench: Bench, key: str, epoch: int, proposals: str) -> Path:
    with Store.open(bench.database, read_only=True) as store:
        return store.run_paths(key).detections(epoch, "test", proposals)
