"""MMAD_SET, as the README and docs/ablation-file.md describe it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from docs_pages import ROOT

QUICKSTART = ROOT / "ablations" / "quickstart.toml"


@pytest.fixture
def planned(call_mmad: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., Any]:
    monkeypatch.delenv("MMAD_SET", raising=False)
    monkeypatch.chdir(tmp_path)

    def plan(variable: str | None, *words: str) -> dict[str, Any]:
        if variable is not None:
            monkeypatch.setenv("MMAD_SET", variable)
        called = call_mmad("plan", QUICKSTART, "--json", *words)
        assert called.code == 0, called.err
        member: dict[str, Any] = json.loads(called.out)["runs"][0]
        return member

    return plan


def test_its_words_are_read_as_those_of_set(planned: Callable[..., Any]) -> None:
    said = planned(None, "--set", "epochs=3", "--set", "seeds=[4,5]")
    given = planned("epochs=3  seeds=[4,5]")
    assert given == said
    assert (given["protocol"]["epochs"], given["seed"], given["overrides"]) == (3, 4, ["epochs=3", "seeds=[4,5]"])


def test_set_on_the_line_stands_in_its_place(planned: Callable[..., Any]) -> None:
    assert planned("epochs=3 lr=1", "--set", "epochs=4")["overrides"] == ["epochs=4"]


def test_an_empty_one_changes_nothing(planned: Callable[..., Any]) -> None:
    plain = planned(None)
    assert planned("") == plain
    assert plain["overrides"] == []


def test_a_wrong_word_is_refused_as_in_set(call_mmad: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMAD_SET", "epoch=3")
    called = call_mmad("plan", QUICKSTART)
    assert (called.code, called.err.strip()) == (2, "mmad: --set epoch=3: epoch: unknown field; did you mean epochs?")
