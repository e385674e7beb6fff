"""Which licences let a report carry images: a list of whole names, and nothing that only resembles them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.data.importers.reflacx.build import LICENCE as REFLACX
from mmad.report.pictures import allows_pictures

ALLOWING = (
    "CC0-1.0", "CC0", "cc0 1.0 universal", "Public Domain", "public domain mark 1.0", "phantom", "CC BY", "CC-BY-4.0",
    "CC BY 3.0", "CC BY-SA", "CC BY-NC-SA 4.0", "CC BY-NC 4.0 International", "PDDL-1.0", "ODC-By-1.0",
    "Creative Commons Attribution 4.0 International", "Creative Commons Attribution-NonCommercial-ShareAlike 4.0",
    "https://creativecommons.org/licenses/by-sa/4.0/", "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC BY; CC BY 3.0; CC BY-NC-SA 4.0", "CC BY, CC0",
)  # fmt: skip
REFUSING = (
    "", "; ,", "not stated", "none", "unknown", "proprietary", REFLACX,
    "PhysioNet Credentialed Health Data License 1.5.0",
    "MIMIC-CXR-JPG", "CC BY; not stated", "CC BY-ND 4.0", "CC BY-NC-ND", "CC BY 4.0 except the images",
    "not public domain", "phantom of a PhysioNet data set", "CC0 (annotations); PhysioNet (images)",
    "all rights reserved",
    "https://creativecommons.org/licenses/by-nd/4.0/", "https://example.org/?creativecommons.org/licenses/by/4.0/",
)  # fmt: skip


@pytest.mark.parametrize("licence", ALLOWING)
def test_public_domain_and_cc_allow_pictures(licence: str) -> None:
    assert allows_pictures(licence)


@pytest.mark.parametrize("licence", REFUSING)
def test_everything_else_does_not(licence: str) -> None:
    assert not allows_pictures(licence)


@given(st.lists(st.sampled_from(ALLOWING + REFUSING), min_size=1, max_size=4))
def test_one_source_that_refuses_refuses_for_all(parts: list[str]) -> None:
    stated = [part for part in parts if part.strip("; ,")]
    assert allows_pictures("; ".join(parts)) == (bool(stated) and all(map(allows_pictures, stated)))


@given(st.text(max_size=60))
def test_any_words_around_credentialed_data_refuse(words: str) -> None:
    assert not allows_pictures(f"{words} PhysioNet")
