"""Tables as LaTeX for the package booktabs; long ones for longtable too. One file is one table, to ``\\input``."""

from __future__ import annotations

import unicodedata

from mmad.base.formatting import clean
from mmad.report.tables import PrintedTable, TableContent

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


def as_latex(table: TableContent) -> str:
    """The file's text. Raises ValueError for a table without a printed form."""
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


def _float(table: TableContent, printed: PrintedTable) -> list[str]:
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


def _long(table: TableContent, printed: PrintedTable) -> list[str]:
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


def _heads(printed: PrintedTable) -> list[str]:
    """The column headings, below the group headings with a rule under each group."""
    above, rules, at = [], [], 1
    for words, columns in printed.groups:
        above.append(rf"\multicolumn{{{columns}}}{{c}}{{{latex(words)}}}" if words else " & " * (columns - 1))
        if words:
            rules.append(rf"\cmidrule(lr){{{at}-{at + columns - 1}}}")
        at += columns
    group = [" & ".join(above) + r" \\", "".join(rules)] if above else []
    return [*group, _line(printed.heads), r"\midrule"]


def _columns(printed: PrintedTable) -> str:
    return "".join("l" if n < printed.numbers_from else "r" for n in range(len(printed.heads)))


def _caption(table: TableContent, printed: PrintedTable) -> str:
    title = latex(table.title)
    whole = f"{title}." if not printed.note else f"{title}. {latex(printed.note)}"
    return rf"\caption[{{{title}}}]{{{whole}}}"


def _line(cells: tuple[str, ...]) -> str:
    return " & ".join(map(latex, cells)) + r" \\"
