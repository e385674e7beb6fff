"""Each rule on made-up entries: what it says, and what it lets pass."""

from __future__ import annotations

from typing import Any

import pytest

from mmad.experiment_log.checks import check_entries
from mmad.experiment_log.model import Checkpoint, LogEntry, LogNote, Losses, SetupPrint
from mmad.experiment_log.parser import figure_groups, with_equals
from mmad.experiment_log.shipped import entries

FIELDS = {"name": "CXR", "use_clinical": False, "lr": 0.001, "lr_scheduler": None, "pretrained": True}


def checkpoint(epoch: int = 10, val_ap: float = 0.5, test_ap: float = 0.4, **others: Any) -> Checkpoint:
    values = {"val_ar": 0.7, "test_ar": 0.6, "stamp": f"2023-01-01T00:{epoch % 60:02d}:00", **others}
    return Checkpoint(epoch=epoch, val_ap=val_ap, test_ap=test_ap, **values)


def entry(id: str = "e001", heading: str | None = None, fields: dict[str, Any] | None = None, **parts: Any) -> LogEntry:
    results = parts.get("results", {})
    groups = tuple(with_equals(group, results) for group in figure_groups(heading or "", 3))
    setup = SetupPrint(form="repr", line=5, fields=FIELDS | (fields or {}))
    given = {"setup": setup, "figures": groups, **parts}
    return LogEntry(id=id, line=3, line_end=9, heading=heading, sections=(), **given)


def told(*given: LogEntry) -> list[str]:
    return [str(slip) for slip in check_entries(given)]


def rules(*given: LogEntry) -> list[str]:
    return [slip.rule for slip in check_entries(given)]


RESULTS = {"best_ap": checkpoint(), "best_ar": checkpoint(12, 0.45, 0.35), "final": checkpoint(40, 0.3, 0.2)}


def test_an_entry_without_slips() -> None:
    heading = "## CXR, lr = 1e-3, no lr_scheduler (v=0.3, t=0.2, best_v=0.5, best_t=0.4)"
    assert told(entry(heading=heading, results=RESULTS)) == []


def test_figures_with_a_wrong_digit_exchanged_digits_or_of_nowhere() -> None:
    assert told(entry(heading="## A (0.5010)", results=RESULTS))[0] == (
        "e001 (line 3): heading figure 0.5010 equals no result; best_ap.val_ap is 0.5000 [figure-unequal]"
    )
    odd = {"best_ap": checkpoint(test_ap=0.2157)}
    assert "best_ap.test_ap is 0.2157" in told(entry(heading="## A (0.2175)", results=odd))[0]
    assert told(entry(heading="## A (0.9999)", results=RESULTS))[0].endswith("equals no result [figure-unequal]")
    assert told(entry(heading="## A (0.9999)")) == []


def test_figures_of_another_entry() -> None:
    other = entry("e002", heading="## B", fields={"lr": 0.1}, results={"final": checkpoint(5, 0.11, 0.22)})
    found = told(entry(heading="## A (v=0.1100, t=0.2200)", results=RESULTS), other)
    assert found[0].startswith(
        "e001 (line 3): heading figures 0.1100, 0.2200 equal no result of its own: they are those"
    )
    assert len(found) == 3


def test_figures_that_are_not_what_they_seem() -> None:
    assert told(entry(heading="## A (best_v=0.3000)", results=RESULTS)) == [
        "e001 (line 3): heading figure best_v=0.3000 is final.val_ap, not best_ap.val_ap [figure-key]"
    ]
    assert rules(entry(heading="## A (0.5000, 0.3500)", results=RESULTS)) == ["figure-mixed"]
    assert rules(entry(heading="## A (0.5000, 0.4000)", results=RESULTS)) == []
    assert rules(entry(heading="## A (0.4000, 0.2000)", results=RESULTS)) == []
    assert rules(entry(heading="## A (0.4500, 0.3500)", results=RESULTS)) == ["figure-source"]


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        ("mobilenet_v3_no_pretrained", {}, "pretrained"),
        ("without_clinical", {"use_clinical": True}, "use_clinical"),
        ("CXR_Clinical", {}, "use_clinical"),
        ("CXR", {"use_clinical": True}, "use_clinical"),
        ("with_add", {"fusion_strategy": "concat", "use_clinical": True}, "fusion_strategy"),
        ("concat_1", {"fusion_strategy": "add"}, "fusion_strategy"),
        ("a_residual", {"fusion_residule": False}, "fusion_residule"),
        ("a_res", {"fusion_residule": False}, "fusion_residule"),
        ("no_lr_scheduler", {"lr_scheduler": "MultiStepLR"}, "lr_scheduler"),
        ("lr_schedule", {}, "lr_scheduler"),
        ("resnet50_a", {"backbone": "mobilenet_v3"}, "backbone"),
        ("x_roi_heads", {"add_clinical_to_roi_heads": False}, "add_clinical_to_roi_heads"),
        ("x_spatialisation", {"spatialise_clinical": False}, "spatialise_clinical"),
    ],
)
def test_names_against_fields(name: str, fields: dict[str, Any], field: str) -> None:
    (line,) = told(entry(fields={"name": name, **fields}))
    assert f"the setup {field}=" in line
    assert line.endswith("[name-contradicts]")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "without_clinical"},
        {"name": "with_clinical", "use_clinical": True},
        {"name": "no_lr_scheduler"},
        {"name": "address_resnet50", "backbone": "resnet50", "fusion_strategy": "concat", "fusion_residule": False},
        {"name": "with_add"},
        {"name": None},
    ],
)
def test_names_that_agree(fields: dict[str, Any]) -> None:
    assert told(entry(fields=fields)) == []


