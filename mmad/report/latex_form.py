"""Tables as LaTeX for the package booktabs; long ones for longtable too. One file is one table, to ``\\input``."""

from __future__ import annotations

from mmad.report.latex_words import CHAR, latex, needs_char
from mmad.report.tables import Printed, Table

#: Rows beyond which a table runs over pages, and columns beyond which its letters are smaller.
LONG, WIDE = 40, 7
_SMALLER = (r"\footnotesize", r"\setlength{\tabcolsep}{3pt}")


def as_latex(table: Table) -> str:
    """The file's text. A table without a printed form is refused with ValueError."""
    printed = table.printed
    if printed is None:
        raise ValueError(f"{table.name} has no form for a paper")
    long = len(printed.rows) > LONG
    packages = "booktabs,longtable" if long else "booktabs,graphicx"
    body = (_long if long else _float)(table, printed)
    source = "\n".join(body)
    head = [
        f"% {latex(table.title)}",
        rf"% needs \usepackage{{{packages}}}",
        *([CHAR] if needs_char(source) else []),
    ]
    return "\n".join([*head, source, ""])


def _float(table: Table, printed: Printed) -> list[str]:
    return [
        r"\begin{table}[htbp]",
        r"\centering",
        *(_SMALLER if len(printed.heads) > WIDE else ()),
        _caption(table, printed),
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{_columns(printed)}}}",
        r"\toprule",
        *_heads(printed),
        *map(_line, printed.rows),
        r"\bottomrule",
        r"\end{tabular}",
        "}",
        r"\end{table}",
    ]


def _long(table: Table, printed: Printed) -> list[str]:
    return [
        r"\begingroup",
        *_SMALLER,
        rf"\begin{{longtable}}{{{_columns(printed)}}}",
        rf"{_caption(table, printed)}\label{{tab:{table.name}}}\\",
        r"\toprule",
        *_heads(printed),
        r"\endfirsthead",
        r"\toprule",
        *_heads(printed),
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *map(_line, printed.rows),
        r"\end{longtable}",
        r"\endgroup",
    ]


def _heads(printed: Printed) -> list[str]:
    """The headings, below those of groups with a rule under each group."""
    above, rules, at = [], [], 1
    for words, columns in printed.groups:
        above.append(rf"\multicolumn{{{columns}}}{{c}}{{{latex(words)}}}" if words else " & " * (columns - 1))
        if words:
            rules.append(rf"\cmidrule(lr){{{at}-{at + columns - 1}}}")
        at += columns
    group = [" & ".join(above) + r" \\", "".join(rules)] if above else []
    return [*group, _line(printed.heads), r"\midrule"]


def _columns(printed: Printed) -> str:
    return "".join("l" if n < printed.numbers_from else "r" for n in range(len(printed.heads)))


def _caption(table: Table, printed: Printed) -> str:
    title = latex(table.title)
    whole = f"{title}." if not printed.note else f"{title}. {latex(printed.note)}"
    return rf"\caption[{{{title}}}]{{{whole}}}"


def _line(cells: tuple[str, ...]) -> str:
    return " & ".join(map(latex, cells)) + r" \\"
