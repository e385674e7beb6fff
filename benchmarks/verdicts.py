"""How often verdicts on differences are wrong, and how often they are right: simulations with a known truth.

Every cell is seeded and calls ``mmad.evaluation.differences`` as the commands do. Printed are the share of repeats, its
standard error and the one-sided 95 % bound. Run it with ``python benchmarks/verdicts.py``; its figures are in
benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr
from scipy.stats import beta

from mmad.evaluation.differences import (
    LEAST_LOOK,
    Difference,
    FamilyPair,
    Goal,
    PairSample,
    differences,
    mean_difference,
)
from mmad.evaluation.resampling import Interval
from mmad.evaluation.sequential import nominal_levels

PATIENTS = 60
#: Standard error of a difference in AP that patients alone make, and the sd of a difference between seeds.
PATIENT_ERROR, SEED_SD = 0.03, 0.06
#: Differences of the tutorial's five seeds: real runs of the phantom.
PHANTOM = (0.048, 0.215, 0.142, 0.055, 0.119)
NONE = Interval(math.nan, math.nan, math.nan)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A family of pairs: ``pairs`` of ``seeds`` each, the first by ``effect`` apart.

    ``noise`` is the model of what a seed adds to an arm: ``normal``, ``heavy`` (t with 3 degrees of freedom) or
    ``phantom`` (drawn from real runs). ``loud`` multiplies the seeds' sd in the last arm. ``baselines``: so many
    reference arms serve all pairs in turn; none: each pair has one of its own. ``goal``: of all pairs.
    """

    pairs: int = 1
    seeds: int = 3
    effect: float = 0.0
    noise: str = "normal"
    loud: float = 1.0
    patient_error: float = PATIENT_ERROR
    seed_sd: float = SEED_SD
    baselines: int = 0
    goal: Goal | None = None

    def family(self, rng: np.random.Generator) -> list[FamilyPair]:
        arms = rng.permuted(self._seeds(rng, (2, self.pairs, self.seeds)), axis=0)
        arms[1, -1] *= self.loud
        arms[1, 0] += self.effect
        served = [k % (self.baselines or self.pairs) for k in range(self.pairs)]
        arms[0] = arms[0, served]
        # what each patient does to a pair, alike for all its seeds
        drawn = rng.normal(0, self.patient_error * math.sqrt(PATIENTS), (self.pairs, PATIENTS))
        if self.noise == "heavy":
            drawn = drawn * np.sqrt(1 / rng.standard_gamma(1.5, drawn.shape) / 2)
        found = []
        for k in range(self.pairs):
            mean = drawn[k].mean()
            without = np.tile((drawn[k].sum() - drawn[k]) / (PATIENTS - 1), (self.seeds, 1))
            figures = tuple(arms[0, k].tolist()), tuple((arms[1, k] + mean).tolist())
            rows = tuple(map(tuple, without.tolist()))
            sample = PairSample(*figures, rows, NONE, (), 1.0, PATIENTS, PATIENTS, f"patients {k}")
            numbers = tuple(range(self.seeds))
            reference = tuple(("reference", served[k], n) for n in numbers)
            found.append(FamilyPair(sample, reference, tuple(("other", k, n) for n in numbers), numbers, self.goal))
        return found

    def _seeds(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Noise of arms, such that a difference of two has the sd of the world."""
        size = self.seed_sd / math.sqrt(2)
        if self.noise == "heavy":
            return rng.standard_t(3, shape) * size / math.sqrt(3)
        if self.noise == "phantom":
            known = (np.array(PHANTOM) - np.mean(PHANTOM)) * (self.seed_sd / SEED_SD)
            signs = rng.choice([-1.0, 1.0], shape)  # of arms that differ by nothing either may be the other
            return signs * rng.choice(known / math.sqrt(2), shape)
        return rng.normal(0, size, shape)


@dataclass(frozen=True)
class Share:
    """A share of repeats with its standard error and one-sided 95 % bounds (Clopper & Pearson)."""

    hits: int
    repeats: int

    @property
    def value(self) -> float:
        return self.hits / self.repeats

    @property
    def error(self) -> float:
        return math.sqrt(self.value * (1 - self.value) / self.repeats)

    @property
    def upper(self) -> float:
        return 1.0 if self.hits == self.repeats else float(beta.ppf(0.95, self.hits + 1, self.repeats - self.hits))

    @property
    def lower(self) -> float:
        return 0.0 if self.hits == 0 else float(beta.ppf(0.05, self.hits, self.repeats - self.hits + 1))


def claimed(found: Difference, truth: float = 0.0) -> bool:
    """Whether the interval leaves ``truth`` out."""
    return not (math.isnan(found.ap.low) or found.ap.low <= truth <= found.ap.high)


def any_claim(found: list[Difference]) -> bool:
    return any(map(claimed, found))


def pointwise_claim(found: list[Difference]) -> bool:
    """Whether the first pair is settled by itself."""
    return not found[0].pointwise.low <= 0 <= found[0].pointwise.high


def simulate(world: World, hit: Callable[[list[Difference]], bool], repeats: int, seed: int = 0) -> Share:
    """The share of ``repeats`` families for which ``hit`` is true."""
    rng = np.random.default_rng([seed, repeats])
    return Share(sum(hit(differences(world.family(rng), resamples=400, draws=4000)) for _ in range(repeats)), repeats)


def until_settled(repeats: int, most: int = 10, seed: int = 0) -> Share:
    """False claims of who adds a seed at a time, from three up to ``most``, until the difference is settled."""
    rng, hits = np.random.default_rng([seed, repeats, most]), 0
    for _ in range(repeats):
        (whole,) = World(seeds=most).family(rng)
        for seeds in range(3, most + 1):
            sample = whole.sample
            part = PairSample(
                *(sample.reference[:seeds], sample.other[:seeds], sample.without[:seeds]),
                *(sample.ar, (), 1.0, PATIENTS, PATIENTS, sample.cohort),
            )
            one = FamilyPair(part, whole.reference[:seeds], whole.other[:seeds], whole.seeds[:seeds])
            if any_claim(differences([one])):
                hits += 1
                break
    return Share(hits, repeats)


def false_claims(repeats: int) -> Iterator[tuple[str, Share]]:
    """Single pairs and families without any difference; with one seed of two networks that are equally good."""
    for noise in ("normal", "heavy", "phantom"):
        for seeds in (1, 3, 5):
            world = World(seeds=seeds, noise=noise, seed_sd=0 if seeds == 1 else SEED_SD)
            yield f"1 pair, seeds {seeds}, {noise}", simulate(world, any_claim, repeats)
    for seeds in (3, 5):
        world = World(seeds=seeds, patient_error=0.01)
        yield f"1 pair, seeds {seeds}, patients add little", simulate(world, any_claim, repeats)
    for noise in ("normal", "phantom"):
        for seeds in (2, 3, 5):
            world = World(pairs=20, seeds=seeds, noise=noise)
            yield f"20 pairs, seeds {seeds}, {noise}", simulate(world, any_claim, repeats)
    for seeds in (2, 3, 5):
        world = World(pairs=20, seeds=seeds, loud=3)
        yield f"20 pairs, seeds {seeds}, one arm's sd threefold", simulate(world, any_claim, repeats)
    for pairs, baselines, seeds in ((10, 1, 3), (20, 4, 2), (20, 4, 3)):
        world = World(pairs=pairs, seeds=seeds, baselines=baselines)
        yield f"{pairs} pairs, seeds {seeds}, {baselines} baselines", simulate(world, any_claim, repeats)


def coverage(repeats: int) -> Iterator[tuple[str, Share]]:
    """Intervals of a difference of 0.10 that hold it."""
    hit = partial(_covers, truth=0.1)
    worlds = [World(effect=0.1, noise=noise, seeds=seeds) for noise in ("normal", "phantom") for seeds in (3, 5)]
    worlds.append(World(effect=0.1, seeds=1, seed_sd=0))
    for w in worlds:
        yield f"1 pair, seeds {w.seeds}, {w.noise}", simulate(w, hit, repeats, seed=1)


def _covers(found: list[Difference], truth: float) -> bool:
    return not claimed(found[0], truth)


def power(repeats: int) -> Iterator[tuple[str, Share]]:
    """A true difference of 0.20 that is settled."""
    for pairs, seeds in ((10, 2), (20, 2), (1, 3), (1, 5)):
        world = World(pairs=pairs, seeds=seeds, effect=0.2)
        yield f"1 of {pairs} pairs, seeds {seeds}, alone", simulate(world, pointwise_claim, repeats, seed=2)
        if pairs > 1:
            share = simulate(world, lambda d: claimed(d[0]), repeats, seed=2)
            yield f"1 of {pairs} pairs, seeds {seeds}, as one of the family", share


def goals(repeats: int) -> Iterator[tuple[str, Share]]:
    """Equivalence within 0.10 and non-inferiority by it, 12 seeds and 150 patients: at the margin and at no difference.

    The claim at the margin is false, and true where the arms differ by nothing.
    """
    false = ("equivalence", 0.1), ("non-inferiority", -0.1)
    for name, effect in (*false, *((name, 0.0) for name, _ in false)):
        for noise in ("normal", "phantom"):
            world = World(seeds=12, effect=effect, noise=noise, patient_error=PATIENT_ERROR * math.sqrt(60 / 150))
            share = simulate(replace(world, goal=Goal(name, 0.1)), _reached, repeats, seed=4)
            yield f"{name} within 0.10, true difference {effect:+.2f}, {noise}", share


def _reached(found: list[Difference]) -> bool:
    return found[0].decision is not None and found[0].decision.reached


@dataclass(frozen=True)
class Looks:
    """Seeds until settled: claims, those of all seeds at once, and the part of their runs that were trained."""

    claims: Share
    fixed: Share
    runs: float


def looked_at(
    pairs: int, effect: float, patient_error: float, repeats: int, *, together: bool = False, seed: int = 5
) -> Looks:
    """Pairs of 3 to 12 seeds, the first ``effect`` apart; ``together``: at least one claim of all of them.

    The figures of ``mmad.evaluation.differences`` for all repeats at once. A family's pairs share no run or patient, so
    that each has the alpha of the largest of so many.
    """
    rng, first, most = np.random.default_rng([seed, repeats]), 3, 12
    drawn = rng.normal(0, SEED_SD, (repeats, pairs, most)) + rng.normal(0, patient_error, (repeats, pairs, 1))
    drawn[:, 0] += effect
    shared = patient_error**2 * rng.chisquare(PATIENTS - 1, (repeats, pairs)) / (PATIENTS - 1)
    alpha = 1 - 0.95 ** (1 / pairs) if together else 0.05
    p, fractions = np.zeros((2, repeats, pairs, most - first + 1))
    for look, seeds in enumerate(range(first, most + 1)):
        own = drawn[..., :seeds].var(axis=2, ddof=1) / 2
        behind = pairs * (seeds - 1)
        if behind < LEAST_LOOK:
            p[..., look] = 1
            continue
        square = np.maximum(own, own.mean(axis=1, keepdims=True))
        assumed = square * (1 + 8 / behind)
        freedom = behind * ((assumed + seeds * shared / 2) / assumed) ** 2
        t = np.abs(drawn[..., :seeds].mean(axis=2)) / np.sqrt(2 * square / seeds + shared)
        p[..., look] = 2 * stdtr(freedom, -t)
        fractions[..., look] = (shared + 2 * assumed / most) / (shared + 2 * assumed / seeds)
    of = slice(None) if together else slice(1)
    close = np.zeros((repeats, pairs), dtype=bool)
    close[:, of] = (p[:, of] < alpha).any(axis=2)  # no look may spend more
    settled = np.zeros(p.shape, dtype=bool)
    settled[close] = p[close] < nominal_levels(fractions[close], alpha)
    stopped = np.where(settled.any(axis=2), settled.argmax(axis=2) + first, most)
    claims = [int(found[:, of].any(axis=1).sum()) for found in (settled.any(axis=2), p[..., -1] < alpha)]
    return Looks(Share(claims[0], repeats), Share(claims[1], repeats), float(stopped[:, of].mean()) / most)


def sequential(repeats: int) -> Iterator[tuple[str, Looks]]:
    """Seeds until settled: nothing between the arms, then one standard deviation of the seeds."""
    for error in (0.003, 0.01, 0.03):
        yield f"1 pair, no difference, patients {error}", looked_at(1, 0.0, error, repeats)
    for error in (0.003, 0.01, 0.03):
        yield f"10 pairs, no difference, patients {error}", looked_at(10, 0.0, error, repeats, together=True)
    for pairs in (1, 10):
        for error in (0.003, 0.01, 0.03):
            name = f"1 of {pairs} pairs, one sd, patients {error}"
            yield name, looked_at(pairs, SEED_SD, error, repeats)


def permutations(repeats: int, seed: int = 6) -> Iterator[tuple[str, Share]]:
    """One arm against three permutations of the records, which differ by nothing but their own spread.

    Claims of the mean over the permutations, then of the first of them as if it were all there are. ``spread`` is the
    sd of permutations, in sds of what a seed adds to an arm.
    """
    size = SEED_SD / math.sqrt(2)
    for seeds in (3, 5):
        for spread in (0, 1, 2, 4):
            rng, hits = np.random.default_rng([seed, repeats, seeds, spread]), [0, 0]
            for _ in range(repeats):
                (other,) = World(seeds=seeds, patient_error=0.01).family(rng)
                arms = [rng.normal(0, spread * size) + rng.normal(0, size, seeds) for _ in range(3)]
                family = [
                    replace(
                        other,
                        sample=replace(other.sample, reference=tuple(one.tolist())),
                        reference=tuple((f"permuted {n}", k) for k in range(seeds)),
                    )
                    for n, one in enumerate(arms)
                ]
                hits[0] += mean_difference(family, [0, 1, 2]).p < 0.05
                hits[1] += mean_difference(family, [0]).p < 0.05
            for name, count in zip(("mean of 3", "one of them"), hits, strict=True):
                yield f"seeds {seeds}, permutations' sd {spread}, {name}", Share(count, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    parts = {
        "goals": goals, "coverage": coverage, "power": power, "false claims": false_claims,
        "false claims about permutations": permutations,
    }  # fmt: skip
    for title, cells in parts.items():
        print(title)
        for name, share in cells(repeats):
            bound = f"<= {share.upper:.3f}" if title.startswith("false") else f">= {share.lower:.3f}"
            print(f"  {name:48} {share.value:.3f} ({share.error:.3f}) {bound}", flush=True)
    print("seeds until settled: claims, those of 12 seeds at once, part of their runs")
    for name, looks in sequential(repeats):
        print(f"  {name:48} {looks.claims.value:.3f} ({looks.claims.error:.3f}) <= {looks.claims.upper:.3f}", end=" ")
        print(f"{looks.fixed.value:.3f} {looks.runs:.2f}", flush=True)
    share = until_settled(repeats)
    print(f"a seed at a time from 3 to 10 until settled: {share.value:.3f} ({share.error:.3f})")


if __name__ == "__main__":
    main()
