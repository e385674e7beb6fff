"""FROC, precision by recall and reliability of an ablation's arms, one setting over one another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from mmad.report.certainty import Certainty, SureRun
from mmad.report.charts import Panel, Series, Style
from mmad.report.frames import AblationFrame

_STYLES: tuple[Style, ...] = ("solid", "dashed", "dotted")


class _Points(NamedTuple):
    """A line and, where there is one, the interval around each point."""

    x: tuple[float, ...] = ()
    y: tuple[float | None, ...] = ()
    band: tuple[tuple[float, float], ...] = ()


Line = Callable[[SureRun], _Points]


def sure_panels(ablation: AblationFrame, setting: str, certainty: Certainty) -> tuple[Panel, ...]:
    """Three panels on the test split; arms in the colours of the other curves, further seeds fainter.

    FROC of an arm's first seed is shaded from end to end of its 95 % intervals.

    Runs judged under another protocol, or by another kind of checkpoint, than the setting's first are left out,
    never drawn beside it.
    """
    lines: tuple[tuple[str, Line, str], ...] = (
        ("Sensitivity by false positives per image", _froc, "rate"),
        ("Precision by recall", _precision, "share"),
        ("Share of hits by score", _reliability, "share"),
    )
    panels = []
    for title, line, across in lines:
        series = _series(ablation, setting, certainty, line)
        if series:
            panels.append(Panel(title, series, y_range=(0, 1), across="rate" if across == "rate" else "share"))
    return tuple(panels)


def _series(ablation: AblationFrame, setting: str, certainty: Certainty, line: Line) -> tuple[Series, ...]:
    found: list[Series] = []
    first = None
    for n, arm in enumerate(ablation.arms):
        drawn = 0
        for member in ablation.of(setting, arm):
            sure = certainty.run(member)
            if sure is None:
                continue
            first = first or (member.judged, sure.kind)
            x, y, band = line(sure)
            if not x or (member.judged, sure.kind) != first:
                continue
            found.append(Series(arm, x, y, n, _STYLES[n % 3], faint=drawn > 0, band=() if drawn else band))
            drawn += 1
    return tuple(found)


def _froc(sure: SureRun) -> _Points:
    if sure.profile is None:
        return _Points()
    ends = tuple((value.low, value.high) for value in sure.profile.froc_band.sensitivity)
    known = all(math.isfinite(end) for pair in ends for end in pair)
    return _Points(sure.profile.froc.rates, sure.profile.froc.sensitivity, ends if known else ())


def _precision(sure: SureRun) -> _Points:
    return _Points() if sure.curve is None else _Points(sure.curve.recall, sure.curve.precision)


def _reliability(sure: SureRun) -> _Points:
    if sure.profile is None:
        return _Points()
    found = sure.profile.calibration
    known = [(s, h) for s, h in zip(found.score, found.hits, strict=True) if math.isfinite(s) and math.isfinite(h)]
    return _Points(tuple(s for s, _ in known), tuple(h for _, h in known))
