"""Words of a refusal: the name that is not there, the nearest that is, and all that are."""

from __future__ import annotations

from collections.abc import Iterable

from mmad.spec.nearest import nearest

#: A name is shown up to this many characters, so that a message stays a line.
_MOST_SHOWN = 80
#: Against more names than this the nearest is not looked for: it takes as long as reading them.
_MOST_COMPARED = 20_000


def shown(name: str) -> str:
    """``name`` in quotes, shortened if it is long; what cannot be printed is escaped."""
    return repr(name if len(name) <= _MOST_SHOWN else name[:_MOST_SHOWN] + "…")


def no_such(kind: str, name: str, known: Iterable[str]) -> str:
    """``unknown KIND 'name' (did you mean 'nearest'?)``."""
    words = list(known)
    best = nearest(name, words) if len(name) <= _MOST_SHOWN and len(words) <= _MOST_COMPARED else None
    return f"unknown {kind} {shown(name)}" + (f" (did you mean {shown(best)}?)" if best else "")


def one_of(known: Iterable[str]) -> str:
    """``use one of a, b, c`` (at most twelve of them)."""
    words = list(known)
    told = ", ".join(map(_plain, words[:12])) + (", …" if len(words) > 12 else "")
    return f"use one of {told}" if words else "there is none to choose from"


def _plain(word: str) -> str:
    return word if word and word.isprintable() and len(word) <= _MOST_SHOWN else shown(word)
