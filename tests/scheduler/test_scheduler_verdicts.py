"""Who won, in words."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mmad.analysis.comparison import CheckpointPair, FinalCheckpointPair, checkpoint_pairs, verdict_lines
from mmad.base.clock import now
from mmad.base.records import CheckpointKind, CheckpointRecord, EpochRecord, Metric
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.store.lookup import CheckpointFigures
from mmad.store.store import Store


def result(test_ap: float | None, val_ap: float | None = None) -> CheckpointFigures:
    return CheckpointFigures(epoch=3, val_ap=val_ap, val_ar=None, test_ap=test_ap, test_ar=None)


def pair(
    first: CheckpointFigures | None, second: CheckpointFigures | None, seed: int = 0, setting: str = "default"
) -> CheckpointPair:
    return CheckpointPair("quick", setting, seed, 1, "CXR", "CXR+Clinical", first, second)


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
def test_one_line_says_who_is_ahead_and_by_how_much(pairs: list[CheckpointPair], line: str) -> None:
    assert verdict_lines(pairs) == [line]


def test_pairs_without_figures_can_be_left_out() -> None:
    measured, empty = pair(result(0.1), result(0.2)), pair(None, None, setting="later")
    assert len(verdict_lines([measured, empty])) == 2
    assert len(verdict_lines([measured, empty], whole=False)) == 1


def test_settings_keep_their_order_and_stay_apart() -> None:
    lines = verdict_lines([pair(result(0.1), result(0.2), setting=name) for name in ("b", "a")])
    assert [line.split(":")[0] for line in lines] == ["b", "a"]


def test_a_figure_that_is_not_a_number_is_none() -> None:
    assert pair(result(float("nan")), result(0.2)).difference("test") is None
    assert pair(result(0.1), result(0.3)).difference("test") == pytest.approx(0.2)


def test_a_comparison_of_final_checkpoints_says_so() -> None:
    first = FinalCheckpointPair("quick", "default", 0, 1, "CXR", "CXR+Clinical", result(0.1), result(0.3))
    assert verdict_lines([first]) == [
        "default, final checkpoints: CXR+Clinical is ahead of CXR by 0.200 test AP (0.300 against 0.100)"
    ]
    (line,) = verdict_lines([first, replace(first, seed=1)])
    assert line.startswith("default, final checkpoints, mean of 2 repeats: ")


#: Validation AP of the three epochs of every run of ``measured``.
CURVE = (0.25, 0.75, 0.5)


def measured(
    folder: Path, *kept: tuple[str, int, bool], unfinished: tuple[tuple[str, int], ...] = ()
) -> list[CheckpointPair]:
    """The pairs of an ablation whose members (arm, seed) keep their best epoch or not."""
    members = []
    for arm, seed, best in kept:
        setup = ModelSetup(use_clinical=arm != "CXR", use_early_stop_model=best)
        run = RunSpec(setup, TrainingProtocol(epochs=3, seed=seed), DataSource("/nowhere", "phantom", "f" * 64))
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
        return checkpoint_pairs(store, store.ablations()[0])


def epochs_of(one: CheckpointPair) -> list[int | None]:
    return [None if found is None else found.epoch for found in (one.reference_result, one.other_result)]


def test_best_checkpoints_are_compared_where_both_arms_kept_them(tmp_path: Path) -> None:
    (one,) = measured(tmp_path, ("CXR", 0, True), ("CXR+Clinical", 0, True))
    assert (type(one), epochs_of(one)) == (CheckpointPair, [2, 2])


@pytest.mark.parametrize("bests", [(False, True), (True, False), (False, False)])
def test_a_best_is_never_compared_with_a_final(tmp_path: Path, bests: tuple[bool, bool]) -> None:
    (one,) = measured(tmp_path, ("CXR", 0, bests[0]), ("CXR+Clinical", 0, bests[1]))
    assert (type(one), epochs_of(one)) == (FinalCheckpointPair, [3, 3])
    assert asdict(one)["checkpoint"] == "final"
    assert verdict_lines([one]) == ["s, final checkpoints: CXR+Clinical and CXR are level at 0.500 val AP"]


def test_seeds_are_averaged_over_one_kind_of_checkpoint(tmp_path: Path) -> None:
    both = measured(tmp_path, ("CXR", 0, True), ("CXR+Clinical", 0, True), ("CXR", 1, True), ("CXR+Clinical", 1, False))
    assert [(type(one), epochs_of(one)) for one in both] == [(FinalCheckpointPair, [3, 3])] * 2


def test_a_run_that_has_not_finished_has_nothing_to_compare(tmp_path: Path) -> None:
    (one,) = measured(tmp_path, ("CXR", 0, False), ("CXR+Clinical", 0, False), unfinished=(("CXR+Clinical", 0),))
    assert epochs_of(one) == [3, None]
    assert verdict_lines([one]) == ["s: no comparison, nothing measured for CXR+Clinical"]
