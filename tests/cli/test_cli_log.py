"""``mmad log``: import, list, show, diff and check."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_store_runs import filled

from mmad.store.store import Store

LOG = """# Mine

## Slower (best_v=0.4100, best_t=0.3512)
ModelSetup(name='slow', use_clinical=False, lr=0.0001, brightness=0.1)
[model]: 1,040,729
Best AP validation model has been saved to: [val_ar_0_6100_ap_0_4100_test_ar_0_5200_ap_0_3521_epoch26_\
WithoutClincal_04-28-2023 12-05-57_slow]
Q: why?

## Faster, lr = 1e-4
```
ModelSetup(
    # lr=1e-4,
    lr=1e-3,  # faster
    momentum=2 * 3,
)
loss_dict["loss_objectness"] *= 1e-5
```
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMAD_DB", str(tmp_path / "db" / "mmad.sqlite"))
    file = tmp_path / "mine.md"
    file.write_text(LOG, "utf-8")
    return file


def test_a_log_is_imported_once(call_mmad: Callable[..., Any], log: Path, tmp_path: Path) -> None:
    first = call_mmad("log", "import", log)
    assert (first.code, first.err) == (0, "")
    assert first.out.splitlines()[0].startswith("mine: 2 entries imported (")
    assert first.out.splitlines()[1:] == [
        "  2 with a setup, 1 with parameter counts, 1 with results, 1 with loss weights, 1 with figures in the heading",
        "  beside them 1 remarks, 0 tables, 0 paragraphs",
        "  1 line not understood:",
        "    14: momentum=2 * 3",
    ]
    assert "2 entries already there, unchanged" in call_mmad("log", "import", log).out
    log.write_text(LOG + "## Third\n[model]: 3\n", "utf-8")
    assert "mine: 3 entries imported anew" in call_mmad("log", "import", log).out
    with Store.open(tmp_path / "db" / "mmad.sqlite") as store:
        assert [(record.name, len(record.entries)) for record in store.logs()] == [("mine", 3)]


def test_import_prints_every_entry_as_read(call_mmad: Callable[..., Any], log: Path) -> None:
    written = json.loads(call_mmad("log", "import", log, "--name", "notes", "--json").out)
    assert (written["log"], written["state"], written["lines"]) == ("notes", "new", 17)
    slow, fast = written["entries"]
    assert slow["setup"]["fields"] == {"name": "slow", "use_clinical": False, "lr": 0.0001, "brightness": 0.1}
    assert slow["figures"][0]["figures"][0]["equals"] == ["best_ap.val_ap"]
    assert slow["results"]["best_ap"]["stamp"] == "2023-04-28T12:05:57"
    assert fast["losses"]["weights"] == {"loss_objectness": 1e-5}
    assert fast["unread"] == written["unread"] == [{"line": 14, "text": "momentum=2 * 3"}]
    assert written["remarks"][0]["text"] == "why?"


@pytest.mark.parametrize("name", ["documented", "a/b", " ", "x" * 101])
def test_names_that_a_log_cannot_have(call_mmad: Callable[..., Any], log: Path, name: str) -> None:
    called = call_mmad("log", "import", log, "--name", name)
    assert called.code == 2
    assert "--name" in called.err


def test_list_shows_every_log(call_mmad: Callable[..., Any], log: Path) -> None:
    lines = call_mmad("log", "list").out.splitlines()
    assert len(lines) == 109
    assert lines[29].split() == ["e030", "val", "0.3625", "test", "0.2484", "1,223,303", "baseline,", "clinical"]
    call_mmad("log", "import", log)
    assert len(call_mmad("log", "list").out.splitlines()) == 111
    written = json.loads(call_mmad("log", "list", "--log", "mine", "--json").out)
    assert [(one["log"], one["id"], one["heading"], one["fields"]) for one in written] == [
        ("mine", "e001", "Slower", 4),
        ("mine", "e002", "Faster, lr = 1e-4", 1),
    ]
    assert written[1]["best_ap"] is None
    unknown = call_mmad("log", "list", "--log", "mien")
    assert (unknown.code, unknown.err.strip()) == (2, "mmad: --log: there is no log 'mien'; did you mean mine?")


