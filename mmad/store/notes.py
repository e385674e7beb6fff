"""Notes: what a person wrote about a run or an ablation, with tags.

Each is a row of ``analyses`` of the kind ``note``: its subject says what it is about and when it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from mmad.base.clock import now
from mmad.base.errors import StoreError
from mmad.base.records import MemberRecord
from mmad.store.lookup import find_run
from mmad.store.measurements import analysis_key
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
    text, words = _sound(text, tags)
    about, named = subject_of(store, name)
    return _put(store, Note(about, named, text, words, now()))


def edit_note(store: Store, name: str, number: int, text: str, tags: Sequence[str] = ()) -> Note:
    """Give a note another text or other tags; what is empty stays as it was, and so does its moment.

    Args:
        number: of the notes about ``name``, from 1 for the oldest.

    Raises:
        StoreError: as ``add_note``, or no such note.
    """
    note = numbered_note(store, name, number)
    text, words = _sound(text, tags)
    return _put(store, replace(note, text=text or note.text, tags=words or note.tags))


def remove_note(store: Store, name: str, number: int) -> Note:
    """Remove a note; ``number`` as of ``edit_note``. StoreError for no such note, run or ablation."""
    note = numbered_note(store, name, number)
    store.remove_analysis(analysis_key(KIND, _subject(note)))
    return note


def numbered_note(store: Store, name: str, number: int) -> Note:
    """The note at ``number``, from 1 for the oldest. StoreError for no such note, run or ablation."""
    about, named = subject_of(store, name)
    notes = read_notes(store)
    found = notes.of_run(named) if about == "run" else notes.of_ablation(named)
    if not 1 <= number <= len(found):
        hint = f"choose 1 to {len(found)}: mmad note {name}" if found else "it has no note yet"
        raise StoreError(f"no note {number}", where=name, hint=hint)
    return found[number - 1]


def _sound(text: str, tags: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Text and tags as they are kept. StoreError where there is nothing, or nothing that can be."""
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
    return text, words


def _put(store: Store, note: Note) -> Note:
    store.put_analysis(KIND, _subject(note), {"text": note.text, "tags": list(note.tags)})
    return note


def _subject(note: Note) -> dict[str, str]:
    return {"about": note.about, "name": note.name, "moment": note.moment.isoformat()}


def subject_of(store: Store, name: str) -> tuple[Literal["run", "ablation"], str]:
    """What ``name`` means: an ablation, or the key of a run. StoreError as ``find_run``."""
    if any(ablation.name == name for ablation in store.ablations()):
        return "ablation", name
    return "run", find_run(store, name).run.key


def read_notes(store: Store) -> Notes:
    """All notes of the database; a row that is no note is passed over."""
    found: dict[str, dict[str, list[Note]]] = {"run": {}, "ablation": {}}
    for row in sorted(store.analyses(KIND), key=lambda row: str(row.subject.get("moment"))):
        try:
            about, name = row.subject["about"], str(row.subject["name"])
            moment = datetime.fromisoformat(str(row.subject["moment"]))
            note = Note(about, name, str(row.value["text"]), tuple(map(str, row.value["tags"])), moment)
            found[about].setdefault(name, []).append(note)
        except (KeyError, TypeError, ValueError):
            continue
    runs, ablations = ({name: tuple(notes) for name, notes in found[about].items()} for about in ("run", "ablation"))
    return Notes(runs, ablations)
