"""A table written down: CSV, LaTeX, Markdown, and for the terminal.

The page has it from ``templates/table.html``. Every writer reads a ``ReportTable`` and adds nothing to it.
"""

from __future__ import annotations

import itertools
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.text import Text

from mmad.base.errors import ReportError
from mmad.base.files import write_atomically
from mmad.base.formatting import clean
from mmad.base.terminal import TerminalColumn, fitted_table, least_width
from mmad.report.table_model import Grid, ReportTable

if TYPE_CHECKING:
    from rich.console import Console

# CSV (RFC 4180, UTF-8): every figure in full precision, empty where nothing was measured.

#: First characters that a spreadsheet would read as a formula.
_FORMULA = ("=", "+", "-", "@")


def as_csv(table: ReportTable) -> str:
    """A heading and one line per row; a float is the shortest text that reads back as the same number."""
    names = [column.name for column in table.exported]
    heads = [_one_line(name) for name in names]
    return table.frame[names].map(_raw).to_csv(index=False, header=heads, lineterminator="\n")


def columns_csv(tables: Iterable[ReportTable]) -> str:
    """The meaning and unit of every column of every table."""
    rows = [(f"{t.name}.csv", _one_line(c.name), c.unit, c.meaning) for t in tables for c in t.exported]
    return pd.DataFrame(rows, columns=["file", "column", "unit", "meaning"]).to_csv(index=False, lineterminator="\n")


def _raw(value: Any) -> str | int | float:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "nan" if value != value else float(value)  # numpy's floats too
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return _one_line(value) if isinstance(value, str) else int(value)


@lru_cache(maxsize=4096)
def _one_line(text: str) -> str:
    line = " ".join(clean(text).split())
    return f"'{line}" if line.startswith(_FORMULA) else line


# Markdown.


def escape(text: str) -> str:
    """Foreign text as plain text on one line: no markup, no HTML, no cell border."""
    line = " ".join(clean(text).split())
    return re.sub(
        r"([\\`*_{}\[\]()#+|~$!-])", r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )


def as_markdown(table: ReportTable) -> list[str]:
    """Title, note, the table with its figures right-aligned, footnotes, and an empty line; sections repeat the head."""
    grid = table.grid
    said = " ".join(filter(None, (f"{table.title}.", table.note)))
    lines = [escape(said), ""]
    for title, rows in grid.sections:
        lines += [f"**{escape(title)}**", ""] if title else []
        rule = ["---:" if head.number else "---" for head in grid.heads]
        body = [[escape(cell.line) for cell in row] for row in rows]
        lines += [f"| {' | '.join(cells)} |" for cells in ([escape(h.words) for h in grid.heads], rule, *body)]
        lines.append("")
    lines += [f"- {escape(text)}" for text in table.footnotes]
    return [*lines, ""] if table.footnotes else lines


# The terminal.


def print_table(out: Console, table: ReportTable, title: str = "") -> None:
    """The table below its title; where the terminal is too narrow, intervals stand below their figures.

    Where that is too wide as well, figures that find no room stand in a table of their own below the others.
    """
    out.print(Text(title or table.title, style="bold"))
    grid = table.grid
    bounded = any(len(head.parts) > 1 for head in grid.heads)
    figures = (n for n, head in enumerate(grid.heads) if head.number and len(head.parts) > bounded)
    lead = next(figures, len(grid.heads))
    between, groups = " ", [list(range(len(grid.heads)))]
    if _width(grid, between, groups[0]) > out.width:
        between = "\n"
        fixed, groups = list(range(lead)), []
        for n in range(lead, len(grid.heads)):
            if groups and _width(grid, between, [*groups[-1], n]) <= out.width:
                groups[-1].append(n)
            else:
                groups.append([*fixed, n])
    for group in groups or [list(range(lead))]:
        out.print(fitted_table(*_terminal(grid, between, group), out.width))


def _width(grid: Grid, between: str, group: Sequence[int]) -> int:
    """The least width of the columns ``group`` that breaks neither a word nor a figure."""
    return least_width(*_terminal(grid, between, group))