@pytest.mark.parametrize(
    ("heading", "fields", "words"),
    [
        ("smaller lr = 1e-4", {"weight_decay": 0.0001}, "lr = 1e-4, the setup lr=0.001 and weight_decay=0.0001"),
        ("weight_decay=1e-1", {"weight_decay": 0.01}, "weight_decay = 1e-1, the setup weight_decay=0.01"),
        ("large paitence = 10", {"reduceLROnPlateau_patience": 3}, "paitence = 10, the setup reduceLROnPlateau_pat"),
        ("fuse_dpeth = 10", {"fuse_depth": 4}, "fuse_dpeth = 10, the setup fuse_depth=4"),
        ("multiStepLR_milestones=[1, 2]", {"multiStepLR_milestones": [1]}, "= [1, 2], the setup multiStepLR_mil"),
        ("MultiStepLR, factor=0.1", {"lr_scheduler": "ReduceLROnPlateau"}, "the setup lr_scheduler='ReduceLROnPl"),
        ("with clinical", {}, "the setup use_clinical=False"),
    ],
)
def test_headings_against_fields(heading: str, fields: dict[str, Any], words: str) -> None:
    (line,) = told(entry(heading=f"## {heading}", fields=fields))
    assert words in line


def test_banner_and_checkpoints_against_the_setup() -> None:
    results = {"best_ap": checkpoint(name="other", clinical="With", line=7)}
    assert told(entry(title="CXR_2", results=results)) == [
        "e001 (line 3): the banner says 'CXR_2', the setup name='CXR' [title-name]",
        "e001 (line 7): the checkpoint of best_ap says 'other', the setup name='CXR' [checkpoint-name]",
        "e001 (line 7): the checkpoint of best_ap says With clinical, the setup use_clinical=False "
        "[checkpoint-clinical]",
    ]


def test_the_program_against_the_setup() -> None:
    lines = ("Using pretrained backbone. resnet50", "Not using pretrained backbone.", "Mask Hidden Layers 64")
    notes = tuple(LogNote(line=n, text=text) for n, text in enumerate(lines, 4))
    fields = {"backbone": "resnet18", "mask_hidden_layers": 256}
    assert rules(entry(fields=fields, log_lines=notes, params={"model": 1})) == ["program-contradicts"] * 3
    assert rules(entry(fields={"backbone": "resnet50"}, log_lines=notes[:1], params={"model": 1})) == []


def test_two_setups_in_one_entry() -> None:
    other = SetupPrint(form="commented", line=4, fields=FIELDS | {"lr": 0.1, "more": 1})
    (line,) = told(entry(other_setups=(other,)))
    assert line == (
        "e001 (line 4): prints two setups (commented, repr): lr 0.1 and 0.001; more in one alone [setup-twice]"
    )
    assert told(entry(other_setups=(SetupPrint(form="commented", line=4, fields=FIELDS),))) == []


def test_a_type_that_a_field_has_nowhere_else() -> None:
    given = [entry(f"e00{n}", fields={"milestones": [n], "lr": n / 10}) for n in (1, 2)]
    odd = entry("e003", fields={"milestones": 100, "lr": 1})
    assert told(*given, odd) == ["e003 (line 5): milestones=100 is a number, elsewhere it is a list [field-type]"]
    assert rules(given[0], odd) == []  # one of each: neither is usual


