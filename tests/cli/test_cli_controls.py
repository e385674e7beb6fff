"""``mmad controls`` with a network that is made up: words, JSON, refusals, and no second look."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import analysis_fixtures as made
import pytest

from mmad.analysis.input_controls import Alteration
from mmad.api import results
from mmad.base.paths import RunPaths

CXR, CLINICAL = "made/default/CXR/0", "made/default/CXR+Clinical/0"
Call = Callable[..., Any]


@pytest.fixture
def looks(judged_world: Any, monkeypatch: pytest.MonkeyPatch) -> list[Alteration | None]:
    """A network in the place of the run's that finds less after any alteration; what it was asked."""
    asked: list[Alteration | None] = []
    truth = judged_world.dataset.ground_truth("test")

    class Network:
        run = RunPaths(judged_world.database.parent)

        def detections(self, file: Any, split: str, *, proposals: str, alteration: Any) -> Any:
            asked.append(alteration)
            altered = alteration.columns or alteration.patients or alteration.blank
            return made.seen(truth, 0.2 if altered else 1.0, alteration.seed, false=0.0)

    monkeypatch.setattr(results, "inference_runner", lambda *_: Network())
    return asked


def test_json_has_every_control(call_judged: Call, looks: list[Any], judged_world: Any) -> None:
    called = call_judged("controls", CLINICAL, "--repeats", "2", "--json")
    assert called.code == 0, called.err
    answer = json.loads(called.out)
    assert (answer["arm"], answer["split"], answer["checkpoint"]) == ("CXR+Clinical", "test", "best_ap")
    found = answer["controls"]
    dataset = judged_world.dataset
    columns = [column.name for column in (*dataset.numeric, *dataset.categorical)]
    assert [(c["kind"], c["column"]) for c in found] == [
        *(("column", name) for name in columns),
        ("records", None),
        ("image", None),
    ]
    assert [c["repeats"] for c in found] == [2] * (len(columns) + 1) + [1]
    assert all(c["ap"]["low"] > 0 for c in found)
    assert found[0]["words"] == f"the run relies on {columns[0]}"
    assert len(looks) == 1 + 2 * (len(columns) + 1) + 1
    looks.clear()
    again = call_judged("controls", CLINICAL, "--repeats", "2", "--json")
    assert (again.out, again.err, looks) == (called.out, "", [])


def test_people_read_a_line_per_control(call_judged: Call, looks: list[Any]) -> None:
    called = call_judged("controls", CLINICAL, "--repeats", "1")
    assert called.code == 0
    lines = called.out.splitlines()
    assert f"{CLINICAL}: test, best_ap, iou ≥ 0.5, 10 detections per image, clean proposals" in lines
    assert "age shuffled: the run relies on age" in lines
    assert "clinical records shuffled: the run relies on the patient's own record" in lines
    assert any(line.startswith("images blanked: the run relies on the image; without it") for line in lines)
    assert called.err == f"{CLINICAL}: inference on altered data …\n"


def test_of_an_image_only_run_the_image_alone_is_altered_and_that_is_said(call_judged: Call, looks: list[Any]) -> None:
    called = call_judged("controls", CXR, "--json")
    assert called.code == 0
    assert [c["kind"] for c in json.loads(called.out)["controls"]] == ["image"]
    assert f"{CXR} reads no clinical data: only its image can be altered; for the other controls" in called.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("made/default/CRX",), "did you mean"),
        (("made/default/CXR",), "is more than one run"),
        ((CXR, "--repeats", "0"), "repeats = 0; use 1 to 1000"),
        ((CXR, "--split", "both"), "--split: unknown word 'both'"),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, tuple) else "",
)
def test_bad_input_is_refused(call_judged: Call, words: tuple[str, ...], message: str) -> None:
    called = call_judged("controls", *words)
    assert (called.code, called.out) == (2, "")
    assert message in called.err
