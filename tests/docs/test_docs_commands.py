"""Every command line of the documentation is one that the command line takes, run elsewhere in these tests or not."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from docs_pages import PAGES, ROOT, blocks, commands
from docs_workbench import Workbench

from mmad.cli.app import app
from mmad.cli.reproduce import chapter_files

CLUSTER, REPRODUCE = ROOT / "docs" / "cluster.md", ROOT / "docs" / "reproduce.md"
#: What the changes say of earlier versions need not be so now.
NOW = [page for page in PAGES if page.name != "CHANGELOG.md"]
#: What a line is told that names a command without all its arguments, as sentences do.
UNFINISHED = ("Missing parameter", "Option '", "Usage:")

_COMMAND = re.compile(r"""(MMAD_\w+=("[^"]*"|\S+) )?mmad [-a-z]""")


def lines(page: Path) -> list[str]:
    """The lines of ``page`` that call mmad, in fences and in indented blocks."""
    text = page.read_text("utf-8")
    fenced = [line for block in blocks(page, "console", "sh", "bash", "text", "") for line in commands(block)]
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return calls([*fenced, *re.findall(r"^ {4}(?! )(.*)$", outside, flags=re.MULTILINE)])


def sentences(page: Path) -> list[str]:
    """The calls of mmad that sentences of ``page`` name."""
    named = re.findall(r"`(mmad [^`]+)`", page.read_text("utf-8"))
    return calls([" ".join(words.replace(r"\|", ",").split()) for words in named])


def calls(found: list[str]) -> list[str]:
    return [part.strip() for line in found for part in re.split("&&|>", line) if _COMMAND.match(part.strip())]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A function that has the command line read a line without doing anything; what it complains of."""
    monkeypatch.setattr(typer.core.TyperCommand, "invoke", lambda self, context: 0)

    def complaint(line: str) -> str:
        words = shlex.split(line, comments=True)
        try:
            app(words[words.index("mmad") + 1 :], prog_name="mmad", standalone_mode=False)
        except (SystemExit, typer.Exit):
            return ""
        except Exception as error:  # what a command line raises is of a library's own kinds
            return str(getattr(error, "message", error) or error)
        return ""

    return complaint


@pytest.mark.parametrize("page", NOW, ids=lambda page: page.name)
def test_every_command_line_is_taken(parse: Callable[[str], str], page: Path) -> None:
    assert {line: said for line in lines(page) if (said := parse(line))} == {}
    said = {line: parse(line) for line in sentences(page)}
    assert {line: words for line, words in said.items() if words and not words.startswith(UNFINISHED)} == {}


def test_lines_are_found_and_what_is_no_command_or_option_is_named(parse: Callable[[str], str]) -> None:
    assert len(lines(CLUSTER)) >= 6
    for line in ("mmad fly", "mmad ablate a.toml --wings 2", "mmad data fly", "mmad data fly --x"):
        assert parse(line), line
        assert not parse(line).startswith(UNFINISHED), line


@pytest.mark.slow
def test_runs_for_a_cluster_are_planned(
    call_trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files and options are checked, and what would run is listed; Ray would have to be there, ssh and qsub pretend."""
    for name in ("ssh", "qsub"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = [line for line in lines(CLUSTER) if "ablate" in line and ".toml" in line]
    assert {"ray", "slurm", "command"} == {re.findall(r"--executor (\w+)", line)[0] for line in found}
    for line in found:
        if "--executor ray" not in line:
            called = call_trained(f"{line} --weights none --dry-run")
            assert (called.code, "8 runs would be trained" in called.out) == (0, True), (
                f"{line}: {called.err}{called.out}"
            )


@pytest.mark.slow
def test_the_log_is_reproduced_in_small(trained: Workbench) -> None:
    """By a chapter of two small runs; the chapters that the page names are there."""
    named = [shlex.split(line)[2:] for line in lines(REPRODUCE) if line.startswith("mmad reproduce ")]
    assert chapter_files([word for words in named for word in words if word in ("determined", "patience")])
    said = trained.run("mmad reproduce --profile smoke")
    assert "1 of the log's chapters, profile smoke, database db/smoke.sqlite" in said
    assert "2 of 2 runs finished" in said
    assert (trained.folder / "reports" / "smoke" / "index.html").exists()
