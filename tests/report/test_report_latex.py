"""The report's tables as LaTeX: booktabs, every foreign letter harmless, and a document that compiles."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.report.sections import ReportModel
from mmad.report.table_model import Column, ReportTable, Shown
from mmad.report.tables import all_tables
from mmad.report.writers.latex import CHAR, LONG, as_latex, latex
from mmad.report.writers.tables import write_tables

ENGINES = [name for name in ("pdflatex", "xelatex", "lualatex", "tectonic") if shutil.which(name)]
DOCUMENT = "\\documentclass{article}\n\\usepackage{booktabs,longtable,graphicx}\n\\begin{document}\n%s\\end{document}\n"
#: What a line of words may hold: letters that mean nothing to LaTeX, and the commands that stand for others.
WORD = re.compile(
    r"(?:[A-Za-z0-9 .,:;!?()/+=@'`[\]*-]|\\[&%$#_{}]|\{[\[*]?\}"
    r"|\\text(?:backslash|asciitilde|asciicircum)\{\}|\\symbol\{34\}|\\mmadchar\{[0-9A-F]+\}"
    r"|\$(?:\^[0-9]|\^\\circ|[<>|-]|\\[A-Za-z]+)\$|\\[`'^~=.\"urHvdcb]\{\\?[A-Za-z]?\}"
    r"|\\(?:ss|ae|AE|oe|OE|o|O|aa|AA|l|L|i|S|P|copyright|pounds|ldots)\{\}|~)*"
)


def table(*cells: str, rows: int = 1) -> ReportTable:
    names = [f"c{n}" for n in range(len(cells))]
    shown = tuple(Shown(name, name, "text") for name in names)
    return ReportTable.of("t", "Title", [Column(name, "") for name in names], [cells] * rows, shown=shown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5 % of a_b & c #1", r"5 \% of a\_b \& c \#1"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("$x^2$ ~ `a`", r"\$x\textasciicircum{}2\$ \textasciitilde{} \`{}a\`{}"),
        ("[0.1, 0.2]*", "{[}0.1, 0.2]*"),
        ("0.3 [0.1, 0.2]", "0.3 [0.1, 0.2]"),
        ("*", "{*}"),
        ("a--b ''c''", "a-{}-b '{}'c'{}'"),
        ("−0.1 ± 0.02 ≥ ≤ …", r"$-$0.1 $\pm$ 0.02 $\ge$ $\le$ \ldots{}"),
        ("é ñ ü ç ą ß ł", r"\'{e} \~{n} \"{u} \c{c} \mmadchar{105} \ss{} \l{}"),
        ("α Ω µ 🫁 א", r"$\alpha$ $\Omega$ $\mu$ \mmadchar{1FAC1} \mmadchar{5D0}"),
        ("\u202eturned\x00\n\ud800", "turned? ?"),
    ],
)
def test_every_letter_has_its_form(text: str, expected: str) -> None:
    assert latex(text) == expected


@given(st.text())
def test_whatever_is_written_is_ascii_and_no_command(text: str) -> None:
    written = latex(text)
    assert written.isascii()
    assert "\n" not in written
    assert WORD.fullmatch(written), written
    assert not written.startswith(("[", "*"))


def test_a_row_begins_with_no_option_of_the_row_before() -> None:
    assert r"\\" + "\n" + "{[}1] & " in as_latex(table("[1]", "*", rows=2))


def test_a_long_table_runs_over_pages_and_says_what_it_needs() -> None:
    short, long = as_latex(table("a", "1")), as_latex(table("a", "1", rows=LONG + 1))
    assert r"% needs \usepackage{booktabs,graphicx}" in short
    assert r"\begin{table}" in short
    assert r"% needs \usepackage{booktabs,longtable}" in long
    assert r"\begin{longtable}" in long
    assert r"\begin{table}" not in long


def test_only_tables_that_need_it_define_a_letter() -> None:
    assert CHAR not in as_latex(table("plain", "é"))
    assert as_latex(table("א", "1")).count(CHAR) == 1


def test_a_figure_and_its_interval_have_columns_of_their_own_and_groups_a_heading() -> None:
    columns = [Column(name, "") for name in ("s", "ap", "ap_sd", "ap_low", "ap_high", "d", "d_low", "d_high", "seeds")]
    rows = [("a_b", 0.5, 0.01, 0.4, 0.6, 0.1, -0.1, 0.2, 2), ("c", None, None, 0.0, 1.0, 0.1, -1.0, 1.0, 2)]
    shown = (Shown("s", "Setting", "text"), Shown("ap", "CXR", group="Test AP"), Shown("d", "Diff.", "difference"))
    source = as_latex(ReportTable.of("t", "Title", columns, rows, shown=shown))
    assert r"\begin{tabular}{lrlrl}" in source
    assert r" & \multicolumn{2}{c}{Test AP} & \multicolumn{2}{c}{} \\" in source
    assert r"Setting & CXR & 95 \% interval & Diff. & 95 \% interval \\" in source
    assert r"a\_b & 0.500 $\pm$ 0.010 & {[}0.400, 0.600] & +0.100 & {[}$-$0.100, +0.200] \\" in source
    assert r"c & -- &  & +0.100 & n/a (2 seeds) \\" in source
    folded = [(*rows[1], 3), (*rows[0], 0)]
    source = as_latex(ReportTable.of("t", "Title", [*columns, Column("folds_done", "")], folded, shown=shown))
    assert r"c & -- &  & +0.100 & n/a (3 folds) \\" in source


def balanced(source: str) -> bool:
    depth = 0
    for match in re.finditer(r"\\.|[{}]", source):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth < 0:
            return False
    return depth == 0


def test_every_table_is_whole_by_rule(model: ReportModel, hostile_model: ReportModel) -> None:
    """Braces and environments close, every row has as many cells as the table has columns, all of it is ASCII."""
    seen = 0
    for made in [*all_tables(model), *all_tables(hostile_model)]:
        if not made.shown:
            continue
        seen += 1
        source = as_latex(made)
        assert source.isascii()
        assert balanced(source), made.name
        begun, ended = (re.findall(rf"\\{word}\{{(\w+)\}}", source) for word in ("begin", "end"))
        assert sorted(begun) == sorted(ended)
        columns = len(re.search(r"\{(?:tabular|longtable)\}\{([lr]+)\}", source)[1])  # type: ignore[index]
        heads = made.grid.heads
        within = [n for n in range(len(heads)) if any(row[n].interval for row in made.grid.rows)]
        titles = any(title for title, _ in made.grid.sections)
        assert columns == len(heads) + len(within) + titles
        body = source.split(r"\midrule")[-1]
        rows = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert len(rows) == sum(1 for _ in made.grid.rows)
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in rows} <= {columns}
    assert seen > 15


@pytest.mark.slow
@pytest.mark.skipif(not ENGINES, reason="needs a LaTeX engine on the PATH")
@pytest.mark.parametrize("engine", ENGINES)
def test_the_tables_compile(engine: str, model: ReportModel, hostile_model: ReportModel, tmp_path: Path) -> None:
    names = [
        path.name for report in (model, hostile_model) for path in write_tables(all_tables(report), latex=tmp_path)[1]
    ]
    odd = [table("[x]", "*", '"a" <b> |', "-- '' ``", "é ą א 🫁 \\ ^ ~ { } $ % # & _", rows=3)]
    (tmp_path / "odd.tex").write_text(as_latex(odd[0]), "ascii")
    inputs = "".join(f"\\input{{{name}}}\n\\clearpage\n" for name in [*names, "odd.tex"])
    (tmp_path / "paper.tex").write_text(DOCUMENT % f"\\listoftables\n{inputs}", "ascii")
    flags = () if engine == "tectonic" else ("-interaction=nonstopmode", "-halt-on-error")
    for _ in range(2):  # the second time with the list of tables
        done = subprocess.run(
            [engine, *flags, "paper.tex"], cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False
        )
        assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
