"""What ``mmad report`` says about what it wrote: lines for people, the documented JSON form for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmad.report.build import Report


def lines(written: Report) -> list[str]:
    """What was written, a line for every page and every folder of tables."""
    said = []
    if written.html is not None:
        said.append(f"{written.html}: {summary(written)}{_beside(written)}")
    if written.markdown is not None:
        said.append(f"{written.markdown}: {summary(written)}")
    tables = (("CSV", written.csv), ("LaTeX", written.latex))
    return said + [f"{files[0].parent}: {len(files)} {form} files" for form, files in tables if files]


def summary(written: Report) -> str:
    """``2 ablations, 17 runs, 2 of them not finished``."""
    from mmad.report.words import plural

    words = [plural(written.ablations, "ablation"), plural(written.runs, "run")]
    if written.unfinished:
        words.append(f"{written.unfinished} of them not finished")
    return ", ".join(words)


def _beside(written: Report) -> str:
    """``; 12 pages in index_pages/``, or nothing."""
    from mmad.report.words import plural

    if written.html is None or not written.pages:
        return ""
    return f"; {plural(written.pages, 'page')} in {written.html.stem}_pages/"


def plain(written: Report) -> dict[str, str | int | list[str] | None]:
    """The documented JSON form."""
    return {
        "html": written.html.as_posix() if written.html else None,
        "md": written.markdown.as_posix() if written.markdown else None,
        "csv": [path.as_posix() for path in written.csv],
        "latex": [path.as_posix() for path in written.latex],
        "ablations": written.ablations,
        "runs": written.runs,
        "unfinished": written.unfinished,
        "pages": written.pages,
    }
