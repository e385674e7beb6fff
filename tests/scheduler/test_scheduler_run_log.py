"""A run's log: nothing written is lost, whoever writes it, and however often it is rotated."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import MmadError
from mmad.base.paths import RunPaths
from mmad.scheduler.run_log import RunLog, Tail, last_lines

STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z ", flags=re.MULTILINE)


def whole(run: RunPaths) -> str:
    with Tail(run) as tail:
        return "".join(tail.read())


def test_every_line_begins_with_its_time_and_is_there_at_once(tmp_path: Path) -> None:
    run = RunPaths(tmp_path / "run")
    log = RunLog(run.log)
    for piece in ("one\ntwo", " and", " a half\n", "\n", "löst\ud800"):
        log.write(piece)
    text = run.log.read_text("utf-8")
    assert STAMP.sub("", text) == "one\ntwo and a half\n\nlöst\\ud800"
    assert len(STAMP.findall(text)) == 4


def test_a_full_log_is_renamed_and_the_oldest_goes(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    log = RunLog(run.log, limit=100, kept=2)
    for number in range(40):
        log.write(f"line {number}\n")
    assert [path.name for path in run.logs()] == ["run.log.2", "run.log.1", "run.log"]
    lines = STAMP.sub("", whole(run)).splitlines()
    assert lines == [f"line {number}" for number in range(40 - len(lines), 40)]
    assert all(path.stat().st_size < 150 for path in run.logs())


CRASHING = """
import ctypes, os, sys, time
from pathlib import Path
from mmad.scheduler import run_log
run_log.LOG_BYTES, run_log._LOOK = 4000, 0.02
run_log.RunLog.__init__.__kwdefaults__["limit"] = 4000
run_log.divert_output(Path(sys.argv[1]))
for number in range(300):
    print("python", number)
    os.write(2, b"native %d\\n" % number)
print("no end of line", end="")
for _ in range(1000):
    os.write(1, b"native alone\\n" * 2)
    time.sleep(0.0005)
os.write(1, b"the last word of native code\\n")
ctypes.string_at(1)
"""


@pytest.mark.slow
def test_the_last_lines_before_a_crash_in_native_code_are_there(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    done = subprocess.run([sys.executable, "-c", CRASHING, str(run.log)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-11, "", "")
    assert len(run.logs()) == 4
    text = run.logs()[-1].read_text()
    if "the last word" not in text:  # renamed within the last words
        text = run.logs()[-2].read_text() + text
    assert text.index("the last word of native code") < text.index("Fatal Python error: Segmentation fault")


FORKING = """
import os, sys
from pathlib import Path
from mmad.scheduler.run_log import RunLog
log = RunLog(Path(sys.argv[1]), limit=200, kept=50)
for number in range(10):
    child = os.fork()
    if not child:
        log.write(f"child {number} " + "x" * 300 + "\\n")
        os._exit(0)
    os.waitpid(child, 0)
    log.write(f"parent {number}\\n")
"""


def test_a_child_renames_nothing_and_loses_nothing(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    subprocess.run([sys.executable, "-c", FORKING, str(run.log)], check=True)
    words = [" ".join(line.split()[:2]) for line in STAMP.sub("", whole(run)).splitlines()]
    assert words == [f"{who} {number}" for number in range(10) for who in ("child", "parent")]


def test_a_log_that_cannot_be_renamed_grows_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunPaths(tmp_path)
    log = RunLog(run.log, limit=10)

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "rename", refuse)
    for number in range(5):
        log.write(f"line {number}\n")
    assert STAMP.sub("", whole(run)).splitlines() == [f"line {number}" for number in range(5)]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MmadError, match="the run's log cannot be written"):
        RunLog(tmp_path / "file" / "run.log")


@given(st.lists(st.text("ab\n", max_size=9), max_size=9), st.integers(0, 12))
def test_last_lines_are_those_of_the_whole(pieces: list[str], lines: int) -> None:
    content = "".join(pieces)
    expected = content.splitlines(keepends=True)[-lines:] if lines else []
    assert last_lines(content.encode(), lines).decode() == "".join(expected)


@examples(13)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=12), st.integers(40, 400))
def test_following_misses_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]], limit: int
) -> None:
    """Reads between writes, or only after many rotations of which none is gone."""
    run = RunPaths(tmp_path_factory.mktemp("log"))
    log = RunLog(run.log, limit=limit, kept=100)
    written, heard = 0, ""
    with Tail(run) as tail:
        for lines, read in steps:
            for _ in range(lines):
                log.write(f"line {written}\n")
                written += 1
            heard += "".join(tail.read()) if read else ""
        for _ in run.logs():
            heard += "".join(tail.read())
    log.close()
    assert STAMP.sub("", heard) == "".join(f"line {number}\n" for number in range(written))


def test_following_goes_on_after_files_it_never_saw(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    with Tail(run, lines=1) as tail:
        assert list(tail.read()) == []
        log = RunLog(run.log, limit=60, kept=1)
        log.write("one\n")
        log.write("two\n")
        assert STAMP.sub("", "".join(tail.read())) == "two\n"
        for number in range(9):
            log.write(f"line {number}\n")
        heard = STAMP.sub("", "".join(piece for _ in range(4) for piece in tail.read()))
    assert heard.endswith("line 8\n")
