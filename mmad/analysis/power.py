"""What a study will take, before it trains: seeds, patients, and the smallest effect or margin that it can show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import chdtri  # type: ignore[import-untyped]

from mmad.analysis.evaluation_target import DetectionStore
from mmad.analysis.verdicts import compare_ablation
from mmad.base.errors import EvaluationError
from mmad.base.formatting import plural
from mmad.base.json_values import picked
from mmad.config.hypothesis import Hypothesis
from mmad.evaluation.differences import EFFECTS, Goal, power_of, provable, seeds_for
from mmad.store.store import Store

_MOST_PATIENTS = 1_000_000


@dataclass(frozen=True)
class Spread:
    """How far differences of two arms vary: ``seeds`` is the variance between seeds, with ``freedom`` degrees of
    freedom (None: stated), ``error`` the standard error that so many ``patients`` leave."""

    seeds: float
    freedom: int | None
    error: float
    patients: int
    source: str


@dataclass(frozen=True)
class Planned:
    """A number, and what it is at the ends of the variance's 95 % interval; None: none does, NaN: not known."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class EffectPlan:
    """What shows one effect, or margin: seeds on these patients, patients with the planned seeds, and the power."""

    effect: float
    seeds: Planned
    patients: Planned
    power: Planned


@dataclass(frozen=True)
class PowerPlan:
    """A study as it is planned; ``smallest`` is the effect, or margin, that it shows with the power asked for."""

    hypothesis: Hypothesis
    spread: Spread
    pairs: int
    smallest: Planned
    effects: tuple[EffectPlan, ...]


def recorded_spread(store: Store, ablation: str) -> Spread:
    """From the finished pairs of an earlier ablation, or a pilot.

    Raises:
        StoreError: no such ablation.
        EvaluationError: no pair of several seeds is finished.
    """
    found, _ = compare_ablation(store, DetectionStore(), ablation)
    known = [one.statistics.difference for one in found if one.statistics is not None]
    several = [one for one in known if one is not None and one.variance_seeds is not None and one.lent_freedom]
    if not several:
        hint = "name another with --pilot, or state --seed-sd, --patient-error and --patients"
        raise EvaluationError("no pair of several seeds is finished", where=f"ablation {ablation}", hint=hint)
    first = max(several, key=lambda one: one.seeds)
    assert first.variance_seeds is not None
    size = f"{plural(first.lent + 1, 'pair')} of {ablation}"
    error = math.sqrt(first.variance_patients)
    return Spread(first.variance_seeds * first.seeds, first.lent_freedom, error, first.patients, size)


def power_plan(hypothesis: Hypothesis, spread: Spread, pairs: int) -> PowerPlan:
    """The plan of a study whose ``pairs`` share their variance between seeds.

    Args:
        hypothesis: filled in, as an expanded ablation has it.
    """
    goal, seeds = Goal(hypothesis.goal, hypothesis.margin or 0.0, hypothesis.alpha), hypothesis.seeds or 3
    wanted, error = hypothesis.power, spread.error**2

    def least(variance: float, patients: int) -> float:
        return provable(seeds, variance, error * spread.patients / patients, pairs=pairs, goal=goal, power=wanted)

    def people(effect: float, variance: float) -> int | None:
        low, high = 1, _MOST_PATIENTS
        if effect < least(variance, high):
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if effect >= least(variance, middle) else (middle + 1, high)
        return low

    def effect_plan(effect: float) -> EffectPlan:
        return EffectPlan(
            effect,
            _with_ends(spread, lambda v: seeds_for(effect, v, error, pairs=pairs, goal=goal, power=wanted)),
            _with_ends(spread, lambda v: people(effect, v)),
            _with_ends(spread, lambda v: power_of(effect, seeds, v, error, pairs=pairs, goal=goal)),
        )

    declared = hypothesis.margin if hypothesis.margin is not None else hypothesis.smallest_effect
    effects: Sequence[float] = EFFECTS if declared is None else (declared,)
    smallest = _with_ends(spread, lambda variance: least(variance, spread.patients))
    return PowerPlan(hypothesis, spread, pairs, smallest, tuple(map(effect_plan, effects)))


def _with_ends(spread: Spread, of: Callable[[float], float | None]) -> Planned:
    """Of the variance between seeds, and of the ends of its 95 % interval by χ²; stated ones have none."""
    if spread.freedom is None:
        return Planned(of(spread.seeds), math.nan, math.nan)
    ends = [of(spread.seeds * spread.freedom / float(chdtri(spread.freedom, tail))) for tail in (0.025, 0.975)]
    ends.sort(key=lambda end: math.inf if end is None else end)
    return Planned(of(spread.seeds), *ends)


def plan_lines(plan: PowerPlan) -> list[str]:
    """The plan in words, a line each."""
    asked, spread = plan.hypothesis, plan.spread
    seeds, people = plural(asked.seeds or 3, "seed"), plural(spread.patients, "patient")
    freedom = "stated" if spread.freedom is None else f"{spread.freedom} df"
    what = "margin" if asked.goal != "difference" else "effect"
    lines = [
        f"Goal: {asked.goal}, {asked.compare[1]} against {asked.compare[0]} in {asked.setting}; alpha {asked.alpha:g}, "
        f"power {asked.power:g}, {seeds}, {plural(plan.pairs, 'pair')}",
        f"Spread of differences: {math.sqrt(spread.seeds):.4f} between seeds ({freedom}), standard error over {people} "
        f"{spread.error:.4f}; {spread.source}",
        f"Smallest provable {what} with {seeds} and {people}: {_words(plan.smallest, '.3f')}",
    ]
    lines += [
        f"To show {one.effect:g}: seeds (with {people}): {_words(one.seeds, ',.0f')}; patients (with {seeds}): "
        f"{_words(one.patients, ',.0f')}; power as planned: {_words(one.power, '.2f')}"
        for one in plan.effects
    ]
    return lines


def plain_plan(plan: PowerPlan) -> dict[str, Any]:
    """The plan as plain JSON."""
    return {"hypothesis": plan.hypothesis.content(), **picked(plan, "spread", "pairs", "smallest", "effects")}


def _words(found: Planned, form: str) -> str:
    def one(number: float | None) -> str:
        return "none" if number is None else f"{number:{form}}"

    if found.low is not None and math.isnan(found.low):
        return one(found.value)
    return f"{one(found.value)} [{one(found.low)} to {one(found.high)}]"
