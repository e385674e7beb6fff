"""An entry against a run, field by field: what was printed, and what was done and measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmad.documented.log.model import FIGURES, LogEntry

#: Names and paths decide nothing.
_IDLE = frozenset({"name", "best_ar_val_model_path", "best_ap_val_model_path", "final_model_path"})


@dataclass(frozen=True)
class FieldDifference:
    """A field of the setup: what the entry prints and what the run has; ``known`` is False where the run has none."""

    field: str
    documented: Any
    run: Any
    known: bool
    equal: bool


@dataclass(frozen=True)
class FigureDifference:
    """A figure of a result (``epoch``, ``val_ap``, …); ``measured`` is None where the run has no such result yet."""

    result: str
    figure: str
    documented: float
    measured: float | None

    @property
    def difference(self) -> float | None:
        """Measured less documented."""
        return None if self.measured is None else self.measured - self.documented


@dataclass(frozen=True)
class CountDifference:
    """A module's parameters: printed, and counted (None where the run has no such module)."""

    module: str
    documented: int
    counted: int | None

    @property
    def equal(self) -> bool:
        return self.documented == self.counted


@dataclass(frozen=True)
class EntryDifference:
    """Everything an entry prints against a run."""

    setup: tuple[FieldDifference, ...]
    results: tuple[FigureDifference, ...]
    params: tuple[CountDifference, ...]


def compare_entry(
    entry: LogEntry,
    setup: Mapping[str, Any],
    results: Mapping[str, Mapping[str, float | None]],
    counts: Mapping[str, int],
) -> EntryDifference:
    """What ``entry`` prints against a run's ``setup``, ``results`` (by kind: ``best_ap``, …) and parameter ``counts``.

    Fields that the entry does not print are not compared; what was inferred of an entry is.
    """
    return EntryDifference(
        setup=tuple(_fields(entry, setup)),
        results=tuple(_results(entry, results)),
        params=tuple(CountDifference(module, count, counts.get(module)) for module, count in entry.params.items()),
    )


def _fields(entry: LogEntry, setup: Mapping[str, Any]) -> Iterator[FieldDifference]:
    printed = {**entry.fields, **entry.inferred}
    if entry.losses is not None:
        printed["loss_weights"] = entry.losses.weights
    for name, value in printed.items():
        if name not in _IDLE:
            found = setup.get(name)
            equal = found == value and isinstance(found, bool) == isinstance(value, bool)
            yield FieldDifference(name, value, found, name in setup, equal)


def _results(entry: LogEntry, results: Mapping[str, Mapping[str, float | None]]) -> Iterator[FigureDifference]:
    for kind, result in entry.results.items():
        for figure in ("epoch", *FIGURES):
            yield FigureDifference(kind, figure, getattr(result, figure), results.get(kind, {}).get(figure))
