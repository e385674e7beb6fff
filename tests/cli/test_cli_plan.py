"""``mmad plan``: members and keys, what is done, what is missing, and what it does not touch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmad.api.loading import load_with_data, on_data, resolve_data
from mmad.base.errors import DataError
from mmad.base.records import EpochRecord
from mmad.config import ablation_file
from mmad.config.ablation_file import read_source
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.store.claims import Owner
from mmad.store.store import Store

Call = Callable[..., Any]
ABLATIONS = Path(__file__).parents[2] / "ablations"


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=12, image_size=64)


def test_json_has_one_object_per_member(call_mmad: Call, phantom: DataSet) -> None:
    called = call_mmad("plan", ABLATIONS / "patience.toml", "--data", phantom.root, "--json")
    assert called.code == 0
    plan = json.loads(called.out)
    assert plan["provisional"] is True  # its weights are not here
    assert len(plan["runs"]) == 8
    run = plan["runs"][2]
    assert (run["ablation"], run["setting"], run["arm"], run["seed"]) == ("patience", "patience 10", "CXR", 0)
    assert (run["documented"], run["status"]) == ("e069", "new")
    assert run["setup"]["reduceLROnPlateau_patience"] == 10
    assert run["setup"]["loss_weights"]["loss_classifier"] == 10
    assert run["protocol"]["epochs"] == 100
    assert run["protocol"]["overlap"] == run["protocol"]["selection_overlap"] == "iobb"
    assert len({run["key"] for run in plan["runs"]}) == 8
    assert all(len(run["key"]) == 64 for run in plan["runs"])


def test_without_data_keys_are_provisional_and_said_to_be(call_mmad: Call, tmp_path: Path) -> None:
    plan = json.loads(call_mmad("plan", ABLATIONS / "quickstart.toml", "--json").out)
    assert plan["provisional"] is True
    assert all(run["provisional"] for run in plan["runs"])
    told = call_mmad("plan", ABLATIONS / "quickstart.toml")
    assert told.code == 0
    assert "keys are provisional" in told.err
    (tmp_path / "ablations").mkdir()
    copy = tmp_path / "ablations" / "lungs.toml"  # the checkout may hold the data set the file names
    copy.write_text((ABLATIONS / "lungs.toml").read_text())
    lungs = call_mmad("plan", copy)
    assert lungs.code == 0
    assert "keys are provisional; name one with --data" in lungs.err


def test_a_plan_writes_nothing(call_mmad: Call, tmp_path: Path) -> None:
    call_mmad("plan", ABLATIONS / "quickstart.toml")
    assert list(tmp_path.iterdir()) == []


def test_missing_weights_are_named_and_no_failure(call_mmad: Call, phantom: DataSet, tmp_path: Path) -> None:
    words = ("plan", ABLATIONS / "patience.toml", "--data", phantom.root)
    told = call_mmad(*words)
    assert told.code == 0
    assert "missing weights: mobilenet_v3_small-047dcff4.pth, needed by 8 runs" in told.err
    assert "mmad weights --fetch" in told.err
    assert json.loads(call_mmad(*words, "--json").out)["missing_weights"] == {"mobilenet_v3_small-047dcff4.pth": 8}
    scratch = json.loads(call_mmad(*words, "--weights", "none", "--json").out)
    assert scratch["missing_weights"] == {}
    assert {run["protocol"]["weights"] for run in scratch["runs"]} == {"none"}
    (tmp_path / "mobilenet_v3_small-047dcff4.pth").touch()
    false = call_mmad(*words, "--weights-dir", tmp_path)
    assert false.code == 2
    assert "is not what its name says: its SHA-256 begins e3b0c442" in false.err
    (tmp_path / "own.pth").write_bytes(b"own")
    own = json.loads(call_mmad(*words, "--set", f"weights={tmp_path / 'own.pth'}", "--json").out)
    assert (own["missing_weights"], own["provisional"]) == ({}, False)


def test_overrides_are_applied_recorded_and_change_the_key(call_mmad: Call, phantom: DataSet) -> None:
    words = ("plan", ABLATIONS / "quickstart.toml", "--data", phantom.root, "--json")
    plain = json.loads(call_mmad(*words).out)["runs"]
    short = json.loads(call_mmad(*words, "--set", "epochs=1", "--set", "seeds=[0, 1]").out)["runs"]
    assert len(short) == 4
    assert {run["protocol"]["epochs"] for run in short} == {1}
    assert {tuple(run["overrides"]) for run in short} == {("epochs=1", "seeds=[0, 1]")}
    assert not {run["key"] for run in plain} & {run["key"] for run in short}


def _record(ablation_file: Path, data: Path, database: Path) -> list[str]:
    """Queue the file's runs, finish the first one in two epochs of 3 s, let the second fail."""
    ablation, _ = load_with_data(ablation_file, data=str(data))
    keys = [member.run.key for member in ablation.members]
    with Store.open(database) as store:
        store.add_ablation(ablation)
        assert store.claim([keys[0]], Owner.current()) is not None
        for epoch in (1, 2):
            store.commit_epoch(keys[0], EpochRecord(epoch, 0.01, 3.0, 0, ()))
        assert store.end(keys[0], Owner.current(), "finished")
        assert store.end_free(keys[1], "failed", "loss is not finite")
    return keys


