"""Which studies are shown, with which boxes and figures; and one line where something cannot be shown."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import picture_fixtures as made
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmad.analysis.evaluation_target import DetectionStore
from mmad.analysis.report_frame import AblationFrame, load_frame
from mmad.analysis.verdicts import compare_ablation, comparison_targets
from mmad.base.errors import ReportError
from mmad.base.records import Detections, GroundTruth
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.data.reader import load_dataset
from mmad.evaluation.coco import evaluate
from mmad.report import pictures
from mmad.report.pictures import SIDE, StudyPicture, image_of, pictures_of, representative_seed
from mmad.store.store import Store

HARD = "PhysioNet Credentialed Health Data License 1.5.0"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=60, image_size=64)


@pytest.fixture(scope="module")
def template(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.two_arms(tmp_path_factory.mktemp("made"), dataset)


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(template.parent, tmp_path / "db")
    with Store.open(tmp_path / "db" / template.name) as opened:
        yield opened


def gain_of(picture: StudyPicture) -> int:
    """Hits minus false alarms over the drawn boxes."""
    reference, other = (Counter(b.outcome for b in s) for s in (picture.panels.reference, picture.panels.other))
    return (other["right"] - other["false"]) - (reference["right"] - reference["false"])


def test_the_studies_are_those_that_mmad_compare_lists(store: Store) -> None:
    (contrast,), _ = compare_ablation(store, DetectionStore(), "made", made.FEW)
    (pair,) = made.alone(made.gathered(store)).pairs
    assert [(p.study, p.net_hits) for p in pair.studies] == list(contrast.statistics.agreement.studies[:4])
    assert [gain_of(p) for p in pair.studies] == [p.net_hits for p in pair.studies]
    (more,) = made.alone(made.gathered(store, 12)).pairs
    assert [(p.study, p.net_hits) for p in more.studies] == list(contrast.statistics.agreement.studies)


def test_over_seeds_net_hits_are_summed_and_the_boxes_are_from_the_representative_seed(
    dataset: DataSet, tmp_path: Path
) -> None:
    with Store.open(made.two_arms(tmp_path, dataset, seeds=3)) as store:
        (contrast,), _ = compare_ablation(store, DetectionStore(), "made", made.FEW)
        (pair,) = made.alone(made.gathered(store)).pairs
    assert [(p.study, p.net_hits) for p in pair.studies] == list(contrast.statistics.agreement.studies[:4])
    for picture in pair.studies:
        assert picture.seed_net_hits == gain_of(picture)
        assert abs(picture.seed_net_hits) >= abs(picture.net_hits) / 3
        assert picture.seed_net_hits * picture.net_hits > 0


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=6))
def test_the_representative_seed_is_the_first_with_the_largest_difference_in_the_common_direction(
    gains: list[int],
) -> None:
    chosen, way = representative_seed(gains), 1 if sum(gains) >= 0 else -1
    assert all(gains[chosen] * way >= gain * way for gain in gains)
    assert all(gains[chosen] != gain for gain in gains[:chosen])


def test_every_true_box_is_found_or_missed_as_the_truth_says(store: Store, dataset: DataSet) -> None:
    truth = dataset.ground_truth("test")
    (pair,) = made.alone(made.gathered(store, 12)).pairs
    for picture in pair.studies:
        by = Counter(b.outcome for b in picture.panels.truth)
        assert by.total() == (truth.study == truth.studies.index(picture.study)).sum()
        for side, mine, theirs in (
            (picture.panels.reference, "reference", "other"),
            (picture.panels.other, "other", "reference"),
        ):
            outcomes = Counter(b.outcome for b in side)
            assert outcomes["right"] == by["both"] + by[mine]
            assert outcomes["missed"] == by["neither"] + by[theirs]
        assert all(b.score is not None and b.score >= 0.3 for b in picture.panels.other if b.outcome != "missed")
        assert all(0 <= side <= SIDE for b in picture.panels.truth for side in b.corners)


def _without(detections: Detections, truth: GroundTruth, study: str) -> float:
    """AP without ``study``: removed from both and counted again."""
    rest = tuple(s for s in truth.studies if s != study)
    place = np.array([rest.index(s) if s != study else -1 for s in truth.studies])
    seen = np.array([rest.index(s) if s != study else -1 for s in detections.studies])
    true, found = place[truth.study], seen[detections.study]
    cut = GroundTruth(rest, rest, truth.categories, true[true >= 0], truth.boxes[true >= 0], truth.labels[true >= 0])
    stays = found >= 0
    rows = (getattr(detections, name)[stays] for name in ("boxes", "scores", "labels"))
    left = Detections(rest, found[stays], *rows)
    return evaluate(left, cut).ap


def test_the_ap_contribution_is_the_difference_in_ap_without_the_study(store: Store, dataset: DataSet) -> None:
    (contrast,), _ = compare_ablation(store, DetectionStore(), "made", made.FEW)
    (pair,) = made.alone(made.gathered(store)).pairs
    assert pair.ap_difference is not None
    assert pair.ap_difference.all_boxes == pytest.approx(contrast.difference.value)
    truth, detections = dataset.ground_truth("test"), DetectionStore()
    sides = [detections.read(one) for one in comparison_targets(store, contrast, made.FEW)[0]]
    for picture in pair.studies:
        reference, other = (_without(side, truth, picture.study) for side in sides)
        assert picture.ap_without == pytest.approx(other - reference)
    strong = [
        Detections(s.studies, s.study[k], s.boxes[k], s.scores[k], s.labels[k])
        for s in sides
        for k in [s.scores >= 0.3]
    ]
    assert pair.ap_difference.drawn == tuple(len(s.scores) for s in strong)
    assert pair.ap_difference.total == tuple(len(s.scores) for s in sides)
    reference, other = (evaluate(s, truth).ap for s in strong)
    assert pair.ap_difference.drawn_boxes == pytest.approx(other - reference)


def test_images_that_may_not_be_passed_on_are_withheld_until_requested(dataset: DataSet, tmp_path: Path) -> None:
    hard = made.licensed(tmp_path / "hard", dataset, HARD)
    with Store.open(made.two_arms(tmp_path, hard, settings=2)) as store:
        found = made.alone(made.gathered(store))
        assert found.images == {}
        assert not any(pair.studies for pair in found.pairs)
        (note,) = found.notes
        assert note.caution
        assert note.text.startswith("Pictures are withheld: the licence of the data set ")
        assert HARD in note.text
        assert note.command == "mmad report --pictures 4"
        asked = made.alone(made.gathered(store, 2))
        assert [len(pair.studies) for pair in asked.pairs] == [2, 2]
        assert asked.images
        (note,) = asked.notes
        assert "Shown on request" in note.text
        assert note.caution
        assert made.gathered(store, 0).ablations == {}


def test_a_data_set_that_may_be_passed_on_is_named_with_its_licence(store: Store, dataset: DataSet) -> None:
    (note,) = made.alone(made.gathered(store)).notes
    assert note.text == f"Images: {dataset.name}, CC0-1.0."
    assert not note.caution


@pytest.mark.parametrize("number", [-1, 13, 10**9])
def test_a_number_out_of_range_is_refused(store: Store, number: int) -> None:
    with pytest.raises(ReportError, match=r"^pictures: .* is out of range; choose 0 to 12 studies"):
        made.gathered(store, number)


def test_a_moved_data_set_is_found_and_a_missing_or_changed_one_is_a_line(
    store: Store, dataset: DataSet, tmp_path: Path
) -> None:
    moved = shutil.copytree(dataset.root, tmp_path / "moved")
    assert made.alone(made.gathered(store, data=moved)).images
    lost = made.alone(made.gathered(store, data=tmp_path / "gone"))
    (note,) = lost.notes
    assert lost.pairs == ()
    assert str(tmp_path / "gone") in note.text
    (moved / dataset.studies[0].image).write_bytes(b"another")
    (note,) = made.alone(made.gathered(store, data=moved)).notes
    assert "the data set changed" in note.text


def test_missing_detections_are_a_line(store: Store) -> None:
    for file in store.run_paths("x").folder.parents[1].rglob("*-test-clean.npz"):
        file.unlink()
    (note,) = made.alone(made.gathered(store)).notes
    assert "are not kept" in note.text


def test_a_damaged_image_is_a_line_and_the_others_are_shown(dataset: DataSet, template: Path, tmp_path: Path) -> None:
    with Store.open(template) as store:
        shown = [p.study for p in made.alone(made.gathered(store)).pairs[0].studies]
    copy = shutil.copytree(dataset.root, tmp_path / "damaged")
    place = {study.study: study.image for study in dataset.studies}
    (copy / place[shown[1]]).write_bytes(b"no image")
    with Store.open(made.two_arms(tmp_path, load_dataset(copy))) as store:
        found = made.alone(made.gathered(store))
    assert [p.study for p in found.pairs[0].studies] == shown
    assert [bool(p.image) for p in found.pairs[0].studies] == [True, False, True, True]
    assert "cannot be decoded" in found.pairs[0].studies[1].note


def test_arms_that_differ_nowhere_say_so(dataset: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(made.two_arms(tmp_path, dataset)) as store:
        files = sorted(store.run_paths("x").folder.parents[1].rglob("*-test-clean.npz"))
        for file in files[1:]:
            shutil.copy(files[0], file)
        (pair,) = made.alone(made.gathered(store)).pairs
    assert pair.studies == ()
    assert pair.why == "the arms have equal hits minus false alarms on every study"


def renamed(ablation: AblationFrame, name: str) -> AblationFrame:
    return replace(ablation, record=replace(ablation.record, name=name))


@pytest.mark.slow
def test_many_pairs_show_fewer_studies_unless_a_number_is_given(
    dataset: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST_IN_ALL", 6)
    with Store.open(made.two_arms(tmp_path, dataset, settings=3)) as store:
        found = made.alone(made.gathered(store))
        assert [len(pair.studies) for pair in found.pairs] == [2, 2, 2]
        assert "2 studies of each pair, to keep the page small" in found.notes[-1].text
        assert [len(pair.studies) for pair in made.alone(made.gathered(store, 4)).pairs] == [4, 4, 4]
        frame = load_frame(store)
        twice = replace(frame, ablations=(*frame.ablations, renamed(frame.ablations[0], "again")))
        for separate_pages, each in ((False, 1), (True, 2)):
            several = pictures_of(twice, store, separate_pages=separate_pages).ablations
            assert [[len(pair.studies) for pair in a.pairs] for a in several.values()] == [[each] * 3] * 2
        monkeypatch.setattr(pictures, "MOST_IN_ALL", 2)
        found = made.alone(made.gathered(store))
        assert [len(pair.studies) for pair in found.pairs] == [1, 1, 0]
        assert any("Further pairs are without pictures" in note.text for note in found.notes)


def test_a_store_open_for_reading_shows_pictures_and_writes_nothing(template: Path) -> None:
    with Store.open(template, read_only=True) as store:
        before = len(store.analyses())
        assert made.alone(made.gathered(store)).images
        assert len(store.analyses()) == before


@pytest.mark.slow
def test_page_images_are_small_and_have_the_shape_of_the_image(tmp_path: Path) -> None:
    wide = make_phantom(tmp_path / "wide", studies=10, width=1200, height=900)
    image = image_of(wide, 0)
    assert (image.width, image.height) == (512, 384)
    with Image.open(io.BytesIO(image.jpeg)) as stored:
        assert (stored.size, stored.mode, stored.format) == ((512, 384), "L", "JPEG")
    assert len(image.jpeg) < 48 * 1024