def _terminal(grid: Grid, between: str, group: Sequence[int]) -> tuple[list[TerminalColumn], list[list[Text]]]:
    """Columns and rows for the terminal; a section's title stands in a row of its own."""
    rows: list[list[Text]] = []
    for name, section in grid.sections:
        if name:
            rows.append([Text(name, style="bold"), *[Text()] * (len(group) - 1)])
        rows += [[Text(between.join((row[n].text, *row[n].beside))) for n in group] for row in section]
    columns = []
    for place, head in enumerate(grid.heads[n] for n in group):
        words = between.join(filter(None, (head.group, head.text)))
        if head.number and between == "\n":  # as narrow as its figures, if words allow it
            room = max((len(line) for row in rows for line in row[place].plain.split("\n")), default=1)
            lines = (textwrap.wrap(part, max(room, 8), break_long_words=False) for part in words.split("\n"))
            words = "\n".join(itertools.chain.from_iterable(lines))
        columns.append(TerminalColumn(words, right=head.number, wraps=not head.number))
    return columns, rows


# LaTeX for the package booktabs; long tables for longtable too. One file is one table, to ``\\input``.

# Foreign text for LaTeX: every character that would be a command is escaped, in plain ASCII.
#
# The text compiles under pdfLaTeX, XeLaTeX and LuaLaTeX without any package. A letter that LaTeX's own fonts lack
# (Hebrew, Chinese, emoji) becomes ``\mmadchar{5D0}``: the letter itself where the engine reads Unicode, else
# ``[U+5D0]``. ``CHAR`` defines the command.

#: Defines ``\\mmadchar``; a file that uses it begins with this line.
CHAR = (
    r"\providecommand{\mmadchar}[1]{\ifdefined\directlua\symbol{" + '"#1' + r"}\else"
    r"\ifdefined\XeTeXrevision\symbol{" + '"#1' + r"}\else[U+#1]\fi\fi}"
)
_SIGNS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\`{}",
    '"': r"\symbol{34}", "<": "$<$", ">": "$>$", "|": "$|$",
    "≥": r"$\ge$", "≤": r"$\le$", "–": "--", "—": "---", "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$",
    "…": r"\ldots{}", "→": r"$\to$", "←": r"$\leftarrow$", "≠": r"$\ne$", "≈": r"$\approx$", "∞": r"$\infty$",
    "°": r"$^\circ$", "²": "$^2$", "³": "$^3$", "¹": "$^1$", "\u2018": "`", "\u2019": "'", "\u201c": "``",
    "\u201d": "''", "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}",
    "Ø": r"\O{}", "å": r"\aa{}", "Å": r"\AA{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "¿": "?`", "¡": "!`",
    "§": r"\S{}", "¶": r"\P{}", "©": r"\copyright{}", "£": r"\pounds{}", "\u00a0": "~", "\ufffd": "?",
} | {letter: f"\\{letter}" for letter in "&%$#_{}"}  # fmt: skip
#: Combining marks that LaTeX can set above or below a letter in every font.
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0323": "d", "\u0327": "c", "\u0331": "b",
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho",
    "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma",
    "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Υ": "Upsilon", "Φ": "Phi",
    "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
#: Characters that form ligatures when doubled: ``--`` would be a dash, ``''`` a quotation mark.
_LIGATURES = "-',"
#: Characters that a row end or a rule would read as its option if a cell began with one.
_OPENING = "[*"


def latex(text: str) -> str:
    """``text`` on one line, in ASCII, with nothing left that LaTeX would read as a command."""
    line = " ".join(clean(text).split())
    parts = []
    for n, letter in enumerate(line):
        parts.append(f"{{{letter}}}" if n == 0 and letter in _OPENING else _letter(letter))
        if letter in _LIGATURES and line[n + 1 : n + 2] == letter:
            parts.append("{}")
    return "".join(parts)


def needs_char(source: str) -> bool:
    """Whether a LaTeX source holds a letter that ``CHAR`` has to define."""
    return r"\mmadchar{" in source


def _letter(letter: str) -> str:
    if letter in _SIGNS:
        return _SIGNS[letter]
    if letter.isascii():
        return letter
    if letter in _GREEK:
        return f"$\\{_GREEK[letter]}$"
    if unicodedata.category(letter) == "Cf":
        return ""  # invisible marks, such as marks that change the direction of writing
    parts = unicodedata.normalize("NFD", letter)
    base, mark = parts[0], parts[1:]
    if base.isascii() and base.isalpha() and mark in _ACCENTS:
        dotless = "\\" if base in "ij" else ""
        return f"\\{_ACCENTS[mark]}{{{dotless}{base}}}"
    return f"\\mmadchar{{{ord(letter):X}}}"


