"""The entries of the documented experiment log: what they print, and apart from it what was inferred.

``entries.json`` holds the facts alone: the log's own words and pictures are not shipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from mmad.base.errors import SpecError
from mmad.spec.nearest import nearest
from mmad.spec.setup import ModelSetup

LOG = "the documented log"


@dataclass(frozen=True)
class Result:
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
class Figure:
    """One figure of an entry's heading.

    ``key`` is the word before it (``v``, ``best_t``, …) or None; ``printed`` its digits, ``value`` what they mean
    (``4076`` stands for 0.4076); ``equals`` names the entry's own results that it equals, such as ``final.val_ap``.
    """

    key: str | None
    printed: str
    value: float
    equals: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
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
    results: Mapping[str, Result]
    loss_weights: Mapping[str, float | str]
    figures: tuple[Figure, ...]

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
                f"{self.id} prints no setup and no parameter counts", where=LOG, mend=f"choose {_next_with_setup(self)}"
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


def _next_with_setup(entry: Entry) -> str:
    """The nearest entry with a setup, a later one before an earlier one."""
    place = [e.id for e in entries()].index(entry.id)
    able = [(abs(i - place), -i, e.id) for i, e in enumerate(entries()) if e.has_setup]
    return f"one that does, such as {min(able)[2]}"


@cache
def entries() -> tuple[Entry, ...]:
    """All entries, in the order of print; read once."""
    text = files(__package__).joinpath("entries.json").read_text(encoding="utf-8")
    return tuple(_entry(facts) for facts in json.loads(text))


@cache
def _by_id() -> Mapping[str, Entry]:
    return {entry.id: entry for entry in entries()}


def entry(id: str) -> Entry:
    """The entry ``id``, such as ``e030``.

    Raises:
        SpecError: there is none of that name; with the nearest.
    """
    known = _by_id()
    if id not in known:
        ids = list(known)
        best = nearest(id, ids)
        mend = f"did you mean {best}?" if best else f"its entries are {ids[0]} to {ids[-1]}"
        raise SpecError(f"there is no entry {id if id and id.isprintable() else repr(id)}", where=LOG, mend=mend)
    return known[id]


def _entry(facts: Mapping[str, Any]) -> Entry:
    def mapping(name: str) -> Mapping[str, Any]:
        return MappingProxyType(facts.get(name, {}))

    return Entry(
        id=facts["id"],
        heading=facts.get("heading"),
        sections=tuple(facts.get("sections", ())),
        printed=mapping("setup"),
        inferred=mapping("inferred"),
        params=mapping("params"),
        results=MappingProxyType({kind: Result(**values) for kind, values in facts.get("results", {}).items()}),
        loss_weights=mapping("loss_weights"),
        figures=tuple(Figure(**{**f, "equals": tuple(f["equals"])}) for f in facts.get("figures", ())),
    )
