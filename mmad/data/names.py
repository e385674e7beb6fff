"""Words of a refusal: the name that is not there, and the nearest that is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def no_such(kind: str, name: str, known: Iterable[str]) -> str:
    """``unknown KIND 'name' (did you mean 'nearest'?)``."""
    folded = {word.casefold(): word for word in known}
    nearest = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"unknown {kind} {name!r}" + (f" (did you mean {folded[nearest[0]]!r}?)" if nearest else "")


def one_of(known: Iterable[str]) -> str:
    """``use one of a, b, c`` (at most twelve of them)."""
    words = list(known)
    shown = ", ".join(words[:12]) + (", …" if len(words) > 12 else "")
    return f"use one of {shown}" if words else "there is none to choose from"
