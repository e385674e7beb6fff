"""A tiny pair trained for real, then judged: the network looks again, two arms are compared, controls are run.

Before that it is used on images of no data set, here and as files in a program without mmad.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from dicom_fixtures import dicom, save
from PIL import ExifTags, Image

import mmad
from mmad.base.records import Detections
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.data.reader import load_dataset
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
[[external]]
name = "Elsewhere"
dir = "elsewhere"
map = { Pneumonia = "Consolidation" }
"""
PAGE = Path(__file__).parents[2] / "docs" / "predict.md"
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
    make_phantom(folder / "drawn", studies=24, image_size=64, seed=5)
    shutil.move(renamed(folder / "drawn", "Consolidation", "Pneumonia"), folder / "elsewhere")
    (folder / "pair.toml").write_text(FILE)
    ablation, _ = load_with_data(folder / "pair.toml", data=None)
    database = str(folder / "db" / "mmad.sqlite")
    summary = run_jobs(database, queue_up([ablation], database), find_slots("cpu"), choose_view())
    assert summary.exit_code == 0
    return Bench(Path(database), folder / "phantom-small")


def renamed(data: Path, label: str, word: str) -> Path:
    """The data set with another word for a label."""
    for name in ("dataset.toml", "boxes.csv"):
        text = (data / name).read_text()
        (data / name).write_text(text.replace(f'"{label}"', f'"{word}"').replace(f",{label},", f",{word},"))
    return data


# another data set


def other_set(bench: Bench, out: Path, unit: str = "°F") -> Path:
    """The test studies alone, as another split, with another word for a label."""
    shutil.copytree(bench.data, out)
    studies, boxes = pd.read_csv(out / "studies.csv", dtype=str), pd.read_csv(out / "boxes.csv", dtype=str)
    kept = studies[studies["split"] == "test"].assign(split="train")
    boxes = boxes[boxes["study"].isin(kept["study"])].replace({"label": {"Consolidation": "Pneumonia"}})
    kept.to_csv(out / "studies.csv", index=False)
    boxes.to_csv(out / "boxes.csv", index=False)
    text = (out / "dataset.toml").read_text().replace('"Consolidation"', '"Pneumonia"').replace('"°F"', f'"{unit}"')
    (out / "dataset.toml").write_text(text)
    return out


def test_the_same_studies_as_another_data_set_give_the_same_figures(
    bench: Bench, call_mmad: Call, tmp_path: Path
) -> None:
    other = other_set(bench, tmp_path / "other")
    base = ("eval", CXR, CLINICAL, "--device", "cpu", "--db", bench.database, "--json")
    own = json.loads(call_mmad(*base).out)["runs"]
    called = call_mmad(*base, "--on", other, "--map", "Pneumonia=Consolidation")
    assert called.code == 0, called.err
    images = own[0]["images"]
    assert f"{images} of its {images} images are images of the run's data set, too" in called.err
    for mine, theirs in zip(own, json.loads(called.out)["runs"], strict=True):
        assert theirs["outside"]["unlabelled"] == []
        for name in ("images", "patients", "ap", "ar", "per_class", "froc"):
            assert theirs[name] == mine[name]
        score = mine["diagnosis"]["score"]
        assert theirs["diagnosis"]["score"] == score  # the run's own validation fixes it
    with mmad.open_store(bench.database) as store:
        found = mmad.evaluate(store, CXR, on=other, labels={"Pneumonia": "Consolidation"}, device="cpu")
        assert found.ap.value == own[0]["ap"]["value"]
    again = json.loads(call_mmad(*base).out)["runs"]
    assert again == own  # nothing of the other data set took the place of the run's own


