"""The rules by which REFLACX and MIMIC are joined, one at a time."""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reflacx_trees import LABELS_1, LABELS_2_3

from mmad.base.errors import DataError
from mmad.base.records import DOCUMENTED_LABELS
from mmad.data.importers.reflacx.boxes import KNOWN, MERGED, NEVER_DRAWN, PHASE_1, PHASES_2_3, check_labels, columns_of
from mmad.data.importers.reflacx.build import place
from mmad.data.importers.reflacx.mimic import CxrImage, Patient, Stay, pain_number, stays_at, study_day, study_time
from mmad.data.importers.reflacx.records import flag, whole


@pytest.mark.parametrize(
    ("text", "pain"),
    [
        ("7", 7),
        (" 7.0 ", 7),
        ("0", 0),
        ("10+", 10),
        ("7/10", 7),
        ("7 / 10", 7),
        ("9 out of 10", 9),
        ("5-6", 5.5),
        ("5 – 6", 5.5),
        ("3 to 4", 3.5),
        ("Ten", 10),
        ("none", 0),
        ("No  Pain", 0),
        ("denies", 0),
    ],
)
def test_pain_that_says_a_number(text: str, pain: float) -> None:
    assert pain_number(text) == pain


@pytest.mark.parametrize(
    "text", ["", "unable", "UTA", "asleep", "severe", "13", "3/5", "11/10", "5-13", "8 back, 5 leg", "-3", "7?", "nan"]
)
def test_pain_that_says_none_is_missing(text: str) -> None:
    assert pain_number(text) is None


@given(st.text(max_size=12))
def test_pain_is_a_number_from_0_to_10_or_missing(text: str) -> None:
    value = pain_number(text)
    assert value is None or 0 <= value <= 10


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("83045.515", time(8, 30, 45, 515000)),
        ("213014.0", time(21, 30, 14)),
        ("213014", time(21, 30, 14)),
        ("130.0", time(0, 1, 30)),
        ("7.25", time(0, 0, 7, 250000)),
        ("0.0", time(0, 0)),
        ("2.13014531e+05", time(21, 30, 14, 531000)),
        ("000130", time(0, 1, 30)),
    ],
)
def test_a_time_that_lost_its_leading_zeros(text: str, clock: time) -> None:
    assert study_time(text) == clock


@pytest.mark.parametrize("text", ["", "93.5", "6000", "240000", "1e999", "e", "1.2.3", "-1", "nan", "8:30"])
def test_no_time(text: str) -> None:
    assert study_time(text) is None


def test_days() -> None:
    assert study_day("21800506") == study_day("21800506.0") == study_day("2180-05-06") == date(2180, 5, 6)
    assert [study_day(text) for text in ("", "21801306", "2180", "May")] == [None] * 4


def _stay(name: str, intime: str | None, outtime: str | None) -> Stay:
    ends = (None if text is None else datetime.fromisoformat(f"2180-05-06 {text}") for text in (intime, outtime))
    return Stay(name, "1", *ends)


def test_the_stay_that_holds_the_moment() -> None:
    stays = [
        _stay("early", "08:00", "12:00"),
        _stay("late", "11:00", "18:00"),
        _stay("open", "09:00", None),
        _stay("lost", None, "18:00"),
        _stay("backwards", "13:00", "10:00"),
    ]
    asked = [datetime(2180, 5, 6, hour, minute) for hour, minute in ((8, 0), (11, 30), (18, 0), (18, 1))]
    found = [[stay.stay for stay in stays_at(stays, moment)] for moment in asked]
    assert found == [["early"], ["late", "early"], ["late"], []]


def test_age_is_the_anchors_and_the_years_between() -> None:
    assert Patient("F", 60, 2178).age_on(date(2180, 1, 1)) == 62
    assert Patient("F", 60, 2178).age_on(date(2177, 12, 31)) == 59
    assert Patient("F", None, 2178).age_on(date(2180, 1, 1)) is None
    assert Patient("F", 60, 2178).age_on(None) is None


def test_where_a_jpeg_lies() -> None:
    image = CxrImage("d-1", "10000032", "50414267", "PA", None, None)
    assert image.jpeg(Path("m")) == Path("m/files/p10/p10000032/s50414267/d-1.jpg")


def test_labels_are_the_columns_of_the_files() -> None:
    assert sorted((*PHASE_1, *NEVER_DRAWN)) == LABELS_1
    assert sorted((*PHASES_2_3, "Other", "Support devices")) == LABELS_2_3
    assert set(DOCUMENTED_LABELS) <= set(KNOWN)
    assert set(MERGED) <= set(PHASE_1)
    assert set(MERGED.values()) <= set(PHASES_2_3)


def test_what_makes_up_a_label_in_a_phase() -> None:
    wanted = ("Lung nodule or mass", "Pneumothorax", "Enlarged hilum")
    assert columns_of(1, wanted) == (
        ("Mass", "Lung nodule or mass"),
        ("Nodule", "Lung nodule or mass"),
        ("Pneumothorax", "Pneumothorax"),
    )
    assert [name for name, _ in columns_of(3, wanted)] == ["Enlarged hilum", "Lung nodule or mass", "Pneumothorax"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("Fracture", "'Fracture' is part of 'Acute fracture'; ask for that"),
        ("Support devices", "nothing was drawn for 'Support devices'; leave it out"),
        ("Atelectasia", "unknown label 'Atelectasia' .did you mean 'Atelectasis'"),
    ],
)
def test_labels_that_are_refused(wanted: str, message: str) -> None:
    with pytest.raises(DataError, match=f"--labels: {message}"):
        check_labels([wanted])


def test_no_label_is_refused_and_one_twice_taken_once() -> None:
    assert check_labels(["Atelectasis", "Atelectasis"]) == ("Atelectasis",)
    with pytest.raises(DataError, match="names no label"):
        check_labels([])


def test_ids_and_flags() -> None:
    assert [whole(text) for text in ("12", "12.0", "012.", "1.5", "", "x", "-1")] == ["12", "12", "12", *[None] * 4]
    assert [flag(text, "c", "f:1") for text in ("True", "FALSE", "1", "0.0", "")] == [True, False, True, False, False]
    with pytest.raises(DataError, match=r"f:1: column 'c' is neither True nor False") as refused:
        flag("unspeakable", "c", "f:1")
    assert "unspeakable" not in str(refused.value)


def test_an_image_is_linked_or_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"bytes")
    assert place(source, tmp_path / "linked.jpg", link=True)
    assert (tmp_path / "linked.jpg").samefile(source)
    assert not place(source, tmp_path / "copied.jpg", link=False)

    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    assert not place(source, tmp_path / "fallen_back.jpg", link=True)
    for name in ("copied", "fallen_back"):
        assert (tmp_path / f"{name}.jpg").read_bytes() == b"bytes"
        assert not (tmp_path / f"{name}.jpg").samefile(source)


def test_a_link_in_the_source_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.jpg").write_bytes(b"bytes")
    (tmp_path / "link.jpg").symlink_to("real.jpg")
    place(tmp_path / "link.jpg", tmp_path / "placed.jpg", link=True)
    assert not (tmp_path / "placed.jpg").is_symlink()
    assert (tmp_path / "placed.jpg").read_bytes() == b"bytes"
