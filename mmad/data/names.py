"""Words of a refusal: the name that is not there, the nearest that is, and all that are."""

from __future__ import annotations

from collections.abc import Iterable

from mmad.spec.nearest import nearest


def no_such(kind: str, name: str, known: Iterable[str]) -> str:
    """``unknown KIND 'name' (did you mean 'nearest'?)``."""
    best = nearest(name, known)
    return f"unknown {kind} {name!r}" + (f" (did you mean {best!r}?)" if best else "")


def one_of(known: Iterable[str]) -> str:
    """``use one of a, b, c`` (at most twelve of them)."""
    words = list(known)
    shown = ", ".join(words[:12]) + (", …" if len(words) > 12 else "")
    return f"use one of {shown}" if words else "there is none to choose from"
