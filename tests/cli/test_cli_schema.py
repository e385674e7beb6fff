"""``mmad schema`` prints the shipped schema; ``mmad weights`` lists files and fails politely offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmad.config.json_schema import ablation_schema
from mmad.config.setup import BACKBONES
from mmad.config.weights import weights_file

Call = Callable[..., Any]
ABLATIONS = Path(__file__).parents[2] / "ablations"


def test_the_schema_is_printed_as_it_is_shipped(call_mmad: Call) -> None:
    called = call_mmad("schema")
    assert called.code == 0
    assert json.loads(called.out) == ablation_schema()
    assert called.out == (ABLATIONS / "schema.json").read_text()


@pytest.fixture
def _empty_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("MMAD_WEIGHTS", raising=False)


@pytest.mark.usefixtures("_empty_caches")
def test_weights_lists_what_is_here(call_mmad: Call, tmp_path: Path) -> None:
    here = tmp_path / "weights"
    here.mkdir()
    (here / weights_file("resnet18")).touch()
    listed = {row["backbone"]: row for row in json.loads(call_mmad("weights", "--weights-dir", here, "--json").out)}
    assert listed["custom2"] == {
        "backbone": "custom2",
        "file": "resnet18-f37072fd.pth",
        "path": str(here / "resnet18-f37072fd.pth"),
    }
    assert listed["mobilenet_v3"]["path"] is None
    assert "missing" in call_mmad("weights").out


@pytest.mark.usefixtures("_empty_caches")
def test_weights_of_a_file_are_only_those_it_needs(call_mmad: Call) -> None:
    needed = json.loads(call_mmad("weights", ABLATIONS / "patience.toml", "--json").out)
    assert [row["backbone"] for row in needed] == ["mobilenet_v3"]
    assert json.loads(call_mmad("weights", ABLATIONS / "quickstart.toml", "--json").out) == []
    assert "no weights are needed" in call_mmad("weights", ABLATIONS / "quickstart.toml").out


@pytest.mark.slow
@pytest.mark.usefixtures("_empty_caches")
def test_fetching_without_a_network_says_what_to_do(
    call_mmad: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    called = call_mmad("weights", "--fetch", "--weights-dir", tmp_path / "new")
    assert called.code == 2
    assert "mobilenet_v3_small-047dcff4.pth could not be fetched (no route to host)" in called.err
    assert "copy the file into" in called.err


@pytest.mark.slow
@pytest.mark.usefixtures("_empty_caches")
def test_fetching_asks_once_per_file_and_checks_its_hash(
    call_mmad: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    asked: list[tuple[str, bool]] = []

    def fetch(url: str, *, model_dir: str, file_name: str, check_hash: bool, **_: object) -> None:
        asked.append((file_name, check_hash))
        assert url.endswith(file_name)
        (Path(model_dir) / file_name).touch()

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    called = call_mmad("weights", "--fetch", "--weights-dir", tmp_path / "new", "--json")
    assert sorted(asked) == [(name, True) for name in sorted({weights_file(backbone) for backbone in BACKBONES})]
    assert len(asked) == 5
    assert all(row["path"] for row in json.loads(called.out))
