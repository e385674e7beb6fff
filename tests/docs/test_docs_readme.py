"""The README and the page it leads to first: their commands are run, their file is valid, what they claim is so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from docs_pages import README, ROOT, SHELLS, blocks, commands
from docs_workbench import UnknownCommandError, Workbench
from torchvision.models import mobilenet_v3_small

from mmad.config.load import load_ablation
from mmad.config.setup import BACKBONES
from mmad.config.weights import weights_file

QUESTION = ROOT / "docs" / "question.md"
COMMANDS = [command for page in (README, QUESTION) for block in blocks(page, *SHELLS) for command in commands(block)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_every_command_runs_in_the_order_of_the_pages(newcomer: Workbench) -> None:
    torch.manual_seed(0)
    folder = newcomer.folder / "weights"
    torch.save(mobilenet_v3_small(weights=None).state_dict(), folder / "drawn.pth")
    (folder / weights_file("mobilenet_v3")).touch()  # fetching finds it; no training reads it
    answers = {command: newcomer.run(command) for command in COMMANDS}
    demo = answers["make demo"]
    assert "installing" not in demo
    assert "2 of 2 runs finished" in demo
    assert "test AP" in demo
    assert "reports/index.html: 1 ablation, 2 runs" in demo
    assert (newcomer.folder / "reports" / "index.html").read_text("utf-8").count("CXR+Clinical") > 2
    assert "one seed says how these two networks differ" in demo
    assert "nothing to do: 2 runs finished already" in answers["mmad ablate ablations/quickstart.toml"]
    assert "finished" in answers["mmad runs"]
    assert "/default/CXR/0" in answers["mmad show quickstart/default/CXR"]
    assert "finished" in answers["mmad ablate ablations/patience.toml"]
    assert "patience" in answers["mmad status"]


def test_there_are_commands_to_run() -> None:
    assert {"make demo", "mmad runs", "mmad report --html"} <= set(COMMANDS)


@pytest.mark.slow
def test_every_command_is_known_and_an_unknown_one_is_refused(newcomer: Workbench) -> None:
    for command in COMMANDS:
        assert newcomer.known(command)
    for command in ("rm -rf /", "mmad fly", "make coffee", "make demo coffee", "export HOME=/", "X=1 curl x"):
        with pytest.raises(UnknownCommandError, match="no way to try"):
            newcomer.known(command)


def test_the_file_it_shows_is_short_and_expands(tmp_path: Path) -> None:
    (block,) = blocks(QUESTION, "toml")
    assert len(block.text.splitlines()) <= 25
    file = tmp_path / "fusion-depth.toml"
    file.write_text(block.text, "utf-8")
    assert len(load_ablation(file).members) == 3 * 2 * 3


def test_it_names_what_can_be_built() -> None:
    limits = README.read_text("utf-8").split("## Limits")[1].split("##")[0]
    for backbone in BACKBONES:
        assert f"`{backbone}`" in limits
