"""Whatever is printed is read back or listed: random logs, and words put into every place a log has."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.experiment_log.parser import read_blocks, read_lines, read_log

CHECKPOINT = "val_ar_0_5000_ap_0_{n:04d}_test_ar_0_4000_ap_0_1000_epoch{n}_WithClincal_05-19-2022 22-13-26_{w}"
#: Every place of a log; {w} is a word that must come back, {n} a number of at most four digits.
PLACES = (
    "# {w} and more",
    "### {w}, lr = 1e-3 (v=0.1, t=0.2)",
    "some prose with {w} in it",
    "\n",
    "```",
    "```python\n{w}\n```",
    "```\nModelSetup(a=1, {w}='x')\n```",
    "```\nModelSetup(name='{w}', lr=1e-{n})",
    'ModelSetup(\n    name="{w}",  # remark\n    # other={n},\n    lr=.5, # {w}\n)',
    '# ModelSetup(\n#     name="x", # {w}\n#     # {w}=3,\n# ),',
    "model_setup = ModelSetup(positional_{w}, **more)",
    "ModelSetup(nested=dict({w}=1), value={n} * {n})",
    "ModelSetup(name='{w}'",
    "ModelSetup(\n  {w}=[1, 2,\n",
    "=====For Training [{w}]=====",
    "[model.{w}]: {n}",
    "[model.{w}]: 1,23,4",
    "[model]: {n} [model.{w}]: 1,234 # {w}",
    f"Best AP validation model has been saved to: [{CHECKPOINT}]",
    f"The final model has been saved to: [{CHECKPOINT}] ======",
    "Best AP validation model has been saved to: [elsewhere_{w}]",
    CHECKPOINT,
    'loss_dict["{w}"] *= {n}',
    '```\nloss_dict["{w}"] *= 1e-5\n# loss_dict["x{w}"] *= 2\n```',
    'loss_dict["{w}"] = loss_dict["{w}"].detach()',
    'del loss_dict["{w}"]',
    "weight:",
    "Load custom model {w}",
    "```\nUsing pretrained backbone.\n{w}\n```",
    "({w}, 0.5)",
    "(0.5432, 0.1234) {w}",
    "|{w}|b|\n|---|---|\n|score={w}|0.{n}|",
    "Q: why {w}?",
    "E{n}: because {w}",
    '<img width="5" alt="image" src="https://example.org/{w}.png">',
    "![image](https://example.org/{w}.png) {w}",
    "<!-- {w}",
    "{w} -->",
    "<!-- {w} --> after {w}",
    "~~~",
    "the next experiment is {w}",
)


def word(number: int) -> str:
    """A word that no log prints."""
    return "zq" + "".join("abcdefghij"[int(digit)] for digit in str(number)) + "qz"


def kept(log: Any) -> str:
    return json.dumps(log.model_dump(mode="json"), ensure_ascii=False)


@pytest.mark.slow
@examples(75)
@given(st.lists(st.sampled_from(range(len(PLACES))), max_size=14), st.randoms(use_true_random=False))
def test_a_word_in_any_place_comes_back(places: list[int], chance: random.Random) -> None:
    words = [word(number) for number in range(len(places))]
    text = "\n".join(PLACES[p].format(w=w, n=chance.randrange(1, 9999)) for p, w in zip(places, words, strict=True))
    found = kept(read_log(text))
    lost = [w for w in words if w in text and w not in found]
    assert lost == [], text


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_a_word_comes_back_beside_any_other_place(first: int) -> None:
    for second in range(len(PLACES)):
        text = f"{PLACES[first].format(w=word(1), n=7)}\n{PLACES[second].format(w=word(2), n=8)}\n"
        found = kept(read_log(text))
        assert [w for w in (word(1), word(2)) if w in text and w not in found] == [], text


@examples(100)
@given(st.text(alphabet=st.sampled_from("#`()[]{}=,'\"\\ \nab1.|<!->Setup(*_:"), max_size=300))
def test_any_text_is_read_and_every_line_is_in_a_block(text: str) -> None:
    log = read_log(text)
    covered: set[int] = set()
    for block in read_blocks(read_lines(text)):
        taken = block.value.taken if block.kind == "setup" else 1
        covered |= set(range(block.line, block.line + taken))
    blank = {number for number, line in enumerate(text.split("\n"), 1) if not line.strip()}
    assert set(range(1, text.count("\n") + 2)) <= covered | blank
    assert type(log).model_validate_json(log.model_dump_json()) == log


SETTINGS = st.dictionaries(
    st.from_regex(r"[a-z_][a-zA-Z0-9_]{0,12}", fullmatch=True),
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.lists(st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=4),
    max_size=8,
)
COUNTS = st.dictionaries(
    st.from_regex(r"model(\.[a-z_]{1,8}){0,3}", fullmatch=True), st.integers(0, 10**12), min_size=1, max_size=6
)


@pytest.mark.slow
@examples(50)
@given(
    fields=SETTINGS,
    counts=COUNTS,
    factors=st.dictionaries(st.from_regex(r"loss_[a-z]{1,9}", fullmatch=True), st.floats(0, 1e6), max_size=3),
    order=st.permutations(range(4)),
    form=st.sampled_from(["repr", "constructor", "commented"]),
    epoch=st.integers(0, 9999),
)
def test_blocks_in_any_order_are_one_entry(
    fields: dict[str, Any], counts: dict[str, int], factors: dict[str, float], order: list[int], form: str, epoch: int
) -> None:
    inner = [f"{name}={value!r}" for name, value in fields.items()]
    printed = {
        "repr": f"ModelSetup({', '.join(inner)})",
        "constructor": "\n".join(["ModelSetup(", *(f"    {one},  # as it was" for one in inner), ")"]),
        "commented": "\n".join(["# ModelSetup(", *(f"#     {one}," for one in inner), "# )"]),
    }[form]
    blocks = [
        printed,
        "\n".join(f"[{module}]: {count:,}" for module, count in counts.items()),
        f"The final model has been saved to: [{CHECKPOINT.format(n=epoch, w='x')}]",
        "\n".join(f'loss_dict["{name}"] *= {factor!r}' for name, factor in factors.items()),
    ]
    text = "## One\n```\n" + "\n\n".join(blocks[place] for place in order) + "\n```\n"
    (entry,) = read_log(text).entries
    assert entry.setup is not None
    assert (entry.setup.form, list(entry.fields)) == (form, list(fields))
    assert entry.fields == fields
    assert entry.params == counts
    assert entry.results["final"].epoch == epoch
    assert (entry.losses.weights if entry.losses else {}) == factors
    assert entry.unread == ()


@pytest.mark.slow
def test_long_lines_and_long_logs_take_no_long_time() -> None:
    size = 200_000
    for text in ("=" * size, "#" * size, "(" * size, "ModelSetup(" * 2_000, "Setup(a=" + "[" * size, "`" * size):
        read_log(text)
        read_log(f"```\n{text}\n```")
    read_log("ModelSetup(\n" * 2_000)
    read_log("<!--" * 20_000)
    read_log("## A\n![x](y)\n" + "words\n\n" * 10_000)
    read_log("\n".join(["```", *(f"[model.m{n}]: {n}" for n in range(10_000)), "```"]))
    read_log("x='" * 50_000 + "ModelSetup(" + "y='" * 50_000)
    assert re.fullmatch(r"zq[a-j]+qz", word(12))