#: A table with more rows becomes a longtable, one with more columns gets a smaller font.
LONG, WIDE = 40, 7
_SMALLER = (r"\footnotesize", r"\setlength{\tabcolsep}{3pt}")


def as_latex(table: ReportTable) -> str:
    """The file's text: a ``table`` that fits the line, or a ``longtable`` beyond 40 rows."""
    grid = table.grid
    title = latex(table.full_title)
    said = " ".join(latex(text) for text in (table.conditions, table.note, *table.footnotes) if text)
    caption = rf"{title}. {said}" if said else f"{title}."
    count = sum(1 for _ in grid.rows)
    if count > LONG:
        body = [r"\begingroup", *_SMALLER, tabular(grid, (caption, title), f"tab:{table.name}"), r"\endgroup"]
    else:
        smaller = _SMALLER if len(grid.heads) > WIDE else ()
        fit = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
        body = [r"\begin{table}[htbp]", r"\centering", *smaller, rf"\caption[{{{title}}}]{{{caption}}}",
                rf"\label{{tab:{table.name}}}", fit, tabular(grid), "}", r"\end{table}"]  # fmt: skip
    source = "\n".join(body)
    packages = "booktabs,longtable" if count > LONG else "booktabs,graphicx"
    head = [f"% {title}", rf"% needs \usepackage{{{packages}}}", *([CHAR] if needs_char(source) else [])]
    return "\n".join([*head, source, ""])


def tabular(grid: Grid, caption: tuple[str, str] | None = None, label: str | None = None) -> str:
    """A ``tabular``, with a caption (long, short) a ``longtable``; an interval has a column of its own."""
    heads: list[tuple[str, str]] = []
    columns, form = [], ""
    rows = list(grid.rows)
    for n, head in enumerate(grid.heads):
        columns.append([latex(" ".join(filter(None, (row[n].text, row[n].spread, row[n].below)))) for row in rows])
        heads.append((latex(head.group), latex(head.text)))
        form += "r" if head.number else "l"
        if any(row[n].interval for row in rows):
            columns.append([latex(row[n].interval) for row in rows])
            heads.append((latex(head.group), latex(f"{head.level} interval")))
            form += "l"
    if any(title for title, _ in grid.sections):
        columns.insert(0, [latex(title) for title, part in grid.sections for _ in part])
        heads.insert(0, ("", ""))
        form = f"l{form}"
    frame = pd.DataFrame(dict(enumerate(columns)))
    frame.columns = pd.MultiIndex.from_tuples(heads) if grid.grouped else pd.Index([text for _, text in heads])
    styled = frame.style.hide(axis="index")
    kind = {} if caption is None else {"environment": "longtable", "caption": caption, "label": label}
    text = styled.to_latex(column_format=form, hrules=True, multicol_align="c", **kind)  # type: ignore[call-overload]
    return str(text).rstrip()


# The files.


def write_tables(
    tables: Iterable[ReportTable], *, csv: Path | None = None, latex: Path | None = None
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Write tables into the folders ``csv`` and ``latex``; return the files of each, in order.

    A file replaces one with its name; other files in the folders stay.

    Raises:
        ReportError: a file that cannot be written.
    """
    data: list[Path] = []
    sources: list[Path] = []
    explained: list[ReportTable] = []
    for table in tables:
        if csv is not None:
            data.append(_write(csv / f"{table.name}.csv", as_csv(table), "--csv"))
            explained.append(table)
        if latex is not None and table.shown:
            sources.append(_write(latex / f"{table.name}.tex", as_latex(table), "--latex"))
    if csv is not None:
        data.append(_write(csv / "columns.csv", columns_csv(explained), "--csv"))
    return tuple(data), tuple(sources)


def _write(path: Path, text: str, option: str) -> Path:
    try:
        write_atomically(path, text.encode("utf-8"))
    except OSError as error:
        raise ReportError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            hint=f"choose another folder with {option}, or make room there",
        ) from error
    return path
