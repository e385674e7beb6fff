"""No command obeys, or has a terminal obey, what stands in rows and files."""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli_store_runs import filled
from rich.table import Table

from mmad.base.terminal import SafeConsole
from mmad.cli.output import guarded_output

Call = Callable[..., Any]
HOSTILE = "\x1b[31mRED\x1b]0;owned\x07\x9b1m\u202e\r"


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[str, str]:
    """A database whose words would command a terminal, and the key of a run."""
    database, key, _ = filled(tmp_path)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("pragma ignore_check_constraints = on")
        connection.execute("update members set arm = arm || ?", (HOSTILE,))
        connection.execute("update runs set error = ?, dataset_name = ?", (HOSTILE, HOSTILE))
        connection.execute("update environments set command = ?, host = ?", (HOSTILE, HOSTILE))
    return database, key


@pytest.mark.parametrize("command", ["runs", "show", "status", "watch", "logs", "compare"])
def test_rows_do_not_command_the_terminal(
    hostile: tuple[str, str], call_mmad: Call, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(hostile[0]).parent)
    words = {"show": [hostile[1]], "logs": [hostile[1]], "watch": ["--once"], "compare": ["--ablation", "patience"]}
    called = call_mmad(command, *words.get(command, []), "--db", hostile[0])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", called.out + called.err)


def test_json_escapes_what_it_keeps(hostile: tuple[str, str], call_mmad: Call) -> None:
    called = call_mmad("runs", "--db", hostile[0], "--json")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", called.out)
    assert json.loads(called.out)[0]["arm"].endswith(HOSTILE)


def test_a_message_commands_nothing(call_mmad: Call) -> None:
    called = call_mmad("plan", "no\x1b[31m.toml")
    assert called.code == 2
    assert "\x1b" not in called.err
    called = call_mmad("runs", "--db", os.fsdecode(b"a\xff.sqlite"))
    assert (called.code, called.err.count("\n")) == (2, 1)


def test_a_terminal_gets_styles_of_rich_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    console = SafeConsole(stream, force_terminal=True, markup=False, width=80)
    table = Table("arm")
    table.add_row(HOSTILE, style="bold")
    console.print(table)
    console.print(HOSTILE, style="red", soft_wrap=True)
    written = stream.getvalue()
    assert "\x1b[1m" in written
    assert not re.search("\x1b\\[31mRED|\x1b\\]|[\x07\x9b\u202e\r]", written)
    assert "\x1b[31m\N{REPLACEMENT CHARACTER}[31mRED" in written


def test_output_is_guarded_while_a_command_runs(capsys: pytest.CaptureFixture[str]) -> None:
    earlier = sys.stdout
    with guarded_output():
        print(HOSTILE, "a\tb")
        print(HOSTILE, file=sys.stderr)
    assert sys.stdout is earlier
    written = capsys.readouterr()
    safe = "\ufffd[31mRED\ufffd]0;owned\ufffd\ufffd1m\ufffd\ufffd"
    assert (written.out, written.err) == (f"{safe} a\tb\n", f"{safe}\n")
