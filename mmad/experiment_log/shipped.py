"""The entries of the documented experiment log: what they print, and apart from it what was inferred.

``entries.json`` holds the facts alone: the log's own words and pictures are not shipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from mmad.base.errors import MmadError, SpecError
from mmad.config.messages import nearest
from mmad.config.setup import ModelSetup
from mmad.experiment_log.model import Checkpoint, FigureGroup, Log, LogEntry, LogFigure, Losses, SetupPrint

LOG = "the documented log"


@dataclass(frozen=True)
class DocumentedResult:
    """One checkpoint as an entry prints it. AP and AR lie in [0, 1].

    ``stamp`` is the moment in the checkpoint's name, in the author's local time (ISO 8601, no zone).
    """

    epoch: int
    val_ap: float
    val_ar: float
    test_ap: float
    test_ar: float
    stamp: str


@dataclass(frozen=True)
class DocumentedFigure:
    """One figure of an entry's heading.

    ``key`` is the word before it (``v``, ``best_t``, …) or None; ``printed`` its digits, ``value`` what they mean
    (``4076`` stands for 0.4076); ``equals`` names the entry's own results that it equals, such as ``final.val_ap``.
    """

    key: str | None
    printed: str
    value: float
    equals: tuple[str, ...]


@dataclass(frozen=True)
class DocumentedEntry:
    """One entry of the documented log, e001 to e101.

    Attributes:
        id: ``e001`` … ``e101``, in the order of print (which is not that of the runs).
        heading: its heading without remarks in brackets and figures; None where it has none, or only a sentence.
        sections: the headings above it, outermost first.
        printed: fields of the setup as printed, and only those; None where the log prints None.
        inferred: fields of the setup that are not printed and follow from what is: the counts (e002, e004, e010),
            or the original network's fuse convolutions of stride 2 (era A with clinical data).
        params: printed parameter counts, module by module; empty where none are.
        results: ``best_ap``, ``best_ar`` and ``final``, or ``unlabelled``; empty where none are printed.
        loss_weights: printed factors of the losses, or ``detach``; empty where none are printed.
        figures: the figures of the heading.
    """

    id: str
    heading: str | None
    sections: tuple[str, ...]
    printed: Mapping[str, Any]
    inferred: Mapping[str, Any]
    params: Mapping[str, int]
    results: Mapping[str, DocumentedResult]
    loss_weights: Mapping[str, float | str]
    figures: tuple[DocumentedFigure, ...]

    @property
    def has_setup(self) -> bool:
        """Whether a setup is printed or could be inferred."""
        return bool(self.printed or self.inferred)

    def setup(self, changes: Mapping[str, Any] | None = None) -> ModelSetup:
        """The setup: what is printed, loss weights included, and what was inferred; the rest are defaults.

        Args:
            changes: fields that win over the entry's.

        Raises:
            SpecError: the entry has no setup, or ``changes`` do not go together with it.
        """
        if not self.has_setup:
            raise SpecError(
                f"{self.id} prints no setup and no parameter counts", where=LOG, hint=f"choose {_next_with_setup(self)}"
            )
        values = {name: value for name, value in self.printed.items() if value is not None}
        if self.loss_weights:
            values["loss_weights"] = dict(self.loss_weights)
        try:
            return ModelSetup.model_validate({**values, **self.inferred, **(changes or {})})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = "".join(f"{part}: " for part in first["loc"][:1])
            why = first.get("ctx", {}).get("error") or f"{field}{first['msg']}"
            raise SpecError(str(why), where=f"the setup of {self.id}") from None


def _next_with_setup(entry: DocumentedEntry) -> str:
    """The nearest entry with a setup, a later one before an earlier one."""
    place = [e.id for e in entries()].index(entry.id)
    able = [(abs(i - place), -i, e.id) for i, e in enumerate(entries()) if e.has_setup]
    return f"one that does, such as {min(able)[2]}"


@cache
def entries() -> tuple[DocumentedEntry, ...]:
    """All entries, in the order of print; read once."""
    text = files(__package__).joinpath("entries.json").read_text(encoding="utf-8")
    return tuple(_entry(facts) for facts in json.loads(text))


@cache
def _by_id() -> Mapping[str, DocumentedEntry]:
    return {entry.id: entry for entry in entries()}


def entry(id: str) -> DocumentedEntry:
    """The entry ``id``, such as ``e030``.

    Raises:
        SpecError: there is none of that name; with the nearest.
    """
    known = _by_id()
    if id not in known:
        ids = list(known)
        best = nearest(id, ids)
        hint = f"did you mean {best}?" if best else f"its entries are {ids[0]} to {ids[-1]}"
        raise SpecError(f"there is no entry {id if id and id.isprintable() else repr(id)}", where=LOG, hint=hint)
    return known[id]


def _entry(facts: Mapping[str, Any]) -> DocumentedEntry:
    def mapping(name: str) -> Mapping[str, Any]:
        return MappingProxyType(facts.get(name, {}))

    return DocumentedEntry(
        id=facts["id"],
        heading=facts.get("heading"),
        sections=tuple(facts.get("sections", ())),
        printed=mapping("setup"),
        inferred=mapping("inferred"),
        params=mapping("params"),
        results=MappingProxyType(
            {kind: DocumentedResult(**values) for kind, values in facts.get("results", {}).items()}
        ),
        loss_weights=mapping("loss_weights"),
        figures=tuple(DocumentedFigure(**{**f, "equals": tuple(f["equals"])}) for f in facts.get("figures", ())),
    )


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
            setup = entry.setup()
            same = setup.part("architecture")
            found = known[same] = known.get(same) or count(setup)
        except MmadError as error:
            differences += [CountDifference(entry.id, m, n, None, str(error)) for m, n in entry.params.items()]
            continue
        counted[entry.id] = {module: found[module] for module in entry.params if module in found}
        differences += _differences(entry, found)
    return CountComparison(counted, tuple(differences), sum(len(entry.params) for entry in printing))


def _differences(entry: DocumentedEntry, found: Mapping[str, int]) -> list[CountDifference]:
    return [
        CountDifference(entry.id, module, printed, found.get(module))
        for module, printed in entry.params.items()
        if found.get(module) != printed
    ]


# The 101 entries that mmad ships, in the form of a log that was read: facts alone, no words and line numbers.


#: The name of the shipped log; no other may have it.
NAME = "documented"


def shipped_entries() -> tuple[LogEntry, ...]:
    """All shipped entries, in the order of print."""
    return tuple(_log_entry(entry) for entry in entries())


def _log_entry(entry: DocumentedEntry) -> LogEntry:
    own = (entry.heading,) if entry.heading else ()
    figures = tuple(LogFigure(key=f.key, printed=f.printed, value=f.value, equals=f.equals) for f in entry.figures)
    raw = ", ".join(f"{f.key}={f.printed}" if f.key else f.printed for f in figures)
    weights = dict(entry.loss_weights)
    return LogEntry(
        id=entry.id,
        line=0,
        line_end=0,
        heading=entry.heading,
        sections=(*entry.sections, *own),
        setup=SetupPrint(form="printed", line=0, fields=dict(entry.printed)) if entry.printed else None,
        inferred=dict(entry.inferred),
        params=dict(entry.params),
        results={kind: Checkpoint(**vars(result)) for kind, result in entry.results.items()},
        figures=(FigureGroup(raw=f"({raw})", line=0, figures=figures),) if figures else (),
        losses=Losses(weights=weights, scope="entry", line=0) if weights else None,
    )


# Finds the entry a person means, among the log that mmad ships and those that were imported.


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
        return cls({NAME: shipped_entries(), **{log.name: log.entries for log in imported}})

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
        if len(found) > 1 and found[0].log != NAME:
            names = ", ".join(f"{one.log}/{one.entry.id}" for one in found)
            raise SpecError(f"{name} is more than one entry", where="entry", hint=f"name one of {names}")
        return found[0]

    def _unknown(self, name: str, log: str) -> SpecError:
        shown = name if name and name.isprintable() else repr(name)
        if log and log not in self.logs:
            near = nearest(log, list(self.logs))
            hint = f"did you mean {near}?" if near else f"the logs are {', '.join(self.logs)}"
            return SpecError(f"there is no log {log!r}", where="entry", hint=hint)
        searched = [(of, entry.id) for of, entries in self.logs.items() if log in ("", of) for entry in entries]
        known = [f"{of}/{id}" if log else id for of, id in searched]
        near = nearest(name, known)
        hint = f"did you mean {near}?" if near else "mmad log list shows them all"
        return SpecError(f"there is no entry {shown}", where="entry", hint=hint)


def plain_log(log: Log) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """``log`` as plain JSON: everything but the entries, and the entries."""
    content = log.model_dump(mode="json")
    entries = content.pop("entries")
    return content, entries


def log_of(name: str, content: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Log:
    """The log of which ``plain_log`` is the form, under ``name``."""
    return Log.model_validate({**content, "name": name, "entries": list(entries)})
