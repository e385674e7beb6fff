"""FROC, precision by recall and reliability of an ablation's arms, one setting over one another."""

from __future__ import annotations

import math
from collections.abc import Callable

from mmad.report.certainty import Certainty, SureRun
from mmad.report.charts import Panel, Series, Style
from mmad.report.frames import AblationFrame

_STYLES: tuple[Style, ...] = ("solid", "dashed", "dotted")
Line = Callable[[SureRun], tuple[tuple[float, ...], tuple[float | None, ...]]]


def sure_panels(ablation: AblationFrame, setting: str, certainty: Certainty) -> tuple[Panel, ...]:
    """Three panels on the test split; arms in the colours of the other curves, further seeds fainter.

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
            x, y = line(sure)
            if not x or (member.judged, sure.kind) != first:
                continue
            found.append(Series(arm, x, y, n, _STYLES[n % 3], faint=drawn > 0))
            drawn += 1
    return tuple(found)


def _froc(sure: SureRun) -> tuple[tuple[float, ...], tuple[float | None, ...]]:
    return ((), ()) if sure.profile is None else (sure.profile.froc.rates, sure.profile.froc.sensitivity)


def _precision(sure: SureRun) -> tuple[tuple[float, ...], tuple[float | None, ...]]:
    return ((), ()) if sure.curve is None else (sure.curve.recall, sure.curve.precision)


def _reliability(sure: SureRun) -> tuple[tuple[float, ...], tuple[float | None, ...]]:
    if sure.profile is None:
        return (), ()
    found = sure.profile.calibration
    known = [(s, h) for s, h in zip(found.score, found.hits, strict=True) if math.isfinite(s) and math.isfinite(h)]
    return tuple(s for s, _ in known), tuple(h for _, h in known)
