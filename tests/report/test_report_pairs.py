"""Comparing arms: paired by seed, finished runs only, and never across two protocols."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_fixtures import WHEN, Sample

from mmad.analysis.comparison import ComparisonTable, NotComparable, comparison_tables, paired_means, seed_mean
from mmad.analysis.report_frame import AblationFrame, load_frame
from mmad.analysis.verdicts import Statistics
from mmad.config.protocol import EvaluationProtocol
from mmad.report.sections import build_model, headline
from mmad.report.tables import common_parameters

score = st.floats(0, 1, allow_nan=False)


def frame_of(sample: Sample) -> AblationFrame:
    return load_frame(sample.source).ablations[0]


def tables_of(frame: AblationFrame) -> tuple[tuple[ComparisonTable, ...], tuple[NotComparable, ...]]:
    refused = tuple(one for one in frame.comparisons if isinstance(one, NotComparable))
    return comparison_tables(frame.record, frame.comparisons), refused


def two_arms(**clinical: object) -> Sample:
    sample = Sample()
    sample.ablation("a", "A", "", compare=(("CXR", "CXR+Clinical"),))
    sample.member("s", "CXR", protocol={"epochs": 4})
    sample.member("s", "CXR+Clinical", **{"protocol": {"epochs": 4}, **clinical})  # type: ignore[arg-type]
    return sample


@given(st.lists(st.tuples(score, score), min_size=1, max_size=8))
def test_a_difference_is_the_mean_of_the_paired_differences(pairs: list[tuple[float, float]]) -> None:
    found = paired_means([a for a, _ in pairs], [b for _, b in pairs])
    assert found.reference is not None
    assert found.other is not None
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(found.other.mean - found.reference.mean, abs=1e-12)
    assert found.difference.n == len(pairs)
    assert (found.difference.sd is None) == (len(pairs) == 1)


def test_the_deviation_is_computed_over_the_differences_not_the_arms() -> None:
    found = paired_means([0.1, 0.5, 0.9], [0.2, 0.6, 1.0])
    assert found.difference is not None
    assert found.reference is not None
    assert found.reference.sd == pytest.approx(0.4)
    assert found.difference.sd == pytest.approx(0.0, abs=1e-12)


def test_a_pair_with_a_missing_side_is_left_out_of_both_means() -> None:
    found = paired_means([0.2, None, 0.4], [0.3, 0.9, None])
    assert found.reference is not None
    assert found.other is not None
    assert (found.reference.mean, found.reference.n) == (0.2, 1)
    assert found.other.mean == 0.3


@pytest.mark.parametrize("values", [[], [math.nan], [0.1, math.inf]])
def test_no_values_give_no_mean(values: list[float]) -> None:
    assert seed_mean(values) is None


def test_settings_come_in_the_files_order_with_their_counts(sample: Sample) -> None:
    (comparison,), refusals = tables_of(frame_of(sample))
    assert [row.setting for row in comparison.rows] == ["patience 5", "patience 10", "patience 20", "patience 30"]
    assert refusals == ()
    assert common_parameters(frame_of(sample), comparison) == (1_040_729, 1_223_303)


def test_runs_that_have_not_finished_are_not_compared(sample: Sample) -> None:
    (comparison,), _ = tables_of(frame_of(sample))
    failed, running = comparison.rows[2], comparison.rows[3]
    assert failed.test_ap.difference is None
    assert failed.note == "not compared yet: CXR+Clinical failed at epoch 9 of 50"
    assert running.note == "not compared yet: CXR+Clinical running at epoch 17 of 50"
    assert len(comparison.differences) == 2


def test_only_seeds_that_both_arms_finished_count() -> None:
    sample = Sample()
    sample.ablation("a", "A", "")
    for arm in ("CXR", "CXR+Clinical"):
        for seed in range(3):
            failed = (arm, seed) == ("CXR", 1)
            sample.member(
                "s",
                arm,
                seed=seed,
                protocol={"epochs": 4},
                status="failed" if failed else "finished",
                done=2 if failed else 4,
            )
    (comparison,), _ = tables_of(frame_of(sample))
    row = comparison.rows[0]
    assert row.seeds == (0, 2)
    assert row.note == "2 of 3 seeds: CXR seed 1 failed at epoch 2 of 4"
    assert row.test_ap.other is not None
    assert row.test_ap.other.n == 2


@pytest.mark.parametrize(
    ("clinical", "words"),
    [
        ({"evaluation": EvaluationProtocol(overlap="iobb")}, "overlap iou / iobb"),
        ({"evaluation": EvaluationProtocol(proposals="with_ground_truth")}, "proposals clean / with_ground_truth"),
        ({"evaluation": EvaluationProtocol(threshold=0.3)}, "threshold 0.5 / 0.3"),
        ({"protocol": {"epochs": 4, "weights": "none"}}, "weights imagenet / none"),
        ({"protocol": {"epochs": 8}}, "epochs 4 / 8"),
        ({"dataset_fingerprint": "00" * 32}, "data set's fingerprint 5f5f5f5f5f5f / 000000000000"),
    ],
)
def test_arms_under_different_conditions_are_refused_with_the_reason(clinical: dict[str, object], words: str) -> None:
    comparisons, (refusal,) = tables_of(frame_of(two_arms(**clinical)))
    assert comparisons == ()
    assert words in refusal.reason


def test_settings_under_different_protocols_get_tables_of_their_own() -> None:
    sample = Sample()
    sample.ablation("a", "A", "", compare=(("CXR", "CXR+Clinical"),))
    for setting, overlap in (("one", "iou"), ("two", "iobb"), ("three", "iou")):
        for arm in ("CXR", "CXR+Clinical"):
            sample.member(setting, arm, protocol={"epochs": 4}, evaluation=EvaluationProtocol(overlap=overlap))  # type: ignore[arg-type]
    comparisons, refusals = tables_of(frame_of(sample))
    assert refusals == ()
    assert [[row.setting for row in c.rows] for c in comparisons] == [["one", "three"], ["two"]]
    assert [c.sides[0].overlap for c in comparisons] == ["iou", "iobb"]


def test_by_default_every_arm_is_compared_with_the_first(sample: Sample) -> None:
    comparisons, _ = tables_of(load_frame(sample.source).ablations[1])
    assert [(c.reference, c.other) for c in comparisons] == [
        ("CXR", "CXR+Clinical"),
        ("CXR", "CXR+Clinical (vector)"),
    ]


def test_the_headline_says_no_more_than_was_measured(sample: Sample) -> None:
    frame = load_frame(sample.source)
    (comparison,), _ = tables_of(frame.ablations[0])
    said = "CXR+Clinical against CXR on test AP, of 2 settings: 2 no verdict. 2 settings are not finished."
    assert headline(comparison, Statistics()) == said
    assert headline(tables_of(frame.ablations[1])[0][0], Statistics()).startswith(
        "CXR+Clinical minus CXR: No interval for the difference of +0.0"
    )


def test_a_headline_without_a_finished_pair_claims_nothing() -> None:
    (comparison,), _ = tables_of(frame_of(two_arms(status="queued", done=0)))
    assert headline(comparison, Statistics()) == "CXR+Clinical against CXR: no setting has finished in both arms."


FINAL_ONLY = {"use_early_stop_model": False}


def test_a_final_is_never_compared_with_a_best() -> None:
    sample = Sample()
    sample.ablation("a", "A", "", compare=(("CXR", "CXR+Clinical"),))
    for arm, setup in (("CXR", {}), ("CXR+Clinical", FINAL_ONLY)):
        sample.member("s", arm, setup=setup, protocol={"epochs": 50})
    ablation = frame_of(sample)
    plain, clinical = ablation.members
    (comparison,), refusals = tables_of(ablation)
    row = comparison.rows[0]
    assert refusals == ()
    assert (comparison.kind, row.kind, row.note) == ("final", "final", "")
    assert plain.final is not None
    assert plain.best_ap is not None
    assert clinical.final is not None
    assert plain.final.epoch != plain.best_ap.epoch
    for name in ("val_ap", "test_ap", "val_ar", "test_ar"):
        found = getattr(row, name)
        assert found.reference.mean == getattr(plain.final, name)
        assert found.other.mean == getattr(clinical.final, name)
    assert "test AP of the final checkpoints" in headline(comparison, Statistics())


def test_settings_compared_by_final_checkpoints_get_a_table_of_their_own() -> None:
    sample = Sample()
    sample.ablation("a", "A", "", compare=(("CXR", "CXR+Clinical"),))
    for setting, setup in (("one", {}), ("two", FINAL_ONLY), ("three", {}), ("four", FINAL_ONLY)):
        for arm in ("CXR", "CXR+Clinical"):
            later = setting == "four" and arm == "CXR"
            sample.member(
                setting,
                arm,
                setup={**setup, "use_clinical": arm != "CXR"},
                protocol={"epochs": 4},
                status="running" if later else "finished",
                done=2 if later else 4,
            )
    comparisons, _ = tables_of(frame_of(sample))
    assert [(c.kind, [row.setting for row in c.rows]) for c in comparisons] == [
        ("best_ap", ["one", "three"]),
        ("final", ["two", "four"]),
    ]
    assert "on test AP, of 2 settings: " in headline(comparisons[0], Statistics())
    told = build_model(load_frame(sample.source), created=WHEN, database="x")
    assert [any(b.text == "final checkpoints" for b in badges) for badges in told.ablations[0].badges] == [False, True]


def test_seeds_are_averaged_over_one_kind_of_checkpoint() -> None:
    sample = Sample()
    sample.ablation("a", "A", "", compare=(("CXR", "CXR+Clinical"),))
    for seed in range(2):
        for arm in ("CXR", "CXR+Clinical"):
            setup = FINAL_ONLY if (seed, arm) == (1, "CXR") else {}
            sample.member("s", arm, seed=seed, setup=setup, protocol={"epochs": 4})
    ablation = frame_of(sample)
    (comparison,), _ = tables_of(ablation)
    reference = comparison.rows[0].test_ap.reference
    finals = [m.final.test_ap for m in ablation.of("s", "CXR") if m.final and m.final.test_ap is not None]
    assert reference is not None
    assert (reference.n, reference.mean) == (2, pytest.approx(sum(finals) / 2))
