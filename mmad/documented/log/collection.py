"""Finds the entry a person means, among the log that mmad ships and those that were imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmad.base.errors import SpecError
from mmad.documented.log.model import Log, LogEntry
from mmad.documented.log.shipped import NAME, shipped_entries
from mmad.spec.nearest import nearest


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
            raise SpecError(f"{name} is more than one entry", where="entry", mend=f"name one of {names}")
        return found[0]

    def _unknown(self, name: str, log: str) -> SpecError:
        shown = name if name and name.isprintable() else repr(name)
        if log and log not in self.logs:
            near = nearest(log, list(self.logs))
            mend = f"did you mean {near}?" if near else f"the logs are {', '.join(self.logs)}"
            return SpecError(f"there is no log {log!r}", where="entry", mend=mend)
        searched = [(of, entry.id) for of, entries in self.logs.items() if log in ("", of) for entry in entries]
        known = [f"{of}/{id}" if log else id for of, id in searched]
        near = nearest(name, known)
        mend = f"did you mean {near}?" if near else "mmad log list shows them all"
        return SpecError(f"there is no entry {shown}", where="entry", mend=mend)


def plain_log(log: Log) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """``log`` as plain JSON: everything but the entries, and the entries."""
    content = log.model_dump(mode="json")
    entries = content.pop("entries")
    return content, entries


def log_of(name: str, content: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Log:
    """The log of which ``plain_log`` is the form, under ``name``."""
    return Log.model_validate({**content, "name": name, "entries": list(entries)})
