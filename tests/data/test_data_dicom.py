"""DICOM images as a screen would show them, and what their headers say of the patient."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_fixtures import write_csv
from dicom_fixtures import dicom, lookup, save
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1
from random_search import examples

from mmad.base.errors import DataError
from mmad.data.dicom import decode_dicom, is_dicom, read_header
from mmad.data.image_cache import decode
from mmad.data.importers.coco import import_coco
from mmad.data.importers.csv import import_csv

_WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def shown(path: Path, file: Any) -> NDArray[np.uint8]:
    return np.asarray(decode_dicom(save(path / "x.dcm", file), "here"))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("rescale", [None, (2.0, -1024.0)])
def test_windows_are_those_of_pydicom(tmp_path: Path, function: str, rescale: tuple[float, float] | None) -> None:
    keys: dict[str, Any] = {"WindowCenter": [1200, 9], "WindowWidth": [801, 9], "VOILUTFunction": function}
    if rescale:
        keys |= {"RescaleSlope": rescale[0], "RescaleIntercept": rescale[1]}
    file = dicom(RAMP, bits=12, **keys)
    slope, intercept = rescale or (1.0, 0.0)
    theirs = (apply_voi_lut(apply_modality_lut(RAMP, file), file) - intercept) / slope / 4095  # to 0 … 1
    assert np.abs(shown(tmp_path, file) - theirs * 255).max() <= 0.5 + 1e-9


def test_a_window_of_one_value_is_a_step(tmp_path: Path) -> None:
    found = shown(tmp_path, dicom(RAMP, bits=12, WindowCenter=2000, WindowWidth=1))
    assert found.ravel()[[1999, 2000, 2001]].tolist() == [0, 255, 255]


def test_tables_of_both_kinds(tmp_path: Path) -> None:
    ramp = np.arange(16, dtype=np.uint16).reshape(4, 4)
    modality = Sequence([lookup(2, 16, [1000, 1010, 1020, 1030])])
    voi = Sequence([lookup(1000, 12, [i * 100 for i in range(41)])])
    file = dicom(ramp, bits=12, ModalityLUTSequence=modality, VOILUTSequence=voi, WindowCenter=1, WindowWidth=1)
    expected = np.rint(np.array([0, 0, 0, 1000, 2000] + [3000] * 11) / 4095 * 255)
    assert shown(tmp_path, file).ravel().tolist() == expected.tolist()
    eight = dicom(RAMP, bits=12, VOILUTSequence=Sequence([lookup(0, 8, [i // 16 for i in range(4096)])]))
    assert np.array_equal(shown(tmp_path, eight), RAMP // 16)  # more entries than eight bits can count


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    file = dicom(RAMP, bits=12, WindowCenter=2048, WindowWidth=4096)
    light = shown(tmp_path, file)
    file.PhotometricInterpretation = "MONOCHROME1"
    assert np.array_equal(shown(tmp_path, file), 255 - light)


def test_without_a_window_eight_bits_stay_and_more_are_stretched(tmp_path: Path) -> None:
    eight = np.arange(100, 164, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(shown(tmp_path, dicom(eight)), eight)
    deep = np.array([[500, 1000], [1500, 2500]], np.uint16)
    assert shown(tmp_path, dicom(deep, bits=12)).ravel().tolist() == [0, 64, 128, 255]
    signed = np.array([[-1000, 0], [500, 1000]], np.int16)
    assert shown(tmp_path, dicom(signed)).ravel().tolist() == [0, 128, 191, 255]
    assert shown(tmp_path, dicom(np.full((2, 2), 9, np.uint16))).ravel().tolist() == [0, 0, 0, 0]


def test_without_a_window_padding_and_single_pixels_set_no_range(tmp_path: Path) -> None:
    tissue = np.linspace(500, 2000, 64 * 64).reshape(64, 64).astype(np.uint16)
    plain = shown(tmp_path, dicom(tissue, bits=16)).astype(int)
    assert (int(plain[1:-1].min()), int(plain[1:-1].max())) == (3, 252)
    padded = tissue.copy()
    padded[:20] = 65535
    found = shown(tmp_path, dicom(padded, bits=16, PixelPaddingValue=65535)).astype(int)
    assert not found[:20].any()
    assert int(found[20:].max()) - int(found[20:].min()) == 255
    light = dicom(padded, bits=16, PixelPaddingValue=65535)
    light.PhotometricInterpretation = "MONOCHROME1"
    inverted = shown(tmp_path, light).astype(int)
    assert not inverted[:20].any()
    assert np.array_equal(inverted[20:], 255 - found[20:])
    ranged = dicom(padded, bits=16, PixelPaddingValue=65000, PixelPaddingRangeLimit=65535)
    assert np.array_equal(shown(tmp_path, ranged), found)
    hot = tissue.copy()
    hot[0, 0] = 4095
    assert np.abs(shown(tmp_path, dicom(hot, bits=12)).astype(int) - plain)[1:].max() <= 1


def test_patients_of_the_header(tmp_path: Path) -> None:
    src = tmp_path / "src"
    for i in range(6):
        save(src / f"{i}.dcm", dicom(RAMP + i, bits=12, PatientID=f"id{i // 2}", PatientAge="51", **_WINDOW))
    (src / "subjects.csv").write_text("\n".join(["image", *(f"{i}.dcm" for i in range(6))]), encoding="utf-8")
    (src / "boxes.csv").write_text("image,xmin,ymin,xmax,ymax,label\n0.dcm,1,1,9,9,A\n", encoding="utf-8")
    made = import_csv(src, tmp_path / "out", dicom_header=True)
    patients = [study.patient for study in made.studies]
    assert len(set(patients)) == 3
    assert patients[0::2] == patients[1::2]
    assert "id0" not in (tmp_path / "out" / "studies.csv").read_text()
    assert made.split_policy == "patient"
    assert {study.numeric for study in made.studies} == {(51.0,)}


def test_bits_above_those_stored_are_no_part_of_the_value(tmp_path: Path) -> None:
    overlaid = dicom(RAMP | 0x8000, bits=12, WindowCenter=2048, WindowWidth=4096)
    assert np.array_equal(shown(tmp_path, overlaid), shown(tmp_path, dicom(RAMP, bits=12, **_WINDOW)))


def test_colour_becomes_grey(tmp_path: Path) -> None:
    pixels = np.full((3, 4, 3), 77, np.uint8)
    assert shown(tmp_path, dicom(pixels)).tolist() == [[77] * 4] * 3


def test_what_pillow_can_decompress_is_read(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG2000", irreversible=False, no_jp2=True)
    file = dicom(pixels, syntax=JPEG2000Lossless)
    file.PixelData = encapsulate([stream.getvalue()])
    assert np.array_equal(shown(tmp_path, file), pixels)


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("045Y", 45),
        ("018M", 1.5),
        ("052W", pytest.approx(52 * 7 / 365.25)),
        ("", None),
        ("old", None),
        ("45", 45),  # as published headers write it
        ("000Y", None),
        ("9999Y", None),
    ],
)
def test_ages(tmp_path: Path, text: str, age: float | None) -> None:
    header = read_header(save(tmp_path / "x.dcm", dicom(RAMP, PatientAge=text, PatientSex="m ")), "here")
    assert (header.age, header.sex, header.width, header.height) == (age, "M", 64, 64)


def _folder(tmp_path: Path) -> Path:
    src = tmp_path / "src"
    save(src / "a.dcm", dicom(RAMP, bits=12, PatientAge="045Y", PatientSex="F", **_WINDOW))
    save(src / "b", dicom(RAMP, bits=12, PatientAge="070Y", PatientSex="M", **_WINDOW))
    Image.new("L", (64, 64)).save(src / "a.png")
    write_csv(src / "subjects.csv", [["image", "split"], ["a.dcm", "train"], ["b", "val"], ["a.png", "test"]])
    header = ["image", "xmin", "ymin", "xmax", "ymax", "label"]
    write_csv(src / "boxes.csv", [header, ["a.dcm", 1, 1, 9, 9, "A"]])
    return src


def test_import_csv_stores_png_and_reads_the_header_if_asked(tmp_path: Path) -> None:
    src = _folder(tmp_path)
    assert import_csv(src, tmp_path / "plain").columns().numeric == ()
    dataset = import_csv(src, tmp_path / "out", dicom_header=True)
    assert [study.image for study in dataset.studies] == ["images/a.dcm.png", "images/b.png", "images/a.png"]
    assert [study.study for study in dataset.studies] == ["a.dcm", "b", "a.png"]
    assert [(*study.numeric, *study.categorical) for study in dataset.studies] == [(45, "F"), (70, "M"), (None, None)]
    assert dataset.numeric[0].unit == "years"
    assert dataset.categorical[0].values == ("F", "M")
    with Image.open(dataset.image_path(0)) as stored:
        assert stored.mode == "L"
        assert np.array_equal(np.asarray(decode(dataset, 0)), np.asarray(stored))
        assert np.array_equal(np.asarray(stored), np.rint(RAMP / 4095 * 255))


def test_columns_of_the_table_stand_before_the_header(tmp_path: Path) -> None:
    src = _folder(tmp_path)
    rows = [["image", "Gender", "split"], ["a.dcm", "w", "train"], ["b", "m", "val"], ["a.png", "m", "test"]]
    write_csv(src / "subjects.csv", rows)
    dataset = import_csv(src, tmp_path / "out", dicom_header=True)
    assert [column.name for column in (*dataset.numeric, *dataset.categorical)] == ["age", "Gender"]  # type: ignore[union-attr]


def test_import_coco_takes_them_too(tmp_path: Path) -> None:
    src = _folder(tmp_path)
    content = {
        "images": [{"id": i, "file_name": name, "width": 64, "height": 64} for i, name in enumerate(("a.dcm", "b"))],
        "categories": [{"id": 1, "name": "A"}],
        "annotations": [{"image_id": 0, "category_id": 1, "bbox": [0, 0, 4, 4]}],
    }
    (tmp_path / "ann.json").write_text(json.dumps(content))
    dataset = import_coco(tmp_path / "ann.json", src, tmp_path / "out", dicom_header=True).dataset
    assert [study.image for study in dataset.studies] == ["images/a.png", "images/b.png"]
    assert [study.numeric for study in dataset.studies] == [(45,), (70,)]


def test_without_pydicom_the_hint_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("pydicom"):
            raise ImportError(name)
        return real(name, *rest)

    src = _folder(tmp_path)
    monkeypatch.setattr(builtins, "__import__", refuse)
    message = (
        r"subjects.csv:2: image 'a.dcm': is a DICOM file, and pydicom is not installed; pip install 'mmad\[dicom\]'"
    )
    with pytest.raises(DataError, match=message):
        import_csv(src, tmp_path / "out")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"NumberOfFrames": 2}, "here: DICOM file holds several frames; save each"),
        ({"Rows": 0}, "here: DICOM file holds no image"),
        ({"Rows": 65535, "Columns": 65535}, "here: DICOM image of 65535 x 65535 px is too large"),
        ({"Rows": 4000}, "here: DICOM file cannot be decoded"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "here: DICOM image of kind 'PALETTE COLOR' with 16 bits"),
        ({"BitsStored": 17}, "here: DICOM file cannot be decoded"),
        ({"HighBit": 15}, "here: DICOM image of 12 bits whose HighBit is 15, not 11"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "here: DICOM file cannot be decoded"),
        ({"VOILUTSequence": Sequence([lookup(0, 40, [1])])}, "here: DICOM file cannot be decoded"),
        ({"PixelData": b""}, "here: DICOM file cannot be decoded"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        shown(tmp_path, dicom(RAMP, bits=12, **keys) if "BitsStored" not in keys else dicom(RAMP, **keys))
    assert "\n" not in str(refused.value)


def test_syntaxes_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    file = dicom(RAMP, syntax=JPEGLosslessSV1)
    file.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    with pytest.raises(
        DataError, match=r"compressed as JPEG Lossless.*no decoder is installed; pip install 'pylibjpeg"
    ):
        shown(tmp_path, file)
    with pytest.raises(DataError, match="deflated as a whole"):
        shown(tmp_path, dicom(RAMP, syntax=DeflatedExplicitVRLittleEndian))


def test_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(b"no")
    (tmp_path / "y").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    assert is_dicom(tmp_path / "y")
    for name in ("x.dcm", "y"):
        with pytest.raises(DataError, match="DICOM"):
            read_header(tmp_path / name, "here")


@pytest.fixture(scope="module")
def bytes_of_one(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    small = RAMP[:4, :4]
    keys = {"WindowCenter": 8, "WindowWidth": 16, "VOILUTSequence": Sequence([lookup(0, 12, [1, 2])])}
    return save(tmp_path_factory.mktemp("one") / "x.dcm", dicom(small, bits=12, **keys)).read_bytes()


@examples(30)
@given(data=st.data())
def test_any_damage_ends_in_an_image_or_in_one_line(
    data: st.DataObject, bytes_of_one: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(bytes_of_one)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    path.write_bytes(bytes(content[: data.draw(st.integers(132, len(content)))]))
    for run in (read_header, decode_dicom):
        assert "\n" not in (message := _refusal(run, path))
        assert message.startswith("here: ") or not message


def _refusal(run: Callable[[Path, str], Any], path: Path) -> str:
    """What a DataError says, nothing if there is none."""
    try:
        run(path, "here")
    except DataError as error:
        return str(error)
    return ""
