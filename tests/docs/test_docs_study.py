"""The study of docs/study.md, in small: its commands run in their order, from the plan to the external data."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from docs_pages import ROOT, SHELLS, blocks, commands
from docs_workbench import Workbench

from mmad.config.load import load_ablation

PAGE, FILE = ROOT / "docs" / "study.md", ROOT / "ablations" / "study.toml"
#: What makes a run of the file last half a second, and the last look the second.
SHORT = {"image_size": "32", "epochs": "1", "seeds": '{ from = 3, to = 4, until = "settled" }'}


def test_the_page_shows_the_hypotheses(tmp_path: Path) -> None:
    """The file's own, and the one with which a copy asks whether the arms are equal."""
    declared, equal = (block.text for block in blocks(PAGE, "toml"))
    text = FILE.read_text("utf-8")
    assert text.count(declared) == 1
    first = load_ablation(FILE)
    seeds = re.findall("^seeds = .*$", text, flags=re.MULTILINE)[0]
    for old, new in ((seeds, "seeds = [0, 1, 2, 3, 4, 5]"), ("[phantom]", "[phantom]\nclinical_effect = 0")):
        assert f"`{new.splitlines()[-1]}`" in PAGE.read_text("utf-8")
        text = text.replace(old, new)
    text = text.replace(declared, equal)
    (tmp_path / "equal.toml").write_text(text, "utf-8")
    second = load_ablation(tmp_path / "equal.toml")
    assert first.hypothesis is not None
    assert second.hypothesis is not None
    assert (first.hypothesis.goal, first.looks, len(first.members)) == ("difference", (3, 6), 12)
    assert (second.hypothesis.goal, second.looks, len(second.members)) == ("equivalence", None, 12)
    assert second.phantom == {**first.phantom, "clinical_effect": 0}


def shorten(text: str) -> str:
    """The file ``text`` with the values of ``SHORT``; ``[phantom]``, which the workbench has drawn, as it is."""
    drawn, setup = text.split("[setup]")
    for name, value in SHORT.items():
        setup, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", setup, flags=re.MULTILINE)
        assert count == 1, name
    return f"{drawn}[setup]{setup}"


@pytest.mark.slow
def test_the_study_can_be_followed(make_workbench: Callable[[str], Workbench]) -> None:
    bench = make_workbench("")
    bench.use_venv()
    del bench.environment["MMAD_SET"]  # the file's own form is registered, no variant
    file = bench.folder / "ablations" / "study.toml"
    file.write_text(shorten(file.read_text("utf-8")), "utf-8")
    lines = [command for block in blocks(PAGE, *SHELLS) for command in commands(block)]
    said = {line: bench.run(line) for line in lines}
    planned, folded = [said[line] for line in lines if line.startswith("mmad plan") and "--power" not in line]
    assert "8 members, 8 runs: 8 to run" in planned
    assert "6 members: 1 setting × 2 arms × 3 folds × 1 seed" in folded
    (power,) = [said[line] for line in lines if "--power" in line]
    assert "Goal: difference, CXR+Clinical against CXR in default" in power
    trained, over_folds = [said[line] for line in lines if line.startswith("mmad ablate")]
    assert "8 of 8 runs finished" in trained
    assert "Registered before training" in trained
    assert trained.count("inference on Other films") == 8
    assert "6 of 6 runs finished" in over_folds
    compared, across = [said[line] for line in lines if line.startswith("mmad compare")]
    assert "On external data" in compared
    assert "Other films" in compared
    assert "before training: in the setting default, CXR+Clinical and CXR differ in test AP" in compared
    assert "over folds (3 folds, 1 seed each" in across
    assert "exploratory" in across
    assert "Registered" in (bench.folder / "methods.md").read_text("utf-8")
