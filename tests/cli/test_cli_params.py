"""``mmad params`` prints the documented log's counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmad.base.records import ParameterCount

Call = Callable[..., Any]
ABLATIONS = Path(__file__).parents[2] / "ablations"
pytestmark = pytest.mark.slow  # torch is imported


def test_the_default_setup_has_the_documented_counts(call_mmad: Call) -> None:
    called = call_mmad("params")
    assert called.code == 0
    assert called.out.splitlines()[:2] == ["[model]: 1,040,729", "[model.backbone]: 1,009,968"]
    assert called.out.splitlines()[-1] == (
        "multiply-adds per image: backbone 76.9 M, RPN 224 k, heads 27.1 M for 1,000 proposals "
        "(rpn_post_nms_top_n_test, the most an evaluation hands on)"
    )
    assert json.loads(call_mmad("params", "--json").out)["model"] == 1040729


def test_words_change_the_setup(call_mmad: Call) -> None:
    counts = json.loads(call_mmad("params", "--set", "use_clinical=true", "--json").out)
    assert counts["model"] == 1223303
    assert counts["model.clinical_convs"] == 41904


def test_a_file_has_a_block_per_setting_and_arm(call_mmad: Call) -> None:
    blocks = json.loads(call_mmad("params", ABLATIONS / "patience.toml", "--json").out)
    assert len(blocks) == 8
    assert blocks["patience 10 / CXR"]["model"] == 1040729
    assert blocks["patience 10 / CXR+Clinical"]["model"] == 1223303
    assert call_mmad("params", ABLATIONS / "patience.toml").out.startswith("patience 5 / CXR\n[model]: 1,040,729\n")


def test_a_file_has_a_cost_line_per_member_and_a_table_if_asked(call_mmad: Call) -> None:
    lines = call_mmad("params", ABLATIONS / "patience.toml").out.splitlines()
    assert sum(line.startswith("multiply-adds per image: ") for line in lines) == 8
    assert not any(line.startswith("one image") for line in lines)
    lines = call_mmad("params", ABLATIONS / "patience.toml", "--cost", "--proposals", "5").out.splitlines()
    assert sum(line.startswith("one image in evaluation, 5 proposals") for line in lines) == 8


def test_an_entry_has_its_counts_its_modules_and_its_idle_network(call_mmad: Call) -> None:
    lines = call_mmad("params", "--entry", "e100", "--proposals", "300").out.splitlines()
    assert lines[0] == "[model]: 2,770,583"
    head = next(line for line in lines if line.startswith("module"))
    assert head.split("  ")[0] == "module"
    assert "FLOPs (multiply-adds)" in head
    rows = {line.split()[0]: line.split()[1:] for line in lines if "%" in line}
    assert rows["fc6"] == ["204,864", "204,864", "7.4%", "61.4", "M", "19.2", "k"]
    assert rows["clinical_convs"][0] == "(idle)"
    assert lines[-2:] == [
        "idle: model.clinical_convs is counted (1,258,848 parameters), but nothing uses it",
        "multiply-adds per image: backbone 370 M, RPN 10.7 M, heads 63.2 M for 300 proposals (--proposals)",
    ]


def test_the_masks_are_told(call_mmad: Call) -> None:
    assert call_mmad("params", "--entry", "e004").out.endswith(" and the masks of 10 detections\n")


def test_words_change_an_entry(call_mmad: Call) -> None:
    counts = json.loads(call_mmad("params", "--entry", "e030", "--set", "fuse_depth=1", "--json").out)
    assert counts["model"] != 1223303
    assert counts == json.loads(
        call_mmad("params", "--set", "use_clinical=true", "--set", "fuse_depth=1", "--json").out
    )


def test_the_cost_stands_beside_the_counts(call_mmad: Call) -> None:
    cost = json.loads(call_mmad("params", "--entry", "e093", "--cost", "--json").out)
    assert list(cost) == ["params", "idle", "flops", "activations", "proposals"]
    assert cost["params"] == json.loads(call_mmad("params", "--entry", "e093", "--json").out)
    assert (cost["idle"], cost["proposals"]) == (["model.clinical_convs"], 1000)
    assert list(cost["flops"]) == list(cost["activations"]) == ["backbone", "clinical", "rpn", "heads"]
    assert cost["flops"]["clinical"] == 0


def test_the_documented_numbers_are_all_met(call_mmad: Call) -> None:
    called = call_mmad("params", "--documented")
    assert (called.code, called.out) == (0, "748 of 748 printed numbers equal\n")
    counted = json.loads(call_mmad("params", "--documented", "--json").out)
    assert (len(counted), sum(len(counts) for counts in counted.values())) == (82, 748)
    assert "model.roi_heads.box_predictor" not in counted["e046"]


def test_a_documented_number_that_is_missed_is_told(call_mmad: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = (ParameterCount("model", 1),)
    monkeypatch.setattr("mmad.detector.build.parameter_counts", lambda setup: counted)
    called = call_mmad("params", "--documented")
    lines = called.out.splitlines()
    assert called.code == 1
    assert lines[0] == "e002 [model]: printed 36,233,555, counted 1"
    assert lines[1] == "e002 [model.backbone]: printed 3,602,468, counted nothing"
    assert (len(lines), lines[-1]) == (749, "0 of 748 printed numbers equal")
    called = call_mmad("params", "--documented", "--json")
    assert (called.code, json.loads(called.out)["e002"], called.err.splitlines()) == (1, {"model": 1}, lines[:-1])


def test_variables_do_not_reach_the_documented_numbers(call_mmad: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMAD_SET", "fuse_depth=1")
    monkeypatch.setenv("MMAD_DATA", "/nowhere")
    assert call_mmad("params", "--documented").code == 0


ALONE = "does not go with --documented; leave it out: the log's own setups are counted, with its labels and columns"
REFUSED = {
    "--entry e030 PATH": "--entry e030: there is a FILE too; leave out --entry or PATH",
    "--entry e0300": "the documented log: there is no entry e0300; did you mean e030?",
    "--entry e001": "the documented log: e001 prints no setup and no parameter counts; "
    "choose one that does, such as e002",
    "--documented PATH": f"PATH: {ALONE}",
    "--documented --entry e030": f"--entry: {ALONE}",
    "--documented --set lr=1": f"--set: {ALONE}",
    "--documented --data nowhere": f"--data: {ALONE}",
    "--documented --cost": f"--cost: {ALONE}",
    "--json --proposals 5": "--proposals: --json prints parameters alone; add --cost, or leave out --proposals",
    "--entry e030 --set fuse_depht=1": "--set fuse_depht=1: fuse_depht: unknown field; did you mean fuse_depth?",
    "--entry e030 --set clinical_input_channels=5": "clinical_input_channels = 5 is too small for 9 numbers "
    "and 1 categorical columns; use at least 10",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_is_refused_in_a_line(call_mmad: Call, words: str) -> None:
    file = str(ABLATIONS / "patience.toml")
    called = call_mmad("params", *words.replace("PATH", file).split())
    assert (called.code, called.out, called.err) == (2, "", f"mmad: {REFUSED[words].replace('PATH', file)}\n")


@pytest.mark.shared
def test_the_printed_counts_of_the_patience_chapter_are_met(call_mmad: Call, shared: Path) -> None:
    log = json.loads((shared / "seed" / "experiment_log.json").read_text(encoding="utf-8"))
    printed = {entry["id"]: entry["params"] for entry in log["entries"]}
    runs = json.loads(call_mmad("plan", ABLATIONS / "patience.toml", "--params", "--json").out)["runs"]
    for run in runs:
        assert run["params"] == printed[run["documented"]]
