"""The paper's table as HTML, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from markupsafe import escape

from mmad.base.errors import ReportError
from mmad.base.files import write_atomically
from mmad.base.formatting import DASH, decimal, whole
from mmad.evaluation.intervals import RESAMPLES, Interval
from mmad.report.tables import ABLATION, MEASURES, PaperFigure, PaperRow, PaperTable, paper_table
from mmad.report.writers.latex import CHAR, latex, needs_char
from mmad.store.store import Store

HEADS = {"val_ap": "validation AP", "val_ar": "validation AR", "test_ap": "test AP", "test_ar": "test AR"}
BESIDE = "The documented figures were obtained on other data (REFLACX with MIMIC); they are shown for orientation."
_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem;
       color: #1b1b1b; background: #fff; }
@media (prefers-color-scheme: dark) { body { color: #e8e8e8; background: #161616; } }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .6rem; text-align: right; vertical-align: top; border-bottom: 1px solid #8886; }
th:first-child, td:first-child { text-align: left; }
caption { text-align: left; padding-bottom: .6rem; }
small { display: block; opacity: .75; }
"""


def under(table: PaperTable) -> str:
    """The conditions of all figures, on one line."""
    return "; ".join([f"data: {table.data}", *(badge.text for badge in table.badges), *table.design])


def as_html(table: PaperTable) -> str:
    """One page without network or script; each cell has the measured figure above the documented one."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in HEADS.values())
    body = "\n".join(_html_row(row) for row in table.rows)
    meanings = "\n".join(f"<li><b>{escape(b.text)}</b>: {escape(b.meaning)}</li>" for b in table.badges)
    notes = "\n".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(table.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(table.title)}</h1>
<table>
<caption>{escape(caption(table))}</caption>
<thead><tr><th scope="col">arm</th><th scope="col">parameters</th>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
<p>{escape(BESIDE)}</p>
<ul>
{meanings}
</ul>
{f"<h2>Missing</h2><ul>{notes}</ul>" if notes else ""}
</body>
</html>
"""


def caption(table: PaperTable) -> str:
    """The caption: what each cell shows."""
    return (
        "Best-AP checkpoints. Above: measured, with 95 % intervals over seeds and patients; below: documented. "
        f"{under(table)}."
    )


def _html_row(row: PaperRow) -> str:
    cells = "".join(
        f"<td>{escape(measured(f))}<small>{escape(decimal(f.documented))}</small></td>" for f in _ordered(row)
    )
    counts = f"<td>{whole(row.parameters)}<small>{whole(row.documented_parameters)}</small></td>"
    entry = f"<small>{escape(row.documented or DASH)}</small>"
    return f'<tr><th scope="row">{escape(row.arm)}{entry}</th>{counts}{cells}</tr>'


def _ordered(row: PaperRow) -> list[PaperFigure]:
    return [row.figures[name] for name in MEASURES]


def measured(figure: PaperFigure) -> str:
    """``0.614 [0.512, 0.701]``, only the figure without an interval, or a dash."""
    value = figure.measured
    if value is None:
        return DASH
    bounds = "" if math.isnan(value.low) else f" [{decimal(value.low)}, {decimal(value.high)}]"
    return decimal(value.value) + bounds


def as_latex(table: PaperTable) -> str:
    """A ``table`` for the package booktabs: for each arm one measured and one documented line."""
    lines = [
        f"% {latex(under(table))}",
        *(f"% {latex(note)}" for note in table.notes),
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(table.title)}. {latex(caption(table))} {latex(BESIDE)}}}",
        r"\begin{tabular}{llrrrrr}",
        r"\toprule",
        " & ".join(["arm", "", "parameters", *HEADS.values()]) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        figures = _ordered(row)
        found = [row.arm, "measured", whole(row.parameters), *(measured(f) for f in figures)]
        said = ["", row.documented or DASH, whole(row.documented_parameters), *(decimal(f.documented) for f in figures)]
        lines += [" & ".join(map(latex, cells)) + r" \\" for cells in (found, said)]
    source = "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])
    return f"{CHAR}\n{source}" if needs_char(source) else source


def as_csv(table: PaperTable) -> str:
    """One line per arm: numbers in full, empty where there is none."""
    heads = ["arm", "documented", "seeds", "parameters", "parameters_documented"]
    for name in MEASURES:
        heads += [name, f"{name}_low", f"{name}_high", f"{name}_documented"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*heads, "under", "note"])
    for row in table.rows:
        cells: list[object] = [row.arm, row.documented, row.seeds, row.parameters, row.documented_parameters]
        for figure in _ordered(row):
            cells += [*_numbers(figure.measured), figure.documented]
        writer.writerow(["" if cell is None else cell for cell in [*cells, under(table), row.note]])
    return out.getvalue()


def _numbers(value: Interval | None) -> list[float | None]:
    found = (None,) * 3 if value is None else (value.value, value.low, value.high)
    return [None if number is None or math.isnan(number) else number for number in found]


def write_paper(
    store: Store, stem: Path, *, ablation: str = ABLATION, resamples: int = RESAMPLES
) -> tuple[PaperTable, tuple[Path, ...]]:
    """Write ``stem``.html, .tex and .csv; the table and the files. Raises ReportError as ``paper_table``."""
    table = paper_table(store, ablation=ablation, resamples=resamples)
    forms = {".html": as_html(table), ".tex": as_latex(table), ".csv": as_csv(table)}
    files = tuple(stem.with_name(stem.name + ending) for ending in forms)
    for path, text in zip(files, forms.values(), strict=True):
        try:
            write_atomically(path, text.encode("utf-8"))
        except OSError as error:
            raise ReportError(
                f"cannot be written ({error.strerror or error})", where=path, hint="choose another place with --out"
            ) from error
    return table, files
