"""Verdicts are wrong as seldom, and right as often, as the manual says: cells of benchmarks/verdicts.py."""

from __future__ import annotations

import numpy as np
import pytest
from verdicts import World, any_claim, pointwise_claim, simulate

from mmad.evaluation.differences import differences


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["normal", "heavy", "phantom"])
def test_a_single_pair_without_a_difference_is_seldom_settled(noise: str) -> None:
    assert simulate(World(seeds=3, noise=noise), any_claim, 2000).upper <= 0.06


@pytest.mark.slow
def test_a_pair_of_two_networks_that_are_equally_good_is_seldom_named() -> None:
    assert simulate(World(seeds=1, seed_sd=0), any_claim, 2000).upper <= 0.06


@pytest.mark.slow
def test_a_family_without_a_difference_is_seldom_settled() -> None:
    assert simulate(World(pairs=20, seeds=2), any_claim, 400).value <= 0.06
    assert simulate(World(pairs=20, seeds=3, loud=3), any_claim, 400).value <= 0.08


@pytest.mark.slow
def test_two_seeds_that_borrow_their_variance_settle_what_is_there() -> None:
    assert simulate(World(pairs=10, seeds=2, effect=0.2), pointwise_claim, 1000, seed=2).lower >= 0.85


def test_two_seeds_by_themselves_are_never_settled() -> None:
    rng = np.random.default_rng(0)
    assert not any(any_claim(differences(World(seeds=2, effect=0.3).family(rng))) for _ in range(50))
