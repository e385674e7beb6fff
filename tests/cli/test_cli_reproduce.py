"""``make reproduce``: which words it gives to mmad, in which order, and how it ends."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Notes its words and ends as told; plan prints two lines, of which the last is the answer.
STUB = """#!/usr/bin/env bash
echo "$*" >> calls
case $1 in
  plan) echo "a table"; if [ -f tried ]; then echo "12 members: about 3 h"; else echo "none like them yet"; fi ;;
  ablate) touch tried; exit "${CODE:-0}" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the script, the ablations and a stub in mmad's place."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    shutil.copytree(ROOT / "ablations", tmp_path / "ablations")
    (tmp_path / "mmad").write_text(STUB)
    (tmp_path / "mmad").chmod(0o755)
    return tmp_path


def reproduce(clone: Path, *words: str, code: int = 0) -> tuple[int, list[str], str]:
    """Exit code, the words of every call of mmad, and what was printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MMAD_")}
    environment |= {"MMAD": str(clone / "mmad"), "CODE": str(code)}
    done = subprocess.run(
        [str(clone / ".ci" / "reproduce"), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    calls = clone / "calls"
    return done.returncode, calls.read_text().splitlines() if calls.exists() else [], done.stdout + done.stderr


def test_all_of_the_log_in_its_order(clone: Path) -> None:
    (clone / "tried").touch()
    code, calls, printed = reproduce(clone, "full", "", "overfitting", "mdf_net")
    files = "ablations/overfitting.toml ablations/mdf_net.toml"
    assert code == 0
    assert calls == [
        "data phantom --out data/phantom",
        f"plan {files} --trials db/smoke.sqlite --db db/mmad.sqlite",
        f"ablate {files} --db db/mmad.sqlite",
        "report --html --db db/mmad.sqlite --out reports/index.html",
        "report --paper --db db/mmad.sqlite --out reports/index.html",
    ]
    assert "12 members: about 3 h" in printed
    assert "a table" not in printed


def test_a_trial_has_a_database_a_folder_and_a_data_set_of_its_own(clone: Path) -> None:
    _, calls, _ = reproduce(clone, "smoke", "", "depth")
    tried = "--set epochs=1 --set steps_per_epoch=1 --set batch_size=1 --weights none --data data/smoke"
    assert calls == [
        "data phantom --studies 20 --out data/smoke",
        f"plan ablations/depth.toml {tried} --trials db/smoke.sqlite --db db/smoke.sqlite",
        f"ablate ablations/depth.toml {tried} --db db/smoke.sqlite",
        "report --html --db db/smoke.sqlite --out reports/smoke/index.html",
    ]


def test_what_was_never_tried_is_tried_first_to_tell_the_time(clone: Path) -> None:
    _, calls, printed = reproduce(clone, "short", "mine", "depth")
    names = [call.split()[0] for call in calls]
    assert names == ["plan", "data", "plan", "ablate", "report", "plan", "ablate", "report"]
    assert "--db db/smoke.sqlite" in calls[3]
    assert "--db db/short.sqlite" in calls[6]
    assert printed.index("trying each run for one step first") < printed.index("12 members: about 3 h")


def test_an_interrupted_trial_ends_it(clone: Path) -> None:
    code, calls, _ = reproduce(clone, "short", "mine", "depth", code=130)
    assert code == 130
    assert [call.split()[0] for call in calls] == ["plan", "data", "plan", "ablate"]


def test_a_data_set_can_be_named(clone: Path) -> None:
    (clone / "tried").touch()
    _, calls, _ = reproduce(clone, "short", "my data", "depth")
    assert calls[1] == "ablate ablations/depth.toml --set epochs=3 --data my data --db db/short.sqlite"


@pytest.mark.parametrize(("code", "reported"), [(0, True), (1, True), (2, False), (130, False)])
def test_failed_runs_are_reported_and_interruptions_end_it(clone: Path, code: int, reported: bool) -> None:
    (clone / "tried").touch()
    ended, calls, _ = reproduce(clone, "full", "", "depth", code=code)
    assert ended == code
    assert any(call.startswith("report --html") for call in calls) == reported


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("quick", "", "depth"), "PROFILE=quick: expected full, short or smoke"),
        (("full", "", "dephts"), "ONLY=dephts: no such chapter; there are clinical_features clinical_placement"),
    ],
)
def test_what_it_does_not_know_is_refused_before_anything_runs(clone: Path, words: tuple[str, ...], said: str) -> None:
    code, calls, printed = reproduce(clone, *words)
    assert code == 2
    assert calls == []
    assert said in printed


def test_make_names_every_chapter_in_the_log_s_order() -> None:
    from mmad.config.load import load_ablation

    text = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    chapters = re.findall(r"^ONLY \?= (.*)$", text, flags=re.MULTILINE)[0].split()
    named = [
        sorted(m.documented for m in load_ablation(ROOT / "ablations" / f"{chapter}.toml").members if m.documented)
        for chapter in chapters
    ]
    assert sum(map(len, named)) == 88 + 9
    assert [one[0] for one in named] == [*sorted(one[0] for one in named[:-2]), "e094", "e094"]
    assert named[-1][1:] == [f"n{n:03d}" for n in range(1, 9)]
