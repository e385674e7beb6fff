"""Which licences let a report carry images of the data set: an account of what may be passed on, not of the law."""

from __future__ import annotations

import re

_VERSION = r"(?: [1-4](?:\.[05])?)?(?: (?:international|unported|generic))?"
#: What may be passed on as it is and altered (shrunk, with boxes on it): public domain, CC without ND, open data.
_ALLOWING = tuple(
    re.compile(pattern)
    for pattern in (
        r"phantom",
        r"(?:in the )?public domain(?: mark)?(?: 1\.0)?|pdm(?: 1\.0)?",
        r"(?:cc ?0|cc zero|creative commons zero)(?: 1\.0)?(?: universal)?",
        rf"cc by(?: nc)?(?: sa)?{_VERSION}",
        rf"creative commons attribution(?: non ?commercial)?(?: share ?alike)?{_VERSION}(?: licen[cs]e)?",
        r"https?://creativecommons\.org/(?:licenses/by(?: nc)?(?: sa)?/[1-4]\.[05]|publicdomain/(?:zero|mark)/1\.0)/?",
        r"pddl(?: 1\.0)?|odc by(?: 1\.0)?",
    )
)


def allows_pictures(licence: str) -> bool:
    """Whether every part of ``licence`` (parts stand between ``;`` or ``,``) is one that lets images be passed on.

    Only whole names count, so that a licence with an exception, or one that merely mentions another, does not.
    Licences for credentialed users (PhysioNet, MIMIC) are none of them, nor is what is not stated.
    """
    parts = [_plain(part) for part in re.split(r"[;,\n]", licence)]
    return any(parts) and all(any(rule.fullmatch(part) for rule in _ALLOWING) for part in parts if part)


def _plain(part: str) -> str:
    """Small letters; hyphens and underscores as single spaces: ``CC-BY-SA-4.0`` is ``cc by sa 4.0``."""
    return " ".join(re.sub(r"[-_\s]+", " ", part.casefold()).split())
