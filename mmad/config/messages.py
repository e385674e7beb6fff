"""Words of a refusal: the name that is unknown, the nearest valid one, and what would do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

#: More valid words than this are not all named.
_MOST_NAMED = 12


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The entry of ``valid`` most like ``word``, case aside, or None when nothing is like it.

    An entry of a word's initials is like it (``lr`` for ``learning_rate``). Without a like one, a word of four
    letters or more finds the shortest entry that holds it whole.
    """
    by_case = {candidate.lower(): candidate for candidate in valid}
    initials = _initials(word)
    found = [initials] if len(initials) > 1 and initials in by_case else []
    found = found or difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=0.6)
    if not found and len(word) >= 4:
        found = sorted((candidate for candidate in by_case if word.lower() in candidate), key=len)
    return by_case[found[0]] if found else None


def _initials(word: str) -> str:
    """``lr`` of ``learning_rate``."""
    return "".join(part[:1] for part in re.split(r"[_\s-]+", word.lower()))


def did_you_mean(word: str, valid: Iterable[str], lister: str = "") -> str:
    """The hint for an unknown ``word``: the nearest valid one, or what is valid when none is near.

    Args:
        lister: the command that lists what is valid, if there is one.
    """
    words = list(valid)
    best = nearest(word, words)
    if best is not None:
        return f"did you mean {best}?"
    if not words:
        return "none is known"
    if len(words) > _MOST_NAMED:
        (closest,) = difflib.get_close_matches(word, words, n=1, cutoff=0.0)
        more = f": `{lister}` lists them all" if lister else ""
        return f"the nearest of the {len(words)} valid ones is {closest}{more}"
    return f"expected one of {', '.join(words)}"


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
    named = ", ".join(map(_plain, words[:12])) + (", …" if len(words) > 12 else "")
    return f"use one of {named}" if words else "there is none to choose from"


def _plain(word: str) -> str:
    return word if word and word.isprintable() and len(word) <= _MOST_SHOWN else shown(word)
