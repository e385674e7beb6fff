"""The cache of results: computed once, then read from the store; records as plain JSON and back."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from mmad.base.json_values import to_json_value
from mmad.base.records import AnalysisRecord
from mmad.store.measurements import analysis_key
from mmad.store.store import Store

T = TypeVar("T")
#: Kind, subject and value of an analysis.
CachedValue = tuple[str, Mapping[str, Any], Any]

#: Results that are written at once: each waiting for the disk takes longer than many of them.
_TOGETHER = 12
_waiting: weakref.WeakKeyDictionary[Store, dict[str, CachedValue]] = weakref.WeakKeyDictionary()


def cached(store: Store, kind: str, subject: Mapping[str, Any], record: type[T], compute: Callable[[], T]) -> T:
    """The result of an analysis: the one cached under ``subject``, else a new one, which is cached.

    A store that is open for reading only caches nothing.

    Args:
        kind: of the analysis, such as ``estimate``.
        subject: plain JSON of all that decides the result.
        record: the frozen dataclass that the result is.
        compute: makes it.
    """
    key = analysis_key(kind, subject)
    waiting = _waiting.get(store)
    if waiting is not None and key in waiting:
        return from_json_value(record, waiting[key][2])
    found = store.get_analysis(key)
    if found is not None and (read := read_cached(record, found)) is not None:
        return read
    plain = to_json_value(compute())
    if waiting is not None and not store.read_only:
        waiting[key] = (kind, subject, plain)
        if len(waiting) >= _TOGETHER:
            _write(store, waiting)
    elif not store.read_only:
        store.put_analysis(kind, subject, plain)
    return from_json_value(record, plain)


@contextlib.contextmanager
def cached_together(store: Store) -> Iterator[None]:
    """Within the block, results are written several at once; the last of them at its end, however it ends."""
    if store.read_only or store in _waiting:
        yield
        return
    waiting = _waiting.setdefault(store, {})
    try:
        yield
    finally:
        del _waiting[store]
        _write(store, waiting)


def _write(store: Store, waiting: dict[str, CachedValue]) -> None:
    if waiting and not store.read_only:
        store.put_analyses(list(waiting.values()))
        waiting.clear()


def from_json_value(record: type[T], value: Any) -> T:
    """The record that ``to_json_value`` made plain; null in the place of a float is NaN."""
    return cast(T, _reader(cast(Any, record))(value))


def read_cached(record: type[T], analysis: AnalysisRecord) -> T | None:
    """The record that is cached, or None where its row was damaged: it is computed anew."""
    try:
        return from_json_value(record, analysis.value)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


@functools.cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What reads a plain value as a ``kind``, found once: looking types up takes longer than reading."""
    origin, inner = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        parts = [(f.name, _reader(hints[f.name])) for f in dataclasses.fields(kind)]
        make = cast(Callable[..., Any], kind)
        return lambda value: make(**{name: read(value[name]) for name, read in parts})
    if origin in (Union, types.UnionType):
        (chosen,) = (part for part in inner if part is not types.NoneType)
        some = _reader(chosen)
        return lambda value: None if value is None else some(value)
    if origin is tuple and inner[-1] is Ellipsis:
        one = _reader(inner[0])
        return lambda value: tuple(map(one, value))
    if origin is tuple:
        each = [_reader(part) for part in inner]
        return lambda value: tuple(read(part) for read, part in zip(each, value, strict=True))
    if origin is dict:
        held = _reader(inner[1])
        return lambda value: {name: held(part) for name, part in value.items()}
    if origin in (np.ndarray, get_origin(NDArray[Any])):  # an alias of its own from NumPy 2.5 on
        (scalar,) = get_args(inner[-1]) or inner[-1:]
        return lambda value: np.array(value, dtype=scalar)
    if kind in (str, int, bool):
        return functools.partial(_checked, kind)
    return _number if kind is float else _same


def _number(value: Any) -> Any:
    return math.nan if value is None else _checked((float, int), value)


def _checked(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind}")
    return value


def _same(value: Any) -> Any:
    return value
