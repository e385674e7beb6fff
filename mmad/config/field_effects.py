"""What a field of a run affects, and when it is idle: stated beside the field, in its annotation.

Which fields belong to the architecture, to the time an epoch takes, to what an evaluation measures, and which only name
something, is read off the fields with ``affecting``; no list of them stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

#: ``architecture``: which modules the detector has, their names and sizes.
#: ``training``: the steps a training takes, and so its weights and losses; rounding too.
#: ``evaluation``: what is measured of given weights: which images, which detections, which figures.
#: ``speed``: how long an epoch takes, and how much memory it holds.
Effect = Literal["architecture", "training", "evaluation", "speed"]


@dataclass(frozen=True)
class Condition:
    """That attributes of a run's setup or training protocol have given values.

    ``facts`` all have to hold: an attribute (a field or a property), values, and whether it has one of them or none.
    """

    facts: tuple[tuple[str, frozenset[object], bool], ...] = ()

    def __and__(self, other: Condition) -> Condition:
        return Condition(self.facts + other.facts)

    def holds(self, *parts: BaseModel) -> bool:
        """Whether it holds in the run that ``parts`` (setup, training protocol) make up."""
        return all((_attribute(parts, name) in values) is has for name, values, has in self.facts)

    def __str__(self) -> str:
        return " and ".join(_words(*fact) for fact in self.facts) or "always"


def _attribute(parts: Collection[BaseModel], name: str) -> object:
    for part in parts:
        if name in part.__dict__ or hasattr(type(part), name):  # asked so, since pydantic is slow to say no
            value = getattr(part, name)
            return value["use"] if isinstance(value, dict) and "use" in value else value  # a named part is its name
    raise AttributeError(name)


def _words(name: str, values: frozenset[object], has: bool) -> str:
    shown = " or ".join(sorted(_value(value) for value in values))
    return f"{name} {'=' if has else '≠'} {shown}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return "none" if value is None else str(value)


def when(**values: object) -> Condition:
    """That each attribute named has its value; a set names several that would do."""
    return Condition(tuple((name, _set(value), True) for name, value in values.items()))


def unless(**values: object) -> Condition:
    """That each attribute named has another value, or none of a set."""
    return Condition(tuple((name, _set(value), False) for name, value in values.items()))


def _set(value: object) -> frozenset[object]:
    return frozenset(value) if isinstance(value, set) else frozenset({value})


#: Holds in every run.
ALWAYS = Condition()


@dataclass(frozen=True)
class Affects:
    """What a field affects, unless one of the conditions of ``idle`` holds; a field may state several.

    Where all that a field states is idle, no bit of weights, detections or counts depends on it.
    """

    effects: tuple[Effect, ...]
    idle: tuple[Condition, ...] = ()


def affects(*effects: Effect, idle: Condition | tuple[Condition, ...] = ()) -> Affects:
    """Stands in a field's annotation: ``Annotated[float, affects("training", idle=when(use_clinical=False))]``."""
    return Affects(effects, idle if isinstance(idle, tuple) else (idle,))


@dataclass(frozen=True)
class Later:
    """Marks a field that came after the first keys: at ``value`` a run is as it was before, and so is its key."""

    value: object


@cache
def later(model: type[BaseModel]) -> Mapping[str, object]:
    """The fields of ``model`` that came after the first keys, with the value that leaves keys as they were."""
    return {
        name: item.value
        for name, field in model.model_fields.items()
        for item in field.metadata
        if isinstance(item, Later)
    }


def stated(field: FieldInfo) -> tuple[Affects, ...]:
    """What ``field`` states of itself; nothing for one that names something and decides nothing."""
    return tuple(item for item in field.metadata if isinstance(item, Affects))


def affecting(model: type[BaseModel], *effects: Effect, run: tuple[BaseModel, ...] = ()) -> tuple[str, ...]:
    """The fields of ``model`` that affect one of ``effects``, in their order.

    Args:
        model: the class of a setup or a training protocol.
        effects: one of these is enough.
        run: setup and training protocol of a run in which the field must not be idle; left out, some run is enough.
    """
    conditions, _ = _idle_when(model, effects)
    return _not_idle(model, effects, tuple(bool(run) and condition.holds(*run) for condition in conditions))


@lru_cache(1000)
def _not_idle(model: type[BaseModel], effects: tuple[Effect, ...], held: tuple[bool, ...]) -> tuple[str, ...]:
    """The fields of ``model`` that affect one of ``effects`` where the conditions of ``_idle_when`` are as ``held``."""
    _, fields = _idle_when(model, effects)
    return tuple(name for name, each in fields if not all(any(held[at] for at in idle) for idle in each))


@cache
def _idle_when(
    model: type[BaseModel], effects: tuple[Effect, ...]
) -> tuple[list[Condition], list[tuple[str, list[list[int]]]]]:
    """The distinct conditions, and of each field that affects one of ``effects`` those of its statements, by place."""
    conditions: dict[Condition, int] = {}
    fields = []
    for name, field in model.model_fields.items():
        items = [item for item in stated(field) if set(item.effects) & set(effects)]
        if items:
            each = [[conditions.setdefault(one, len(conditions)) for one in item.idle] for item in items]
            fields.append((name, each))
    return list(conditions), fields


def idle_because(field: FieldInfo, run: tuple[BaseModel, ...]) -> str | None:
    """The conditions that make ``field`` idle in a run, in words; None where it is not idle."""
    held = [next((c for c in item.idle if c.holds(*run)), None) for item in stated(field)]
    return None if None in held else " and ".join(dict.fromkeys(str(condition) for condition in held))


def naming(model: type[BaseModel]) -> frozenset[str]:
    """The fields of ``model`` that affect nothing: names, and paths filled in later."""
    return frozenset(name for name, field in model.model_fields.items() if not stated(field))


def reading(model: type[BaseModel], attribute: str) -> tuple[str, ...]:
    """The fields of ``model`` that are idle under some value of ``attribute``, in their order."""
    return tuple(
        name
        for name, field in model.model_fields.items()
        if any(attribute == read for item in stated(field) for condition in item.idle for read, _, _ in condition.facts)
    )
