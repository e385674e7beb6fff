"""Words that differ in how they are written only: labels, values and patients that a table spells in several ways."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable


def spelled_alike(word: str) -> str:
    """A form in which case, blanks, hyphens, underscores and Unicode forms make no difference."""
    plain = unicodedata.normalize("NFKC", word).casefold()
    return re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFKC", plain)).strip()


def spelling_groups(words: Iterable[str]) -> list[list[str]]:
    """Groups of different words that are one in ``spelled_alike``."""
    return _groups((word, spelled_alike(word)) for word in dict.fromkeys(words))


def number_groups(ids: Iterable[str]) -> list[list[str]]:
    """Groups of different ids that are one as numbers, such as ``10``, ``10.0`` and ``010``, or in their spelling."""
    return _groups((word, _without_zeros(spelled_alike(word))) for word in dict.fromkeys(ids))


def _without_zeros(word: str) -> str:
    """Without ``.0`` at the end and without zeros in front of a number."""
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", re.sub(r"(?<=[0-9])\.0+$", "", word))


def _groups(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for word, form in pairs:
        groups.setdefault(form, []).append(word)
    return [group for group in groups.values() if len(group) > 1]