def test_what_is_recorded_is_not_run_again_and_tells_the_time(
    call_mmad: Call, phantom: DataSet, tmp_path: Path
) -> None:
    database = tmp_path / "db.sqlite"
    keys = _record(ABLATIONS / "quickstart.toml", phantom.root, database)
    words = ("plan", ABLATIONS / "quickstart.toml", "--data", phantom.root, "--db", database)
    plan = json.loads(call_mmad(*words, "--json").out)
    assert [(run["key"], run["status"]) for run in plan["runs"]] == list(zip(keys, ("finished", "failed"), strict=True))
    again = json.loads(call_mmad(*words, "--set", "lr=0.5", "--set", "epochs=4", "--json").out)
    assert [run["status"] for run in again["runs"]] == ["new", "new"]
    assert [run["estimate_seconds"] for run in again["runs"]] == [12.0, None]
    assert again["estimate_seconds"] is None
    table = call_mmad(*words).out
    assert "done" in table
    assert "failed" in table
    assert "2 members, 2 runs: 1 to run" in table


def test_trials_of_another_database_tell_the_time_of_what_was_never_run(
    call_mmad: Call, phantom: DataSet, tmp_path: Path
) -> None:
    file = ABLATIONS / "quickstart.toml"
    tried, _ = load_with_data(file, data=str(phantom.root), overrides=["steps_per_epoch=1", "batch_size=2"])
    key = tried.members[0].run.key
    with Store.open(tmp_path / "trials.sqlite") as store:
        store.add_ablation(tried)
        store.commit_epoch(key, EpochRecord(1, 0.01, 20.0, 0, ()))
    words = ("plan", file, "--data", phantom.root, "--trials", tmp_path / "trials.sqlite", "--set", "epochs=2")
    plan = json.loads(call_mmad(*words, "--json").out)
    train, *judged = (len(phantom.split(split)) for split in ("train", "val", "test"))
    price = 20.0 / (2 * (3 + 1 + 1))
    assert [run["estimate_seconds"] for run in plan["runs"]] == [2 * price * (3 * train + sum(judged)), None]
    assert "one after the other for 1 of them, time unknown for the others" in call_mmad(*words).out
    missing = (*words[:5], tmp_path / "none.sqlite")
    assert "time unknown" in call_mmad(*missing).out


def test_members_of_equal_content_share_a_run(call_mmad: Call, phantom: DataSet, tmp_path: Path) -> None:
    file = tmp_path / "twice.toml"
    file.write_text('[arms.CXR]\n[[settings]]\nname = "a [b]"\n[[settings]]\nname = "c"\n')
    told = call_mmad("plan", file, "--data", phantom.root)
    assert "shared with #1" in told.out
    assert "a [b]" in told.out
    assert "2 members, 1 run: 1 to run" in told.out


def test_a_fused_map_of_one_cell_is_warned_of(call_mmad: Call, phantom: DataSet) -> None:
    told = call_mmad("plan", ABLATIONS / "patience.toml", "--data", phantom.root)
    assert told.code == 0
    assert "4 runs: the fused map shrinks to 1×1" in told.err
    told = call_mmad("plan", ABLATIONS / "patience.toml", "--data", phantom.root, "--set", "fuse_stride=1")
    assert "1×1" not in told.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[setup]\nlrr = 1\n", "bad.toml:2: setup.lrr: unknown key; did you mean lr?"),
        ("[setup]\nclinical_numeric = ['agge']\n", "age"),
        ("[setup]\nuse_clinical = true\nclinical_num_len = 3\n", "clinical_num_len = 3, but there are 9"),
        ("[setup]\nuse_clinical = true\nclinical_input_channels = 8\n", "too small for 9 numbers"),
        (
            "[setup]\nuse_clinical = true\nclinical_numeric = []\nclinical_categorical = []\n",
            "no clinical column is left",
        ),
        ("[setup]\nusing_fpn = true\n", "bad.toml:2: using_fpn = true with backbone = 'mobilenet_v3'"),
        ("[setup]\nuse_clinical = true\nfuse_depth = 0\n", 'use "add", or fuse_depth >= 1'),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    call_mmad: Call, phantom: DataSet, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    called = call_mmad("plan", file, "--data", phantom.root)
    assert (called.code, called.out) == (2, "")
    assert called.err.startswith("mmad: ")
    assert called.err.count("\n") == 1
    assert message in called.err


