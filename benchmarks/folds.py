"""How often verdicts over folds are wrong: two learners without any difference, retrained on every fold.

The variance over folds is an assumption about how training sets that overlap go together, so nothing is drawn from it
here: patients are drawn, dealt out by ``mmad.data.folds``, and every learner is fitted to every fold's training split.
Both arms have the same learner; each reads columns of its own, which tell the same of the findings and differ in noise.
On an external data set all folds' learners are tested on the same other patients.
Run it with ``python benchmarks/folds.py``; docs/evaluation.md has the figures.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmad.data.folds import PARTS, dealt, held_out_ratio, shared_training
from mmad.evaluation.differences import (
    Difference,
    FoldedPair,
    FoldedSample,
    PairSample,
    differences,
    on_common_patients,
)
from mmad.evaluation.resampling import Interval

sys.path.insert(0, str(Path(__file__).parent))

from verdicts import Share, claimed

FINDINGS, COLUMNS, HIDDEN, NEAREST = 3, 8, 24, 5
#: Groups of external patients that the jackknife leaves out.
GROUPS = 60
NONE = Interval(math.nan, math.nan, math.nan)
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class FoldWorld:
    """A family of ``pairs``, cross-validated: ``patients`` in ``folds`` with ``seeds`` each.

    ``learner`` is ``features`` (ridge regression on random rectified features; the seed draws them) or ``neighbours``
    (five nearest in a resample of the training split; the seed draws it), or ``fixed``: the same features for all, so
    that the training patients decide everything. ``effect`` makes the columns of the first pair's second arm tell more.
    ``corrected`` says whether a variance is taken that allows for training patients that folds share, or s²/K. With
    ``outside`` so many patients of an external data set are what all folds are tested on.
    """

    patients: int = 120
    folds: int = 5
    seeds: int = 1
    pairs: int = 1
    learner: str = "features"
    effect: float = 0.0
    corrected: bool = True
    outside: int = 0

    def claims(self, rng: np.random.Generator) -> list[Difference]:
        """The verdicts on one draw of patients."""
        holds = rng.random((self.patients, FINDINGS)) < (0.4, 0.3, 0.2)
        while holds.sum(axis=0).min() < self.folds:  # a plan refuses a fold without a finding
            holds = rng.random((self.patients, FINDINGS)) < (0.4, 0.3, 0.2)
        told = rng.normal(0, 0.7, (FINDINGS, COLUMNS))  # what columns tell: the same in both arms
        if self.outside:
            return self._outside(rng, holds, told)
        arms = [
            [self._columns(rng, holds, told, self.effect * (arm == 1 and pair == 0)) for arm in range(2)]
            for pair in range(self.pairs)
        ]
        fold = dealt(holds, [1] * self.folds, rng.permutation(self.patients).tolist())
        samples: list[list[PairSample]] = [[] for _ in arms]
        for k in range(self.folds):
            train, test = self._train(rng, holds, fold, k), np.flatnonzero(fold == k)
            for pair, both in enumerate(arms):
                figures = [
                    tuple(
                        float(mean_ap(self._scores(rng, columns, holds, train, columns[test]), holds[test])[0])
                        for _ in range(self.seeds)
                    )
                    for columns in both
                ]
                samples[pair].append(PairSample(figures[0], figures[1], (), NONE, (), math.nan, len(test), 0, ""))
        ratio = held_out_ratio(self.folds) if self.corrected else 0.0
        return differences([FoldedPair(FoldedSample(tuple(found), self.folds, ratio)) for found in samples])

    def _outside(self, rng: np.random.Generator, holds: Flags, told: Floats) -> list[Difference]:
        """The difference of one pair on the external patients."""
        there = rng.random((self.outside, FINDINGS)) < (0.4, 0.3, 0.2)
        sides = [
            (self._columns(rng, holds, told, effect), self._columns(rng, there, told, effect))
            for effect in (0.0, self.effect)
        ]
        fold = dealt(holds, [1] * self.folds, rng.permutation(self.patients).tolist())
        found: list[list[Floats]] = [[], []]
        for k in range(self.folds):
            train = self._train(rng, holds, fold, k)
            for arm, (columns, new) in enumerate(sides):
                scores = [self._scores(rng, columns, holds, train, new) for _ in range(self.seeds)]
                found[arm] += [mean_ap(one, there, groups=GROUPS) for one in scores]
        reference, other = (np.stack(side) for side in found)
        without = tuple(map(tuple, (other - reference)[:, 1:].tolist()))
        figures = tuple(reference[:, 0].tolist()), tuple(other[:, 0].tolist())
        sample = PairSample(*figures, without, NONE, (), math.nan, self.outside, 0, "")
        folds = [k for k in range(self.folds) for _ in range(self.seeds)]
        return [on_common_patients(sample, folds, shared_training(self.folds) if self.corrected else 0.0)]

    def _train(self, rng: np.random.Generator, holds: Flags, fold: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        others = np.flatnonzero(fold != k)
        part = dealt(holds[others], [1, PARTS - 1], rng.permutation(len(others)).tolist())
        found: NDArray[np.int64] = others[part == 1]
        return found

    def _columns(self, rng: np.random.Generator, holds: Flags, told: Floats, effect: float) -> Floats:
        found: Floats = (1 + effect) * holds @ told + rng.normal(0, 1, (len(holds), COLUMNS))
        return found

    def _scores(
        self, rng: np.random.Generator, columns: Floats, holds: Flags, train: NDArray[np.int64], new: Floats
    ) -> Floats:
        """(P, findings) of a learner that is fitted to ``train``, for patients with the columns ``new``."""
        if self.learner != "neighbours":
            draw = np.random.default_rng(0) if self.learner == "fixed" else rng
            layer, shift = draw.normal(0, 1, (COLUMNS, HIDDEN)) / math.sqrt(COLUMNS), draw.normal(0, 1, HIDDEN)
            seen, there = (np.maximum(one @ layer + shift, 0) for one in (columns[train], new))
            weights = np.linalg.solve(
                seen.T @ seen + np.eye(HIDDEN), seen.T @ (holds[train] - holds[train].mean(axis=0))
            )
            scores: Floats = there @ weights
            return scores
        drawn = rng.choice(train, len(train))
        far = ((new[:, None] - columns[drawn][None]) ** 2).sum(axis=2)
        near = np.argpartition(far, NEAREST, axis=1)[:, :NEAREST]
        scores = holds[drawn[near]].mean(axis=1) - 1e-3 * np.take_along_axis(far, near, axis=1).mean(axis=1)[:, None]
        return scores


def mean_ap(scores: Floats, holds: Flags, groups: int = 0) -> Floats:
    """(1 + groups,) mean AP over the findings, of all patients and without each of so many groups of them."""
    weights = np.ones((1 + groups, len(holds)))
    if groups:
        weights[1 + np.arange(len(holds)) % groups, np.arange(len(holds))] = 0.0
    found = []
    for k in range(FINDINGS):
        order = np.argsort(-scores[:, k], kind="stable")
        hit = weights[:, order] * holds[order, k]
        precision = np.cumsum(hit, axis=1) / np.maximum(np.cumsum(weights[:, order], axis=1), 1)
        found.append((precision * hit).sum(axis=1) / hit.sum(axis=1))
    mean: Floats = np.mean(found, axis=0)
    return mean


def share(world: FoldWorld, repeats: int, *, first: bool = False, seed: int = 0) -> Share:
    """The repeats in which a pair is settled; ``first``: the first one."""
    rng = np.random.default_rng([seed, repeats])
    found = (world.claims(rng) for _ in range(repeats))
    return Share(sum(any(map(claimed, one[:1] if first else one)) for one in found), repeats)


def cells() -> Iterator[tuple[str, FoldWorld]]:
    """The worlds without any difference."""
    for learner in ("features", "neighbours"):
        for folds in (3, 5, 10):
            for seeds in (1, 3):
                yield (
                    f"1 pair, {folds} folds, seeds {seeds}, {learner}",
                    FoldWorld(folds=folds, seeds=seeds, learner=learner),
                )
    for patients in (60, 300):
        yield f"1 pair, 5 folds, {patients} patients, features", FoldWorld(patients=patients)
    for pairs in (5, 10):
        yield f"{pairs} pairs, 5 folds, features", FoldWorld(pairs=pairs)


def external_cells() -> Iterator[tuple[str, FoldWorld]]:
    """The same on an external data set; ``fixed`` on many patients is the hardest."""
    for learner, folds, seeds, outside in (
        ("features", 5, 1, 100), ("features", 5, 3, 100), ("neighbours", 5, 1, 100), ("fixed", 3, 1, 300),
        ("fixed", 5, 1, 300), ("fixed", 10, 1, 300),
    ):  # fmt: skip
        world = FoldWorld(folds=folds, seeds=seeds, learner=learner, outside=outside)
        yield f"external, {outside} patients, {folds} folds, seeds {seeds}, {learner}", world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    print("no difference: at least one pair is settled")
    for name, world in (*external_cells(), *cells()):
        found = share(world, repeats)
        print(f"  {name:60} {found.value:.3f} ({found.error:.3f}) <= {found.upper:.3f}", flush=True)
        if world.pairs == 1 and world.seeds == 1:
            plain = share(replace(world, corrected=False), repeats)
            print(f"  {'  by s²/K':60} {plain.value:.3f} ({plain.error:.3f})", flush=True)
    print("a true difference: the first pair is settled")
    for effect in (0.3, 0.6):
        found = share(FoldWorld(effect=effect, outside=100), repeats, seed=1)
        print(f"  {effect}, external, 100 patients, 5 folds {'':24} {found.value:.3f} ({found.error:.3f})", flush=True)
        for folds in (3, 5, 10):
            found = share(FoldWorld(folds=folds, effect=effect), repeats, first=True, seed=1)
            print(
                f"  {effect}, {folds} folds {'':28} {found.value:.3f} ({found.error:.3f}) >= {found.lower:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
