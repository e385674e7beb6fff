"""The container definitions, which are not built here: their syntax, and that they install what `make dist` builds."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "containers"


def instructions(name: str) -> list[str]:
    """The lines of a file without comments, continued ones joined."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / name).read_text("utf-8"), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def shell_reads(script: str) -> None:
    """Fails where a shell would not understand ``script``."""
    done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_containerfile_has_known_instructions_and_arguments_that_are_declared() -> None:
    lines = instructions("Containerfile")
    names = [line.split()[0] for line in lines]
    assert set(names) <= {"ARG", "FROM", "COPY", "RUN", "ENV", "WORKDIR", "ENTRYPOINT"}
    assert names.index("FROM") == 1
    assert names[-1] == "ENTRYPOINT"
    declared = {line.split()[1].partition("=")[0] for line in lines if line.startswith("ARG")}
    assert set(re.findall(r"\$\{(\w+)\}", "\n".join(lines))) == declared
    for line in lines:
        if line.startswith("RUN"):
            shell_reads(line.removeprefix("RUN"))
    assert "COPY dist/*.whl /opt/mmad/" in lines


def test_the_apptainer_definition_has_its_sections_and_arguments_that_are_declared() -> None:
    lines = instructions("mmad.def")
    assert lines[:2] == ["Bootstrap: docker", "From: python:3.12-slim"]
    sections: dict[str, list[str]] = {}
    for line in lines[2:]:
        if line.startswith("%"):
            found = sections.setdefault(line[1:].strip(), [])
        else:
            assert line.startswith("    "), line
            found.append(line.strip())
    assert list(sections) == ["arguments", "files", "post", "runscript", "labels"]
    declared = {line.partition("=")[0] for line in sections["arguments"]}
    assert set(re.findall(r"\{\{ (\w+) \}\}", "\n".join(sections["post"]))) == declared
    shell_reads("\n".join(sections["post"] + sections["runscript"]))
    assert sections["files"] == ["dist /opt/mmad"]