def test_a_finding_that_nobody_looked_for_there_is_left_out(bench: Bench, call_mmad: Call, tmp_path: Path) -> None:
    other = other_set(bench, tmp_path / "other")
    called = call_mmad("eval", CXR, "--device", "cpu", "--db", bench.database, "--json", "--on", other)
    assert called.code == 0, called.err
    assert "label 'Pneumonia' of the data set is no finding of the run" in called.err
    assert "finding 'Consolidation' is not annotated there" in called.err
    (found,) = json.loads(called.out)["runs"]
    assert found["outside"]["unlabelled"] == ["Consolidation"]
    assert "Consolidation" not in [row["label"] for row in found["per_class"] if row["ap"]["value"] is not None]
    table = call_mmad("eval", CXR, "--device", "cpu", "--db", bench.database, "--on", other).out
    assert "(external)" in table


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--map", "Pneumonia=Nodule"), "unknown label 'Nodule'"),
        (("--map", "Pneumonia"), "'Pneumonia' is not THEIRS=OURS"),
        (("--split", "val"), "whatever their split"),
    ],
)
def test_what_does_not_fit_is_one_line(
    bench: Bench, call_mmad: Call, tmp_path: Path, words: tuple[str, ...], problem: str
) -> None:
    other = other_set(bench, tmp_path / "other")
    refused = call_mmad("eval", CXR, "--db", bench.database, "--on", other, *words)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert problem in refused.err


def test_another_unit_and_the_run_s_own_data_are_refused(bench: Bench, call_mmad: Call, tmp_path: Path) -> None:
    other = other_set(bench, tmp_path / "other", unit="°C")
    refused = call_mmad("eval", CLINICAL, "--db", bench.database, "--on", other)
    assert (refused.code, "is in '°C' and was in '°F'" in refused.err) == (2, True)
    refused = call_mmad("eval", CXR, "--db", bench.database, "--on", bench.data)
    assert (refused.code, "that the run was trained on" in refused.err) == (2, True)


def test_declared_data_sets_are_evaluations_of_their_own(bench: Bench, call_mmad: Call, tmp_path: Path) -> None:
    base = ("--db", bench.database, "--json")
    own = json.loads(call_mmad("eval", CXR, CLINICAL, *base).out)["runs"]
    called = call_mmad("eval", "pair", "--device", "cpu", *base)
    assert called.code == 0, called.err
    assert "images of the run's data set" not in called.err
    found = json.loads(called.out)["runs"]
    assert found[:2] == own
    assert [one["outside"]["name"] for one in found[2:]] == ["Elsewhere", "Elsewhere"]
    away = bench.data.with_name("elsewhere")
    assert call_mmad("compare", "pair", *base).code == 0
    away.rename(tmp_path / "gone")  # what was recorded needs the folder no more
    try:
        (pair,) = json.loads(call_mmad("compare", "pair", *base).out)["pairs"]
        (there,) = (one for one in pair["external"] if one["name"] == "Elsewhere")  # --on is recorded, too
        assert (there["name"], there["images"], there["why"]) == ("Elsewhere", 24, None)
        assert (there["reference"], there["other"]) == (found[2]["ap"], found[3]["ap"])
        difference = found[3]["ap"]["value"] - found[2]["ap"]["value"]
        assert there["ap"]["value"] == pytest.approx(difference, abs=1e-9)
        assert pair["reference"]["ap"] == own[0]["ap"]  # never mixed with the run's own
        call_mmad("report", "--md", "--out", tmp_path / "page", "--csv", tmp_path / "tables", "--db", bench.database)
        assert "On external data" in (tmp_path / "page.md").read_text()
        rows = pd.read_csv(tmp_path / "tables" / "pair--external.csv").query("external == 'Elsewhere'")
        assert rows["external_ap"].tolist() == pytest.approx([one["ap"]["value"] for one in found[2:]])
        assert rows["missing"].isna().all()
        refused = call_mmad("eval", "pair", *base)
        assert (refused.code, refused.err.count("\n"), "no such data set" in refused.err) == (2, 1, True)
    finally:
        (tmp_path / "gone").rename(away)


# images of no data set


def stored(bench: Bench, arm: str) -> Detections:
    """The detections of the training, on test."""
    with Store.open(bench.database, read_only=True) as store:
        key = next(m.key for m in store.ablations()[0].members if m.arm == arm)
        epoch = next(c.epoch for c in store.checkpoints(key) if c.kind == "best_ap")
    return read_detections(kept_file(bench, key, epoch, "clean"))


