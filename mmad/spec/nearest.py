"""The nearest valid word to a misspelled one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

#: More valid words than this are not all told.
_MOST_TOLD = 12


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


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """The mend for an unknown ``word``: the nearest valid one, or what is valid when none is near."""
    words = list(valid)
    best = nearest(word, words)
    if best is not None:
        return f"did you mean {best}?"
    if not words:
        return "none is known"
    if len(words) > _MOST_TOLD:
        (closest,) = difflib.get_close_matches(word, words, n=1, cutoff=0.0)
        return f"the nearest of the {len(words)} that are valid is {closest}: `mmad schema` tells them all"
    return f"expected one of {', '.join(words)}"
