r"""A table in LaTeX, for the package booktabs; long tables for longtable too. One file is one table, to ``\input``.

The text is plain ASCII: every character that would be a command is escaped. It compiles under pdfLaTeX, XeLaTeX and
LuaLaTeX without any package for letters. One that LaTeX's own fonts lack (Hebrew, Chinese, emoji) becomes
``\mmadchar{5D0}``: the letter itself where the engine reads Unicode, else ``[U+5D0]``. ``CHAR`` defines the command.
"""

from __future__ import annotations

import unicodedata

import pandas as pd

from mmad.base.formatting import clean
from mmad.report.table_model import Grid, ReportTable

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
