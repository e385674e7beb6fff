"""The nearest valid word to a misspelled one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The entry of ``valid`` most like ``word``, case aside, or None when nothing is like it."""
    by_case = {candidate.lower(): candidate for candidate in valid}
    found = difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=0.6)
    return by_case[found[0]] if found else None


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """The mend for an unknown ``word``: the nearest valid one, or all of them when none is near."""
    words = list(valid)
    best = nearest(word, words)
    if best is not None:
        return f"did you mean {best}?"
    return f"expected one of {', '.join(words)}" if words else "none is known"
