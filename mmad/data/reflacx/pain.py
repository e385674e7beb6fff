"""The pain score of triage: free text in MIMIC-IV-ED 2.x, a number in 1.0."""

from __future__ import annotations

import re

_NUMBER = r"(\d+(?:\.\d+)?)"
_ONE = re.compile(_NUMBER + r"\++")
_OF_TEN = re.compile(_NUMBER + r"\s*(?:/|of|out of)\s*10(?:\.0)?")
_RANGE = re.compile(_NUMBER + r"\s*(?:-|–|to)\s*" + _NUMBER)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_FREE_OF_PAIN = ("none", "no", "no pain", "denies", "denies pain")


def pain_number(text: str) -> float | None:
    """Pain from 0 (none) to 10, or None where ``text`` does not say a number.

    Understood, in any case and with blanks around: a number (``7``, ``7.0``, ``10+``), a number of ten (``7/10``,
    ``7 out of 10``), a range, which gives its middle (``5-6``: 5.5), a word from *zero* to *ten*, and *none*, *no*,
    *no pain*, *denies* (0). Everything else is None: *unable*, *asleep*, *severe*, two scores in one cell, ``3/5``,
    and numbers above 10, which some wards write for *not assessable*.
    """
    plain = " ".join(text.casefold().split())
    if plain in _FREE_OF_PAIN:
        return 0.0
    if plain in _WORDS:
        return float(_WORDS.index(plain))
    return _within(_value(plain))


def _value(plain: str) -> float | None:
    if spread := _RANGE.fullmatch(plain):
        low, high = float(spread[1]), float(spread[2])
        return (low + high) / 2 if max(low, high) <= 10 else None
    single = re.fullmatch(_NUMBER, plain) or _ONE.fullmatch(plain) or _OF_TEN.fullmatch(plain)
    return None if single is None else float(single[1])


def _within(value: float | None) -> float | None:
    return value if value is not None and value <= 10 else None
