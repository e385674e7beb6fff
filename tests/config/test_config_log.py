"""The documented log's chapters: every printed setup is one member's, field by field, under its time's protocol."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mmad.config.load import load_ablation
from mmad.config.runs import NAMING_FIELDS, Ablation, Member
from mmad.experiment_log.model import LogEntry
from mmad.experiment_log.published import published_table
from mmad.experiment_log.shipped import entries, entry, later_entries

ABLATIONS = Path(__file__).parents[2] / "ablations"
#: The chapters in the log's order, as ``make reproduce`` trains them.
CHAPTERS = (
    "overfitting",
    "schedulers",
    "with_clinical",
    "learning_rate",
    "fusion",
    "determined",
    "depth",
    "loss_weights",
    "patience",
    "correct",
    "resnet50",
    "clinical_placement",
    "larger",
    "newer",
    "small",
    "large",
    "last_chapter",
)
#: Entries with a printed setup; the others are no member's.
_PRINTED = [one for one in entries() if one.fields]


@cache
def _chapter(name: str) -> Ablation:
    return load_ablation(ABLATIONS / f"{name}.toml")


@cache
def _members() -> dict[str, Member]:
    """Entry → the member that mirrors it."""
    return {m.documented: m for name in CHAPTERS for m in _chapter(name).members if m.documented}


def _number(member: Member) -> int:
    return int((member.documented or "e0")[1:])


def test_every_printed_setup_is_named_by_exactly_one_member() -> None:
    files = sorted(ABLATIONS.glob("*.toml"))
    assert {path.stem for path in files} == {
        *CHAPTERS,
        "mdf_net",
        "clinical_features",
        "quickstart",
        "lungs",
        "fusions",
        "study",
    }
    named = Counter(m.documented for path in files for m in load_ablation(path).members if m.documented)
    assert len(_PRINTED) == 88
    shown = [*later_entries(), entry("e094")]  # whose run the published table shows too
    assert named == Counter(one.id for one in (*_PRINTED, *shown))


@pytest.mark.parametrize("one", later_entries(), ids=lambda one: one.id)
def test_a_member_equals_the_later_setup_field_by_field(one: LogEntry) -> None:
    (member,) = [m for m in _chapter("mdf_net").members if m.documented == one.id]
    setup = member.run.setup.model_dump(mode="json")
    inferred = dict(one.inferred) | {"clinical_values": "raw"}
    for field, value in (dict(one.fields) | inferred).items():
        if field not in NAMING_FIELDS | {"normalise_clinical_num"}:
            assert setup[field] == (list(value) if isinstance(value, tuple) else value), field
    assert set(inferred) <= set(member.inferred)
    assert setup["learned_loss_weights"]


def test_the_published_fourth_row_is_the_run_of_e094() -> None:
    (shown,) = [m for m in _chapter("mdf_net").members if m.documented == "e094"]
    assert shown.run.key == _members()["e094"].run.key


def test_the_ablation_of_clinical_columns_has_the_published_rows() -> None:
    table = published_table()
    settings = {m.setting: m.run.setup for m in _chapter("clinical_features").members if m.run.setup.use_clinical}
    assert list(settings) == [row.columns for row in table.clinical_features]
    for name, setup in settings.items():
        columns = None if name == "all" else name.split()
        assert columns is None or [*(setup.clinical_categorical or ()), *(setup.clinical_numeric or ())] == columns


@pytest.mark.parametrize("one", _PRINTED, ids=lambda one: one.id)
def test_a_member_equals_the_printed_setup_field_by_field(one: LogEntry) -> None:
    member = _members()[one.id]
    setup = member.run.setup.model_dump(mode="json")
    for field, value in one.fields.items():
        if field not in NAMING_FIELDS:
            assert setup[field] == (list(value) if isinstance(value, tuple) else value), field
    assert setup["loss_weights"] == dict(one.loss_weights) or "loss_weights" in member.inferred
    assert not set(member.inferred) & set(one.fields)
    for field, value in one.inferred.items():
        assert setup[field] == value, field
        assert field in member.inferred


@pytest.mark.shared
def test_the_members_equal_the_log_itself(shared: Path) -> None:
    log = json.loads((shared / "seed" / "experiment_log.json").read_text(encoding="utf-8"))
    printing = [one for one in log["entries"] if one["setup"]]
    assert len(printing) == 88
    for one in printing:
        member = _members()[one["id"]]
        setup = member.run.setup.model_dump(mode="json")
        for field in set(one["setup_printed"]) - NAMING_FIELDS:
            assert setup[field] == one["setup"][field], f"{one['id']}: {field}"
        if one["loss_weights"] or "loss_weights" not in member.inferred:
            assert (setup["loss_weights"] or None) == one["loss_weights"], one["id"]


@pytest.mark.parametrize("member", _members().values(), ids=lambda member: member.documented)
def test_a_member_has_its_time_s_protocol(member: Member) -> None:
    number, setup, judged = _number(member), member.run.setup, member.evaluation
    early = number <= 76 or number == 101
    assert (judged.overlap, judged.threshold, judged.max_detections) == ("iobb", 0.5, 10)
    assert judged.proposals == ("with_ground_truth" if early else "sampled")
    assert setup.learned_loss_weights == (not early)
    if setup.lr_scheduler == "ReduceLROnPlateau":
        assert setup.plateau_metric == ("previous_val_ap" if number <= 53 else "val_loss_last_20")
        assert "plateau_metric" in member.inferred
    if setup.use_clinical:
        assert setup.resolved_era == ("A" if number <= 80 else "B" if number <= 82 else "C")
        assert setup.clinical_values == "raw"
        assert setup.clinical_last_relu == (member.documented != "e077")
        assert {"era", "clinical_values"} <= set(member.inferred)
    assert {"epochs", "overlap", "proposals"} <= set(member.inferred)


@pytest.mark.parametrize("member", _members().values(), ids=lambda member: member.documented)
def test_a_member_trains_as_long_as_its_entry_did(member: Member) -> None:
    final = entry(member.documented or "").results.get("final")
    asked = member.run.protocol.epochs
    if member.run.setup.reduceLROnPlateau_full_stop or final is None:
        assert asked in (50, 100)
    else:
        assert asked == final.epoch


def _pairs() -> list[tuple[str, str, str, str]]:
    return [(c, s, left, right) for c in CHAPTERS for left, right in _chapter(c).compare for s in _settings(c)]


def _settings(chapter: str) -> list[str]:
    return list(dict.fromkeys(member.setting for member in _chapter(chapter).members))


#: What sets the arms of a pair apart, and what only a clinical branch reads.
_CLINICAL = ("clinical", "fus", "era", "spatialise", "pre_spatialised", "mask_hidden_layers")


@pytest.mark.parametrize(("chapter", "setting", "left", "right"), _pairs())
def test_arms_that_are_compared_differ_in_what_reads_clinical_data_alone(
    chapter: str, setting: str, left: str, right: str
) -> None:
    found: dict[str, dict[str, Any]] = {
        m.arm: m.run.setup.model_dump(mode="json") for m in _chapter(chapter).members if m.setting == setting
    }
    differing = {k for k, v in found[left].items() if found[right][k] != v} - NAMING_FIELDS
    assert (found[left]["use_clinical"], found[right]["use_clinical"]) == (False, True)
    assert not {name for name in differing if not any(word in name for word in _CLINICAL)}


def test_chapters_that_ask_the_same_share_the_run() -> None:
    members = _members()
    for one, other in (("e006", "e101"), ("e042", "e045"), ("e086", "e087")):
        assert members[one].run.key == members[other].run.key
    small = {m.arm: m.run.key for m in _chapter("small").members if m.setting == "MobileNetV3"}
    assert small == {"CXR": members["e098"].run.key, "CXR+Clinical": members["e094"].run.key}
    arms = {m.arm: m.run.key for m in _chapter("depth").members}
    assert (arms["CXR"], arms["depth 4"]) == (members["e046"].run.key, members["e044"].run.key)
    image_only = {m.run.key for m in _chapter("schedulers").members}
    added = [m.run.key for m in _chapter("with_clinical").members if m.arm == "CXR"]
    assert sum(key in image_only for key in added) == 4


def test_e039_goes_on_from_e038_and_nothing_else_from_anything() -> None:
    going = {id_: m for id_, m in _members().items() if m.run.continues is not None}
    assert list(going) == ["e039"]
    assert going["e039"].run.continues == _members()["e038"].run.key
    assert going["e039"].run.protocol.continues.checkpoint == "final"
