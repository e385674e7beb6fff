"""The search for each arm's setup, equal for all of them: the ``[tune]`` table of an ablation file."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from mmad.base.formatting import plural
from mmad.config.named_parts import PARTS
from mmad.config.setup import ModelSetup

#: TrialValues of the fields that are searched, by name.
TrialValues = Mapping[str, Any]
#: Digits of a number that is drawn, and at most of the ends of its range.
_DIGITS = 4
#: Fields that decide what a run starts from, reads or measures: they make arms and settings, not trials.
_NEVER = frozenset(
    {"pretrained", "use_clinical", "use_custom_model", "dataset_mode", "image_input", "clinical_records",
     "clinical_permutation", "use_early_stop_model", "record_training_performance", "measure_test", *PARTS}
)  # fmt: skip


class TuneRange(BaseModel):
    """Numbers from one to another, both included."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    low: float = Field(alias="from", description="The least number.")
    high: float = Field(alias="to", description="The greatest number.")
    log: bool = Field(False, description="Draw evenly on the logarithmic scale, as for learning rates.")

    def words(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


@dataclass(frozen=True)
class Tuning:
    """How many trials each arm has in each setting, over which values, chosen by validation AP.

    Args:
        trials: of each arm.
        sampler: ``random``, all drawn beforehand and the same for all arms, or ``tpe``, each after those before it.
        seed: of the search, and of the training of every trial.
        space: a range, or the values themselves, by field.
    """

    trials: int
    sampler: Literal["random", "tpe"]
    seed: int
    space: Mapping[str, TuneRange | tuple[Any, ...]]

    def combinations(self) -> float:
        """How many trials differ from one another; infinite where a range of numbers that are not whole holds 0."""
        return math.prod(self._size(name, within) for name, within in self.space.items())

    @staticmethod
    def _size(name: str, within: TuneRange | tuple[Any, ...]) -> float:
        if isinstance(within, tuple):
            return len(within)
        if is_whole(name):
            return int(within.high) - int(within.low) + 1
        if within.low <= 0 <= within.high:
            return math.inf
        return abs(_rank(within.high) - _rank(within.low)) + 1

    def drawn(self) -> tuple[TrialValues, ...]:
        """The trials of the sampler ``random``, no two alike."""
        draw = random.Random(self.seed)
        found: dict[str, TrialValues] = {}
        while len(found) < self.trials:
            values = {name: _drawn(draw, name, within) for name, within in self.space.items()}
            found.setdefault(json.dumps(values, sort_keys=True), values)
        return tuple(found.values())

    def read(self, setup: Mapping[str, Any]) -> TrialValues | None:
        """What a recorded setup has of the space; None where a value lies outside of it."""
        found: dict[str, Any] = {}
        for name, within in self.space.items():
            value = setup.get(name)
            if isinstance(within, TuneRange):
                if not isinstance(value, int | float) or not within.low <= value <= within.high:
                    return None
                found[name] = as_drawn(name, float(value))
            elif (place := _position(within, value)) is not None:
                found[name] = within[place]
            else:
                return None
        return found

    def corners(self) -> Iterable[TrialValues]:
        """Trials that together have every end of a range and every value."""
        ends = [within if isinstance(within, tuple) else (within.low, within.high) for within in self.space.values()]
        for place in range(max(map(len, ends))):
            yield {
                name: as_drawn(name, values[min(place, len(values) - 1)])
                for name, values in zip(self.space, ends, strict=True)
            }

    def words(self) -> str:
        """The budget of each arm and the space, in words."""
        shown = {
            name: within.words() if isinstance(within, TuneRange) else " | ".join(map(_shown, within))
            for name, within in self.space.items()
        }
        space = "; ".join(f"{name} {words}" for name, words in shown.items())
        return f"{plural(self.trials, 'trial')} ({self.sampler}, seed {self.seed}) of {space}"


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def tunable() -> tuple[str, ...]:
    """The fields of a setup that may be searched."""
    return tuple(name for name in ModelSetup.model_fields if name not in _NEVER)


def _position(values: tuple[Any, ...], value: Any) -> int | None:
    return next((n for n, one in enumerate(values) if same(one, value)), None)


def same(first: Any, second: Any) -> bool:
    """Whether two values are one in a run's content, where 1 is 1.0 and a tuple a list."""
    return bool(json.loads(json.dumps(first)) == json.loads(json.dumps(second)))


def asked(tuning: Tuning, tried: Sequence[tuple[TrialValues, float | None]]) -> TrialValues:
    """The trial that Optuna's TPE asks for after others: the same one for the same results.

    Args:
        tried: values and validation AP in their order, None for a run that failed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=(tuning.seed + len(tried)) % 2**32)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    space: dict[str, Any] = {}
    for name, within in tuning.space.items():
        if isinstance(within, tuple):
            space[name] = optuna.distributions.CategoricalDistribution(range(len(within)))
        elif is_whole(name):
            space[name] = optuna.distributions.IntDistribution(int(within.low), int(within.high), log=within.log)
        else:
            space[name] = optuna.distributions.FloatDistribution(within.low, within.high, log=within.log)
    state = optuna.trial.TrialState
    for values, ap in tried:
        places = {
            name: _position(within, values[name]) if isinstance(within, tuple) else values[name]
            for name, within in tuning.space.items()
        }
        ended = state.FAIL if ap is None else state.COMPLETE
        study.add_trial(optuna.trial.create_trial(state=ended, value=ap, params=places, distributions=space))
    drawn = study.ask(space).params
    return {
        name: within[drawn[name]] if isinstance(within, tuple) else _within(name, drawn[name], within)
        for name, within in tuning.space.items()
    }


def best_of(figures: Sequence[float | None]) -> int | None:
    """The position of the highest validation AP, the first of equal ones; None where no trial has any."""
    known = [figure for figure in figures if figure is not None]
    return list(figures).index(max(known)) if known else None


def is_number(name: str) -> bool:
    """Whether the field ``name`` takes numbers alone, so that a range of them may be searched."""
    return _kinds(name) <= {int, float, NoneType}


def is_whole(name: str) -> bool:
    """Whether all of its numbers are whole."""
    return float not in _kinds(name)


def _kinds(name: str) -> set[Any]:
    kind = ModelSetup.model_fields[name].annotation
    return set(get_args(kind)) if get_origin(kind) in (Union, UnionType) else {kind}


def as_drawn(name: str, value: Any) -> Any:
    """A number as a trial has it: whole where the field is, else of a few digits."""
    if not isinstance(value, float):
        return value
    return round(value) if is_whole(name) else float(f"{value:.{_DIGITS}g}")


def _rank(value: float) -> int:
    """Place of the size of a number other than 0 among those of ``_DIGITS`` digits."""
    digits, _, exponent = f"{abs(value):.{_DIGITS - 1}e}".partition("e")
    in_a_decade: int = 9 * 10 ** (_DIGITS - 1)
    return in_a_decade * int(exponent) + int(digits.replace(".", ""))


def _drawn(draw: random.Random, name: str, within: TuneRange | tuple[Any, ...]) -> Any:
    if isinstance(within, tuple):
        return within[int(draw.random() * len(within))]
    low, high = within.low, within.high
    if is_whole(name) and not within.log:
        return int(low) + int(draw.random() * (int(high) - int(low) + 1))
    if within.log:
        value = math.exp(math.log(low) + draw.random() * (math.log(high) - math.log(low)))
    else:
        value = low + draw.random() * (high - low)
    return _within(name, value, within)


def _within(name: str, value: float, within: TuneRange) -> Any:
    """A number that was drawn, as a trial has it; rounding leaves no range."""
    return as_drawn(name, min(max(float(as_drawn(name, float(value))), within.low), within.high))
