"""Slurm's programs, pretended on this machine: linked as ``sbatch``, ``srun``, ``scancel``, ``sacct``, ``scontrol``.

``PRETEND_SLURM`` is a folder: N.sh is what was submitted as job N, N.pid its process, N.again that it was requeued.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil

FOLDER = Path(os.environ["PRETEND_SLURM"])


def sbatch(file: str) -> None:
    number = len(list(FOLDER.glob("*.sh"))) + 1
    (FOLDER / f"{number}.sh").write_text(Path(file).read_text())
    run = [sys.executable, __file__, "run", str(number)]
    process = subprocess.Popen(
        run, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    (FOLDER / f"{number}.pid").write_text(str(process.pid))
    print(f"Submitted batch job {number}")


def run(number: str) -> None:
    """A job from its beginning to its last end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        subprocess.run(["bash", str(FOLDER / f"{number}.sh")], env={**os.environ, "SLURM_JOB_ID": number}, check=False)
        if not (FOLDER / f"{number}.again").exists():
            return
        (FOLDER / f"{number}.again").unlink()


def srun(*words: str) -> int:
    """The command behind the options, with its output where they say."""
    given = list(words)
    files = {}
    while given[0].startswith("--"):
        option = given.pop(0)
        if option in ("--output", "--error"):
            files[option] = given.pop(0).replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
    with Path(files["--output"]).open("a") as out, Path(files["--error"]).open("a") as errors:
        return subprocess.run(given, stdout=out, stderr=errors, check=False).returncode


def scancel(*words: str) -> None:
    number = words[-1]
    kind = signal.SIGKILL if "--signal=KILL" in words else signal.SIGTERM
    with contextlib.suppress(psutil.Error, OSError):
        for process in psutil.Process(int((FOLDER / f"{number}.pid").read_text())).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "python" in process.name() and "run" not in process.cmdline()[-2:]:
                    process.send_signal(kind)


def sacct(*words: str) -> None:
    print("JobID|State|NodeList")
    for number in re.findall(r"-j (\d+)", shlex.join(words)):
        alive = psutil.pid_exists(int((FOLDER / f"{number}.pid").read_text()))
        print(f"{number}|{'RUNNING' if alive else 'NODE_FAIL'}|here")


def scontrol(word: str, number: str) -> None:
    assert word == "requeue"
    (FOLDER / f"{number}.again").touch()


if __name__ == "__main__":
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    if name == Path(__file__).resolve().name:
        name, words = words[0], words[1:]
    sys.exit(globals()[name](*words) or 0)
