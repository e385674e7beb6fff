"""``mmad report``: everything recorded, as one page to read, send and print."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.api.results import open_store, write_report
from mmad.base.errors import ReportError
from mmad.base.formatting import plural
from mmad.base.json_values import picked
from mmad.base.paths import DEFAULT_REPORT
from mmad.cli.options import DEFAULT_DB, DatabaseOption, JsonOption, MovedDataOption, refuse_idle
from mmad.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from mmad.report.write_report import Report
    from mmad.store.store import Store


def report(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="ABLATION", help="Only these; default: all.")] = None,
    html: Annotated[bool, typer.Option("--html", help="Write HTML (also when neither form is asked for).")] = False,
    md: Annotated[bool, typer.Option("--md", help="Write Markdown.")] = False,
    pages: Annotated[
        bool | None, typer.Option("--pages/--one-file", help="Linked pages, or one file whatever its size.")
    ] = None,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper", help="Write the published table of MDF-Net beside your repeat of it: HTML, LaTeX and CSV."
        ),
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="DIR", help="Write every table as CSV into DIR.")] = None,
    latex: Annotated[
        Path | None, typer.Option("--latex", metavar="DIR", help="Write every table as LaTeX into DIR.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", metavar="DIR", help="Write every figure for a paper into DIR.")
    ] = None,
    formats: Annotated[
        str,
        typer.Option("--format", metavar="LIST", help="File formats of --figures: pdf, svg, png, separated by commas."),
    ] = "pdf",
    methods: Annotated[
        Path | None, typer.Option("--methods", metavar="FILE", help="Write a Methods section and the checklists.")
    ] = None,
    ro_crate: Annotated[
        Path | None, typer.Option("--ro-crate", metavar="DIR", help="Write everything as an RO-Crate into DIR.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="File to write; each form gets its own ending.")
    ] = DEFAULT_REPORT,
    ablation: Annotated[
        list[str] | None, typer.Option("--ablation", metavar="NAME", help="Only this ablation; may be repeated.")
    ] = None,
    data: MovedDataOption = None,
    pictures: Annotated[
        int | None,
        typer.Option(
            "--pictures",
            metavar="N",
            help="Studies shown of each pair; default: a few, where the data set's licence allows it.",
        ),
    ] = None,
    log: Annotated[
        bool | None,
        typer.Option(
            "--log/--no-log",
            help="Show the entries of experiment logs; default: where an ablation mirrors one or a log was imported.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="DB|DATE", help="Say what changed against another database, or a date."),
    ] = None,
    provenance: Annotated[
        str,
        typer.Option(
            "--provenance", metavar="brief|full", help="full: with host, folders and command line of each run."
        ),
    ] = "brief",
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", metavar="COLUMN", help="Compare the arms in parts of the test split by this column; repeatable."
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Write it again whenever something new is recorded.")] = False,
    every: Annotated[
        float,
        typer.Option("--every", metavar="SECONDS", min=1, help="With --watch: the shortest time between two reports."),
    ] = 10.0,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="Watch, and end once no run is queued or running.")
    ] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    """Write the report of everything recorded: one HTML file that needs no network.

    With more than 300 runs it becomes an overview with linked pages in a folder beside it (index_pages/); --pages and
    --one-file choose. Pages that did not change are left as they are.

    --md writes the same as Markdown, beside it, with its charts in a folder. Without --html and --md it is --html.

    Intervals and verdicts come from the database's cache; what is not there yet is computed from the stored detections
    and cached, where the database can be written.

    Pictures show true boxes and those of both arms on the studies where they differ most. Images of a data set whose
    licence does not say that they may be passed on are shown with --pictures N only; --pictures 0 shows none.

    A report can be sent around: it names no host, user, absolute path or command line. --provenance full writes them.

    --paper writes paper.html, paper.tex and paper.csv beside them: the published rows of MDF-Net, documented figures
    and what ablations/mdf_net.toml measured, with intervals, and what inflates the published difference; likewise
    paper-findings.* by finding and paper-features.* by clinical columns. Alone, it writes nothing else.

    --csv DIR and --latex DIR write every table of the report as a file of its own: figures in full for analysis, and
    booktabs tables for a paper. Alone, they write nothing else.

    --figures DIR writes every figure of the report as a file 174 mm wide, and those of ablations also 85 mm: two
    columns of a journal, and one. Fonts are embedded; lines differ in dash and colour. Alone, it writes nothing else.

    --methods FILE writes a Methods section as Markdown, from what is recorded, with references, and the items of the
    reporting checklists: what the database knows of each, and what is left to the author. Alone, it writes nothing
    else.

    --ro-crate DIR writes an RO-Crate 1.1 into the new folder DIR: the ablation files, the report, Methods, tables as
    CSV, and of every run setup, versions and the SHA-256 of data set and checkpoints. Alone, it writes nothing else.

    --against DB|DATE says which verdicts, differences and runs changed, are new or gone: against another database (a
    file or a URL), or against what had finished here by a date (2026-05-16: its end) or a moment, in UTC.

    --by COLUMN splits the test studies by a clinical column, source, site, scanner or year, and compares the arms in
    these parts, as mmad compare --by; later reports show what was asked last.

    --watch stays and writes it again whenever something new is recorded, at most once every --every seconds; an
    open page updates itself. Ctrl-C ends it; --until-done ends it with the queue.

    --json prints {"html": path or null, "md": path or null, "csv": [paths], "latex": [paths], "figures": [paths],
    "methods": path or null, "ablations": n, "runs": n, "unfinished": n, "pages": n, "crate": [paths],
    "against": null or {"what", "pairs", "verdicts_changed", "differences_changed", "pairs_new", "pairs_gone", "runs",
    "runs_changed", "runs_new", "runs_gone"}}; pages is 0 for one file. With --paper also "paper": [paths];
    with --watch one such object on a line of its own each time.
    """
    if not (watch or until_done):
        refuse_idle(context, "add --watch, or leave it out", "every")
    if figures is None:
        refuse_idle(context, "add --figures DIR, or leave it out", "formats")
    files_alone = not (html or md or pages is not None) and bool(csv or latex or figures or methods or ro_crate)
    if files_alone and not paper:
        within = ["log"] if not (csv or latex or figures) else []
        shown = [] if ro_crate else ["pictures", "provenance", *within]
        refuse_idle(context, "add --html or --md, or leave it out", "out", "show", *shown)
    if paper and (watch or until_done):
        raise ReportError("--paper is written once", where="--watch", hint="leave out one of the two")
    if paper:
        files = _write_paper(out, db)
        if not (html or md or csv or latex or figures or methods or ro_crate):
            refuse_idle(context, "add --html, or leave it out", "by")
            if as_json:
                print_json({"paper": [path.as_posix() for path in files]})
            else:
                typer.echo("\n".join(path.as_posix() for path in files))
            return
    if ro_crate is not None and (watch or until_done):
        raise ReportError("--ro-crate is written once", where="--watch", hint="leave out one of the two")
    wants_html = html or pages is not None or not (md or csv or latex or figures or methods or ro_crate)
    page, text = targets(out, html=wants_html, markdown=md)
    chosen = (*(names or ()), *(ablation or ()))
    write = partial(
        _write,
        html=page,
        markdown=text,
        pages=pages,
        csv=csv,
        latex=latex,
        figures=figures,
        formats=tuple(part.strip() for part in formats.split(",") if part.strip()),
        methods=methods,
        crate=ro_crate,
        ablations=chosen,
        data=data,
        pictures=pictures,
        log=log,
        against=against,
        provenance=provenance,
        by=tuple(by or ()),
    )
    if watch or until_done:
        opened = _open if show else None
        _watch(db, write, page, chosen, every=every, until_done=until_done, as_json=as_json, opened=opened)
        return
    with open_store(db) as store, progress_bar("drawing the report") as progress:
        written = write(store, progress=progress)
    if as_json:
        print_json(_report_json(written) | ({"paper": [path.as_posix() for path in files]} if paper else {}))
    else:
        for line in _lines(written):
            typer.echo(line)
        if written.pages and pages is None:
            print("mmad: linked pages, for one file would be large; --one-file writes it all the same", file=sys.stderr)
    if show:
        _open(written)


def _write(store: Store, **options: Any) -> Report:
    """``write_report``, whose refusals of an argument name the option that gives it."""
    try:
        return write_report(store, **options)
    except ReportError as error:
        if error.where not in ("pictures", "provenance"):
            raise
        raise ReportError(error.what, where=f"--{error.where}", hint=error.hint) from None


def targets(out: Path, *, html: bool, markdown: bool) -> tuple[Path | None, Path | None]:
    """The files of both forms, None for one that is not asked for; a folder gets an index."""
    base = out / DEFAULT_REPORT.name if out.is_dir() else out
    stem = base.with_suffix("") if base.suffix.lower() in (".html", ".htm", ".md") else base
    page = base if base.suffix.lower() in (".html", ".htm") else stem.with_name(f"{stem.name}.html")
    return (page if html else None), (stem.with_name(f"{stem.name}.md") if markdown else None)


def _lines(written: Report) -> list[str]:
    """What was written, a line for every page and every folder."""
    counts = [plural(written.ablations, "ablation"), plural(written.runs, "run")]
    if written.unfinished:
        counts.append(f"{written.unfinished} of them not finished")
    summary = ", ".join(counts)
    lines = []
    if written.html is not None:
        pages = f"; {plural(written.pages, 'page')} in {written.html.stem}_pages/" if written.pages else ""
        lines.append(f"{written.html}: {summary}{pages}")
    if written.markdown is not None:
        lines.append(f"{written.markdown}: {summary}")
    if written.methods is not None:
        lines.append(f"{written.methods}: Methods and checklists of {plural(written.ablations, 'ablation')}")
    if written.against is not None:
        lines.append(written.against.sentence)
    if written.crate:
        files = plural(len(written.crate), "file")
        lines.append(f"{written.crate[-1].parent}: RO-Crate of {plural(written.ablations, 'ablation')}, {files}")
    folders = (("CSV files", written.csv), ("LaTeX files", written.latex), ("figures", written.figures))
    return lines + [f"{files[0].parent}: {len(files)} {words}" for words, files in folders if files]


def _report_json(written: Report) -> dict[str, Any]:
    """The documented JSON form."""
    return {
        "html": written.html.as_posix() if written.html else None,
        "md": written.markdown.as_posix() if written.markdown else None,
        "csv": [path.as_posix() for path in written.csv],
        "latex": [path.as_posix() for path in written.latex],
        "figures": [path.as_posix() for path in written.figures],
        "methods": written.methods.as_posix() if written.methods else None,
        **picked(written, "ablations", "runs", "unfinished", "pages"),
        "crate": [path.as_posix() for path in written.crate],
        "against": {"what": written.against.words} | written.against.counts if written.against else None,
    }


def _open(written: Report) -> None:
    import webbrowser

    path = written.html or written.markdown
    if path is not None and not webbrowser.open(path.resolve().as_uri()):
        print(f"mmad: no browser to open {path} with", file=sys.stderr)


def _write_paper(out: Path, db: str) -> tuple[Path, ...]:
    """The three files beside the report; intervals that are computed for them are cached in the database."""
    from mmad.report.write_report import write_paper

    folder = out if out.is_dir() else out.parent
    with open_store(db) as store:
        table, files = write_paper(store, folder / "paper")
    for note in (*table.footnotes, table.note):
        print(f"mmad: {note}", file=sys.stderr)
    return files


def _watch(
    db: str,
    write: Callable[..., Report],
    page: Path | None,
    ablations: Sequence[str],
    *,
    every: float,
    until_done: bool,
    as_json: bool,
    opened: Callable[[Report], None] | None,
) -> None:
    """Write the report whenever something new is recorded, until the queue is done or Ctrl-C.

    Either leaves a page that no longer reloads itself.

    Args:
        write: writes the report of a store; ``page`` is its HTML.
        opened: opens the first report.
    """
    from mmad.base.clock import now, seconds
    from mmad.report.watch import settle, watch

    reports: list[Report] = []

    with open_store(db) as store:

        def build(more: bool) -> None:
            begun = seconds()
            written = write(store, every=every if more else None)
            if as_json:
                typer.echo(json.dumps(_report_json(written), ensure_ascii=False))
            else:
                took = seconds() - begun
                typer.echo(f"{now().astimezone():%H:%M:%S} {'; '.join(_lines(written))} ({took:.1f} s)")
            sys.stdout.flush()
            if opened is not None and not reports:
                opened(written)
            reports[:] = [written]

        try:
            watch(
                store,
                build,
                every=every,
                ablations=ablations,
                until_done=until_done,
                failed=lambda error: print(f"mmad: {error}", file=sys.stderr, flush=True),
            )
        finally:
            if page is not None:
                with contextlib.suppress(OSError):
                    settle(page)


def register(app: typer.Typer) -> None:
    app.command("report")(report)
