"""Headings: their names, and the figures their authors wrote behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mmad.documented.log.model import FIGURES, RESULTS, Checkpoint, FigureGroup, LogFigure

HEADING = re.compile(r"\s{0,3}(#{1,6})(?!#)(?:\s+(.*))?$")
_BRACKETS = re.compile(r"\([^()]*\)")
_PART = re.compile(r"\s*(?:([A-Za-z_][\w ]*?)\s*=\s*)?(\d*\.\d+|\d+)\s*$")
#: What a figure's key is made of; other keys (``lr``, ``patience``, …) tell a setting.
_WORDS = frozenset({"best", "final", "last", "v", "t", "val", "valid", "test", "train", "ap", "ar", "map"})
_BARE = re.compile(r"0?\.\d{2,}|1\.0+|\d{4}")
#: Two figures are equal where their four printed digits are.
SAME = 5e-5


def named(heading: str) -> str:
    """A heading without its level, remarks and figures in brackets, and the marks at its end."""
    return " ".join(_BRACKETS.sub("", heading.lstrip("# ")).split()).rstrip(" .,:")


def figure_groups(text: str, line: int) -> tuple[FigureGroup, ...]:
    """The brackets of ``text`` that hold figures, such as ``(v=0.3130, best_t=0.3714)`` or ``(4076)``."""
    groups = []
    for match in _BRACKETS.finditer(text):
        figures = tuple(_figures(match[0][1:-1]))
        if figures:
            groups.append(FigureGroup(raw=match[0], line=line, figures=figures))
    return tuple(groups)


def is_figures(text: str) -> bool:
    """Whether ``text`` is one bracket of figures and nothing else."""
    stripped = text.strip()
    return bool(_BRACKETS.fullmatch(stripped)) and bool(figure_groups(stripped, 0))


def _figures(inside: str) -> Iterator[LogFigure]:
    for part in inside.split(","):
        match = _PART.match(part) if len(part) < 60 else None
        if match is None or not _is_figure(match[1], match[2]):
            continue
        scaled = match[2].isdigit() and len(match[2]) == 4
        value = float(match[2]) / 10_000 if scaled else float(match[2])
        yield LogFigure(key=match[1], printed=match[2], value=value, scaled=scaled)


def _is_figure(key: str | None, printed: str) -> bool:
    if key is None:
        return bool(_BARE.fullmatch(printed))
    words = set(re.split(r"[_ ]+", key.lower()))
    return words <= _WORDS and (len(printed) == 4 or float(printed) <= 1)


def equals(value: float, results: Mapping[str, Checkpoint]) -> tuple[str, ...]:
    """The results that equal ``value`` to four digits, such as ``best_ap.test_ap``."""
    kinds = [*(kind for kind in RESULTS if kind in results), *(kind for kind in results if kind not in RESULTS)]
    return tuple(f"{k}.{m}" for k in kinds for m in FIGURES if abs(getattr(results[k], m) - value) < SAME)


def with_equals(group: FigureGroup, results: Mapping[str, Checkpoint]) -> FigureGroup:
    """``group``, each figure with the results that equal it."""
    figures = tuple(f.model_copy(update={"equals": equals(f.value, results)}) for f in group.figures)
    return group.model_copy(update={"figures": figures})
