"""A clone in small: the folder in which the commands and programs of the documentation are tried."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from docs_pages import ROOT, blocks
from PIL import Image
from processes import one_core

from mmad.cli.app import COMMANDS
from mmad.data.phantom.generate import make_phantom

#: What a clone holds that a documented command needs.
CLONED = ("Makefile", "pyproject.toml", "requirements.lock", "tools", "ablations")
#: Targets of make that are run; the others are only asked what they would do.
MADE, ASKED = (
    ("help", "setup", "demo", "report"),
    ("test", "test-fast", "test-long", "stress", "check", "docs", "dist", "bench", "reproduce", "test-versions"),
)
#: Settings that a newcomer's shell has not. Without byte code every worker would compile torch anew.
_NOT_A_NEWCOMERS = ("MMAD_", "MAKE", "MFLAGS", "PYTHONDONTWRITEBYTECODE")
_SMALL_PHANTOM = ["--studies", "16", "--image-size", "64"]


class UnknownCommandError(AssertionError):
    """A documented command that nothing here knows how to try."""


class Workbench:
    """A folder like a fresh clone, with a data set of 16 studies, and an environment that shortens trainings.

    ``.venv`` is the environment the tests run in, so that nothing is installed. ``words`` go into MMAD_SET. Commands
    have one core: one worker, which imports torch once, trains all their runs.
    """

    def __init__(self, folder: Path, words: str) -> None:
        self.folder = folder
        for name in CLONED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
        (folder / ".venv").symlink_to(sys.prefix, target_is_directory=True)
        make_phantom(folder / "data" / "phantom", studies=16, image_size=64)
        make_tables(folder / "my-xrays")
        (folder / "experiments.md").write_text(blocks(ROOT / "docs" / "log.md", "markdown")[0].text, "utf-8")
        (folder / "weights").mkdir()
        own = f"{sys.prefix}/bin"
        path = [part for part in os.environ["PATH"].split(os.pathsep) if part != own]
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_NOT_A_NEWCOMERS)
        } | {
            "PATH": os.pathsep.join(path),
            "COLUMNS": "160",
            "MMAD_DATA": str(folder / "data" / "phantom"),
            "MMAD_SET": words,
            "MMAD_CACHE": os.environ["MMAD_CACHE"],
            "MMAD_WEIGHTS": str(folder / "weights"),
            "XDG_CACHE_HOME": str(folder / "home"),
            "TORCH_HOME": str(folder / "home" / "torch"),
        }

    def use_venv(self) -> None:
        """Put ``.venv/bin`` on the path, as the README tells a newcomer to."""
        self.run(f'export PATH="{self.folder}/.venv/bin:$PATH"')

    def run(self, command: str) -> str:
        """Run one documented command and return what it wrote; UnknownCommandError when there is no way to."""
        line = self.known(command)
        name = command.split()[0]
        script = f'{line}\nprintf %s "$PATH" > .path' if name == "export" else line
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            preexec_fn=one_core,
            check=False,
        )
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        if name == "export":
            self.environment["PATH"] = (self.folder / ".path").read_text()
        return done.stdout + done.stderr

    def known(self, command: str) -> str:
        """The line to run for ``command``: itself, or shortened where settings cannot."""
        words = shlex.split(command, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        match words:
            case ["export", assignment] if assignment.startswith("PATH="):
                return command
            case ["make", *asked] if {word for word in asked if "=" not in word} <= {*MADE}:
                return f"make --old-file=.venv/.mmad-ready {shlex.join(asked)}"
            case ["make", *asked] if {word for word in asked if "=" not in word} <= {*ASKED}:
                return f"make -n --old-file=.venv/.mmad-ready {shlex.join(asked)}"
            case ["mmad", "data", "phantom", *_]:
                return f"{command} {shlex.join(_SMALL_PHANTOM)}"
            case ["mmad", "reproduce", *_]:
                return command.replace("reproduce", "reproduce quickstart")
            case ["mmad", "demo", *_]:
                return f"{command} --no-open"
            case ["mmad", "report", *rest] if "--open" in rest:
                return command.replace("--open", "")
            case ["mmad", "report", *_]:  # a PDF takes half a second; another command of docs/paper.md writes each
                return command.replace("--format pdf,", "--format ")
            case ["mmad", name, *_] if name in {"--help", "--version", *(name for name, _, _ in COMMANDS)}:
                return command
        raise UnknownCommandError(f"no way to try the documented command: {command}")

    def run_python(self, program: str) -> str:
        """Run a program of the documentation in the folder and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            preexec_fn=one_core,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shorten_files(self) -> None:
        """Make the quickstart itself short, for programs, which read no MMAD_SET."""
        file = self.folder / "ablations" / "quickstart.toml"
        text = file.read_text("utf-8")
        for name, value in (("epochs", "1"), ("image_size", "32"), ("batch_size", "8"), ("data", '"../data/phantom"')):
            text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
            assert count == 1, f"{file.name} has {count} lines {name} = …"
        file.write_text(text, "utf-8")


def make_tables(folder: Path) -> None:
    """A folder of X-rays as somebody might have it: images, subjects.csv, boxes.csv."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    subjects: list[list[object]] = [["image", "patient_id", "split", "age", "sex"]]
    boxes: list[list[object]] = [["image", "xmin", "ymin", "xmax", "ymax", "label"]]
    for number in range(12):
        image = f"images/x{number}.png"
        Image.fromarray(rng.integers(0, 256, (48, 40), dtype=np.uint8)).save(folder / image)
        split = ("train", "train", "val", "test")[number % 4]
        subjects.append([image, f"p{number}", split, 40 + number if number else "", "FM"[number % 2]])
        boxes.append([image, 4, 5, 30, 40, "Consolidation"])
    ages = [[row[0], row[3]] for row in subjects]
    for name, rows in (("subjects.csv", subjects), ("boxes.csv", boxes), ("ages.csv", ages)):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
