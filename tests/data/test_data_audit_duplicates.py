"""Near pairs of hashes: all that a search of all pairs finds, without one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.data.audit.images import NEAR_BITS, connected, near_pairs


def all_pairs(hashes: np.ndarray) -> set[tuple[int, int]]:
    bits = np.unpackbits(hashes, axis=1)
    apart = (bits[:, None] != bits[None]).sum(axis=-1)
    return {(int(i), int(j)) for i, j in np.argwhere(np.triu(apart <= NEAR_BITS, 1))}


@examples(30)
@given(seed=st.integers(0, 2**32 - 1), flips=st.integers(0, 24))
def test_every_near_pair_is_found(seed: int, flips: int) -> None:
    rng = np.random.default_rng(seed)
    bits = np.repeat(rng.random((6, 256)) < 0.5, 3, axis=0)
    for row in bits:
        row[rng.choice(256, flips // 2, replace=False)] ^= True
    hashes = np.packbits(bits, axis=1)
    found = {tuple(pair) for pair in near_pairs(hashes).tolist()}
    wanted = all_pairs(hashes)
    assert found <= wanted
    assert connected(sorted(found)) == connected(sorted(wanted))  # equal hashes are chained, not paired


def test_nothing_and_one_have_no_pairs() -> None:
    assert len(near_pairs(np.zeros((0, 32), dtype=np.uint8))) == 0
    assert len(near_pairs(np.zeros((1, 32), dtype=np.uint8))) == 0


def test_a_thousand_equal_pictures_are_one_chain() -> None:
    assert near_pairs(np.full((1000, 32), 7, dtype=np.uint8)).tolist() == [[i, i + 1] for i in range(999)]


def test_groups_are_joined_by_what_they_share() -> None:
    assert connected([(3, 1), (5, 4), (1, 9)]) == [[1, 3, 9], [4, 5]]


@pytest.mark.slow
def test_the_one_pair_of_a_hundred_thousand_is_found() -> None:
    hashes = np.random.default_rng(0).integers(0, 256, (100_000, 32), dtype=np.uint8)
    hashes[-1] = hashes[0]
    assert near_pairs(hashes).tolist() == [[0, 99_999]]
