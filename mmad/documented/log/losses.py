"""Snippets of Python that weight the losses."""

from __future__ import annotations

import re

from mmad.documented.log.values import read_number

_NAME = r"""\w*loss\w*\[\s*["'](\w+)["']\s*\]"""
_NUMBER = r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)"
_FACTOR = re.compile(rf"\s*{_NAME}\s*\*=\s*{_NUMBER}\s*$")
_PRODUCT = re.compile(rf"\s*{_NAME}\s*=\s*{_NAME}\s*\*\s*{_NUMBER}\s*$")
_DETACHED = re.compile(rf"\s*{_NAME}\s*=\s*{_NAME}\.detach\(\)\s*$")
#: What surrounds such lines and says nothing itself.
AROUND = re.compile(r"\s*(?:def \w*loss\w*\(\w*\):|return \w*loss\w*|(?:loss(?:es)? )?weights?:)\s*$")


def read_weight(text: str) -> tuple[str, int | float | str] | None:
    """The loss and its factor, or ``detach``; None for what is no such line."""
    if match := _FACTOR.match(text):
        number = read_number(match[2])
        return None if number is None else (match[1], number)
    if (match := _PRODUCT.match(text)) and match[1] == match[2]:
        number = read_number(match[3])
        return None if number is None else (match[1], number)
    if (match := _DETACHED.match(text)) and match[1] == match[2]:
        return match[1], "detach"
    return None
