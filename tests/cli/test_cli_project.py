"""``mmad init`` and ``mmad demo``, and that the package brings what they need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmad.base.paths import shipped_ablations
from mmad.cli import reproduce
from mmad.config.load import load_ablation

Call = Callable[..., Any]


def test_init_lays_out_a_project_and_leaves_what_is_there(
    call_mmad: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    called = call_mmad("init", "mine")
    assert called.out.splitlines() == [
        "wrote mine/ablations/quickstart.toml",
        "wrote mine/ablations/schema.json",
        "wrote mine/.gitignore",
        "next: cd mine && mmad plan ablations/quickstart.toml",
    ]
    folder = tmp_path / "mine"
    assert {path.name for path in folder.iterdir()} == {"ablations", "data", "db", "reports", ".gitignore"}
    begun, shipped = (load_ablation(place / "quickstart.toml") for place in (folder / "ablations", shipped_ablations()))
    for mine, member in zip(begun.members, shipped.members, strict=True):
        assert mine.run.setup == member.run.setup.model_copy(update={"horizontal_flip": 0})
    assert (folder / "ablations" / "schema.json").read_text() == (shipped_ablations() / "schema.json").read_text()
    (folder / "ablations" / "quickstart.toml").write_text("mine")
    assert call_mmad("init", "mine").out == "mine: nothing to do\n"
    assert (folder / "ablations" / "quickstart.toml").read_text() == "mine"
    (tmp_path / "file").touch()
    called = call_mmad("init", "file")
    assert (called.code, called.err.count("\n")) == (2, 1)
    assert "cannot be laid out" in called.err


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_demo_trains_reports_and_says_what_one_seed_does_not_say(
    call_mmad: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: int
) -> None:
    monkeypatch.chdir(tmp_path)
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(reproduce, "call", lambda *words: calls.append(words) or 0)
    called = call_mmad("demo", "--epochs", "1", "--seeds", str(seeds))
    assert called.code == 0
    (ablate, report) = calls
    assert ablate[:4] == ("ablate", str(shipped_ablations() / "quickstart.toml"), "--set", "epochs=1")
    assert ("seeds=[0, 1, 2]" in ablate) == (seeds == 3)
    assert report == ("report", "--html", "--out", "reports/index.html", "--db", "db/mmad.sqlite")
    more = "one seed says how these two networks differ, not whether clinical data helps; three say more: "
    assert (f"{more}mmad demo --seeds 3 --epochs 1\n" in called.out) == (seeds == 1)


def test_a_demo_that_was_interrupted_writes_no_report(
    call_mmad: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calls: list[str] = []
    monkeypatch.setattr(reproduce, "call", lambda *words: calls.append(words[0]) or 130)
    assert call_mmad("demo").code == 130
    assert calls == ["ablate"]
