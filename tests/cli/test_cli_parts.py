"""``mmad parts``, and own parts through ``mmad plan``: tried in a process of its own, refused with file and line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmad.config.named_parts import PARTS

Call = Callable[..., Any]
FILE = """\
[setup]
pretrained = false
backbone = "custom1"
image_size = 64
use_clinical = true

[arms.own.fusion]
use = "mine_cli:Part"
width = 2
"""
MODULE = """\
import torch
from torch import nn


class Part(nn.Module):
    def __init__(self, shape, width: int = 1):
        super().__init__()
        self.a = nn.Parameter(torch.ones(1))

    def forward(self, maps, clinical):
        return {k: x * self.a for k, x in maps.items()}
"""


@pytest.mark.slow
def test_what_can_be_named_is_listed_without_torch(run_mmad: Call) -> None:
    called = run_mmad("parts")
    assert called.returncode == 0
    for kind in PARTS.values():
        assert kind.protocol in called.stdout
        for word in (*kind.words, *kind.others):
            assert word in called.stdout
    called = run_mmad("parts", "fusion", "--json")
    words = json.loads(called.stdout)["fusion"]["words"]
    assert words["daft"]["arguments"] == {"bottleneck": 7}


def test_a_field_that_names_no_part(call_mmad: Call) -> None:
    called = call_mmad("parts", "fusin")
    assert (called.code, called.err) == (2, "mmad: fusin: no field that names a part; did you mean fusion?\n")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine_cli.py").write_text(MODULE)
    (tmp_path / "own.toml").write_text(FILE)
    return tmp_path / "own.toml"


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_a_plan_names_the_module_and_imports_none_of_it(call_mmad: Call, file: Path) -> None:
    called = call_mmad("plan", file, "--json", "--db", file.parent / "db.sqlite")
    assert called.code == 0, called.err
    (run,) = json.loads(called.out)["runs"]
    (module,) = run["protocol"]["modules"]
    assert (module["name"], set(module["versions"])) == ("mine_cli", {"torch"})
    assert "mine_cli" not in sys.modules


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_what_is_wrong_is_told_with_its_line(call_mmad: Call, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(FILE.replace("width", "widht"))
    called = call_mmad("plan", file)
    expected = f"mmad: {file}:9: fusion = 'mine_cli:Part': Part takes no argument widht; did you mean width?\n"
    assert (called.code, called.err) == (2, expected)
    file.write_text(FILE)
    (file.parent / "mine_cli.py").write_text("while True:\n    pass\n")
    monkeypatch.setattr("mmad.api.own_parts.SECONDS", 0.2)
    called = call_mmad("plan", file)
    assert called.code == 2
    assert f"{file}:7: fusion = 'mine_cli:Part': importing and trying it took longer than 0.2 s" in called.err
