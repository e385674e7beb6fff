"""Who is ahead in one line, by which checkpoints, and what differs by design."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmad.analysis.comparison import (
    VARIED_BY,
    ComparedRun,
    Comparison,
    Conditions,
    NotComparable,
    compare,
    compare_pairs,
    compare_stored,
    has_figures,
    line_of,
)
from mmad.analysis.json import plain_ablation_pairs
from mmad.base.clock import now
from mmad.base.records import (
    AblationRecord,
    CheckpointKind,
    CheckpointRecord,
    EpochRecord,
    MemberRecord,
    Metric,
    RunRecord,
)
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.store.lookup import CheckpointFigures, MemberResults
from mmad.store.store import Store

ARMS = ("CXR", "CXR+Clinical")
#: An ablation file whose second arm varies what an arm can vary by design.
SOURCE = """
[arms.CXR]
[arms."CXR+Clinical"]
epochs = 5
steps_per_epoch = 2
dataset_mode = "normal"
lr_scheduler = "MultiStepLR"
pretrained = false
selection_overlap = "iobb"
selection_proposals = "sampled"
overlap = "iobb"
"""


def result(test_ap: float | None, val_ap: float | None = None) -> CheckpointFigures:
    return CheckpointFigures(epoch=3, val_ap=val_ap, val_ar=None, test_ap=test_ap, test_ar=None)


def run_of(
    arm: str,
    figures: CheckpointFigures | None = None,
    seed: int = 0,
    setting: str = "default",
    final: bool = False,
    **changed: Any,
) -> ComparedRun:
    """A run; finished where it has figures. ``changed`` are values of its setup, protocol, record or evaluation."""
    evaluation = {name: changed.pop(name) for name in EvaluationProtocol.model_fields if name in changed}
    protocol = {name: changed.pop(name) for name in TrainingProtocol.model_fields if name in changed}
    setup = {name: changed.pop(name) for name in ModelSetup.model_fields if name in changed}
    named = {"overrides": changed.pop("overrides", ()), "ablation": changed.pop("ablation", "quick")}
    policy = changed.pop("split_policy", None)
    record = RunRecord(
        key=f"{setting}{arm}{seed}".encode().hex().ljust(64, "0"),
        status="finished" if figures else "queued",
        setup=setup,
        protocol={"epochs": 1, **protocol},
        dataset_path="nowhere",
        **{"dataset_name": "phantom", "dataset_fingerprint": "f" * 64, "recipe": 2, "created": now(), **changed},
    )
    member = MemberRecord(
        setting=setting,
        arm=arm,
        seed=seed,
        replicate=1,
        key=record.key,
        position=0,
        documented=None,
        evaluation={},
        **named,
    )
    results = MemberResults(None if final else figures, None, figures)
    return ComparedRun(record, member, EvaluationProtocol(**evaluation), results, policy)


def file_of(source: str = "", name: str = "quick") -> AblationRecord:
    return AblationRecord(name, "", "", "", source, (ARMS,))


def pair(
    first: CheckpointFigures | None,
    second: CheckpointFigures | None,
    seed: int = 0,
    setting: str = "default",
    final: bool = False,
) -> tuple[ComparedRun, ComparedRun]:
    return run_of("CXR", first, seed, setting, final), run_of("CXR+Clinical", second, seed, setting)


def lines_of(*pairs: tuple[ComparedRun, ComparedRun], whole: bool = True) -> list[str]:
    found = compare_pairs(file_of(), [one for both in pairs for one in both])
    return [line_of(one) for one in found if whole or has_figures(one)]


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        (
            [pair(result(0.331, 0.3), result(0.412, 0.5))],
            "default: CXR+Clinical is ahead of CXR by 0.081 test AP (0.412 against 0.331); "
            "val AP 0.500 for CXR+Clinical, 0.300 for CXR",
        ),
        (
            [pair(result(0.5), result(0.25))],
            "default: CXR is ahead of CXR+Clinical by 0.250 test AP (0.500 against 0.250)",
        ),
        ([pair(result(0.5), result(0.5001))], "default: CXR+Clinical and CXR are level at 0.500 test AP"),
        (
            [pair(result(None, 0.1), result(None, 0.2))],
            "default: CXR+Clinical is ahead of CXR by 0.100 val AP (0.200 against 0.100)",
        ),
        ([pair(result(0.5), None)], "default: no comparison, nothing measured for CXR+Clinical"),
        (
            [pair(result(0.1), result(0.3), 0), pair(result(0.3), result(0.5), 1)],
            "default, mean of 2 repeats: CXR+Clinical is ahead of CXR by 0.200 test AP (0.400 against 0.200)",
        ),
        (
            [pair(result(0.1), result(0.3), 0), pair(result(0.3), None, 1)],
            "default, mean of 1 of 2 repeats: CXR+Clinical is ahead of CXR by 0.200 test AP (0.300 against 0.100)",
        ),
    ],
)
def test_one_line_says_who_is_ahead_and_by_how_much(pairs: list[tuple[ComparedRun, ComparedRun]], line: str) -> None:
    assert lines_of(*pairs) == [line]


def test_pairs_without_figures_can_be_left_out() -> None:
    measured, empty = pair(result(0.1), result(0.2)), pair(None, None, setting="later")
    assert len(lines_of(measured, empty)) == 2
    assert len(lines_of(measured, empty, whole=False)) == 1


def test_settings_keep_their_order_and_stay_apart() -> None:
    lines = lines_of(*(pair(result(0.1), result(0.2), setting=name) for name in ("b", "a")))
    assert [line.split(":")[0] for line in lines] == ["b", "a"]


def test_a_figure_that_is_not_a_number_is_none() -> None:
    (line,) = lines_of(pair(result(float("nan")), result(0.2)))
    assert line == "default: no comparison, nothing measured for CXR and CXR+Clinical"
    (found,) = compare_pairs(file_of(), pair(result(0.1), result(0.3)))
    assert isinstance(found, Comparison)
    assert found.test_ap.difference is not None
    assert found.test_ap.difference.mean == pytest.approx(0.2)


def test_a_comparison_of_final_checkpoints_says_so() -> None:
    first = pair(result(0.1), result(0.3), final=True)
    assert lines_of(first) == [
        "default, final checkpoints: CXR+Clinical is ahead of CXR by 0.200 test AP (0.300 against 0.100)"
    ]
    (line,) = lines_of(first, pair(result(0.1), result(0.3), seed=1))
    assert line.startswith("default, final checkpoints, mean of 2 repeats: ")


#: Validation AP of the three epochs of every run of ``measured``.
CURVE = (0.25, 0.75, 0.5)


def measured(folder: Path, *kept: tuple[str, int, bool], unfinished: tuple[tuple[str, int], ...] = ()) -> Comparison:
    """The comparison of an ablation whose members (arm, seed) keep their best epoch or not."""
    members = []
    for arm, seed, best in kept:
        setup = ModelSetup(use_clinical=arm != "CXR", use_early_stop_model=best)
        run = RunSpec(
            setup,
            TrainingProtocol(epochs=3, seed=seed, weights_hash="a" * 64),
            DataSource("/nowhere", "phantom", "f" * 64),
        )
        members.append(Member("a", "s", arm, seed, run, EvaluationProtocol()))
    arms = ("CXR", "CXR+Clinical")
    with Store.open(folder / "mmad.sqlite") as store:
        store.add_ablation(Ablation("a", "a.toml", "A", "", "", arms, (arms,), tuple(members)))
        for member, (_, _, best) in zip(members, kept, strict=True):
            for epoch, ap in enumerate(CURVE, start=1):
                kinds: list[CheckpointKind] = [*(["best_ap"] if best and epoch < 3 else []), *["final"] * (epoch == 3)]  # type: ignore[list-item]
                store.commit_epoch(
                    member.run.key,
                    EpochRecord(epoch, 0.01, 1.0, 0, (Metric("val", "ap_iou", ap),)),
                    [CheckpointRecord(kind, epoch, f"{epoch}.pt", "c" * 64, 1, now()) for kind in kinds],
                )
            if (member.arm, member.seed) not in unfinished:
                store.end_free(member.run.key, "finished")
        (found,) = compare_stored(store, "a")
        assert isinstance(found, Comparison)
        return found


def epochs_of(found: Comparison) -> list[tuple[int | None, int | None]]:
    rows = [(row["reference_result"], row["other_result"]) for row in plain_ablation_pairs([found])]
    return [(a and a["epoch"], b and b["epoch"]) for a, b in rows]


def test_best_checkpoints_are_compared_where_both_arms_kept_them(tmp_path: Path) -> None:
    found = measured(tmp_path, ("CXR", 0, True), ("CXR+Clinical", 0, True))
    assert (found.kind, epochs_of(found)) == ("best_ap", [(2, 2)])
    assert "checkpoint" not in plain_ablation_pairs([found])[0]


@pytest.mark.parametrize("bests", [(False, True), (True, False), (False, False)])
def test_a_best_is_never_compared_with_a_final(tmp_path: Path, bests: tuple[bool, bool]) -> None:
    found = measured(tmp_path, ("CXR", 0, bests[0]), ("CXR+Clinical", 0, bests[1]))
    assert (found.kind, epochs_of(found)) == ("final", [(3, 3)])
    assert plain_ablation_pairs([found])[0]["checkpoint"] == "final"
    assert line_of(found) == "s, final checkpoints: CXR+Clinical and CXR are level at 0.500 val AP"


def test_seeds_are_averaged_over_one_kind_of_checkpoint(tmp_path: Path) -> None:
    found = measured(
        tmp_path, ("CXR", 0, True), ("CXR+Clinical", 0, True), ("CXR", 1, True), ("CXR+Clinical", 1, False)
    )
    assert (found.kind, epochs_of(found)) == ("final", [(3, 3)] * 2)


def test_a_run_that_has_not_finished_has_nothing_to_compare(tmp_path: Path) -> None:
    found = measured(tmp_path, ("CXR", 0, False), ("CXR+Clinical", 0, False), unfinished=(("CXR+Clinical", 0),))
    assert epochs_of(found) == [(3, None)]
    assert line_of(found) == "s: no comparison, nothing measured for CXR+Clinical"


#: What an arm may vary by design, in words.
BY_DESIGN = {
    "epochs": ({"epochs": 5}, "epochs 1 / 5"),
    "steps_per_epoch": ({"steps_per_epoch": 2}, "steps per epoch all / 2"),
    "dataset_mode": ({"dataset_mode": "normal"}, "dataset mode unified / normal"),
    "schedule": ({"lr_scheduler": "MultiStepLR"}, "schedule none / MultiStepLR"),
    "weights": ({"pretrained": False}, "weights imagenet / scratch"),
    "selection_overlap": ({"selection_overlap": "iobb"}, "selection overlap iou / iobb"),
    "selection_proposals": ({"selection_proposals": "sampled"}, "selection proposals clean / sampled"),
}
#: What never may differ.
NEVER = {
    "overlap": ({"overlap": "iobb"}, "overlap iou / iobb"),
    "threshold": ({"threshold": 0.3}, "threshold 0.5 / 0.3"),
    "max_detections": ({"max_detections": 5}, "max detections 10 / 5"),
    "proposals": ({"proposals": "sampled"}, "proposals clean / sampled"),
    "data": ({"dataset_name": "lungs"}, "data set phantom / lungs"),
    "fingerprint": ({"dataset_fingerprint": "e" * 64}, "data set's fingerprint ffffffffffff / eeeeeeeeeeee"),
    "split_policy": ({"split_policy": "documented"}, "split policy patient / documented"),
    "recipe": ({"recipe": 1}, "recipe 2 / 1"),
}


def both(changed: dict[str, Any], source: str, **named: Any) -> Comparison | NotComparable:
    first = run_of("CXR", result(0.1), split_policy="patient")
    second = run_of("CXR+Clinical", result(0.2), **{"split_policy": "patient", **changed, **named})
    (found,) = compare_pairs(file_of(source), [first, second])
    return found


def test_every_condition_is_tested_here() -> None:
    known = {name for name in Conditions.__dataclass_fields__ if name not in ("split", "checkpoint")}
    assert known == BY_DESIGN.keys() | NEVER.keys()
    assert VARIED_BY.keys() == BY_DESIGN.keys()


@pytest.mark.parametrize("name", BY_DESIGN)
def test_what_the_file_names_differs_by_design(name: str) -> None:
    changed, words = BY_DESIGN[name]
    found = both(changed, SOURCE)
    assert isinstance(found, Comparison)
    design = f"differs by design: {words} (CXR / CXR+Clinical)"
    assert (dict(found.by_design), found.design) == ({name: words}, design)
    assert line_of(found).endswith(f"(0.200 against 0.100); {design}")
    refused = both(changed, "[arms.CXR]")
    assert isinstance(refused, NotComparable)
    assert line_of(refused) == f"default: CXR and CXR+Clinical cannot be compared: {words}"
    assert VARIED_BY[name][0] in refused.hint
    by_hand = both(changed, SOURCE, overrides=(f"{next(iter(changed))}=x",))
    assert isinstance(by_hand, NotComparable)


@pytest.mark.parametrize("name", NEVER)
def test_what_never_may_differ_is_refused_even_where_the_file_names_it(name: str) -> None:
    changed, words = NEVER[name]
    for source in ("", SOURCE):
        found = both(changed, source)
        assert isinstance(found, NotComparable)
        assert found.reason == words


def test_an_unknown_split_policy_differs_from_nothing() -> None:
    assert isinstance(both({"split_policy": None}, ""), Comparison)


def test_a_full_stop_is_part_of_the_schedule() -> None:
    stopping = {"lr_scheduler": "ReduceLROnPlateau", "reduceLROnPlateau_full_stop": True}
    sides = [
        run_of(arm, result(0.1), reduceLROnPlateau_patience=n, **stopping) for arm, n in zip(ARMS, (5, 9), strict=True)
    ]
    (found,) = compare_pairs(file_of(), sides)
    assert isinstance(found, NotComparable)
    assert found.reason == "schedule ReduceLROnPlateau, full stop after 5 / ReduceLROnPlateau, full stop after 9"


def test_settings_and_the_grid_declare_what_differs_between_settings() -> None:
    source = """
