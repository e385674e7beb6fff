"""``mmad report``: everything recorded, as one page to read, send and print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.base.errors import ReportError
from mmad.base.paths import DEFAULT_REPORT
from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json, progress_bar
from mmad.cli.judging import MovedDataOption, open_to_keep
from mmad.cli.report_said import lines, plain
from mmad.cli.report_wanted import Wanted

if TYPE_CHECKING:
    from mmad.report.build import Report

HELP = """Write the report of everything recorded: one HTML file that needs no network.

Of more than 300 runs it becomes an overview with linked pages in a folder beside it (index_pages/); --pages and
--one-file choose. Pages that did not change are left as they are.

--md writes the same as Markdown, beside it, with its charts in a folder. Without --html and --md it is --html.

Intervals and verdicts come from what the database keeps; what is not there yet is computed from the kept detections
and kept, where the database can be written.

Pictures show true boxes and those of both arms on the studies where they differ most. Images of a data set whose
licence does not say that they may be passed on are shown with --pictures N only; --pictures 0 shows none.

--paper writes paper.html, paper.tex and paper.csv beside them: the table of ablations/paper.toml with intervals and
the documented figures. Alone, it writes nothing else.

--csv DIR and --latex DIR write every table of the report as a file of its own: figures in full for analysis, and
booktabs tables for a paper. Alone, they write nothing else.

--watch stays and writes it again whenever something new is recorded, at most every so many seconds, a line each time;
an open page shows the new one by itself, where it was left. Ctrl-C ends it; --until-done ends it with the queue.

--json prints {"html": path or null, "md": path or null, "csv": [paths], "latex": [paths], "ablations": n, "runs": n,
"unfinished": n, "pages": n}; pages is 0 for one file. With --paper also "paper": [paths]; with
--watch one such object on a line of its own each time.
"""


def report(
    html: Annotated[bool, typer.Option("--html", help="Write HTML (also when neither form is asked for).")] = False,
    md: Annotated[bool, typer.Option("--md", help="Write Markdown.")] = False,
    pages: Annotated[
        bool | None,
        typer.Option("--pages/--one-file", help="Linked pages, or one file whatever its size.", show_default=False),
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Write the paper's table: HTML, LaTeX and CSV.")] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="DIR", help="Write every table as CSV into DIR.", show_default=False)
    ] = None,
    latex: Annotated[
        Path | None,
        typer.Option("--latex", metavar="DIR", help="Write every table as LaTeX into DIR.", show_default=False),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to; each form takes its own ending.")
    ] = DEFAULT_REPORT,
    ablation: Annotated[
        list[str] | None,
        typer.Option("--ablation", metavar="NAME", help="Only this ablation; may be repeated.", show_default=False),
    ] = None,
    data: MovedDataOption = None,
    pictures: Annotated[
        int | None,
        typer.Option(
            "--pictures",
            metavar="N",
            help="Studies shown of each pair; left out: a few, where the data set's licence allows it.",
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        bool | None,
        typer.Option(
            "--log/--no-log",
            help="Show the entries of experiment logs; left out: where an ablation mirrors one or a log was imported.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Write it again whenever something new is recorded.")] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=1, help="With --watch: at most so often.")
    ] = 10.0,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="Watch, and end once no run is queued or running.")
    ] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    if paper and (watch or until_done):
        raise ReportError("--paper is written once", where="--watch", mend="leave out one of the two")
    if paper:
        files = _write_paper(out, db)
        if not (html or md or csv or latex):
            _say_paper(files, as_json)
            return
    wants_html = html or pages is not None or not (md or csv or latex)
    page, text = targets(out, html=wants_html, markdown=md)
    wanted = Wanted(
        html=page,
        markdown=text,
        pages=pages,
        csv=csv,
        latex=latex,
        ablations=tuple(ablation or ()),
        data=data,
        pictures=pictures,
        log=log,
    )
    if watch or until_done:
        from mmad.cli.report_watch import watch_report

        watch_report(db, wanted, every=every, until_done=until_done, as_json=as_json, shown=_open if show else None)
        return
    with open_to_keep(db) as store, progress_bar("drawing the report") as progress:
        written = wanted.write(store, progress)
    if as_json:
        print_json(plain(written) | ({"paper": [path.as_posix() for path in files]} if paper else {}))
    else:
        for line in lines(written):
            typer.echo(line)
        if written.pages and pages is None:
            print("mmad: linked pages, for one file would be large; --one-file writes it all the same", file=sys.stderr)
    if show:
        _open(written)


def _write_paper(out: Path, db: str) -> tuple[Path, ...]:
    """The three files beside the report; intervals that are computed for them are kept in the database."""
    from mmad.report.paper_forms import write_paper

    folder = out if out.is_dir() else out.parent
    with open_to_keep(db) as store:
        table, files = write_paper(store, folder / "paper")
    for note in table.notes:
        print(f"mmad: {note}", file=sys.stderr)
    return files


def _say_paper(files: tuple[Path, ...], as_json: bool) -> None:
    if as_json:
        print_json({"paper": [path.as_posix() for path in files]})
    else:
        for path in files:
            typer.echo(path.as_posix())


def targets(out: Path, *, html: bool, markdown: bool) -> tuple[Path | None, Path | None]:
    """The files of both forms, None for one that is not asked for; a folder gets an index."""
    base = out / DEFAULT_REPORT.name if out.is_dir() else out
    stem = base.with_suffix("") if base.suffix.lower() in (".html", ".htm", ".md") else base
    page = base if base.suffix.lower() in (".html", ".htm") else stem.with_name(f"{stem.name}.html")
    return (page if html else None), (stem.with_name(f"{stem.name}.md") if markdown else None)


def _open(written: Report) -> None:
    import webbrowser

    path = written.html or written.markdown
    if path is not None and not webbrowser.open(path.resolve().as_uri()):
        print(f"mmad: no browser to open {path} with", file=sys.stderr)


def register(app: typer.Typer) -> None:
    """Adds ``mmad report`` to ``app``."""
    app.command("report", help=HELP)(report)
