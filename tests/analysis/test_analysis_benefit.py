"""Clinical data help only where an arm is ahead of no record and of permuted ones, each at 5 % by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mmad.analysis.comparison import Comparison, benefits
from mmad.evaluation.resampling import Interval

RECORDS = {
    "CXR": {"use_clinical": False},
    "true": {"use_clinical": True, "fusion": "film"},
    "permuted": {"use_clinical": True, "clinical_records": "permuted"},
    "constant": {"use_clinical": True, "clinical_records": "constant"},
    "alone": {"use_clinical": True, "image_input": "training_mean"},
}


def _pair(
    reference: str, other: str, low: float, *, seeds: int = 5, verdict: str = "not settled", timing: str = ""
) -> Comparison:
    runs = [SimpleNamespace(run=SimpleNamespace(setup=RECORDS[arm])) for arm in (reference, other)]
    difference = SimpleNamespace(pointwise=Interval(low + 0.05, low, low + 0.1), seeds=seeds)
    found: Any = SimpleNamespace(
        setting="FiLM", reference=reference, other=other, pairs=[tuple(runs)], verdict=verdict,
        statistics=SimpleNamespace(difference=difference), timing=timing,
    )  # fmt: skip
    return cast(Comparison, found)


def test_both_comparisons_have_to_be_ahead() -> None:
    (said,) = benefits([_pair("CXR", "true", 0.02), _pair("permuted", "true", 0.01), _pair("constant", "true", -1)])
    assert said.helps
    assert said.sentence == (
        "Clinical data help: true is ahead of CXR by +0.070 [+0.020, +0.120] and permuted by +0.060 [+0.010, +0.110], "
        "each at 5 % by itself (intersection-union)."
    )


@pytest.mark.parametrize(("image", "permuted"), [(-0.01, 0.02), (0.02, -0.01), (-0.01, -0.01)])
def test_one_that_is_not_is_named(image: float, permuted: float) -> None:
    (said,) = benefits([_pair("CXR", "true", image), _pair("permuted", "true", permuted)])
    assert not said.helps
    assert ("of CXR" in said.sentence) == (image < 0)
    assert ("of permuted" in said.sentence) == (permuted < 0)
    assert said.sentence.startswith("Not shown that clinical data help: true is not settled to be ahead of ")


def test_when_the_columns_were_measured_stands_beside_the_claim() -> None:
    (said,) = benefits([_pair("CXR", "true", 0.02, timing="When?"), _pair("permuted", "true", 0.01, timing="When?")])
    assert said.sentence.endswith("(intersection-union). When?")


def test_one_seed_and_figures_without_a_verdict_claim_nothing() -> None:
    one = benefits([_pair("CXR", "true", 0.1, seeds=1), _pair("permuted", "true", 0.1, seeds=1)])
    barred = benefits([_pair("CXR", "true", 0.1, verdict="no verdict"), _pair("permuted", "true", 0.1)])
    assert [said.helps for said in (*one, *barred)] == [False, False]
    assert "one seed" in one[0].sentence


def test_nothing_is_said_without_both_controls_or_of_another_arm() -> None:
    assert benefits([_pair("CXR", "true", 0.1)]) == []
    assert benefits([_pair("permuted", "true", 0.1), _pair("alone", "true", 0.1)]) == []
    assert benefits([_pair("CXR", "permuted", 0.1), _pair("constant", "permuted", 0.1)]) == []