[grid]
epochs = [1, 5]
[[settings]]
name = "plain"
[[settings]]
name = "other"
dataset_mode = "normal"
"""
    first = run_of("CXR", result(0.1), setting="plain, epochs=1")
    second = run_of("CXR", result(0.2), setting="other, epochs=5", epochs=5, dataset_mode="normal")
    found = compare([first], [second], names=("a", "b"), file=file_of(source))
    assert isinstance(found, Comparison)
    assert found.design == "differs by design: epochs 1 / 5; dataset mode unified / normal (a / b)"
    # the same fields say nothing of two arms of one setting, nor of runs of two files
    arms = replace(first, member=replace(second.member, arm="other")) if second.member else first
    for file, one in ((file_of(source), arms), (None, first)):
        assert isinstance(compare([one], [second], names=("a", "b"), file=file), NotComparable)


def test_seeds_of_one_arm_that_differ_are_named() -> None:
    first = [run_of("CXR", result(0.1), seed=0), run_of("CXR", result(0.1), seed=1, epochs=2)]
    second = [run_of("CXR+Clinical", result(0.2), seed=seed) for seed in (0, 1)]
    (found,) = compare_pairs(file_of(SOURCE), [*first, *second])
    assert isinstance(found, NotComparable)
    assert found.reason == "seeds 0 and 1 of CXR differ in epochs 1 / 2"


def test_random_weights_are_random_weights() -> None:
    without = run_of("CXR", result(0.1), weights="none"), run_of("CXR+Clinical", result(0.2), pretrained=False)
    (found,) = compare_pairs(file_of(), without)
    assert isinstance(found, Comparison)
    assert not found.by_design
