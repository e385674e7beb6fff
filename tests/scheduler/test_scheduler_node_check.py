"""What a node of a cluster is asked before runs are queued, and its answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from queue_bench import Bench

from mmad.config.user_modules import find_module
from mmad.data.phantom.generate import make_phantom
from mmad.data.reader import load_dataset
from mmad.scheduler.executors.node_check import Needs, main, missing


@pytest.fixture
def needs(bench: Callable[..., Bench], tmp_path: Path) -> Needs:
    one = bench(runs=1)
    (tmp_path / ".shared").write_text("word")
    return Needs(one.database, str(tmp_path / ".shared"), "word")


def test_a_node_with_everything_lacks_nothing(needs: Needs, capsys: pytest.CaptureFixture[str]) -> None:
    assert missing(needs) is None
    assert main([needs.line()]) == 0
    assert json.loads(capsys.readouterr().out) == {"missing": None}


def test_what_is_missing_is_one_line_with_its_mend(needs: Needs, tmp_path: Path) -> None:
    lines = {
        "install the same version there": replace(needs, version="9.9"),
        "recipe 999": replace(needs, recipe=999),
        "name one on shared storage as MMAD_RUNS": replace(needs, word="another"),
        "is not there; put the database on shared storage": replace(needs, database=str(tmp_path / "no.sqlite")),
        "the folder of weights /nowhere is not there": replace(needs, weights_dir="/nowhere"),
        "the data set /nowhere is not there": replace(needs, data={"/nowhere": "f" * 64}),
    }
    for part, asked in lines.items():
        said = missing(asked)
        assert said is not None
        assert part in said
        assert "\n" not in said


@pytest.mark.slow
def test_a_module_of_other_content_is_told(needs: Needs, tmp_path: Path) -> None:
    (tmp_path / "mine_node.py").write_text("import numpy\n")
    module = find_module("mine_node", tmp_path)
    asked = replace(needs, modules=[module.model_dump()])
    assert missing(asked) is None
    assert json.loads(asked.line())["modules"][0]["name"] == "mine_node"
    (tmp_path / "mine_node.py").write_text("import numpy\nVALUE = 1\n")
    assert "the module mine_node has other content: its SHA-256 begins" in str(missing(asked))
    (tmp_path / "mine_node.py").unlink()
    assert str(missing(asked)).startswith("there is no module mine_node")


def test_a_database_that_cannot_be_reached_is_told(needs: Needs) -> None:
    said = missing(replace(needs, database="postgresql://nobody@127.0.0.1:1/none"))
    assert said is not None
    assert said.startswith("the database cannot be used there: ")


@pytest.mark.slow
def test_a_data_set_of_other_content_is_told(needs: Needs, tmp_path: Path) -> None:
    folder = tmp_path / "phantom"
    make_phantom(folder, studies=16, image_size=64)
    found = load_dataset(folder).fingerprint()
    assert missing(replace(needs, data={str(folder): found})) is None
    said = missing(replace(needs, data={str(folder): "f" * 64}))
    assert said is not None
    assert f"has other content there ({found[:12]}, here ffffffffffff)" in said


def test_a_question_of_another_version_is_answered(needs: Needs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([json.dumps({**asdict(needs), "version": "9.9", "colour": "blue"})]) == 0
    assert "here is 9.9; install the same version" in json.loads(capsys.readouterr().out)["missing"]
