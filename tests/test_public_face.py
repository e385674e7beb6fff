"""``import mmad``: every name of the public face works, says what it is, and costs nothing before it is used."""

from __future__ import annotations

import ast
import inspect
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

import mmad

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
[arms.CXR]
use_clinical = false
[arms."CXR+Clinical"]
use_clinical = true
[protocol]
epochs = 2
"""
CXR, CLINICAL = "pair/default/CXR", "pair/default/CXR+Clinical"


class Trained(NamedTuple):
    folder: Path
    file: Path
    database: Path
    summary: mmad.Summary
    planned: pd.DataFrame


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, warm_workers: None) -> Trained:
    """The pair, trained for one epoch by ``mmad.train``."""
    folder = tmp_path_factory.mktemp("face")
    mmad.make_phantom(str(folder / "phantom-small"), studies=40, image_size=64)
    file, database = folder / "pair.toml", folder / "db" / "mmad.sqlite"
    file.write_text(FILE)
    ablation = mmad.load_ablation(str(file), overrides="epochs=1")
    planned = mmad.plan(ablation, str(database))
    assert not database.parent.exists()  # a plan writes nothing
    with pytest.warns(UserWarning, match="label-scarce") as warned:
        summary = mmad.train(ablation, str(database), device="cpu")
    assert {warning.filename for warning in warned} == {__file__}
    return Trained(folder, file, database, summary, planned)


# the face itself


def test_every_name_is_there_and_has_a_docstring() -> None:
    assert set(mmad.__all__) <= set(dir(mmad))
    for name in mmad.__all__:
        assert len(inspect.getdoc(getattr(mmad, name)) or "") > 40, name
    with pytest.raises(AttributeError, match="no attribute 'nothing_such'"):
        mmad.nothing_such  # type: ignore[attr-defined]  # noqa: B018


def test_a_type_checker_sees_the_names_that_are_there() -> None:
    module = ast.parse(Path(mmad.__file__).read_text("utf-8"))
    (block,) = (node for node in module.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == mmad._HOMES
    assert list(mmad._HOMES) == mmad.__all__


def test_importing_mmad_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import mmad; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env=_path())
    assert set(done.stdout.split()) <= {"mmad", "typing", "__future__"} | _typing_needs()


def _path() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(mmad.__file__).parents[1])}


def _typing_needs() -> set[str]:
    code = "import sys; before = set(sys.modules); import typing; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_python_m_mmad_is_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mmad", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"mmad {mmad.__version__}\n"


# load and plan


def test_the_embedded_phantom_is_drawn_with_the_file_s_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pair.toml").write_text(FILE + "[phantom]\nstudies = 12\nimage_size = 64\n")
    provisional = mmad.load_ablation("pair.toml", data="phantom", create=False)
    assert not (tmp_path / "data").exists()
    assert list(mmad.plan(provisional)["provisional"]) == [True, True]
    with pytest.raises(mmad.MmadError, match="without its data set"):
        mmad.train(provisional)
    ablation = mmad.load_ablation("pair.toml", data="phantom")
    (folder,) = (tmp_path / "data").iterdir()
    assert len(mmad.load_dataset(folder).studies) == 12
    assert [member.arm for member in ablation.members] == ["CXR", "CXR+Clinical"]
    assert not any(member.run.provisional for member in ablation.members)
    with pytest.raises(mmad.MmadError) as missing:
        mmad.load_ablation("pair.toml")  # names a folder that is not there
    assert "phantom-small" in str(missing.value)
    with pytest.raises(mmad.MmadError, match="did you mean epochs"):
        mmad.load_ablation("pair.toml", data="phantom", overrides=["epoch=5"])


def test_a_data_set_that_changed_since_it_was_loaded_is_refused(tmp_path: Path) -> None:
    mmad.make_phantom(tmp_path / "phantom-small", studies=12, image_size=64)
    (tmp_path / "pair.toml").write_text(FILE)
    ablation = mmad.load_ablation(tmp_path / "pair.toml")
    shutil.rmtree(tmp_path / "phantom-small")
    mmad.make_phantom(tmp_path / "phantom-small", studies=12, image_size=64, seed=1)
    with pytest.raises(mmad.MmadError, match="changed since the ablation was loaded"):
        mmad.train(ablation, tmp_path / "mmad.sqlite")


# train


@pytest.mark.slow
def test_a_plan_and_a_training(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    before = trained.planned
    assert list(before["status"]) == ["new", "new"]
    assert list(before["epochs"]) == [1, 1]
    assert before["seconds"].isna().all()
    summary = trained.summary
    assert [job.arm for job in summary.finished] == ["CXR", "CXR+Clinical"]
    assert (summary.failed, summary.interrupted, summary.cancelled) == ((), (), False)
    ablation = mmad.load_ablation(trained.file, overrides=["epochs=1"])
    after = mmad.plan(ablation, trained.database)
    assert list(after["status"]) == ["finished", "finished"]
    assert list(after["seconds"]) == [0, 0]
    assert list(after["key"]) == list(before["key"]) == [member.run.key for member in ablation.members]
    again = mmad.train([ablation], trained.database, device="cpu", show=True)
    assert (again.finished, again.failed) == ((), ())  # finished already
    assert not "".join(capsys.readouterr())
    with pytest.raises(mmad.MmadError, match="no such executor 'locl'"):
        mmad.train(ablation, trained.database, executor="locl")
    with pytest.raises(mmad.MmadError, match="no setting, arm or seed 'CRX'; did you mean CXR"):
        mmad.train(ablation, trained.database, only="CRX")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*label-scarce:UserWarning")
def test_ctrl_c_stops_after_the_present_step_and_the_same_call_resumes(trained: Trained, tmp_path: Path) -> None:
    database = tmp_path / "mmad.sqlite"
    program = (
        "import sys, mmad\n"
        f"ablation = mmad.load_ablation({str(trained.file)!r}, overrides='epochs=300')\n"
        f"mmad.train(ablation, {str(database)!r}, device='cpu', only='CXR', show=True)\n"
        "print('not reached')\n"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    for line in command.stdout:
        if "epoch 1/300" in line:
            break
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=600)
    assert command.returncode == -signal.SIGINT
    assert "not reached" not in out
    assert err.rstrip().endswith("KeyboardInterrupt")
    plan = mmad.plan(mmad.load_ablation(trained.file, overrides="epochs=300"), database)
    assert list(plan["status"]) == ["interrupted", "new"]
    begun = time.monotonic()
    summary = mmad.train(
        mmad.load_ablation(trained.file, overrides="epochs=300"), database, device="cpu", only="CXR", max_hours=1 / 3600
    )
    assert summary.cancelled  # by the clock, which is no interruption
    assert time.monotonic() - begun > 1


# evaluate, compare, report


@pytest.mark.slow
def test_an_evaluation_has_figures_with_intervals(trained: Trained) -> None:
    with mmad.open_store(trained.database) as store:
        found = mmad.evaluate(store, CXR, split="test", overlap="iou", coco=True)
        assert found.name == "pair · epochs=1/default/CXR/0"
        assert found.protocol.overlap == "iou"
        assert 0 <= found.ap.value <= 1
        assert found.ap.patients is not None
        assert found.ap.patients < 10  # too few for an interval
        assert math.isnan(found.ap.low)
        assert found.diagnosis.rule == "at most 0.5 false positives per image on validation"
        assert 0 <= found.ar.value <= 1
        assert found.coco is not None
        assert found.masks is None
        assert list(found.findings.columns) == ["finding", "ap", "ap_low", "ap_high", "ar", "ar_low", "ar_high"]
        assert len(found.findings) == 5
        assert list(found.thresholds["score"]) == [0.05, 0.1, 0.3]
        assert "<table" in found._repr_html_()
        assert "default/CXR/0" in found._repr_html_()
        again = mmad.evaluate(store, CXR, overlap="iou", rerun=True, device="cpu")
        assert again.ap == found.ap
        sampled = mmad.evaluate(store, CXR, proposals="sampled", device="cpu")
        assert sampled.protocol.proposals == "sampled"
        with pytest.raises(mmad.MmadError, match="split: unknown word 'tset'; did you mean test"):
            mmad.evaluate(store, CXR, split="tset")
        with pytest.raises(mmad.MmadError, match="no run 'pair/default/CRX'"):
            mmad.evaluate(store, "pair/default/CRX")


@pytest.mark.slow
def test_a_comparison_has_a_verdict_and_shows_itself(trained: Trained) -> None:
    with mmad.open_store(trained.database) as store:
        found = mmad.compare(store, CXR, CLINICAL, resamples=50)
        assert (found.reference, found.other) == (CXR, CLINICAL)
        assert found.verdict in ("higher", "lower", "not settled")
        assert found.sentence.startswith(("Trial (", "These two", "Not settled: "))
        assert found.difference.low <= found.difference.value <= found.difference.high
        assert 0 <= found.p <= 1 or math.isnan(found.p)
        assert found.conditions["split"] == "test"
        assert len(found.findings) == 5
        assert repr(found).startswith(f"<{CLINICAL} against {CXR}: {found.verdict}, AP ")
        html = found._repr_html_()
        assert "<table" in html
        assert found.verdict.split(":")[0] in html
        with pytest.raises(mmad.MmadError, match="both are one run"):
            mmad.compare(store, CXR, CXR)


@pytest.mark.slow
def test_runs_and_epochs_are_frames(trained: Trained) -> None:
    with mmad.open_store(trained.database) as store:
        runs, epochs = store.runs("pair"), store.epochs(CXR)
    assert list(runs["arm"]) == ["CXR", "CXR+Clinical"]
    assert set(runs["status"]) == {"finished"}
    assert list(epochs["epoch"]) == list(range(1, int(runs["epochs"].iloc[0]) + 1))
    assert epochs["train_loss"].notna().all()


@pytest.mark.slow
def test_a_report_in_every_form(trained: Trained, tmp_path: Path) -> None:
    with mmad.open_store(trained.database) as store:
        written = mmad.write_report(
            store,
            html=str(tmp_path / "r" / "index.html"),
            markdown=tmp_path / "r" / "index.md",
            csv=tmp_path / "csv",
            latex=str(tmp_path / "latex"),
            ablations="pair",
        )
        assert (written.ablations, written.runs, written.unfinished) == (1, 2, 0)
        assert written.html is not None
        assert "<html" in written.html.read_text("utf-8")
        assert (tmp_path / "r" / "index.md").exists()
        assert written.csv
        assert written.latex
        with pytest.raises(mmad.MmadError, match="nothing to write"):
            mmad.write_report(store)


@pytest.mark.slow
def test_a_store_is_opened_for_writing_or_reading(trained: Trained, tmp_path: Path) -> None:
    with mmad.open_store(str(trained.database)) as store:
        assert not store.read_only
    with mmad.open_store(trained.database, read_only=True) as store:
        assert store.read_only
        assert mmad.evaluate(store, CXR).ap.value >= 0
    with pytest.raises(mmad.MmadError):
        mmad.open_store(tmp_path / "none.sqlite")


# data and detector


def test_a_folder_of_csv_tables_becomes_a_data_set(tmp_path: Path) -> None:
    source = mmad.make_phantom(str(tmp_path / "phantom"), studies=12, image_size=64)
    shown = tmp_path / "xrays"
    shutil.copytree(source.root / "images", shown / "images")
    rows = [[study.image, study.patient, study.split] for study in source.studies]
    pd.DataFrame(rows, columns=["file", "patient_id", "split"]).to_csv(shown / "subjects.csv", index=False)
    boxes = [
        [source.studies[place].image, *box, source.labels[label - 1]]
        for place, box, label in zip(
            source.box_study.tolist(), source.boxes.tolist(), source.labels_of.tolist(), strict=True
        )
    ]
    names = ["file", "xmin", "ymin", "xmax", "ymax", "label"]
    pd.DataFrame(boxes, columns=names).to_csv(shown / "boxes.csv", index=False)
    dataset = mmad.import_csv(str(shown), str(tmp_path / "set"), layout=mmad.CsvLayout(image="file"))
    assert isinstance(dataset, mmad.DataSet)
    assert len(dataset.studies) == 12
    assert mmad.load_dataset(str(tmp_path / "set")).fingerprint() == dataset.fingerprint()


def test_a_coco_file_with_a_clinical_table_becomes_a_data_set(tmp_path: Path) -> None:
    source = mmad.make_phantom(tmp_path / "phantom", studies=12, image_size=64)
    images = [
        {"id": number, "file_name": Path(study.image).name, "width": 64, "height": 64}
        for number, study in enumerate(source.studies)
    ]
    boxes = [
        {
            "id": number,
            "image_id": place,
            "category_id": label,
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
        }
        for number, (place, (left, top, right, bottom), label) in enumerate(
            zip(source.box_study.tolist(), source.boxes.tolist(), source.labels_of.tolist(), strict=True)
        )
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(source.labels, 1)]
    coco = {"images": images, "annotations": boxes, "categories": categories}
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    ages = pd.DataFrame({"image": [image["file_name"] for image in images], "age": range(40, 52)})
    ages.to_csv(tmp_path / "ages.csv", index=False)
    found = mmad.import_coco(
        str(tmp_path / "boxes.json"),
        str(source.root / "images"),
        str(tmp_path / "set"),
        clinical=mmad.ClinicalTable(str(tmp_path / "ages.csv"), on="image"),
    )
    assert len(found.dataset.boxes) == len(source.boxes)
    assert [column.name for column in found.dataset.numeric] == ["age"]


@pytest.mark.slow
def test_a_detector_is_built_for_a_data_set(tmp_path: Path) -> None:
    dataset = mmad.make_phantom(tmp_path / "phantom", studies=12, image_size=64)
    setup = mmad.ModelSetup(use_clinical=True, pretrained=False)
    detector = mmad.build_detector(setup, labels=len(dataset.labels), columns=dataset.columns(), seed=0)
    assert sum(parameter.numel() for parameter in detector.parameters()) > 1_000_000


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: mmad.load_ablation(None), "path=: expected a path, got None"),
        (lambda s: mmad.load_ablation("a.toml", data=""), "data=: is empty"),
        (lambda s: mmad.load_ablation("a.toml", overrides=[5]), "overrides=: expected text, got 5"),
        (lambda s: mmad.plan("a.toml"), "ablation=: expected mmad.Ablation, got 'a.toml'; load it"),
        (lambda s: mmad.train("a.toml"), "ablation=: expected mmad.Ablation"),
        (lambda s: mmad.train((), priority="x"), "priority=: expected a whole number, got 'x'"),
        (
            lambda s: mmad.train((), checkpoint_every=0),
            "checkpoint_every=: expected a whole number of at least 1",
        ),
        (lambda s: mmad.train((), max_hours=-1), "max_hours=: expected a number of at least 0"),
        (lambda s: mmad.train((), per_gpu=0), "per_gpu=: expected a whole number of at least 1"),
        (lambda s: mmad.evaluate("db/mmad.sqlite", CXR), "store=: expected mmad.Store, got 'db/mmad.sqlite'; open it"),
        (lambda s: mmad.evaluate(s, None), "run=: expected text, got None"),
        (lambda s: mmad.compare(s, CXR, CXR, seed=-1), "seed=: expected a whole number of at least 0, got -1"),
        (lambda s: mmad.evaluate(s, CXR, scores=0.1), "scores=: expected a list of numbers, got 0.1"),
        (lambda s: mmad.compare(s, CXR, CXR, resamples=10.5), "resamples=: expected a whole number"),
        (lambda s: mmad.compare(s, CXR, None), "other=: expected text, got None"),
        (lambda s: mmad.write_report("db", html="a.html"), "store=: expected mmad.Store"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it(
    call: Callable[[mmad.Store], object], words: str, tmp_path: Path
) -> None:
    with mmad.Store.open(tmp_path / "a.sqlite") as store, pytest.raises(mmad.MmadError) as caught:
        call(store)
    assert words in str(caught.value)
