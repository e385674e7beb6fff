"""docs/json-forms.json: every form it shows is the form that the command writes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docs_pages import ROOT

from mmad.cli.app import COMMANDS
from mmad.config.load import load_ablation
from mmad.config.runs import DataSource
from mmad.scheduler.dashboard import Dashboard, snapshot_json
from mmad.store.claims import Owner
from mmad.store.run_json import status_json
from mmad.store.store import Store

PAGE, FORMS = ROOT / "docs" / "json.md", ROOT / "docs" / "json-forms.json"
MORE = "…"
#: The forms that others name in angle brackets, and by command, in the order in which they are run, what it writes.
SHOWN: dict[str, Any] = json.loads(FORMS.read_text("utf-8"))
SHARED: dict[str, Any] = SHOWN.pop("shared")


def form(shown: Any) -> Any:
    """``shown`` with the shared forms in the places where they are named: as a value, or as a key for their keys."""
    if isinstance(shown, dict):
        parts = [form(k) if k.startswith("<") else {k: form(value)} for k, value in shown.items()]
        return {key: value for part in parts for key, value in part.items()}
    if isinstance(shown, list):
        return [form(value) for value in shown]
    return form(SHARED[shown[1:-1]]) if isinstance(shown, str) and shown.startswith("<") else shown


def differences(shown: Any, written: Any, at: str = "") -> list[str]:
    """Where the form of ``written`` is not that of ``shown``: keys, kinds of values, first entries of lists."""
    if shown is None or written is None:
        return []
    if isinstance(shown, dict):
        if not isinstance(written, dict):
            return [f"{at}: {type(written).__name__} in place of an object"]
        missing = [f"{at}.{key} is not written" for key in shown if key != MORE and key not in written]
        extra = [] if MORE in shown else [f"{at}.{key} is not shown" for key in written if key not in shown]
        inner = [d for key in shown if key in written for d in differences(shown[key], written[key], f"{at}.{key}")]
        return missing + extra + inner
    if isinstance(shown, list):
        if not isinstance(written, list):
            return [f"{at}: {type(written).__name__} in place of a list"]
        return differences(shown[0], written[0], f"{at}[0]") if shown and written else []
    kinds = {int: "number", float: "number"}
    kind, found = (kinds.get(type(value), type(value).__name__) for value in (shown, written))
    return [] if kind == found else [f"{at}: {found} in place of {kind}"]


def test_differences_are_found() -> None:
    shown = {"a": 1, "b": [{"c": "x"}], "d": {"e": 1, MORE: MORE}, "f": None}
    assert differences(shown, {"a": 2.5, "b": [], "d": {"e": 1, "g": 1}, "f": 1}) == []
    wrong = {"a": "1", "b": [{"c": "x", "h": 1}], "d": {"g": 1}, "i": 1}
    assert differences(shown, wrong) == [
        ".f is not written",
        ".i is not shown",
        ".a: str in place of number",
        ".b[0].h is not shown",
        ".d.e is not written",
    ]


def test_shared_forms_stand_where_they_are_named() -> None:
    assert form([{"<interval>": "…", "x": "<interval>"}]) == [SHARED["interval"] | {"x": SHARED["interval"]}]
    assert form("<results>")["final"] == SHARED["result"]


def test_every_command_with_json_is_shown() -> None:
    shown = {command.split()[1] for command in SHOWN}
    assert shown == {name for name, _, _ in COMMANDS} - {
        "schema",
        "output",
        "attach",
        "init",
        "demo",
        "reproduce",
        "predict",
        "export",
    }
    assert "`mmad schema` always prints JSON" in PAGE.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("command", SHOWN, ids=lambda command: re.sub(r"\W+", "-", command))
def test_a_command_writes_the_form_shown(call_trained: Callable[..., Any], command: str) -> None:
    called = call_trained(command, without="MMAD_DATA" if "params" in command else "")
    assert called.code == 0, called.err
    written = json.loads(called.out)
    assert differences(form(SHOWN[command]), written) == []
    if command == "mmad params --json":
        assert written == SHOWN[command]


def test_running_and_failed_runs_have_the_form_shown(tmp_path: Path) -> None:
    """What the finished runs of the other test cannot show."""
    shown = {command: form(SHOWN[command]) for command in ("mmad status --json", "mmad watch --json")}
    source = DataSource(str(tmp_path), "phantom", "f" * 64)
    with Store.open(tmp_path / "mmad.sqlite") as store:
        store.add_ablation(load_ablation(ROOT / "ablations" / "quickstart.toml").on(source))
        for error in ("the loss became nan", None):
            run = store.claim(None, Owner.current())
            assert run is not None
            if error:
                store.end(run.key, Owner.current(), "failed", error)
        for command, written in (
            ("mmad status --json", status_json(store.status())),
            ("mmad watch --json", snapshot_json(Dashboard(store).snapshot())),
        ):
            assert written["running"]
            assert written["failed"]
            assert differences(shown[command], written) == []