def clinical_table(dataset: DataSet, path: Path) -> Path:
    """The clinical values of every study of ``dataset``, by its image."""
    names = [c.name for c in dataset.numeric] + [c.name for c in dataset.categorical]
    rows = [[Path(s.image).stem, *s.numeric, *s.categorical] for s in dataset.studies]
    pd.DataFrame(rows, columns=["image", *names]).to_csv(path, index=False)
    return path


def test_boxes_on_new_images_are_those_of_the_evaluation(bench: Bench, call_mmad: Call, tmp_path: Path) -> None:
    dataset, kept = load_dataset(bench.data), stored(bench, "CXR+Clinical")
    table = clinical_table(dataset, tmp_path / "values.csv")
    out = tmp_path / "boxes"
    words = ("predict", CLINICAL, bench.data / "images", "--clinical", table, "--false-positives", "8")
    called = call_mmad(*words, "--device", "cpu", "--out", out, "--db", bench.database)
    assert called.code == 0, called.err
    assert "without clinical values" not in called.err
    assert "at most 8 false positives per image on validation" in called.out
    score = json.loads((out / "boxes.json").read_text())["info"]["score"]
    table_of_boxes = pd.read_csv(out / "boxes.csv")
    for number, study in enumerate(kept.studies):
        image = Path(next(s.image for s in dataset.studies if s.study == study)).name
        mine = table_of_boxes[(table_of_boxes["image"] == image) & table_of_boxes["score"].notna()]
        theirs = np.flatnonzero((kept.study == number) & (kept.scores >= score))
        theirs = theirs[[int((kept.labels[theirs[:i]] == kept.labels[row]).sum()) < 10 for i, row in enumerate(theirs)]]
        np.testing.assert_allclose(mine["score"], kept.scores[theirs], rtol=1e-5)
        np.testing.assert_allclose(mine[["xmin", "ymin", "xmax", "ymax"]], kept.boxes[theirs], rtol=1e-5, atol=1e-4)
        assert list(mine["label"]) == [dataset.labels[label - 1] for label in kept.labels[theirs]]
    coco = json.loads((out / "boxes.json").read_text())
    assert len(coco["annotations"]) == table_of_boxes["score"].notna().sum() > 0
    assert len(coco["images"]) == len(dataset.studies) == table_of_boxes["image"].nunique()
    assert len(list((out / "pictures").glob("*.png"))) == len(dataset.studies)
    before = (out / "boxes.csv").read_bytes()
    refused = call_mmad(*words, "--out", out, "--db", bench.database)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "exists already" in refused.err
    assert (out / "boxes.csv").read_bytes() == before


def test_an_ensemble_of_the_same_network_twice_finds_what_the_network_finds(
    bench: Bench, call_mmad: Call, tmp_path: Path
) -> None:
    shutil.copytree(bench.database.parent, tmp_path / "db")
    database, images = tmp_path / "db" / bench.database.name, sorted((bench.data / "images").iterdir())[:3]
    with closing(sqlite3.connect(database)) as connection, connection:
        names = [row[1] for row in connection.execute("pragma table_info(members)")]
        values = ", ".join({"seed": "1", "position": "9"}.get(name, name) for name in names)
        connection.execute(f"insert into members select {values} from members where arm = 'CXR'")
    base = ("predict", *images, "--false-positives", "8", "--db", database)
    one = call_mmad(base[0], f"{CXR}/0", *base[1:], "--out", tmp_path / "one")
    both = call_mmad(base[0], CXR, *base[1:], "--ensemble", "--out", tmp_path / "both")
    assert (one.code, both.code) == (0, 0), both.err
    assert "never the estimand" in both.err
    assert "pair/default/CXR/ensemble of 2 seeds, best_ap" in both.out
    expected, found = (pd.read_csv(tmp_path / name / "boxes.csv") for name in ("one", "both"))
    assert expected["score"].notna().any()
    pd.testing.assert_frame_equal(found, expected)
    refused = call_mmad(base[0], CLINICAL, *base[1:], "--ensemble", "--out", tmp_path / "none")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "is one run, and an ensemble is of several; name an arm with several seeds" in refused.err


