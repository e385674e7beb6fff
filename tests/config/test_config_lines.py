"""Lines of keys: by hand on awkward texts, and for texts made of any names and values."""

from __future__ import annotations

import json
import string
import tomllib

from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.config.ablation_file import key_lines, line_of

AWKWARD = '''# a comment with [brackets] and "quotes
title = "a # b"  # another
description = """
[not.a.table]
key = 1
"""
path = 'C:\\'

[setup]   # comment
lr = 1e-3
loss_weights = { loss_classifier = 10, "loss_box_reg" = 5 }
multi = [
  1,  # ]
  2,
]
after = 1

[arms."CXR+Clinical"]
use_clinical = true

[[settings]]
name = "one"

[[settings]]
name = "two"
[settings.documented]
CXR = "e069"

[protocol]
a.b.c = 1
'''


def test_awkward_text_is_valid_and_every_key_has_its_line() -> None:
    tomllib.loads(AWKWARD)
    lines = key_lines(AWKWARD)
    rows = AWKWARD.splitlines()

    def at(*key: str | int) -> str:
        return rows[lines[key] - 1]

    assert at("title").startswith("title")
    assert at("path").startswith("path")
    assert at("setup").startswith("[setup]")
    assert at("setup", "lr") == "lr = 1e-3"
    assert at("setup", "multi") == "multi = ["
    assert at("setup", "after") == "after = 1"
    assert at("arms", "CXR+Clinical", "use_clinical") == "use_clinical = true"
    assert at("settings", 0, "name") == 'name = "one"'
    assert at("settings", 1, "name") == 'name = "two"'
    assert at("settings", 1, "documented", "CXR") == 'CXR = "e069"'
    assert at("protocol", "a", "b", "c") == "a.b.c = 1"
    assert not any("not" in key or "key" in key for key in lines), "what stands inside a text is no key"


def test_what_has_no_line_of_its_own_takes_that_of_what_holds_it() -> None:
    lines = key_lines(AWKWARD)
    assert line_of(lines, ("setup", "loss_weights", "loss_classifier")) == lines["setup", "loss_weights"]
    assert line_of(lines, ("setup", "multi", 1)) == lines["setup", "multi"]
    assert line_of(lines, ("nowhere", "at", "all")) is None


_names = st.text(string.ascii_letters + string.digits + "_-+ .#[]é", min_size=1, max_size=8)
_values = st.one_of(
    st.integers(-9, 9), st.booleans(), st.text(string.printable, max_size=12), st.lists(st.integers(0, 9), max_size=3)
)


@examples(30)
@given(st.dictionaries(_names, st.dictionaries(_names, _values, max_size=4), min_size=1, max_size=4), st.integers(0, 3))
def test_every_key_of_any_document_is_found_on_the_line_it_was_written(
    tables: dict[str, dict[str, object]], blank: int
) -> None:
    rows: list[str] = [""] * blank
    written: dict[tuple[str, ...], int] = {}
    for table, values in tables.items():
        rows.append(f"[{json.dumps(table)}] # {table.replace(chr(10), ' ')}")
        written[table,] = len(rows)
        for name, value in values.items():
            text = json.dumps(value).replace("\\u007f", "\\u007F")
            rows.append(f"{json.dumps(name)} = {text}")
            written[table, name] = len(rows)
    text = "\n".join(rows)
    tomllib.loads(text)
    assert key_lines(text) == written
