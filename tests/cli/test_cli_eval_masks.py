"""Runs with a mask head, trained and judged as a user does: AP and AR of masks in words, JSON and the report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_cli_eval_trained import FILE

from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.detections_file import read_detections, write_detections
from mmad.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_workers")]
Call = Callable[..., Any]
ONE_ARM = FILE.partition("[[external]]")[0].replace('[arms."CXR+Clinical"]\nuse_clinical = true\n', "")
HEAD = ONE_ARM.replace("lr = 3e-3", "lr = 3e-3\nuse_mask = true\nmask_hidden_layers = 8")


def test_masks_are_judged_and_shown(call_mmad: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.chdir(tmp_path)
    make_phantom(tmp_path / "phantom", studies=110, image_size=64)
    Path("masks.toml").write_text(HEAD)
    data = ("--data", tmp_path / "phantom")
    done = call_mmad("ablate", "masks.toml", *data, "--device", "cpu", "--db", tmp_path / "db" / "m.sqlite")
    assert done.code == 0, done.err
    where = ("masks/default/CXR", "--db", tmp_path / "db" / "m.sqlite")
    (run,) = json.loads(call_mmad("eval", *where, "--coco", "--json").out)["runs"]
    masks = run["masks"]
    assert masks["ap"]["low"] <= masks["ap"]["value"] <= masks["ap"]["high"]
    assert [c["label"] for c in masks["per_class"]] == [c["label"] for c in run["per_class"]]
    assert len(masks["coco"]["figures"]) == 18
    with Store.open(str(tmp_path / "db" / "m.sqlite")) as store:
        rows = {(e.kind, e.split, e.overlap): e for e in store.evaluations(run["key"])}
        assert rows["best_ap", "test", "mask_iou"].ap == pytest.approx(masks["ap"]["value"])
        assert len(store.analyses("masks")) == 1
        file = store.run_paths(run["key"]).folder / str(rows["best_ap", "test", "iou"].detections)
    words = call_mmad("eval", *where, "--coco", "--per-class")
    assert (words.code, words.err) == (0, "")
    assert "\nMasks\n" in words.out
    assert "\nCOCO's figures\n" in words.out
    assert re.search(r"masks +AP50", words.out)
    page = call_mmad("report", "--out", tmp_path / "r" / "index.html", "--db", tmp_path / "db" / "m.sqlite")
    assert page.code == 0, page.err
    html = (tmp_path / "r" / "index.html").read_text("utf-8")
    assert "Masks compared with the filled annotated boxes" in html
    assert "AP of masks (IoU)" in html
    # kept before masks were: said, with the command that makes them
    write_detections(file, replace(read_detections(file), masks=None))
    old = call_mmad("eval", *where, "--json")
    assert old.code == 0
    assert json.loads(old.out)["runs"][0]["masks"] is None
    assert "its masks are not kept; make them with `mmad eval" in old.err