def test_unknown_data_and_a_database_that_is_none_are_refused(
    call_mmad: Call, phantom: DataSet, tmp_path: Path
) -> None:
    called = call_mmad("plan", ABLATIONS / "quickstart.toml", "--data", "nowhere")
    assert (called.code, called.err.count("\n")) == (2, 1)
    assert "nowhere" in called.err
    (tmp_path / "text.sqlite").write_text("no database " * 100)
    called = call_mmad("plan", ABLATIONS / "quickstart.toml", "--data", phantom.root, "--db", tmp_path / "text.sqlite")
    assert (called.code, called.err.count("\n")) == (2, 1)


def test_readings_are_not_planned_as_images(call_mmad: Call, phantom: DataSet, tmp_path: Path) -> None:
    root = tmp_path / "readings"
    shutil.copytree(phantom.root, root)
    text = (root / "dataset.toml").read_text("utf-8")
    (root / "dataset.toml").write_text(text.replace("licence", 'mode = "normal"\nlicence', 1), "utf-8")
    words = ("plan", ABLATIONS / "quickstart.toml", "--data", root)
    called = call_mmad(*words)
    assert called.code == 2
    assert 'set dataset_mode = "normal"' in called.err
    assert call_mmad(*words, "--set", "dataset_mode=normal").code == 0


def test_several_files_are_planned_at_once(call_mmad: Call, phantom: DataSet) -> None:
    plan = call_mmad("plan", ABLATIONS / "quickstart.toml", ABLATIONS / "lungs.toml", "--data", phantom.root, "--json")
    assert [run["ablation"] for run in json.loads(plan.out)["runs"]] == ["quickstart"] * 2 + ["lungs"] * 2


def test_the_phantom_of_other_parameters_has_another_folder(tmp_path: Path) -> None:
    plain, same, other = (
        resolve_data(None, phantom=parameters) for parameters in ({}, {}, {"studies": 12, "image_size": 64})
    )
    assert plain.source.path == same.source.path == str(tmp_path / "data" / "phantom")
    assert other.source.path != plain.source.path
    assert plain.dataset is None
    assert plain.note is not None
    drawn = resolve_data(None, phantom={"studies": 12, "image_size": 64}, create=True)
    assert drawn.source.path == other.source.path
    assert drawn.dataset is not None
    assert len(drawn.dataset.studies) == 12
    assert drawn.source.fingerprint == resolve_data(None, phantom={"studies": 12, "image_size": 64}).source.fingerprint


def test_a_folder_named_from_the_wrong_place_is_named_from_the_right_one(phantom: DataSet, tmp_path: Path) -> None:
    (tmp_path / "ablations").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own").symlink_to(phantom.root)
    beside, right = Path("ablations"), 'write data = "../data/own"'
    assert right in str(resolve_data(None, "data/own", beside=beside).note)
    with pytest.raises(DataError, match=f"ablations/data/own: no such data set; .*{right}"):
        resolve_data(None, "data/own", beside=beside, create=True)
    found = resolve_data(None, "../data/own", beside=beside).dataset
    assert found is not None
    assert found.root == Path("data/own")


def test_a_relative_data_folder_starts_from_the_file(phantom: DataSet, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "set").symlink_to(phantom.root, target_is_directory=True)
    file = tmp_path / "inner" / "a.toml"
    file.write_text('data = "../set"\n')
    ablation, chosen = load_with_data(file, data=None)
    assert chosen.source.path == str(phantom.root)
    assert ablation.members[0].run.data.fingerprint == phantom.fingerprint()


