"""``mmad params`` prints the documented log's counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
ABLATIONS = Path(__file__).parents[2] / "ablations"
pytestmark = pytest.mark.slow  # torch is imported


def test_the_default_setup_has_the_documented_counts(call_mmad: Call) -> None:
    called = call_mmad("params")
    assert called.code == 0
    assert called.out.splitlines()[:2] == ["[model]: 1,040,729", "[model.backbone]: 1,009,968"]
    assert json.loads(call_mmad("params", "--json").out)["model"] == 1040729


def test_words_change_the_setup(call_mmad: Call) -> None:
    counts = json.loads(call_mmad("params", "--set", "use_clinical=true", "--json").out)
    assert counts["model"] == 1223303
    assert counts["model.clinical_convs"] == 41904
    refused = call_mmad("params", "--set", "using_fpn=true")
    assert (refused.code, refused.err) == (
        2,
        "mmad: --set using_fpn=true: using_fpn: feature pyramids cannot be built yet; set using_fpn = false\n",
    )


def test_a_file_has_a_block_per_setting_and_arm(call_mmad: Call) -> None:
    blocks = json.loads(call_mmad("params", ABLATIONS / "patience.toml", "--json").out)
    assert len(blocks) == 8
    assert blocks["patience 10 / CXR"]["model"] == 1040729
    assert blocks["patience 10 / CXR+Clinical"]["model"] == 1223303
    assert call_mmad("params", ABLATIONS / "patience.toml").out.startswith("patience 5 / CXR\n[model]: 1,040,729\n")


@pytest.mark.shared
def test_the_printed_counts_of_the_patience_chapter_are_met(call_mmad: Call, shared: Path) -> None:
    log = json.loads((shared / "seed" / "experiment_log.json").read_text(encoding="utf-8"))
    printed = {entry["id"]: entry["params"] for entry in log["entries"]}
    runs = json.loads(call_mmad("plan", ABLATIONS / "patience.toml", "--params", "--json").out)["runs"]
    for run in runs:
        assert run["params"] == printed[run["documented"]]
