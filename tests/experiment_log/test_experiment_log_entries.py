"""The documented log's entries as data: equal to the log where it stands beside the checkout."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmad.base.errors import SpecError
from mmad.experiment_log.model import LogEntry, LogFigure
from mmad.experiment_log.shipped import entries, entry, setup_of

IDS = [f"e{number:03d}" for number in range(1, 102)]
#: Headings that are a sentence and no name.
SENTENCES = {"e011", "e012", "e101"}
INFERRED = {
    "e002": {"backbone": "mobilenet_v3", "backbone_out_channels": 516, "representation_size": 1024, "use_mask": True},
    "e004": {"use_mask": True},
    "e010": {"backbone": "custom2", "backbone_out_channels": 16, "representation_size": 32},
    "e077": {"fuse_stride": 2, "clinical_last_relu": False},
}


@pytest.fixture(scope="module")
def log(shared: Path) -> dict[str, Any]:
    found = json.loads((shared / "seed" / "experiment_log.json").read_text(encoding="utf-8"))
    return {facts["id"]: facts for facts in found["entries"]}


def named(heading: str) -> str:
    """A heading without its level, remarks in brackets and the marks at its end."""
    words = re.sub(r"\([^()]*\)", "", heading.lstrip("#"))
    return " ".join(words.split()).rstrip(" .,:")


def figures(entry: LogEntry) -> list[LogFigure]:
    return [figure for group in entry.figures for figure in group.figures]


def test_all_entries_are_there_once() -> None:
    assert [e.id for e in entries()] == IDS
    assert entries() is entries()
    assert entry("e030") is entries()[29]
    printing = [e for e in entries() if e.params]
    assert (len(printing), sum(len(e.params) for e in printing)) == (82, 748)


def test_an_entry_tells_what_the_log_prints() -> None:
    e030 = entry("e030")
    assert (e030.heading, e030.sections) == ("baseline, clinical", ("Model with clinical", "baseline, clinical"))
    assert e030.fields["clinical_input_channels"] == 32
    assert e030.params["model"] == 1_223_303
    assert (e030.results["best_ap"].epoch, e030.results["final"].test_ap) == (1, 0.3412)
    assert [f.key for f in figures(e030)] == ["v", "t", "best_v", "best_t"]
    assert figures(e030)[0].equals == ("final.val_ap",)
    assert entry("e069").loss_weights["loss_objectness"] == 1e-5
    assert figures(entry("e064"))[0].value == 0.4076


def test_what_is_printed_as_none_is_left_to_the_default() -> None:
    assert entry("e034").fields["lr_scheduler"] is None
    setup = setup_of(entry("e034"))
    assert (setup.name, setup.lr_scheduler) == ("mobilenet_v3_no_pretrained_no_lr_scheduler", None)


def test_a_setup_holds_what_is_printed_and_what_was_inferred() -> None:
    for e in entries():
        if not e.has_setup:
            continue
        given = {name: value for name, value in {**e.fields, **e.inferred}.items() if value is not None}
        setup = setup_of(e).model_dump(mode="json")
        assert {name: setup[name] for name in given} == given, e.id
        assert setup["loss_weights"] == dict(e.loss_weights), e.id
    assert setup_of(entry("e094")).milestones == (100,)


def test_the_era_follows_from_what_is_printed() -> None:
    eras = {e.id: setup_of(e).resolved_era for e in entries() if e.has_setup and setup_of(e).use_clinical}
    assert {id for id, era in eras.items() if era == "B"} == {"e081", "e082"}
    assert {id for id, era in eras.items() if era == "C"} == {id for id in eras if id >= "e083"}


def test_inferred_fields_are_never_printed() -> None:
    for e in entries():
        era_a = e.has_setup and setup_of(e).use_clinical and setup_of(e).resolved_era == "A"
        assert dict(e.inferred) == (INFERRED.get(e.id) or ({"fuse_stride": 2} if era_a else {})), e.id
        assert not e.inferred.keys() & e.fields.keys(), e.id


def test_changes_win_over_an_entry() -> None:
    assert setup_of(entry("e030"), {"fuse_depth": 2}).fuse_depth == 2
    with pytest.raises(SpecError, match=r'^the setup of e030: fusion_strategy = "concat" with fuse_depth = 0: .*'):
        setup_of(entry("e030"), {"fuse_depth": 0})
    with pytest.raises(SpecError, match=r"^the setup of e030: lr: Input should be greater than 0"):
        setup_of(entry("e030"), {"lr": -1})


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("e0300", "the documented log: there is no entry e0300; did you mean e030?"),
        ("zzz", "the documented log: there is no entry zzz; its entries are e001 to e101 and n001 to n008"),
        ("", "the documented log: there is no entry ''; its entries are e001 to e101 and n001 to n008"),
    ],
)
def test_an_unknown_entry_meets_the_nearest(word: str, line: str) -> None:
    with pytest.raises(SpecError) as error:
        entry(word)
    assert str(error.value) == line


def test_an_entry_without_a_setup_names_one_with_it() -> None:
    with pytest.raises(SpecError) as error:
        setup_of(entry("e017"))
    assert str(error.value) == (
        "the documented log: e017 prints no setup and no parameter counts; choose one that does, such as e021"
    )


def test_facts_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        entry("e030").params["model"] = 1  # type: ignore[index]


@pytest.mark.slow
def test_reading_the_log_imports_no_torch() -> None:
    program = "import sys, mmad.experiment_log.shipped as d; d.entries(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=600)


def test_no_words_and_pictures_of_the_log_are_shipped() -> None:
    text = (Path(sys.modules["mmad.experiment_log"].__path__[0]) / "entries.json").read_text(encoding="utf-8")
    assert "http" not in text
    assert max(len(words) for e in entries() for words in (e.heading or "", *e.sections)) < 100


@pytest.mark.shared
@pytest.mark.parametrize("id", IDS)
def test_facts_equal_the_log(log: dict[str, Any], id: str) -> None:
    shipped, facts = entry(id), log[id]
    heading = facts["heading"]
    above = facts["section"][:-1] if facts["own_heading"] else facts["section"]
    own = None if heading is None or id in SENTENCES else named(heading)
    assert shipped.heading == own
    assert shipped.sections == (*(named(words) for words in above), *([] if own is None else [own]))
    printed = {name: (facts["setup"] or {})[name] for name in facts["setup_printed"]}
    assert (dict(shipped.fields), list(shipped.fields)) == (printed, facts["setup_printed"])
    assert list(shipped.params.items()) == list((facts["params"] or {}).items())
    assert dict(shipped.loss_weights) == (facts["loss_weights"] or {})
    names = ("epoch", "val_ap", "val_ar", "test_ap", "test_ar", "stamp")
    results = {kind: {n: getattr(result, n) for n in names} for kind, result in shipped.results.items()}
    assert results == {kind: {n: r[n] for n in names} for kind, r in (facts["results"] or {}).items()}
    values = [f for group in facts["heading_figures"] or () for f in group["values"]]
    assert [(f.key, f.printed, f.value, list(f.equals)) for f in figures(shipped)] == [
        (f["key"], f["printed"], f["value"], f["equals"]) for f in values
    ]
