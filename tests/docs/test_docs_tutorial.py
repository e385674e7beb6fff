"""The tutorial: every command runs, in the order of the page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from docs_pages import ROOT, SHELLS, Block, blocks, commands
from docs_workbench import Workbench

TUTORIAL = ROOT / "docs" / "tutorial.md"
#: The file that the tutorial has its reader write.
WRITTEN = "ablations/anchors.toml"

pytestmark = pytest.mark.slow


def in_order(page: Path) -> list[Block]:
    """Commands and files of ``page`` as they follow one another."""
    return sorted(blocks(page, "toml", *SHELLS), key=lambda block: block.line)


def follow(page: Path, bench: Workbench) -> dict[str, str]:
    """Do what ``page`` says, with three of its ten seeds; what each command wrote."""
    answers = {}
    for block in in_order(page):
        if block.language == "toml":
            (bench.folder / WRITTEN).write_text(block.text, "utf-8")
        else:
            for command in commands(block):
                answers[command] = bench.run(command.replace("[0,1,2,3,4,5,6,7,8,9]", "[0,1,2]"))
    return answers


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_tutorial_can_be_followed(programmer: Workbench) -> None:
    assert f"`{WRITTEN}`" in TUTORIAL.read_text("utf-8")
    shutil.rmtree(programmer.folder / "data" / "phantom")
    answers = follow(TUTORIAL, programmer)
    assert "2 of 2 runs finished" in answers["mmad ablate ablations/quickstart.toml"]
    more = next(command for command in answers if command.startswith("mmad ablate") and "seeds=" in command)
    assert "4 runs to train" in answers[more]
    assert "6 of 6 runs finished" in answers[more]
    assert "4 members, 4 runs: 4 to run" in answers[f"mmad plan {WRITTEN}"]
    page = (programmer.folder / "reports" / "index.html").read_text("utf-8")
    for part in ("What the marks mean", "The arms overlaid", "Best epochs and overfitting", "Pictures"):
        assert part in page
    assert (programmer.folder / "backups" / "tutorial.sqlite").exists()
    assert "<svg" in (programmer.folder / "sheet.html").read_text("utf-8")
