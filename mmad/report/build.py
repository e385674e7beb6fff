"""Making a report: read the store, tell it as HTML or Markdown, write it in one piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mmad.base.clock import now
from mmad.base.errors import ReportError
from mmad.base.files import write_atomically
from mmad.report.frames import Source, load_frame
from mmad.report.html import render_html
from mmad.report.markdown import render_markdown
from mmad.report.story import tell


@dataclass(frozen=True)
class Report:
    """What was written: ``html`` and ``markdown`` are None where not asked for."""

    html: Path | None
    markdown: Path | None
    ablations: int
    runs: int
    unfinished: int


def write_report(
    source: Source,
    *,
    html: Path | None = None,
    markdown: Path | None = None,
    ablations: Sequence[str] = (),
    database: str = "",
    created: datetime | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Write the report of ``source`` to ``html`` and to ``markdown`` (with its charts in a folder beside).

    ``progress`` hears how many of how many runs are drawn. Raises ReportError when there is nothing to
    report, an ablation is unknown, or a file cannot be written; an older report is then left as it was.
    """
    story = tell(load_frame(source, ablations), created=created or now(), database=database)
    if html is not None:
        _write(html, render_html(story, progress).encode("utf-8"))
    if markdown is not None:
        charts = markdown.parent / f"{markdown.stem}_charts"
        page = render_markdown(story, charts.name)
        for name, svg in page.charts:
            _write(charts / name, svg.encode("utf-8"))
        _write(markdown, page.text.encode("utf-8"))
        _forget_older(charts, {name for name, _ in page.charts})
    return Report(html, markdown, len(story.ablations), len(story.runs), len(story.attention))


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise ReportError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            mend="choose another place with --out, or make room there",
        ) from error


def _forget_older(folder: Path, wanted: set[str]) -> None:
    """Remove the charts of an earlier report that the new one does not show."""
    if not folder.is_dir():
        return
    for path in folder.glob("*.svg"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)
