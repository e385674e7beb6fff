"""Notes: what a person wrote about a run or an ablation, with tags.

Each is a row of ``analyses`` of the kind ``note``: its subject says what it is about and when it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mmad.base.clock import now
from mmad.base.errors import StoreError
from mmad.base.records import MemberRecord
from mmad.store.lookup import find_run
from mmad.store.store import Store

KIND = "note"
MOST_LETTERS = 10_000
_TAG = re.compile(r"[\w.:+-]{1,40}")


@dataclass(frozen=True)
class Note:
    """One note: ``name`` is a run's key or an ablation's name, ``moment`` when it was written."""

    about: Literal["run", "ablation"]
    name: str
    text: str
    tags: tuple[str, ...]
    moment: datetime

    @property
    def line(self) -> str:
        """``it became worse #later``."""
        return " ".join(filter(None, (self.text, *(f"#{tag}" for tag in self.tags))))

    @property
    def plain(self) -> dict[str, Any]:
        """The note as ``--json`` prints it."""
        moment = self.moment.isoformat()
        return {"about": self.about, "text": self.text, "tags": list(self.tags), "moment": moment}


@dataclass(frozen=True)
class Notes:
    """All notes, oldest first, by what they are about."""

    runs: Mapping[str, tuple[Note, ...]] = field(default_factory=dict)
    ablations: Mapping[str, tuple[Note, ...]] = field(default_factory=dict)

    def of_run(self, key: str) -> tuple[Note, ...]:
        return self.runs.get(key, ())

    def of_ablation(self, name: str) -> tuple[Note, ...]:
        return self.ablations.get(name, ())

    def about(self, key: str, members: Iterable[MemberRecord]) -> tuple[Note, ...]:
        """The notes of a run, then those of the ablations of ``members``."""
        names = dict.fromkeys(member.ablation for member in members)
        return (*self.of_run(key), *(note for name in names for note in self.of_ablation(name)))

    def tags(self, key: str, members: Iterable[MemberRecord]) -> set[str]:
        """The tags of ``about``."""
        return {tag for note in self.about(key, members) for tag in note.tags}


def add_note(store: Store, name: str, text: str, tags: Sequence[str] = ()) -> Note:
    """Write a note about the ablation or the run that ``name`` means.

    Args:
        name: an ablation, or a run as ``find_run`` takes it.
        text: up to 10,000 characters; may be empty where there are tags.
        tags: words of up to 40 letters, digits and ``_ . : + -``.

    Raises:
        StoreError: nothing to write, a tag that is no word, or no such run or ablation.
    """
    text, words = text.strip(), tuple(dict.fromkeys(tag.removeprefix("#") for tag in tags))
    if not text and not words:
        raise StoreError("nothing to write", where="note", hint='give a text, as in mmad note RUN "it became worse"')
    if len(text) > MOST_LETTERS:
        raise StoreError(f"{len(text):,} characters", where="note", hint=f"use at most {MOST_LETTERS:,}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise StoreError("a letter that is no UTF-8", where="note", hint="write it in a UTF-8 terminal") from None
    for word in words:
        if not _TAG.fullmatch(word):
            raise StoreError(f"{word!r} is no tag", where="--tag", hint="use up to 40 letters, digits and _ . : + -")
    about, named = subject_of(store, name)
    note = Note(about, named, text, words, now())
    subject = {"about": about, "name": named, "moment": note.moment.isoformat()}
    store.put_analysis(KIND, subject, {"text": text, "tags": list(words)})
    return note


def subject_of(store: Store, name: str) -> tuple[Literal["run", "ablation"], str]:
    """What ``name`` means: an ablation, or the key of a run. StoreError as ``find_run``."""
    if any(ablation.name == name for ablation in store.ablations()):
        return "ablation", name
    return "run", find_run(store, name).run.key


def read_notes(store: Store) -> Notes:
    """All notes of the database; a row that is no note is passed over."""
    found: dict[str, dict[str, list[Note]]] = {"run": {}, "ablation": {}}
    for row in store.analyses(KIND):
        try:
            about, name = row.subject["about"], str(row.subject["name"])
            moment = datetime.fromisoformat(str(row.subject["moment"]))
            note = Note(about, name, str(row.value["text"]), tuple(map(str, row.value["tags"])), moment)
            found[about].setdefault(name, []).append(note)
        except (KeyError, TypeError, ValueError):
            continue
    runs, ablations = ({name: tuple(notes) for name, notes in found[about].items()} for about in ("run", "ablation"))
    return Notes(runs, ablations)