def test_equal_setups() -> None:
    one, two = (entry(f"e00{n}", results={"best_ap": checkpoint(test_ap=n / 10)}) for n in (1, 2))
    renamed = two.model_copy(update={"setup": SetupPrint(form="repr", line=5, fields=FIELDS | {"name": "CXR again"})})
    assert told(one, renamed)[0] == (
        "e001 (line 3): the same setup as e002, other results: best-AP test 0.1000, 0.2000 "
        "(validation 0.5000, 0.5000) [same-setup]"
    )
    weighted = two.model_copy(update={"losses": Losses(weights={"loss_a": 2}, scope="entry", line=4)})
    assert told(one, weighted) == []
    assert rules(one, entry("e002")) == ["setup-repeated"]


def test_a_checkpoint_that_two_entries_print() -> None:
    shared = {"best_ar": checkpoint(checkpoint="one", line=7)}
    found = told(entry(results=shared), entry("e002", fields={"lr": 0.1}, results=shared))
    assert found == [
        "e002 (line 7): the checkpoint of best_ar is also printed by e001: one run continues the other "
        "[same-checkpoint]"
    ]


HEADS = "model.roi_heads"
PARAMS = {f"{HEADS}": 30, f"{HEADS}.box_head": 20, f"{HEADS}.box_head.fc6": 15, f"{HEADS}.box_head.fc7": 5}


def test_counts_that_lack_lines_or_do_not_add_up() -> None:
    whole = PARAMS | {f"{HEADS}.box_predictor": 10}
    assert told(entry(params=whole)) == []
    assert "prints no line [model.roi_heads.box_predictor]: 10 of" in told(entry(params=PARAMS))[0]
    assert rules(entry(params=whole | {f"{HEADS}.box_head.fc7": 6})) == ["params-sum"]
    assert rules(entry(params=whole | {HEADS: 50, f"{HEADS}.mask_head": 15})) == []  # the mask predictor is not printed
    (line,) = told(entry(params=whole, fields={"name": "x", "use_clinical": True, "fuse_depth": 2}))
    assert "prints no line [model.clinical_convs], [model.fuse_convs]" in line


def test_output_that_stops_and_entries_that_say_little() -> None:
    stopped = entry(log_lines=(LogNote(line=8, text="Load custom model"),))
    assert told(stopped) == [
        "e001 (line 8): its output stops after 'Load custom model': no parameter counts [params-missing]"
    ]
    notes = (LogNote(line=4, text="failed"),)
    assert rules(LogEntry(id="e001", line=3, line_end=4, heading=None, sections=(), notes=notes)) == ["nothing-printed"]
    assert rules(entry(setup=None, params={"model": 1})) == ["no-setup"]
    assert rules(entry(heading="## without loss_objectness")) == ["loss-not-printed"]


def test_checkpoints_out_of_order() -> None:
    results = {"best_ap": checkpoint(50), "final": checkpoint(40, 0.3)}
    assert rules(entry(results=results)) == ["epoch-order"]
    late = {"best_ap": checkpoint(30, stamp="2024-01-01T00:00:00"), "final": checkpoint(40, 0.3)}
    assert rules(entry(results=late)) == ["epoch-order"]
    assert rules(entry(results={"best_ap": checkpoint(30), "final": checkpoint(40, 0.6)})) == ["not-best"]


def test_stops_that_the_schedule_cannot_make() -> None:
    plateau = {
        "lr_scheduler": "ReduceLROnPlateau",
        "reduceLROnPlateau_full_stop": True,
        "reduceLROnPlateau_patience": 10,
    }

    def stop(best: int, final: int, **fields: Any) -> list[str]:
        results = {"best_ap": checkpoint(best), "final": checkpoint(final, 0.3)}
        return rules(entry(fields=plateau | fields, results=results))

    assert stop(20, 31) == stop(20, 32) == stop(20, 100) == []
    assert stop(20, 33) == ["stop-not-by-ap"]
    assert stop(5, 11) == ["stop-impossible"]
    assert stop(20, 33, reduceLROnPlateau_full_stop=False) == []


def test_the_shipped_log_has_no_places_and_keeps_its_slips() -> None:
    found = check_entries(entries())
    assert not any(slip.line for slip in found)
    assert {(slip.entry, slip.line) for slip in found if slip.rule == "figure-unequal"} == {
        (id, None) for id in ("e039", "e063", "e079", "e100")
    }
