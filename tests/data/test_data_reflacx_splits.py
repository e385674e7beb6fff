"""Splits of a data set from REFLACX: whole patients, its own, or by row as the documented log."""

from __future__ import annotations

from pathlib import Path

import pytest
from reflacx_trees import Ellipse, Tree

from mmad.base.errors import DataError
from mmad.data.dataset import DataSet, split_by_patient
from mmad.data.importers.reflacx.build import Choices, build_reflacx


def many(root: Path, splits: str = "train,train,validate,test") -> Tree:
    """Ten patients with two images each, every image read twice; REFLACX's splits follow the patients."""
    tree = Tree(root)
    words = splits.split(",")
    for number in range(10):
        patient = str(10000000 + number)
        tree.patient(patient)
        tree.stay(str(30000000 + number), patient=patient)
        for which in range(2):
            dicom, study = f"d{number}{which}", f"5000{number}{which}00"
            tree.image(dicom, patient=patient, study=study)
            for reader in range(2):
                finding = [Ellipse((1, 1, 9, 9), ["Atelectasis"])]
                name = f"P30{reader}R0000{number}{which}"
                tree.reading(name, dicom, finding, patient=patient, study=study, split=words[number % len(words)])
    return tree


def made(tree: Tree, **choices: object) -> DataSet:
    return build_reflacx(tree.write(), tree.root.parent / "out", Choices(**choices)).dataset  # type: ignore[arg-type]


def test_whole_patients_by_their_ids(tmp_path: Path) -> None:
    dataset = made(many(tmp_path / "in"))
    assert dataset.split_policy == "patient"
    patients = [study.patient for study in dataset.studies]
    assert [study.split for study in dataset.studies] == split_by_patient(patients)
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [14, 2, 4]


@pytest.mark.parametrize("mode", ["unified", "normal", "full"])
def test_reflacxs_own(tmp_path: Path, mode: str) -> None:
    dataset = made(many(tmp_path / "in"), split="reflacx", mode=mode)
    assert dataset.split_policy == "patient"
    of_patient = {int(study.patient) % 10: study.split for study in dataset.studies}
    assert of_patient == dict(enumerate(["train", "train", "val", "test"] * 2 + ["train", "train"]))


def test_reflacxs_own_that_divides_patients_says_image(tmp_path: Path) -> None:
    tree = many(tmp_path / "in")
    for row in tree.metadata[3]:
        if row[4] == "d01":
            row[1] = "test"
    assert made(tree, split="reflacx").split_policy == "image"


def test_reflacxs_own_that_divides_an_image_is_refused(tmp_path: Path) -> None:
    tree = many(tmp_path / "in")
    tree.metadata[3][1][1] = "test"
    with pytest.raises(DataError, match=r"metadata_phase_3.csv:3: image 'd00' has readings in two splits; use --split"):
        made(tree, split="reflacx")


def test_an_unknown_word_of_reflacxs_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metadata_phase_3.csv:2: unknown split 'holdout'"):
        made(many(tmp_path / "in", "holdout"), split="reflacx")


@pytest.mark.parametrize(("mode", "sizes"), [("unified", [16, 2, 2]), ("normal", [28, 6, 6]), ("full", [32, 4, 4])])
def test_by_row_as_the_log(tmp_path: Path, mode: str, sizes: list[int]) -> None:
    dataset = made(many(tmp_path / "in"), split="documented", mode=mode)
    assert dataset.split_policy == "documented"
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == sizes


@pytest.mark.slow
def test_the_seed_shuffles_the_rows(tmp_path: Path) -> None:
    splits = []
    for number, seed in enumerate((0, 0, 1)):
        (tmp_path / str(number)).mkdir()
        dataset = made(many(tmp_path / str(number) / "in"), split="documented", split_seed=seed)
        splits.append([study.split for study in dataset.studies])
    assert splits[0] == splits[1] != splits[2]
