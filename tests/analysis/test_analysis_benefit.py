"""Clinical data help only where an arm is ahead of no record and of three permutations, each at 5 % by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mmad.analysis.comparison import Comparison, benefits
from mmad.evaluation.differences import MeanDifference
from mmad.evaluation.resampling import Interval

RECORDS = {
    "CXR": {"use_clinical": False},
    "true": {"use_clinical": True, "fusion": "film"},
    "permuted": {"use_clinical": True, "clinical_records": "permuted"},
    "constant": {"use_clinical": True, "clinical_records": "constant"},
    "missingness": {"use_clinical": True, "clinical_records": "missing"},
    "alone": {"use_clinical": True, "image_input": "training_mean"},
}


def _pair(
    reference: str,
    other: str,
    low: float,
    *,
    seeds: int = 5,
    verdict: str = "not settled",
    mean: float | None = None,
    permutations: int = 3,
    timing: str = "",
) -> Comparison:
    """A comparison whose interval begins at ``low``; with the mean of its permutations at ``mean``."""
    arms = [arm.partition(" ")[0] for arm in (reference, other)]
    pair = tuple(SimpleNamespace(run=SimpleNamespace(setup=RECORDS[arm])) for arm in arms)
    difference = SimpleNamespace(pointwise=Interval(low + 0.05, low, low + 0.1), seeds=seeds, folds=0)
    over = None if mean is None else MeanDifference(Interval(mean + 0.05, mean, mean + 0.1), 0.5, seeds, permutations)
    found: Any = SimpleNamespace(
        setting="FiLM", reference=reference, other=other, pairs=[pair], verdict=verdict,
        statistics=SimpleNamespace(difference=difference, permutations=over), timing=timing,
        registration=None,
    )  # fmt: skip
    found.records = Comparison.records.fget(found)  # type: ignore[attr-defined]
    return cast(Comparison, found)


def _permuted(mean: float, count: int = 3, **how: Any) -> list[Comparison]:
    """Single permutations say nothing by themselves, far apart from their mean as they are."""
    how = {"permutations": count} | how
    return [_pair(f"permuted {n}", "true", (-1) ** n * 0.5, mean=mean, **how) for n in range(count)]


def test_both_comparisons_have_to_be_ahead() -> None:
    (said,) = benefits([_pair("CXR", "true", 0.02), *_permuted(0.01), _pair("constant", "true", -1)])
    assert said.helps
    assert [one.reference for one in said.against] == ["CXR", "permuted 0", "permuted 1", "permuted 2"]
    assert said.sentence == (
        "Clinical data help: true is ahead of CXR by +0.070 [+0.020, +0.120] and the mean of 3 permutations by "
        "+0.060 [+0.010, +0.110], each at 5 % by itself (intersection-union)."
    )
    for one in said.against:
        one.registration = cast(Any, "of another pair")  # type: ignore[misc]
    assert said.sentence.startswith("Clinical data help (exploratory): true is ahead of CXR by ")


@pytest.mark.parametrize(("image", "permuted"), [(-0.01, 0.02), (0.02, -0.01), (-0.01, -0.01)])
def test_one_that_is_not_is_named(image: float, permuted: float) -> None:
    (said,) = benefits([_pair("CXR", "true", image), *_permuted(permuted)])
    assert not said.helps
    assert ("of CXR" in said.sentence) == (image < 0)
    assert ("of the mean of 3 permutations" in said.sentence) == (permuted < 0)
    assert said.sentence.startswith("Not shown that clinical data help: true is not shown to be ahead of ")


def test_when_the_columns_were_measured_stands_beside_the_claim() -> None:
    (said,) = benefits([_pair("CXR", "true", 0.02, timing="When?"), *_permuted(0.01)])
    assert said.sentence.endswith("(intersection-union). When?")


def test_one_seed_and_figures_without_a_verdict_claim_nothing() -> None:
    one = benefits([_pair("CXR", "true", 0.1, seeds=1), *_permuted(0.1, seeds=1)])
    barred = benefits([_pair("CXR", "true", 0.1, verdict="no verdict"), *_permuted(0.1)])
    of_permuted = benefits([_pair("CXR", "true", 0.1), *_permuted(0.1, verdict="no verdict")])
    assert [said.helps for said in (*one, *barred, *of_permuted)] == [False, False, False]
    assert "one seed" in one[0].sentence


def test_fewer_than_three_permutations_claim_nothing() -> None:
    (said,) = benefits([_pair("CXR", "true", 0.1), *_permuted(0.1, 2)])
    assert not said.helps
    assert said.sentence == (
        "Not shown that clinical data help: true is not shown to be ahead of the mean of 3 permutations "
        "(2 trained: +0.150 [+0.100, +0.200])."
    )


def test_arms_of_one_permutation_count_once() -> None:
    (said,) = benefits([_pair("CXR", "true", 0.1), *_permuted(0.1, 3, permutations=1)])
    assert not said.helps
    assert "not shown to be ahead of the mean of 3 permutations (1 trained: " in said.sentence


def test_nothing_is_said_without_both_controls_or_of_another_arm() -> None:
    assert benefits([_pair("CXR", "true", 0.1)]) == []
    assert benefits([*_permuted(0.1), _pair("alone", "true", 0.1)]) == []
    assert benefits([_pair("CXR", "permuted", 0.1), _pair("constant", "permuted", 0.1)]) == []
    assert benefits([_pair("CXR", "missingness", 0.1), *_permuted(0.1)]) == []
