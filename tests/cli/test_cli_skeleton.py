"""The command line itself: help, unknown words, exit codes, and that nothing heavy is imported."""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from mmad import __version__
from mmad.base.errors import DataError
from mmad.cli.app import COMMANDS, app
from mmad.store.store import Store

Call = Callable[..., Any]


def test_help_lists_every_command_with_its_line(call_mmad: Call) -> None:
    called = call_mmad("--help")
    assert called.code == 0
    for name, _, line in COMMANDS:
        assert f"  {name} " in called.out
        assert line.split()[0] in called.out


def test_no_words_show_the_help_and_the_version_is_told(call_mmad: Call) -> None:
    assert "Results:" in "".join(call_mmad()[1:])
    assert call_mmad("--version").out == f"mmad {__version__}\n"


@pytest.mark.parametrize("name", [name for name, _, _ in COMMANDS])
def test_every_command_helps(call_mmad: Call, name: str) -> None:
    called = call_mmad(name, "--help")
    assert called.code == 0
    assert f"Usage: mmad {name}" in called.out


def test_an_unknown_command_meets_the_nearest(call_mmad: Call) -> None:
    called = call_mmad("paln")
    assert called.code == 2
    assert "no such command: paln; did you mean plan?" in called.err
    assert call_mmad("--nope").code == 2


def test_a_user_s_failure_is_one_line_and_an_interruption_130(call_mmad: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("mmad.cli.parts")

    def failing(error: BaseException) -> Callable[[typer.Typer], None]:
        def register(part: typer.Typer) -> None:
            @part.command("schema")
            def schema() -> None:
                raise error

        return register

    for error, code, words in (
        (DataError("is empty", where="boxes.csv:3", hint="add a box"), 2, "mmad: boxes.csv:3: is empty; add a box\n"),
        (KeyboardInterrupt(), 130, ""),
    ):
        monkeypatch.setattr(module, "register", failing(error))
        monkeypatch.setattr(typer.main.get_command(app), "commands", {})  # those of earlier calls are forgotten
        called = call_mmad("schema")
        assert (called.code, called.out, called.err.strip()) == (code, "", words.strip())


def _modules_after(*words: str) -> set[str]:
    """The top-level modules that are loaded once ``mmad`` has answered ``words``."""
    code = (
        "import sys\nfrom mmad.cli.app import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n' + '|'.join(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split("|")}


@pytest.mark.slow
def test_help_and_planning_import_nothing_heavy(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("")
    heavy = {"torch", "torchvision", "pandas", "matplotlib", "pycocotools"}
    assert not _modules_after("--help") & (heavy | {"numpy", "pydantic", "sqlalchemy", "rich"})
    assert not _modules_after("plan", str(file), "--db", str(tmp_path / "no.sqlite")) & heavy
    assert not _modules_after("schema") & heavy
    for command in ("status", "runs", "watch"):
        assert not _modules_after(command, "--db", str(tmp_path / "no.sqlite")) & (heavy - {"pycocotools"})
    assert not _modules_after("weights") & heavy


@pytest.mark.slow
def test_what_asks_the_database_imports_neither_torch_nor_pandas(tmp_path: Path) -> None:
    database = str(tmp_path / "mmad.sqlite")
    Store.open(database).close()
    for words in (("status",), ("watch", "--once"), ("runs",)):
        loaded = _modules_after(*words, "--db", database)
        assert "sqlalchemy" in loaded
        assert not loaded & {"torch", "torchvision", "pandas", "matplotlib", "pycocotools"}, words


@pytest.mark.slow
def test_help_answers_within_three_tenths_of_a_second_of_cpu() -> None:
    def cpu() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", "from mmad.cli.app import main; main()", "--help"], check=True, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu() for _ in range(5)) < 0.3


def test_the_app_can_be_used_from_python() -> None:
    assert app(["schema", "--help"], standalone_mode=False) in (None, 0)


@pytest.mark.slow
def test_a_warning_of_a_library_is_one_line_on_stderr(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"90 27 0:55 / {tmp_path} rw - nfs4 server:/export rw\n")
    code = (
        "import sys\nfrom pathlib import Path\nfrom mmad.store import engine\nfrom mmad.cli.app import main\n"
        "engine.MOUNTS = Path(sys.argv.pop(1))\nmain()"
    )
    log = tmp_path / "log.md"
    log.write_text("# A log\n\n## First\n[model]: 3\n")
    words = ("log", "import", str(log), "--db", str(tmp_path / "mmad.sqlite"), "--json")
    done = subprocess.run([sys.executable, "-c", code, str(mounts), *words], capture_output=True, text=True, check=True)
    assert done.stderr.startswith(f"mmad: warning: {tmp_path}/mmad.sqlite: lies on a network file system (nfs4)")
    assert done.stderr.count("\n") == 1
    assert json.loads(done.stdout)["log"] == "log"


def test_what_was_meant_is_named(call_mmad: Call, tmp_path: Path) -> None:
    for words, hint in (
        (("shwo",), "no such command: shwo; did you mean show?"),
        (("zzz",), "no such command: zzz; mmad --help lists them"),
        (("quickstart.toml",), "quickstart.toml is a file; did you mean mmad ablate quickstart.toml?"),
        (("ablate", "ablations/quickstart.toml", "lr=1e-3"), "lr=1e-3: no such file; did you mean --set lr=1e-3?"),
    ):
        called = call_mmad(*words)
        assert called.code == 2
        assert hint in called.err


def test_help_has_a_short_name_and_headings(call_mmad: Call) -> None:
    assert call_mmad("-h").out == call_mmad("--help").out
    assert "Results:" in call_mmad("-h").out
    ablate = call_mmad("ablate", "-h").out
    heads = [line for line in ablate.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads == ["Arguments:", "Options:", "What is trained:", "Where it trains:", "While it trains:"]


def test_an_earlier_name_says_the_new_one(call_mmad: Call) -> None:
    called = call_mmad("logs", "--help")
    assert called.code == 0
    assert called.err == "mmad: logs is called output now; the next version no longer knows it\n"
    assert "Usage: mmad output" in called.out


def test_options_without_effect_are_refused(call_mmad: Call, tmp_path: Path) -> None:
    for words, option, hint in (
        (("report", "--every", "5"), "--every", "add --watch, or leave it out"),
        (("report", "--format", "svg"), "--format", "add --figures DIR, or leave it out"),
        (("report", "--csv", "tables", "--out", "r.html"), "--out", "add --html or --md, or leave it out"),
        (("watch", "--once", "--interval", "3"), "--interval", "leave it out: one frame is printed"),
        (("plan", "ablations/quickstart.toml", "--why", "CXR", "--params"), "--params", "leave out one of the two"),
    ):
        called = call_mmad(*words)
        assert (called.code, called.out) == (2, "")
        assert f"mmad: {option}: has no effect here; {hint}" in called.err