def test_an_image_is_read_as_the_data_set_s_were_and_its_boxes_depend_on_no_other(
    bench: Bench, call_mmad: Call, tmp_path: Path
) -> None:
    image = sorted((bench.data / "images").iterdir())[0]
    (tmp_path / "new" / "ward").mkdir(parents=True)
    pixels = np.asarray(Image.open(image))
    save(tmp_path / "new" / "ward" / "inverted", dicom(255 - pixels, PhotometricInterpretation="MONOCHROME1"))
    Image.fromarray(pixels.astype(np.uint16) << 8).save(tmp_path / "new" / "deep.png")
    Image.fromarray(np.rot90(pixels).copy()).save(tmp_path / "new" / "turned.png", exif=turned(6))
    Image.merge("RGB", [Image.open(image)] * 3).save(tmp_path / "new" / "three.png")
    (tmp_path / "new" / "notes.txt").write_text("no image")
    for number, named in enumerate((tmp_path / "new", image)):
        called = call_mmad("predict", CXR, named, "--out", tmp_path / str(number), "--db", bench.database)
        assert called.code == 0, called.err
    alone = pd.read_csv(tmp_path / "1" / "boxes.csv").drop(columns="image")
    found = pd.read_csv(tmp_path / "0" / "boxes.csv")
    assert list(dict.fromkeys(found["image"])) == ["deep.png", "three.png", "turned.png", "ward/inverted"]
    for _, boxes in found.groupby("image"):
        pd.testing.assert_frame_equal(boxes.drop(columns="image").reset_index(drop=True), alone)
    assert (tmp_path / "0" / "pictures" / "ward" / "inverted.png").exists()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def test_missing_clinical_values_are_imputed_and_said(bench: Bench, call_mmad: Call, tmp_path: Path) -> None:
    images = sorted((bench.data / "images").iterdir())[:2]
    for name, rows in (("one", f"image,age\n{images[0].name},NA\n"), ("none", "image\n")):
        (tmp_path / f"{name}.csv").write_text(rows)
        called = call_mmad(
            *("predict", CLINICAL, *images, "--clinical", tmp_path / f"{name}.csv", "--out", tmp_path / name),
            *("--db", bench.database, "--false-positives", "8"),
        )
        assert called.code == 0, called.err
        missing = 2 if name == "none" else 1
        assert f"{missing} of 2 images without clinical values" in called.err
    assert (tmp_path / "one" / "boxes.csv").read_bytes() == (tmp_path / "none" / "boxes.csv").read_bytes()


