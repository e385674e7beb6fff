"""What completes a command line: names, members, fields, values, entries and choices, in every shell, at once."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_store_runs import filled

ABLATIONS = Path(__file__).parents[2] / "ablations"
_RUN = "from mmad.cli.app import main; main()"


def asked(shell: str, *words: str, cwd: Path, code: str = _RUN) -> list[str]:
    """What ``mmad WORDS`` completes in ``shell``; the last word is the incomplete one."""
    environment = {
        **os.environ,
        "_MMAD_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "\n".join(["mmad", *words]),
        "COMP_CWORD": str(len(words)),
        "_TYPER_COMPLETE_ARGS": " ".join(["mmad", *(f"'{word}'" if " " in word else word for word in words)]),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_WORD_TO_COMPLETE": words[-1],
    }
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with ``db/mmad.sqlite``, as ``filled`` writes it."""
    filled(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_names_of_runs_and_ablations(here: Path) -> None:
    names = ["patience", "patience/patience 10/CXR", "patience/patience 10/CXR+Clinical"]
    found = asked("fish", "show", "PAT", cwd=here)
    assert [word for word in found if word in names] == names
    assert asked("fish", "report", "", cwd=here) == ["patience"]
    assert asked("fish", "compare", "--ablation", "", cwd=here) == ["patience"]
    assert r"patience/patience\ 10/CXR" in asked("bash", "eval", "patience/", cwd=here)
    assert asked("fish", "show", "", cwd=here.parent / "..") == []


@pytest.mark.slow
def test_fields_values_choices_members_and_entries(here: Path) -> None:
    file = str(ABLATIONS / "fusion.toml")
    assert {"backbone=", "backbone=mobilenet_v3"} <= set(asked("fish", "ablate", file, "--set", "back", cwd=here))
    assert asked("fish", "plan", file, "--set", "use_mask=", cwd=here) == [
        "use_mask=",
        "use_mask=true",
        "use_mask=false",
    ]
    assert "epochs=" in asked("fish", "plan", file, "--set", "ep", cwd=here)
    assert asked("fish", "eval", "--split", "", cwd=here) == ["val", "test"]
    assert asked("fish", "eval", "--proposals", "", cwd=here) == ["clean", "sampled", "with_ground_truth"]
    assert {"concat", "seed=0"} <= set(asked("fish", "ablate", file, "--only", "", cwd=here))
    assert "e069" in asked("fish", "log", "show", "e0", cwd=here)
    assert "n003" in asked("fish", "params", "--entry", "n0", cwd=here)


@pytest.mark.slow
def test_bash_gets_what_follows_the_equals_sign(here: Path) -> None:
    words = ("ablate", "quickstart.toml", "--set", "backbone", "=")
    assert "resnet18" in asked("bash", *words, cwd=here)
    assert asked("bash", *words, "mobilenet_v3", cwd=here) == ["mobilenet_v3"]
    assert '"backbone=resnet18"' in "".join(asked("zsh", "ablate", "q.toml", "--set", "backbone=res", cwd=here))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_itself_completes_a_name_with_spaces(here: Path) -> None:
    command = here / "mmad"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m mmad "$@"\n')
    command.chmod(0o755)
    script = (
        'eval "$(_MMAD_COMPLETE=source_bash mmad)"\n'
        "COMP_WORDS=(mmad show patience/) COMP_CWORD=2\n_mmad_completion mmad\nprintf '%s\\n' \"${COMPREPLY[@]}\""
    )
    path = f"{here}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=here, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert r"patience/patience\ 10/CXR+Clinical" in done.stdout.splitlines(), done.stderr


@pytest.mark.slow
def test_it_is_quick_and_loads_nothing_heavy(here: Path) -> None:
    def cpu() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        asked("bash", "show", "pat", cwd=here)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu() for _ in range(5)) < 0.3  # 0.2 on an idle core
    loads = f"import atexit, sys; atexit.register(lambda: print('|'.join(sorted(sys.modules))))\n{_RUN}"
    for words in (("show", "pat"), ("ablate", "x.toml", "--set", "back"), ("log", "show", "e0")):
        loaded = {name.split(".")[0] for name in asked("bash", *words, cwd=here, code=loads)[-1].split("|")}
        assert "mmad" in loaded
        assert not loaded & {"torch", "pandas", "sqlalchemy", "numpy", "rich"}, words
