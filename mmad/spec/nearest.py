"""The nearest valid word to a misspelled one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: More valid words than this are not all told.
_MOST_TOLD = 12


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The entry of ``valid`` most like ``word``, case aside, or None when nothing is like it.

    Without a like one, a word of four letters or more finds the shortest entry that holds it whole.
    """
    by_case = {candidate.lower(): candidate for candidate in valid}
    found = difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=0.6)
    if not found and len(word) >= 4:
        found = sorted((candidate for candidate in by_case if word.lower() in candidate), key=len)
    return by_case[found[0]] if found else None


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """The mend for an unknown ``word``: the nearest valid one, or what is valid when none is near."""
    words = list(valid)
    best = nearest(word, words)
    if best is not None:
        return f"did you mean {best}?"
    if not words:
        return "none is known"
    if len(words) > _MOST_TOLD:
        return f"nothing is like it among the {len(words)} that are valid: see docs/ablation-file.md or `mmad schema`"
    return f"expected one of {', '.join(words)}"