@pytest.mark.parametrize(
    ("content", "clinical", "words"),
    [
        (b"\x89PNG no more", None, "x.png: image cannot be decoded (not an image); replace the file"),
        ("colour", None, "x.png: is an image in colour; save the radiograph itself"),
        (b"\0" * 128 + b"DICM rest", None, "x.png: "),
        ("colour dicom", None, "is an image in colour"),
        (None, None, "x.png: no such file or folder"),
        ("grey", "image,agee\nx.png,5\n", "values.csv:1: unknown column 'agee' (did you mean 'age'?)"),
        ("grey", "image,age\nx.png,old\n", "values.csv:2: image 'x.png': column 'age' is not a number"),
        ("grey", "image,gender\nx,no\n", "column 'gender' holds a value that dataset.toml does not list"),
        ("grey", "image,age\nx.png,5\nx,6\n", "values.csv:3: image 'x.png' has a row already"),
        ("grey", "age\n5\n", "column 'image' is missing"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_nothing_is_written(
    bench: Bench, call_mmad: Call, tmp_path: Path, content: bytes | str | None, clinical: str | None, words: str
) -> None:
    file = tmp_path / "x.png"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == "colour dicom":
        save(file, dicom(np.full((8, 8, 3), (200, 30, 30), np.uint8)))
    elif content is not None:
        Image.new("RGB", (8, 8), (200, 30, 30) if content == "colour" else (9, 9, 9)).save(file)
    table: tuple[str | Path, ...] = ()
    if clinical is not None:
        (tmp_path / "values.csv").write_text(clinical)
        table = ("--clinical", tmp_path / "values.csv")
    called = call_mmad("predict", CLINICAL, file, *table, "--out", tmp_path / "out", "--db", bench.database)
    assert (called.code, called.out) == (2, "")
    assert words in called.err
    assert "Traceback" not in called.err
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_runs_that_cannot_be_used_are_one_line(bench: Bench, call_mmad: Call, tmp_path: Path) -> None:
    image = sorted((bench.data / "images").iterdir())[0]
    (tmp_path / "values.csv").write_text("image,age\n")
    shutil.copytree(bench.database.parent, tmp_path / "db")
    database = tmp_path / "db" / bench.database.name

    def refused(*words: str | Path) -> str:
        called = call_mmad(*words, "--out", tmp_path / "out", "--db", database)
        assert (called.code, called.out) == (2, "")
        assert not (tmp_path / "out").exists()
        return str(called.err)

    table = ("--clinical", tmp_path / "values.csv")
    assert "reads no clinical data; leave the table out" in refused("predict", CXR, image, *table)
    assert "no run 'pair/default/CRX'" in refused("predict", "pair/default/CRX", image)
    for file in (tmp_path / "db").rglob("epoch-*.pt"):
        file.unlink()
    assert "cannot be read (No such file or directory)" in refused("predict", CXR, image)
    assert "cannot be read (No such file or directory)" in refused("export", CXR)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM checkpoints")
    connection.close()
    assert "kept no checkpoint best_ap or final" in refused("predict", CXR, image)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE runs SET status = 'interrupted'")
    connection.close()
    assert "is interrupted at epoch 2 of 2" in refused("export", CXR)


def test_an_exported_run_finds_the_same_boxes_in_a_program_without_mmad(
    bench: Bench, call_mmad: Call, tmp_path: Path
) -> None:
    dataset = load_dataset(bench.data)
    table = clinical_table(dataset, tmp_path / "values.csv")
    images = [dataset.image_path(position) for position in range(3)]
    rule = ("--db", bench.database, "--false-positives", "8")
    called = call_mmad("predict", CLINICAL, *images, "--clinical", table, "--out", tmp_path / "boxes", *rule)
    assert called.code == 0, called.err
    exported = call_mmad("export", CLINICAL, "--out", tmp_path / "model", *rule)
    assert exported.code == 0, exported.err
    program, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0].split("image = Image.open(")
    patients = [
        {c.name: v for c, v in zip(columns, values, strict=True) if v is not None}
        for columns, values in (
            ((*dataset.numeric, *dataset.categorical), (*study.numeric, *study.categorical))
            for study in dataset.studies[:3]
        )
    ]
    program += (
        f"import sys\nfor path, values in {[(str(i), p) for i, p in zip(images, patients, strict=True)]!r}:\n"
        "    image = Image.open(path)\n"
        "    with torch.no_grad():\n"
        "        found = detections(*network(square(image), *clinical(values)), image.size)\n"
        "    print(json.dumps(found))\n"
        "assert 'mmad' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    boxes = pd.read_csv(tmp_path / "boxes" / "boxes.csv").dropna()
    assert len(boxes) > 5
    for path, line in zip(images, done.stdout.splitlines(), strict=True):
        mine, theirs = boxes[boxes["image"] == path.name], json.loads(line)
        assert list(mine["label"]) == [label for label, _, _ in theirs]
        np.testing.assert_allclose(mine["score"], [score for _, score, _ in theirs], atol=1e-5)
        np.testing.assert_allclose(mine[["xmin", "ymin", "xmax", "ymax"]], [b for _, _, b in theirs], atol=1e-5)
    saved = safetensors.numpy.load_file(tmp_path / "model" / "weights.safetensors")
    assert all(np.isfinite(values).all() for values in saved.values())


# what is stored


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