def test_show_prints_what_an_entry_prints(call_mmad: Callable[..., Any], log: Path) -> None:
    shipped = call_mmad("log", "show", "e030").out
    assert "e030 of documented" in shipped
    assert "inferred, not printed: fuse_stride=2" in shipped
    assert "best AP: epoch 1, val AP 0.3625 AR 0.8819, test AP 0.2484 AR 0.7579" in shipped
    call_mmad("log", "import", log)
    own = call_mmad("log", "show", "mine/e002").out
    assert "e002 of mine, lines 9 to 17" in own
    for line in ("lr: faster", "commented out: lr=1e-4,", "loss_objectness 1e-05", "14: momentum=2 * 3"):
        assert f"  {line}\n" in own
    first = call_mmad("log", "show", "mine/e001").out
    assert "  best_t=0.3512: no result equals it\n" in first
    written = json.loads(call_mmad("log", "show", "mine/e001", "--json").out)
    assert (written["log"], written["id"], written["params"]) == ("mine", "e001", {"model": 1_040_729})
    assert "none is printed" in call_mmad("log", "show", "e017").out


def test_an_unknown_entry_meets_the_nearest(call_mmad: Callable[..., Any], log: Path) -> None:
    called = call_mmad("log", "show", "e0300")
    assert (called.code, called.err.strip()) == (2, "mmad: entry: there is no entry e0300; did you mean e030?")


def test_diff_compares_an_entry_with_a_run(call_mmad: Callable[..., Any], tmp_path: Path) -> None:
    database, key, _ = filled(tmp_path)
    run = "patience/patience 10/CXR"
    text = call_mmad("log", "diff", "e069", run, "--db", database).out
    assert text.startswith(f"e069 of documented against {run}/0\n  key: {key}\n")
    assert "  representation_size: documented 32, run 64\n" in text or "printed fields are equal" in text
    assert "best AP, val AP: documented " in text
    written = json.loads(call_mmad("log", "diff", "e069", run, "--json", "--db", database).out)
    assert (written["log"], written["entry"], written["run"]) == ("documented", "e069", key)
    fields = {field["field"]: field for field in written["setup"]}
    assert fields["reduceLROnPlateau_patience"] == {
        **{"field": "reduceLROnPlateau_patience", "documented": 10, "run": 10, "known": True, "equal": True}
    }
    assert not fields.keys() & {"name", "final_model_path"}
    assert not fields["loss_weights"]["equal"]
    by_place = {(result["result"], result["figure"]): result for result in written["results"]}
    best = by_place["best_ap", "val_ap"]
    assert best["difference"] == pytest.approx(best["measured"] - best["documented"])
    assert {count["module"] for count in written["params"]} >= {"model", "model.backbone"}


def test_diff_of_a_run_that_has_nothing_yet(call_mmad: Callable[..., Any], tmp_path: Path) -> None:
    database, _, _ = filled(tmp_path)
    text = call_mmad("log", "diff", "e030", "patience/patience 10/CXR+Clinical", "--db", database).out
    assert "not measured" in text
    nothing = call_mmad("log", "diff", "e006", "patience/patience 10/CXR", "--db", database).out
    assert "the entry prints no results" in nothing
    assert "the entry prints no counts" in nothing
    assert call_mmad("log", "diff", "e030", "nothing/here/x", "--db", database).code == 2


def test_check_tells_of_a_file_of_imported_logs_or_of_the_shipped_one(call_mmad: Callable[..., Any], log: Path) -> None:
    lines = [
        "mine: 2 slips and 0 notes in 2 entries",
        "  e001 (line 3): heading figure best_t=0.3512 equals no result; best_ap.test_ap is 0.3521 [figure-unequal]",
        "  e002 (line 9): its heading says lr = 1e-4, the setup lr=0.001 [heading-setting]",
    ]
    assert call_mmad("log", "check").out.startswith("documented: ")
    assert call_mmad("log", "check", log).out.splitlines() == lines
    call_mmad("log", "import", log)
    assert call_mmad("log", "check").out.splitlines() == lines
    written = json.loads(call_mmad("log", "check", "--json").out)
    assert [(slip["log"], slip["rule"], slip["level"], slip["line"]) for slip in written] == [
        ("mine", "figure-unequal", "slip", 3),
        ("mine", "heading-setting", "slip", 9),
    ]


def test_a_file_that_is_not_there(call_mmad: Callable[..., Any], tmp_path: Path) -> None:
    for command in ("import", "check"):
        called = call_mmad("log", command, tmp_path / "none.md")
        assert called.code == 2
        assert "cannot be read (No such file or directory); name the file of a log" in called.err
