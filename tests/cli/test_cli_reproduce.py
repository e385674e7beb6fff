"""``mmad reproduce``: which commands it gives, in which order, and how it ends."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmad.cli import reproduce
from mmad.cli.reproduce import CHAPTERS
from mmad.config.load import load_ablation

ABLATIONS = Path(__file__).parents[2] / "ablations"
Call = Callable[..., Any]


class Calls:
    """Takes the place of ``mmad``: notes its words and ends as told; plan prints two lines, the last is the answer."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.code = 0
        self.tried = False

    def __call__(self, *words: str) -> int:
        self.lines.append(" ".join(words).replace(f"{ABLATIONS}/", ""))
        if words[0] == "plan":
            print("a table")
            print("12 members: about 3 h" if self.tried else "time unknown: no such run has been recorded")
        if words[0] == "ablate":
            self.tried = True
            return self.code
        return 0

    @property
    def names(self) -> list[str]:
        return [shlex.split(line)[0] for line in self.lines]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Commands that are noted, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, "call", stub := Calls())
    return stub


def test_all_of_the_log_in_its_order(calls: Calls, call_mmad: Call) -> None:
    calls.tried = True
    called = call_mmad("reproduce", "overfitting", "mdf_net")
    assert called.code == 0
    assert calls.lines == [
        "data phantom --out data/phantom",
        "plan overfitting.toml mdf_net.toml --trials db/smoke.sqlite --db db/mmad.sqlite",
        "ablate overfitting.toml mdf_net.toml --db db/mmad.sqlite",
        "report --html --db db/mmad.sqlite --out reports/index.html",
        "report --paper --db db/mmad.sqlite --out reports/index.html",
    ]
    assert "12 members: about 3 h" in called.out
    assert "a table" not in called.out


def test_a_trial_has_a_database_a_folder_and_a_data_set_of_its_own(calls: Calls, call_mmad: Call) -> None:
    call_mmad("reproduce", "depth", "--profile", "smoke")
    tried = "--set epochs=1 --set steps_per_epoch=1 --set batch_size=1 --weights none --data data/smoke"
    assert calls.lines == [
        "data phantom --studies 20 --out data/smoke",
        f"plan depth.toml {tried} --trials db/smoke.sqlite --db db/smoke.sqlite",
        f"ablate depth.toml {tried} --db db/smoke.sqlite",
        "report --html --db db/smoke.sqlite --out reports/smoke/index.html",
    ]


def test_what_was_never_tried_is_tried_first_to_tell_the_time(calls: Calls, call_mmad: Call) -> None:
    called = call_mmad("reproduce", "depth", "--profile", "short", "--data", "mine")
    assert calls.names == ["plan", "data", "plan", "ablate", "report", "plan", "ablate", "report"]
    assert "--db db/smoke.sqlite" in calls.lines[3]
    assert "--db db/short.sqlite" in calls.lines[6]
    assert called.out.index("trying each run for one step first") < called.out.index("12 members: about 3 h")


def test_an_interrupted_trial_ends_it(calls: Calls, call_mmad: Call) -> None:
    calls.code = 130
    assert call_mmad("reproduce", "depth", "--profile", "short", "--data", "mine").code == 130
    assert calls.names == ["plan", "data", "plan", "ablate"]


def test_a_data_set_can_be_named(calls: Calls, call_mmad: Call) -> None:
    calls.tried = True
    call_mmad("reproduce", "depth", "--profile", "short", "--data", "my data")
    assert calls.lines[1] == "ablate depth.toml --set epochs=3 --data my data --db db/short.sqlite"


@pytest.mark.parametrize(("code", "reported"), [(0, True), (1, True), (2, False), (130, False)])
def test_failed_runs_are_reported_and_interruptions_end_it(
    calls: Calls, call_mmad: Call, code: int, reported: bool
) -> None:
    calls.tried, calls.code = True, code
    assert call_mmad("reproduce", "depth").code == code
    assert ("report" in calls.names) == reported


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("depth", "--profile", "quick"), "--profile: no profile 'quick'; expected one of full, short, smoke"),
        (("dephts",), "no chapter 'dephts'; did you mean depth?"),
    ],
)
def test_what_it_does_not_know_is_refused_before_anything_runs(
    calls: Calls, call_mmad: Call, words: tuple[str, ...], said: str
) -> None:
    called = call_mmad("reproduce", *words)
    assert called.code == 2
    assert calls.lines == []
    assert said in called.err


def test_a_folder_s_own_files_come_before_those_that_mmad_brings(calls: Calls, call_mmad: Call) -> None:
    Path("ablations").mkdir()
    Path("ablations", "mine.toml").write_text("")
    calls.tried = True
    call_mmad("reproduce", "mine", "depth")
    assert calls.lines[1].startswith("plan ablations/mine.toml depth.toml ")


def test_every_chapter_stands_in_the_log_s_order() -> None:
    named = [
        sorted(m.documented for m in load_ablation(ABLATIONS / f"{chapter}.toml").members if m.documented)
        for chapter in CHAPTERS
    ]
    assert sum(map(len, named)) == 88 + 9
    assert [one[0] for one in named] == [*sorted(one[0] for one in named[:-2]), "e094", "e094"]
    assert named[-1][1:] == [f"n{n:03d}" for n in range(1, 9)]
