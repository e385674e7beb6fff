"""The phantom: same seed, same bytes; pictures that do not know the clinical effect; the right places."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import DataError
from mmad.base.records import DOCUMENTED_COLUMNS, DOCUMENTED_LABELS
from mmad.config.ablation_file import PhantomTable
from mmad.data.dataset import DataSet
from mmad.data.image_cache import decode
from mmad.data.phantom.cases import LOOKS, NUMERIC, Case, make_cases
from mmad.data.phantom.generate import IMAGE_SIZE, draw_case, draw_image, make_phantom
from mmad.data.phantom.separability import separability

HEART, ATELECTASIS, PLEURA, CONSOLIDATION, EDEMA = range(1, 6)
_TEMPERATURE = [column.name for column in NUMERIC].index("temperature")
_SBP = [column.name for column in NUMERIC].index("sbp")


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_same_seed_same_bytes(phantom: DataSet, tmp_path: Path) -> None:
    again = make_phantom(tmp_path / "again", studies=40, image_size=64, seed=3)
    assert _files(again.root) == _files(phantom.root)
    assert again.fingerprint() == phantom.fingerprint()


def test_another_seed_gives_other_pictures(phantom: DataSet, tmp_path: Path) -> None:
    other = make_phantom(tmp_path / "other", studies=10, image_size=64, seed=4)
    assert _files(other.root)["images/s000000.png"] != _files(phantom.root)["images/s000000.png"]


def test_the_effect_changes_clinical_values_and_nothing_else(phantom: DataSet, tmp_path: Path) -> None:
    none = make_phantom(tmp_path / "none", studies=40, image_size=64, seed=3, clinical_effect=0)
    one, two = _files(phantom.root), _files(none.root)
    assert {name for name in one if one[name] != two[name]} == {"dataset.toml", "studies.csv"}
    for with_effect, without in zip(phantom.studies, none.studies, strict=True):
        assert with_effect.split == without.split
        assert with_effect.patient == without.patient
        assert with_effect.categorical == without.categorical


def test_documented_columns_and_labels(phantom: DataSet) -> None:
    assert phantom.columns() == DOCUMENTED_COLUMNS
    assert phantom.labels == DOCUMENTED_LABELS
    assert phantom.split_policy == "patient"


def test_numbers_stay_in_their_range_and_a_few_are_missing() -> None:
    cases = make_cases(600, 0, 1.0, 0.05)
    cells = [cell for case in cases for cell in case.numeric]
    assert 0.03 < sum(cell is None for cell in cells) / len(cells) < 0.07
    for i, column in enumerate(NUMERIC):
        known = [case.numeric[i] for case in cases if case.numeric[i] is not None]
        assert all(column.low <= value <= column.high for value in known if value is not None)
        assert len(set(known)) > 3


def _by_label(cases: tuple[Case, ...], look: str, column: int) -> dict[str | None, list[float]]:
    values: dict[str | None, list[float]] = {}
    for case in cases:
        if case.look == look and (value := case.numeric[column]) is not None:
            values.setdefault(case.label, []).append(value)
    return values


def test_with_full_effect_a_vital_sign_names_the_ambiguous_finding() -> None:
    cases = make_cases(600, 1, 1.0, 0.05)
    focal = _by_label(cases, "focal", _TEMPERATURE)
    assert min(focal["Consolidation"]) > max(focal["Atelectasis"])
    haze = _by_label(cases, "haze", _SBP)
    assert max(haze["Consolidation"]) < min(haze["Pulmonary edema"])


def test_without_effect_it_names_nothing_and_keeps_its_distribution() -> None:
    with_effect, without = make_cases(2000, 1, 1.0, 0.0), make_cases(2000, 1, 0.0, 0.0)
    for look, column in (("focal", _TEMPERATURE), ("haze", _SBP)):
        one, two = _by_label(without, look, column).values()
        spread = np.std([*one, *two])
        assert abs(np.mean(one) - np.mean(two)) < 0.25 * spread
    for column in range(len(NUMERIC)):
        known = [np.array([case.numeric[column] for case in cases], dtype=float) for cases in (with_effect, without)]
        assert np.quantile(known[0], [0.1, 0.5, 0.9]) == pytest.approx(
            np.quantile(known[1], [0.1, 0.5, 0.9]), abs=0.2 * known[0].std()
        )


def test_between_none_and_all_the_vital_signs_overlap_and_stay_plausible() -> None:
    means = []
    for effect in (0.2, 0.5, 1.0):
        cases = make_cases(2000, 2, effect, 0.0)
        focal = _by_label(cases, "focal", _TEMPERATURE)
        fever, none = np.array(focal["Consolidation"]), np.array(focal["Atelectasis"])
        means.append(float(fever.mean() - none.mean()))
        assert (fever.min() < none.max()) == (effect < 1)
        if effect < 1:
            pressure = np.array(_by_label(cases, "haze", _SBP)["Pulmonary edema"])
            assert np.quantile(pressure, 0.95) < 195
            assert np.quantile(fever, 0.95) < 103
    assert means == pytest.approx([0.2 * 3.7, 0.5 * 3.7, 3.7], abs=0.15)


def test_the_effects_that_are_documented_draw_what_they_always_did() -> None:
    digests = [hashlib.sha256(repr(make_cases(480, 0, effect, 0.05)).encode()).hexdigest() for effect in (0.0, 1.0)]
    assert [digest[:16] for digest in digests] == ["19d2cbb155879b53", "a5f07c3cb24c4a7e"]


@pytest.mark.slow
def test_what_vital_signs_and_images_tell_is_measured(tmp_path: Path) -> None:
    made = make_phantom(tmp_path / "out", studies=120, image_size=64)
    by_effect = {}
    for effect in (0.0, 0.5, 1.0):
        found = separability(made, make_cases(120, 0, effect, 0.05))
        by_effect[effect] = {one.question: one for one in found}
    name = "Atelectasis or Consolidation (focal)"
    none, half, all_ = (by_effect[effect][name] for effect in (0.0, 0.5, 1.0))
    assert none.vitals < 0.7 < half.vitals < all_.vitals > 0.99
    assert none.image == half.image == all_.image < 0.7  # the image does not tell the two names
    assert by_effect[1.0]["Enlarged cardiac silhouette"].image > 0.9


def test_most_findings_of_the_opacities_are_ambiguous() -> None:
    share = {(look, label): part for look, label, part in LOOKS}
    assert sum(share.values()) == pytest.approx(1)
    for label in ("Atelectasis", "Consolidation", "Pulmonary edema"):
        whole = sum(part for (_, name), part in share.items() if name == label)
        ambiguous = sum(part for (look, name), part in share.items() if name == label and look in ("focal", "haze"))
        assert ambiguous / whole >= 0.6
        assert whole >= 0.2


def test_a_picture_does_not_depend_on_its_label() -> None:
    from dataclasses import replace

    for case in make_cases(40, 5, 1.0, 0.0):
        image, marks = draw_case(case, 64, 5)
        other, renamed = draw_case(replace(case, label="Another", numeric=(), categorical=()), 64, 5)
        assert np.array_equal(image, other)
        assert [mark.box for mark in marks] == [mark.box for mark in renamed]


@examples(15)
@given(st.integers(10, 400), st.integers(0, 2**31 - 1))
def test_patients_never_cross_splits_and_every_split_has_studies(studies: int, seed: int) -> None:
    cases = make_cases(studies, seed, 1.0, 0.05)
    assert len(cases) == studies
    splits: dict[int, set[str]] = {}
    for case in cases:
        splits.setdefault(case.patient, set()).add(case.split)
    assert all(len(found) == 1 for found in splits.values())
    counts = {name: sum(case.split == name for case in cases) for name in ("train", "val", "test")}
    assert min(counts.values()) > 0
    if studies >= 100:
        assert 0.64 < counts["train"] / studies < 0.74


def test_frequencies_hold_in_every_split() -> None:
    cases = make_cases(360, 0, 1.0, 0.05)
    for split in ("train", "val", "test"):
        members = [case for case in cases if case.split == split]
        for label in ("Atelectasis", "Consolidation", "Pulmonary edema"):
            assert sum(case.label == label for case in members) / len(members) >= 0.2
        assert sum(case.big_heart for case in members) / len(members) > 0.25
        assert sum(bool(case.pleura) for case in members) / len(members) > 0.25


@pytest.mark.slow
def test_artefacts_change_the_pictures_and_nothing_else(phantom: DataSet, tmp_path: Path) -> None:
    with_them = make_phantom(tmp_path / "with", studies=40, image_size=64, seed=3, artefacts=True)
    one, two = _files(phantom.root), _files(with_them.root)
    changed = {name for name in one if one[name] != two[name]}
    assert changed == {"dataset.toml"} | {name for name in one if name.startswith("images/")}
    assert np.array_equal(with_them.boxes, phantom.boxes)
    again = make_phantom(tmp_path / "again", studies=40, image_size=64, seed=3, artefacts=True)
    assert _files(again.root) == two


def test_artefacts_are_bright_lines_and_leave_what_a_box_shows() -> None:
    for case in make_cases(20, 0, 1.0, 0.0):
        plain, marks = draw_image(case, (128, 128), 0)
        image, same = draw_image(case, (128, 128), 0, artefacts=True)
        assert same == marks
        for mark in marks:
            left, top, right, bottom = (int(side) for side in mark.box)
            inside = (slice(top, bottom), slice(left, right))
            assert np.corrcoef(plain[inside].ravel(), image[inside].ravel())[0, 1] > 0.5
            assert image[inside].min() > 4  # no border of the beam over it


def test_an_image_of_other_sides_has_its_boxes_scaled(tmp_path: Path) -> None:
    made = make_phantom(tmp_path / "tall", studies=10, width=100, height=150, format="jpeg")
    square = make_phantom(tmp_path / "square", studies=10, image_size=150)
    assert {(study.width, study.height) for study in made.studies} == {(100, 150)}
    assert decode(made, 0).size == (100, 150)
    assert made.studies[0].image.endswith(".jpg")
    assert made.boxes == pytest.approx(square.boxes * np.array([100 / 150, 1, 100 / 150, 1]))
    first = make_phantom(tmp_path / "again", studies=10, width=100, height=150, format="jpeg")
    assert _files(first.root) == _files(made.root)


def test_a_square_is_drawn_as_it_always_was(phantom: DataSet, tmp_path: Path) -> None:
    square = make_phantom(tmp_path / "square", studies=40, width=64, height=64, seed=3)
    assert _files(square.root) == _files(phantom.root)


def test_the_table_of_an_ablation_file_takes_what_the_generator_does() -> None:
    arguments = inspect.signature(make_phantom).parameters
    table = PhantomTable.model_fields
    assert set(table) == set(arguments) - {"out", "progress"}
    for name, field in table.items():
        assert field.default == (IMAGE_SIZE if name in ("width", "height") else arguments[name].default)


def test_findings_stand_in_their_places(phantom: DataSet) -> None:
    size = 64
    centre = (phantom.boxes[:, :2] + phantom.boxes[:, 2:]) / 2 / size  # (M, 2)
    extent = (phantom.boxes[:, 2:] - phantom.boxes[:, :2]) / size
    heart, pleura = phantom.labels_of == HEART, phantom.labels_of == PLEURA
    assert (extent[heart, 0] > 0.35).all()
    assert (np.abs(centre[heart] - [0.57, 0.63]) < 0.12).all()
    assert (np.abs(centre[pleura, 0] - 0.5) > 0.18).all()
    assert (centre[pleura, 1] > 0.6).all()
    assert set(phantom.labels_of.tolist()) == {HEART, ATELECTASIS, PLEURA, CONSOLIDATION, EDEMA}
    assert (extent * size >= 3).all()


def test_an_edema_has_a_box_in_each_lung(phantom: DataSet) -> None:
    for study in np.unique(phantom.box_study[phantom.labels_of == EDEMA]):
        boxes = phantom.boxes[(phantom.box_study == study) & (phantom.labels_of == EDEMA)]
        assert sorted(((boxes[:, 0] + boxes[:, 2]) / 2 > 32).tolist()) == [False, True]


def test_an_opacity_is_brighter_than_the_lung_across(phantom: DataSet) -> None:
    seen = 0
    for position, case in enumerate(make_cases(40, 3, 1.0, 0.05)):
        if case.look != "focal" or case.pleura or case.big_heart:
            continue
        (box,) = phantom.boxes[phantom.box_study == position].astype(int)
        image = np.asarray(decode(phantom, position), dtype=float)
        mirrored = image[:, ::-1]
        rows, columns = slice(box[1] + 2, box[3] - 2), slice(box[0] + 2, box[2] - 2)
        if (box[0] + box[2]) / 2 > 32:  # the heart lies on this side: its mirror image is lung
            assert image[rows, columns].mean() > mirrored[rows, columns].mean() + 20
            seen += 1
    assert seen >= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"studies": 3}, "--studies: 3 is out of range"),
        ({"image_size": 8}, "--image-size: 8 is out of range"),
        ({"clinical_effect": 1.5}, "--clinical-effect: 1.5 is out of range; choose from 0 to 1"),
        ({"clinical_effect": float("nan")}, "--clinical-effect: nan is out of range"),
        ({"seed": -1}, "--seed: -1 is out of range"),
        ({"width": 20}, "--size: 20 is out of range"),
        ({"height": 9000}, "--size: 9000 is out of range"),
        ({"format": "gif"}, "--format: unknown format 'gif'.*use one of png, jpeg"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_phantom(tmp_path / "out", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_filled_folder_is_refused_and_an_empty_one_taken(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert len(make_phantom(out, studies=10, image_size=64).studies) == 10
    with pytest.raises(DataError, match=r"exists already"):
        make_phantom(out, studies=10, image_size=64)


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, whole: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_phantom(tmp_path / "out", studies=10, image_size=64, progress=interrupt)
    assert list(tmp_path.glob("**/*.png")) == []
    assert not (tmp_path / "out").exists()
