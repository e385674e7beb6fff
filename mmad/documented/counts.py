"""The parameter counts that entries print against those of the detectors built from their setups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mmad.base.errors import MmadError
from mmad.documented.entries import Entry, entries
from mmad.spec.architecture import architecture
from mmad.spec.setup import ModelSetup

#: From a setup to its counts, module by module, under the names the log prints.
Count = Callable[[ModelSetup], Mapping[str, int]]


@dataclass(frozen=True)
class Difference:
    """A printed number that was not met.

    ``counted`` is None where the detector has no such module, or (``why`` says it) could not be built.
    """

    entry: str
    module: str
    printed: int
    counted: int | None
    why: str | None = None

    def __str__(self) -> str:
        """The difference in one line."""
        found = f"{self.counted:,}" if self.counted is not None else "nothing"
        reason = f" ({self.why})" if self.why else ""
        return f"{self.entry} [{self.module}]: printed {self.printed:,}, counted {found}{reason}"


@dataclass(frozen=True)
class Comparison:
    """What was counted where something is printed, and what differs.

    ``counted`` holds, per entry, the modules it prints; one that could not be built is left out.
    """

    counted: Mapping[str, Mapping[str, int]]
    differences: tuple[Difference, ...]
    printed: int

    @property
    def equal(self) -> int:
        """How many printed numbers were met."""
        return self.printed - len(self.differences)


def compare_counts(count: Count) -> Comparison:
    """Count the setup of every entry that prints counts, equal architectures once, and compare number by number.

    Args:
        count: from a setup to its counts; an MmadError of it makes the entry's numbers differ, with the reason.
    """
    known: dict[str, Mapping[str, int]] = {}
    counted: dict[str, Mapping[str, int]] = {}
    differences: list[Difference] = []
    printing = [entry for entry in entries() if entry.params]
    for entry in printing:
        try:
            setup = entry.setup()
            same = architecture(setup)
            found = known[same] = known.get(same) or count(setup)
        except MmadError as error:
            differences += [Difference(entry.id, m, n, None, str(error)) for m, n in entry.params.items()]
            continue
        counted[entry.id] = {module: found[module] for module in entry.params if module in found}
        differences += _differences(entry, found)
    return Comparison(counted, tuple(differences), sum(len(entry.params) for entry in printing))


def _differences(entry: Entry, found: Mapping[str, int]) -> list[Difference]:
    return [
        Difference(entry.id, module, printed, found.get(module))
        for module, printed in entry.params.items()
        if found.get(module) != printed
    ]
