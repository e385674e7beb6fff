"""Tables on a terminal: whole words, whole figures, and columns that give way one after the other."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mmad.base.terminal import TerminalColumn, fitted_table, shortened

COLUMNS = (
    TerminalColumn("setting", wraps=True),
    TerminalColumn("arm", wraps=True),
    TerminalColumn("seed", right=True, yields=1),
    TerminalColumn("run", yields=2),
    TerminalColumn("test AP", right=True),
)
ROWS = [
    ["plateau, patience 10", "CXR+Clinical", "0", "e549d8634d25", "0.4989"],
    ["plateau, patience 100", "CXR", "1", "fc077b8eb67a", "0.6580"],
]


def drawn(
    width: int, columns: tuple[TerminalColumn, ...] = COLUMNS, rows: list[list[str]] = ROWS, **options: bool
) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(fitted_table(columns, rows, width, **options))
    return out.getvalue()


def test_columns_give_way_whole_and_the_least_important_first() -> None:
    heads = [drawn(width).splitlines()[1].split() for width in (80, 66, 50)]
    assert heads == [
        ["setting", "arm", "seed", "run", "test", "AP"],
        ["setting", "arm", "seed", "run", "test", "AP"],
        ["setting", "arm", "seed", "test", "AP"],
    ]
    assert drawn(80).splitlines()[3].split("  ")[0].strip() == "plateau, patience 10"
    assert "CXR+Clinical" in drawn(50)


def test_an_arm_goes_on_after_its_plus_and_a_long_name_keeps_both_ends() -> None:
    text = drawn(36)
    assert "CXR+ " in text
    assert "Clinical" in text
    assert shortened("quickstart/default/CXR+Clinical/0", 16) == "quickst…inical/0"
    name = "a_name_without_any_place_to_break_it_at_all"
    assert re.search(r"a_name\w*…\w*_all", drawn(40, rows=[[name, "CXR", "0", "e549d8634d25", "0.4989"]]))


def test_columns_stand_closer_before_a_name_is_broken() -> None:
    wide = len("plateau, patience 100CXR+Clinicalseede549d8634d25test AP") + 2
    for gap in (3, 2, 1):
        row = drawn(wide + 4 * gap).splitlines()[3]
        assert row.rstrip() == " " + (" " * gap).join(
            ["plateau, patience 10 ", "CXR+Clinical", "   0", "e549d8634d25", " 0.4989"]
        )


def test_a_word_that_fits_is_whole_whatever_stands_below_it() -> None:
    rows = [["default\n3 seeds", "CXR+Clinical", "0", "e549d8634d25", "0.4989"]]
    assert "default" in drawn(40, rows=rows)


@pytest.mark.parametrize("wrap", [True, False])
@given(
    names=st.lists(st.text("abc +/", min_size=1, max_size=40), min_size=1, max_size=4),
    width=st.integers(40, 140),
)
def test_a_table_is_never_wider_than_the_terminal(wrap: bool, names: list[str], width: int) -> None:
    rows = [[name, name[::-1], str(n), "e549d8634d25", "0.4989"] for n, name in enumerate(names)]
    lines = drawn(width, rows=rows, wrap=wrap).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert sum("0.4989" in line for line in lines) == len(names)
