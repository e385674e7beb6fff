"""The documented log that mmad ships, ``entries.json`` and its later part, and the library of it and imported logs.

The file holds the facts alone: the log's own words and pictures are not shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mmad.base.errors import MmadError, SpecError
from mmad.config.messages import nearest
from mmad.config.protocol import Proposals
from mmad.config.setup import ModelSetup
from mmad.experiment_log.model import Log, LogEntry

#: The name of the shipped log; no other may have it.
SHIPPED = "documented"
_WHERE = "the documented log"
#: Of the text whose facts ``entries.json`` holds, as ``Log.sha256`` takes it.
SOURCE_SHA256 = "f2ba6270c638a587cdda5bc633b5d67b68ce4d9dfddb28039763edd36d1f9fbd"


@cache
def entries() -> tuple[LogEntry, ...]:
    """The entries of the shipped log until 25 May 2022, e001 to e101, in the order of print; read once."""
    return _read("entries.json")


@cache
def later_entries() -> tuple[LogEntry, ...]:
    """Its later entries, n001 to n008, of 28 to 30 May 2022: the runs of the published table; read once."""
    return _read("later_entries.json")


def _read(file: str) -> tuple[LogEntry, ...]:
    text = files(__package__).joinpath(file).read_text(encoding="utf-8")
    return TypeAdapter(tuple[LogEntry, ...]).validate_json(text)


@cache
def _by_id() -> Mapping[str, LogEntry]:
    return {entry.id: entry for entry in (*entries(), *later_entries())}


def entry(id: str) -> LogEntry:
    """The shipped entry ``id``, such as ``e030`` or ``n004``.

    Raises:
        SpecError: there is none of that name; with the nearest.
    """
    known = _by_id()
    if id not in known:
        ids = list(known)
        best = nearest(id, ids)
        parts = " and ".join(f"{part[0].id} to {part[-1].id}" for part in (entries(), later_entries()))
        hint = f"did you mean {best}?" if best else f"its entries are {parts}"
        raise SpecError(f"there is no entry {_shown(id)}", where=_WHERE, hint=hint)
    return known[id]


def proposals_of(id: str) -> Proposals | None:
    """Where the shipped log's evaluation of entry ``id`` took its proposals from; None where that is not known.

    Until 16 May 2022 (e021 to e076) the true boxes stood among them, afterwards they were sampled with the targets.
    """
    if id.startswith("e"):
        number = int(id[1:])
        return None if number <= 20 or id == "e101" else "with_ground_truth" if number <= 76 else "sampled"
    return "sampled"


def _shown(name: str) -> str:
    return name if name and name.isprintable() else repr(name)


def setup_of(entry: LogEntry, changes: Mapping[str, Any] | None = None) -> ModelSetup:
    """The setup of a shipped entry: what is printed, loss weights included, and what was inferred; the rest defaults.

    Args:
        entry: which prints a setup, or whose setup could be inferred.
        changes: fields that win over the entry's.

    Raises:
        SpecError: the entry has no setup, or ``changes`` do not go together with it.
    """
    if not entry.has_setup:
        hint = f"choose one that does, such as {_nearest_with_setup(entry)}"
        raise SpecError(f"{entry.id} prints no setup and no parameter counts", where=_WHERE, hint=hint)
    values = {name: value for name, value in entry.fields.items() if value is not None}
    if (normalised := values.pop("normalise_clinical_num", None)) is not None:  # of all splits, as the original did
        values["clinical_values"] = "standardised_all_splits" if normalised else "raw"
    if entry.loss_weights:
        values["loss_weights"] = dict(entry.loss_weights)
    try:
        return ModelSetup.model_validate({**values, **entry.inferred, **(changes or {})})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = "".join(f"{part}: " for part in first["loc"][:1])
        why = first.get("ctx", {}).get("error") or f"{field}{first['msg']}"
        raise SpecError(str(why), where=f"the setup of {entry.id}") from None


def _nearest_with_setup(entry: LogEntry) -> str:
    """The nearest entry with a setup, a later one before an earlier one."""
    place = [e.id for e in entries()].index(entry.id)
    return min((abs(i - place), -i, e.id) for i, e in enumerate(entries()) if e.has_setup)[2]


# The parameter counts that entries print against those of the detectors built from their setups.

#: From a setup to its counts, module by module, under the names the log prints.
Count = Callable[[ModelSetup], Mapping[str, int]]


@dataclass(frozen=True)
class CountDifference:
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
class CountComparison:
    """What was counted where something is printed, and what differs.

    ``counted`` holds, per entry, the modules it prints; one that could not be built is left out.
    """

    counted: Mapping[str, Mapping[str, int]]
    differences: tuple[CountDifference, ...]
    printed: int

    @property
    def equal(self) -> int:
        """How many printed numbers were met."""
        return self.printed - len(self.differences)


def compare_counts(count: Count) -> CountComparison:
    """Count the setup of every entry that prints counts, equal architectures once, and compare number by number.

    Args:
        count: from a setup to its counts; an MmadError of it makes the entry's numbers differ, with the reason.
    """
    known: dict[str, Mapping[str, int]] = {}
    counted: dict[str, Mapping[str, int]] = {}
    differences: list[CountDifference] = []
    printing = [entry for entry in entries() if entry.params]
    for entry in printing:
        try:
            setup = setup_of(entry)
            same = setup.part("architecture")
            found = known[same] = known.get(same) or count(setup)
        except MmadError as error:
            differences += [CountDifference(entry.id, m, n, None, str(error)) for m, n in entry.params.items()]
            continue
        counted[entry.id] = {module: found[module] for module in entry.params if module in found}
        differences += [
            CountDifference(entry.id, module, printed, found.get(module))
            for module, printed in entry.params.items()
            if found.get(module) != printed
        ]
    return CountComparison(counted, tuple(differences), sum(len(entry.params) for entry in printing))


# The entry a person means, in the shipped log and the imported ones.


@dataclass(frozen=True)
class NamedEntry:
    """An entry, and the name of its log."""

    log: str
    entry: LogEntry


@dataclass(frozen=True)
class Library:
    """The entries of every log, by the log's name; the shipped one stands first."""

    logs: Mapping[str, Sequence[LogEntry]]

    @classmethod
    def of(cls, imported: Iterable[Log] = ()) -> Library:
        """The shipped log and ``imported`` ones."""
        return cls({SHIPPED: (*entries(), *later_entries()), **{log.name: log.entries for log in imported}})

    def find(self, name: str) -> NamedEntry:
        """The entry ``name`` means: ``LOG/e030``, or ``e030`` of the shipped log or of the one log that has it.

        Raises:
            SpecError: there is none, or more than one; with the names or the nearest.
        """
        log, _, id = name.rpartition("/")
        found = [
            NamedEntry(of, entry)
            for of, entries in self.logs.items()
            if log in ("", of)
            for entry in entries
            if entry.id == id
        ]
        if not found:
            raise self._unknown(name, log)
        if len(found) > 1 and found[0].log != SHIPPED:
            names = ", ".join(f"{one.log}/{one.entry.id}" for one in found)
            raise SpecError(f"{name} is more than one entry", where="entry", hint=f"name one of {names}")
        return found[0]

    def _unknown(self, name: str, log: str) -> SpecError:
        if log and log not in self.logs:
            near = nearest(log, list(self.logs))
            hint = f"did you mean {near}?" if near else f"the logs are {', '.join(self.logs)}"
            return SpecError(f"there is no log {log!r}", where="entry", hint=hint)
        searched = [(of, entry.id) for of, entries in self.logs.items() if log in ("", of) for entry in entries]
        near = nearest(name, [f"{of}/{id}" if log else id for of, id in searched])
        hint = f"did you mean {near}?" if near else "mmad log list shows them all"
        return SpecError(f"there is no entry {_shown(name)}", where="entry", hint=hint)
