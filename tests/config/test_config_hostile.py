"""Ablation files that would hang, crash or deceive: each is refused in one line, soon."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mmad.base.errors import MmadError, SpecError
from mmad.base.paths import StorePaths
from mmad.config.ablation_file import parse_override
from mmad.config.load import load_ablation

_LIST = list(range(1, 201))
_GRID = "".join(f"{name} = {_LIST}\n" for name in ("seed", "epochs", "reduceLROnPlateau_patience"))
_CHAIN = "".join(f'[[settings]]\nname = "{n}"\ncontinue_from = {{ setting = "{n + 1}" }}\n' for n in range(600))

#: File → words of the refusal, in this order.
REFUSED = {
    "a = " + "[" * 5000 + "]" * 5000: ("nested more than 16 deep",),
    "a = " + "[" * 20 + "]" * 20: ("nested more than 16 deep",),
    "[" + ".".join("a" * 5000) + "]\n": ("nested more than 16 deep",),
    ".".join("a" * 100_000) + " = 1\n": ("nested more than 16 deep",),
    "a = 1\n[setup]\nlr = " + "9" * 6000: (".toml:3: ", "a number of 6,000 digits"),
    "[setup]\nbatch_size = 0x" + "f" * 8000: (".toml:2: ", "setup.batch_size: the number is too large"),
    'title = "' + "a" * 10_000_000 + '"': ("is too large for an ablation file (10,000,010 bytes)", "1,048,576"),
    "[protocol]\nseeds = " + str(list(range(60_000))): (".toml:2: ", "120,000 members", "100,000"),
    "[grid]\n" + _GRID: ("16,000,000 members", "8,000,000 combinations of the grid", "100,000"),
    "[grid]\nseed = " + str(list(range(60_000))): ("120,000 members",),
    "[protocol]\nseeds = [" + '"a",' * 30_000 + "]": (".toml:2: ", "expected a whole number"),
    "[setup]\n" + "b" * 500_000 + " = 1\n": ("unknown key",),
    _CHAIN + '[[settings]]\nname = "600"\n': ("more than 100 runs that continue each other",),
    '[arms."\\u001b[31mRED"]\n': (".toml:1: ", "x1b[31mRED' holds the control character U+001B", "leave it out"),
    '[[settings]]\nname = "a\\u0007"\n': (".toml:2: ", "U+0007"),
    '[[settings]]\nname = "a\\nb"\n': (".toml:2: ", "U+000A"),
    '[[settings]]\nname = "a\\u0000"\n': (".toml:2: ", "U+0000"),
    'title = "a\\u009b31m"\n': (".toml:1: ", "U+009B"),
    'description = "a\\u202eb"\n': (".toml:1: ", "U+202E"),
    'compare = [["a\\u2028", "b"]]\n': (".toml:1: ", "U+2028"),
}


@pytest.mark.parametrize("text", REFUSED, ids=map(str, range(len(REFUSED))))
def test_a_hostile_file_is_refused_soon_and_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")
    begun = time.process_time()
    with pytest.raises(SpecError) as refused:
        load_ablation(tmp_path / "a.toml")
    assert time.process_time() - begun < 5
    line = str(refused.value)
    assert line.isprintable()
    assert len(line) < 1000
    for words in REFUSED[text]:
        _, found, line = line.partition(words)
        assert found, words


def test_titles_hold_lines_and_tabs(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('title = "a\\tb"\ndescription = """a\nb"""\n')
    assert load_ablation(tmp_path / "a.toml").description == "a\nb"


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("fifo.toml", "zero.toml"):
        with pytest.raises(SpecError, match=rf"{name}: is no regular file; name an ablation file"):
            load_ablation(tmp_path / name)


def test_paths_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="the path is not UTF-8 text") as refused:
        load_ablation(tmp_path / os.fsdecode(b"a\xff.toml"))
    assert str(refused.value).isprintable()
    with pytest.raises(SpecError, match=r"its name holds the control character U\+001B"):
        load_ablation(tmp_path / "a\x1b.toml")
    with pytest.raises(MmadError, match="the path is not UTF-8 text") as refused_too:
        StorePaths(os.fsdecode(b"a\xff.sqlite"))
    assert str(refused_too.value).isprintable()


@pytest.mark.parametrize(
    "word", ["seeds=" + "9" * 6000, "seeds=" + "[" * 5000, "seeds=0x" + "f" * 8000, r'name="\u001b"', "name=\x1b"]
)
def test_hostile_words_are_refused(word: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_override(word)
    assert str(refused.value).isprintable()
