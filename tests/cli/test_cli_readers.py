"""``--by-reader``: the verdict under each reader, readers against each other, in every form."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import analysis_fixtures as made
import numpy as np
import pytest

import mmad
from mmad.data.phantom.generate import make_phantom
from mmad.data.reader import load_dataset
from mmad.evaluation.coco import evaluate
from mmad.evaluation.detections_file import read_detections
from mmad.store.store import Store

Call = Callable[..., Any]
ARMS = ("made/default/CXR", "made/default/CXR+Clinical")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """R1 drew every box, R2 two of three, R3 every box of two studies of three; who drew none says so."""
    folder = tmp_path_factory.mktemp("readers")
    root = make_phantom(folder / "phantom", studies=60, image_size=64).root
    with (root / "boxes.csv").open() as file:
        boxes = list(csv.DictReader(file))
    rows = []
    for n, study in enumerate(load_dataset(root).studies):
        own = [box for box in boxes if box["study"] == study.study]
        drawn = {"R1": own, "R2": [box for k, box in enumerate(own) if (n + k) % 3], "R3": own}
        for reader, found in drawn.items():
            if reader != "R3" or n % 3:
                bare = dict.fromkeys(boxes[0], "") | {"study": study.study}
                rows += [box | {"reading": reader} for box in found or [bare]]
    with (root / "boxes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(boxes[0]))
        writer.writeheader()
        writer.writerows(rows)
    return made.world(folder, load_dataset(root), seeds=(0, 1))


@pytest.fixture
def call(world: Any, call_mmad: Call) -> Call:
    def run(*words: str) -> Any:
        few = ("--resamples", "50") if words[0] == "compare" else ()
        return call_mmad(*words, *few, "--db", world.database)

    return run


@pytest.mark.slow
def test_the_verdict_stands_under_each_reader(call: Call, world: Any) -> None:
    (pair,) = json.loads(call("compare", *ARMS, "--by-reader", "--json").out)["pairs"]
    found = pair["by_reader"]
    test = world.dataset.split("test")
    read = [study for study in test if study % 3]
    assert [(one["reader"], one["images"], one["left_out"]) for one in found] == [
        ("R1", len(test), 0),
        ("R2", len(test), 0),
        ("R3", len(read), len(test) - len(read)),
    ]
    for one in found:
        assert one["ap"]["value"] == pytest.approx(one["other"] - one["reference"])
        assert one["sign_holds"] is (one["ap"]["value"] > 0)
        assert one["verdict_holds"] is (one["verdict"] == pair["verdict"])
    # the same figures as on a data set of that reader's boxes alone
    truth, keys = world.dataset.ground_truth("test", "R2"), [world.keys["CXR", seed] for seed in (0, 1)]
    with Store.open(world.database) as store:
        files = [store.run_paths(key).detections(3, "test", "clean") for key in keys]
        alone = [evaluate(read_detections(file), truth, overlap="iou").ap for file in files]
        assert found[1]["reference"] == pytest.approx(np.mean(alone))
        python = mmad.compare(store, *ARMS, resamples=50, by_reader=True).under_readers
        assert [one.verdict for one in python] == [one["verdict"] for one in found]
    whole = json.loads(call("compare", "made", "--by-reader", "--json").out)["pairs"][0]
    assert whole["by_reader"] == found
    said = " ".join(call("compare", "made", "--by-reader").out.split())
    assert "The sign of the difference is the same under 3 of 3 readers, the verdict" in said
    assert f"{len(test)} images of the split have several readings" in said


@pytest.mark.slow
def test_readers_against_each_other_are_the_ceiling(call: Call, call_mmad: Call, world: Any, tmp_path: Path) -> None:
    (run,) = json.loads(call("eval", f"{ARMS[0]}/0", "--by-reader", "--json").out)["runs"]
    assert run["readers"]["score"] == run["diagnosis"]["score"]
    found = {(one["who"], one["reference"]): one for one in run["readers"]["figures"]}
    test = world.dataset.split("test")
    drew = {name: len(world.dataset.ground_truth("test", name).labels) for name in ("R1", "R2", "R3")}
    first = found["R2", "R1"]
    assert (first["images"], first["boxes"]) == (len(test), drew["R1"])
    # what R2 drew is a part of what R1 drew
    assert first["sensitivity"]["value"] == pytest.approx(drew["R2"] / drew["R1"])
    assert first["false_positives"]["value"] == 0
    back = found["R1", "R2"]
    assert (back["sensitivity"]["value"], back["f1"]) == (1, first["f1"])
    assert back["false_positives"]["value"] == pytest.approx((drew["R1"] - drew["R2"]) / len(test))
    assert found["R3", "R1"]["boxes"] == drew["R3"]
    assert found["detector", "R3"]["images"] == sum(study % 3 > 0 for study in test)
    call("compare", *ARMS, "--by-reader")
    forms = ("--csv", tmp_path / "tables", "--methods", tmp_path / "methods.md")
    called = call_mmad("report", *forms, "--db", world.database)
    assert called.code == 0, called.err
    methods = (tmp_path / "methods.md").read_text().replace("\\", "")
    assert "made/default/CXR+Clinical against made/default/CXR, with one reader's boxes as the reference" in methods
    assert f"On {len(test)} test images of several readings, readers found 0." in methods
    with (tmp_path / "tables" / "made--readers.csv").open() as file:
        rows = {(row["who"], row["reference"], row["arm"], row["seed"]): row for row in csv.DictReader(file)}
    assert float(rows["R2", "R1", "CXR", "0"]["f1"]) == first["f1"]["value"]
    with (tmp_path / "tables" / "made--readers-pairs-1.csv").open() as file:
        assert [row["reader"] for row in csv.DictReader(file)] == ["R1", "R2", "R3"]
    assert "Images of 3 readings" in (tmp_path / "tables" / "made--cohort.csv").read_text()


def test_without_readers_one_line_says_so(call_judged: Call) -> None:
    for words in (("eval", f"{ARMS[0]}/0"), ("compare", *ARMS), ("compare", "made")):
        refused = call_judged(*words, "--by-reader")
        assert (refused.code, refused.err.count("mmad:"), refused.out) == (2, 1, "")
        assert "--by-reader: " in refused.err
        assert "boxes.csv" in refused.err


def test_info_counts_images_by_readings(call_mmad: Call, world: Any) -> None:
    root = world.dataset.root
    told = json.loads(call_mmad("data", "info", root, "--json").out)["readers"]["test"]
    test = world.dataset.split("test")
    three = sum(study % 3 > 0 for study in test)
    assert told == {"names": ["R1", "R2", "R3"], "images_by_readings": [0, 0, len(test) - three, three]}
    said = call_mmad("data", "info", root).out
    assert f"readers: R1, R2, R3; images by readings: {len(test) - three} with 2, {three} with 3" in said
    assert "boxes of all readings of an image are one reference" in said