def test_a_file_is_read_once_and_its_values_are_checked_there(
    phantom: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[setup]\npretrained = false\n")
    read: list[Path] = []
    monkeypatch.setattr(ablation_file, "read_source", lambda path: read.append(path) or read_source(path))
    monkeypatch.setattr("mmad.config.setup.problems", lambda setup: iter(["checked by the model again"]))
    ablation, _ = load_with_data(file, data=str(phantom.root))
    assert on_data(ablation, str(phantom.root), create=True)[0] == ablation
    assert read == [file]


DECLARED = """
[protocol]
seeds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
[hypothesis]
goal = "equivalence"
margin = 0.1
"""


def test_a_hypothesis_is_planned_before_training(call_mmad: Call, tmp_path: Path) -> None:
    (tmp_path / "alike.toml").write_text(DECLARED)
    stated = ("--seed-sd", "0.06", "--patient-error", "0.019", "--patients", "150")
    called = call_mmad("plan", "alike.toml", "--power", *stated)
    assert called.code == 0, called.err
    assert (
        "Goal: equivalence, CXR+Clinical against CXR in default; alpha 0.05, power 0.8, 12 seeds, 1 pair" in called.out
    )
    assert (
        "To show 0.1: seeds (with 150 patients): 7; patients (with 12 seeds): 65; power as planned: 0.96" in called.out
    )
    (plain,) = json.loads(call_mmad("plan", "alike.toml", "--power", *stated, "--json").out)
    assert (plain["ablation"], plain["hypothesis"]["margin"]) == ("alike", 0.1)
    assert plain["smallest"]["value"] == pytest.approx(0.077, abs=0.001)
    assert plain["effects"][0]["power"] == {"value": pytest.approx(0.96, abs=0.01), "low": None, "high": None}
    assert not (tmp_path / "db").exists()


def test_a_plan_of_power_says_what_it_lacks(call_mmad: Call, tmp_path: Path) -> None:
    (tmp_path / "alike.toml").write_text(DECLARED)
    called = call_mmad("plan", "alike.toml", "--power", "--seed-sd", "0.06")
    assert (called.code, "belong together" in called.err) == (2, True)
    called = call_mmad("plan", "alike.toml", "--power")
    assert (called.code, "no such database" in called.err) == (2, True)
    called = call_mmad("plan", "alike.toml", "--power", "--patients", "0")
    assert (called.code, "--patients: 0" in called.err) == (2, True)


def test_folds_are_counted_and_the_published_split_is_said_to_be_unused(
    call_mmad: Call, phantom: DataSet, tmp_path: Path
) -> None:
    file = tmp_path / "folded.toml"
    file.write_text("[setup]\npretrained = false\n[protocol]\nseeds = [0, 1]\nfolds = 2\n")
    planned = call_mmad("plan", file, "--data", phantom.root)
    assert planned.code == 0
    said = " ".join(planned.err.split())
    assert "8 members: 1 setting × 2 arms × 2 folds × 2 seeds; folds by patient (fold_seed 0)" in said
    sizes = ", ".join(f"{split} {len(phantom.split(split))}" for split in ("train", "val", "test"))
    assert f"the data set's splits ({sizes}) are not used" in said
    power = call_mmad("plan", file, "--data", phantom.root, "--power")
    assert power.code == 2
    assert f"{file}:5: --power plans seeds and patients of one test split, and 2 folds have one each" in power.err


def test_folds_that_lack_a_finding_are_refused_with_the_line(call_mmad: Call, phantom: DataSet, tmp_path: Path) -> None:
    file = tmp_path / "folded.toml"
    file.write_text("[setup]\npretrained = false\n[protocol]\nfolds = 9\n")
    refused = call_mmad("plan", file, "--data", phantom.root)
    assert refused.code == 2
    assert refused.err.startswith(f"mmad: {file}:4: folds: ")
    assert refused.err.rstrip().endswith("of 9 has none of them; ask for fewer folds")
    word = call_mmad("plan", file, "--data", phantom.root, "--set", "folds=11")
    assert word.err.startswith("mmad: --set folds=11: folds: ")


def test_an_entry_that_no_log_has_is_refused(call_mmad: Call, tmp_path: Path) -> None:
    file = tmp_path / "mirror.toml"
    text = """\
[setup]
pretrained = false
[arms.CXR]
use_clinical = false
[[settings]]
name = "one"
documented = { CXR = "e120" }
"""
    file.write_text(text)
    for command in (("plan",), ("ablate", "--dry-run")):
        refused = call_mmad(*command, file)
        assert refused.code == 2
        assert "mirror.toml:7: documented: there is no entry e120; did you mean e" in refused.err
    entries = "".join(f"## Entry {number}\n[model]: {number}\n" for number in range(1, 121))
    (tmp_path / "mine.md").write_text(entries)
    assert call_mmad("log", "import", tmp_path / "mine.md").code == 0
    assert call_mmad("plan", file).code == 0


def test_a_column_without_a_training_value_is_refused_before_anything_trains(
    call_mmad: Call, phantom: DataSet, tmp_path: Path
) -> None:
    shutil.copytree(phantom.root, tmp_path / "data")
    table = pd.read_csv(tmp_path / "data" / "studies.csv", dtype=str)
    table.loc[table["split"] == "train", "sbp"] = ""
    table.to_csv(tmp_path / "data" / "studies.csv", index=False)
    words = (ABLATIONS / "quickstart.toml", "--data", tmp_path / "data", "--dry-run")
    refused = call_mmad("ablate", *words)
    assert refused.code == 2
    assert "column 'sbp' has no value in the training split; leave it out of clinical_numeric" in refused.err
    assert call_mmad("ablate", *words, "--only", "CXR").code == 0
