"""Foreign text for LaTeX: every character that is a command there is written out, in plain ASCII.

The words compile under pdfLaTeX, XeLaTeX and LuaLaTeX with no package beside LaTeX itself. A letter that LaTeX's own
fonts have not (Hebrew, Chinese, emoji) becomes ``\\mmadchar{5D0}``: the letter where the engine reads Unicode, else
``[U+5D0]``. ``CHAR`` defines it.
"""

from __future__ import annotations

import unicodedata

from mmad.report.words import clean

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
#: Combining marks that every font of LaTeX can set above or below a letter.
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
#: Letters that melt together with their like: ``--`` would be a dash, ``''`` a quotation mark.
_MELTING = "-',"
#: What the end of a row or a rule would take for its option, if a cell began with it.
_OPENING = "[*"


def latex(text: str) -> str:
    """``text`` on one line, in ASCII, with nothing left that LaTeX would take for a command."""
    line = " ".join(clean(text).split())
    parts = []
    for n, letter in enumerate(line):
        parts.append(f"{{{letter}}}" if n == 0 and letter in _OPENING else _letter(letter))
        if letter in _MELTING and line[n + 1 : n + 2] == letter:
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
        return ""  # marks without a shape, such as those that turn the direction of writing
    parts = unicodedata.normalize("NFD", letter)
    base, mark = parts[0], parts[1:]
    if base.isascii() and base.isalpha() and mark in _ACCENTS:
        dotless = "\\" if base in "ij" else ""
        return f"\\{_ACCENTS[mark]}{{{dotless}{base}}}"
    return f"\\mmadchar{{{ord(letter):X}}}"
