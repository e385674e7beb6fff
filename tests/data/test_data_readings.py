"""Samples by reading: whose boxes they have, what they share, and what cannot be asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mmad.base.errors import DataError
from mmad.data.dataset import DataSet
from mmad.data.external import outside_data
from mmad.data.image_cache import image_cache
from mmad.data.loader import Studies, evaluation_batches, training_batches
from mmad.data.reader import load_dataset
from mmad.data.samples import by_reading, samples

Change = Callable[[str, str, str], Path]


def test_a_study_of_two_readings_becomes_two(tiny: Path) -> None:
    whole = load_dataset(tiny)
    view = by_reading(whole)
    assert [study.study for study in view.studies] == ["a#r1", "a#r2", "b", "c", "d"]
    assert view.box_study.tolist() == [0, 3, 1, 4]
    assert [view.studies[i].patient for i in range(3)] == ["p1", "p1", "p2"]
    assert view.studies[1].numeric == whole.studies[0].numeric
    assert view.split("train") == (0, 1, 2)
    assert whole.split("train") == (0, 1)


def test_each_reading_has_its_own_truth(tiny: Path) -> None:
    truth = by_reading(load_dataset(tiny)).ground_truth("train")
    assert truth.studies == ("a#r1", "a#r2", "b")
    assert truth.study.tolist() == [0, 1]
    assert truth.boxes.tolist() == [[4, 5, 20, 15], [10.5, 2, 30, 18]]
    assert truth.labels.tolist() == [1, 2]


def test_images_and_fingerprint_are_those_of_the_whole(tiny: Path, cache: Path) -> None:
    whole = load_dataset(tiny)
    view = by_reading(whole)
    assert image_cache(view, 32).tobytes() == image_cache(whole, 32).tobytes()
    assert len(list((cache / "images").iterdir())) == 1
    assert view.fingerprint() == whole.fingerprint()
    assert view.image_rows.tolist() == [0, 0, 1, 2, 3]


def test_both_readings_show_one_image_with_their_boxes(tiny: Path) -> None:
    readings = by_reading(load_dataset(tiny))
    batches = training_batches(readings, Studies(readings, 64, None), batch_size=1, seed=0, flip=0)
    shown = {batch.positions[0]: batch for batch in batches.epoch(1)}
    assert torch.equal(shown[0].images, shown[1].images)
    assert shown[0].targets[0]["labels"].tolist() == [1]
    assert shown[1].targets[0]["labels"].tolist() == [2]
    assert shown[2].targets[0]["labels"].tolist() == []


def test_with_one_reading_per_study_nothing_changes(phantom: DataSet) -> None:
    view = samples(phantom, "normal")
    assert view.studies == phantom.studies
    assert np.array_equal(view.box_study, phantom.box_study)
    for split in ("val", "test"):
        both = [list(evaluation_batches(d, split, Studies(d, 64, None), batch_size=4)) for d in (phantom, view)]
        for one, two in zip(*both, strict=True):
            assert torch.equal(one.images, two.images)
            assert all(torch.equal(a["boxes"], b["boxes"]) for a, b in zip(one.targets, two.targets, strict=True))


def test_unified_is_the_data_set_itself(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    assert samples(dataset, "unified") is dataset
    assert samples(by_reading(dataset), "normal").studies == by_reading(dataset).studies


@pytest.mark.parametrize("mode", ["normal", "full"])
def test_readings_cannot_be_joined_again(change: Change, mode: str) -> None:
    dataset = load_dataset(change("dataset.toml", "licence", f'mode = "{mode}"\nlicence'))
    for wanted in ("normal", "full"):
        assert len(samples(dataset, wanted).studies) == 5
    with pytest.raises(DataError, match=rf'dataset.toml: mode = "{mode}": .* set dataset_mode = "{mode}"'):
        samples(dataset, "unified")


def test_a_study_that_is_called_like_a_reading_is_refused(tiny: Path, change: Change) -> None:
    change("studies.csv", "\nb,", "\na#r2,")
    with pytest.raises(DataError, match=r"study 'a#r2' is also the name of a reading"):
        by_reading(load_dataset(tiny))


def test_readers_are_names_that_recur_and_a_reading_without_a_box_is_one(change: Change) -> None:
    whole = load_dataset(change("boxes.csv", "d,r1,1,1,3,3,Atelectasis,", "d,r1,1,1,3,3,Atelectasis,\nb,r2,,,,,,"))
    assert whole.readings == ((0, "r1"), (2, "r1"), (0, "r2"), (3, "r1"), (1, "r2"))
    assert [whole.readers(split) for split in ("train", "val", "test")] == [("r1", "r2"), ("r1",), ("r1",)]
    assert [whole.images_by_readings(split) for split in ("train", "val")] == [(0, 1, 1), (0, 1)]
    truth = whole.ground_truth("train", "r2")
    assert (truth.studies, truth.study.tolist(), truth.labels.tolist()) == (("a", "b"), [0], [2])
    assert whole.ground_truth("train", "r1").studies == ("a",)
    view = by_reading(whole)
    assert view.ground_truth("train", "r2").studies == ("a#r2", "b")
    assert (view.readers("train"), view.images_by_readings("train")) == (("r1", "r2"), (0, 1, 1))


def test_a_name_of_one_reading_is_no_reader_s(change: Change) -> None:
    boxes = change("boxes.csv", "c,r1", "c,r3") / "boxes.csv"
    boxes.write_text(boxes.read_text().replace("d,r1", "d,r4"))
    whole = load_dataset(boxes.parent)
    assert (whole.readers("train"), whole.images_by_readings("train")) == ((), (1, 0, 1))


def test_on_another_data_set_a_reader_of_other_labels_has_read_the_image(change: Change, phantom: DataSet) -> None:
    root = change("dataset.toml", '"Consolidation"', '"Mass"')
    (root / "boxes.csv").write_text((root / "boxes.csv").read_text().replace("Consolidation", "Mass"))
    found = outside_data(root, phantom, {}, (), ()).dataset
    assert found.labels == phantom.labels
    assert (found.box_study.tolist(), found.no_finding) == ([0, 3], ((2, "r1"), (0, "r2")))
    assert found.readers("test") == ("r1", "r2")


def test_values_of_another_unit_are_named(change: Change, phantom: DataSet) -> None:
    root = change("dataset.toml", "split_policy", 'mode = "unified"\nsplit_policy')
    first, *others = phantom.numeric
    celsius = dataclasses.replace(phantom, numeric=(dataclasses.replace(first, low=-9.0, high=-5.0), *others))
    (told,) = [n for n in outside_data(root, celsius, {}, [first.name], ()).notes if "another unit" in n]
    assert told.startswith(f"3 of 3 values of {first.name!r} lie outside -9 to -5, ")
    assert not any("another unit" in note for note in outside_data(root, phantom, {}, [first.name], ()).notes)
