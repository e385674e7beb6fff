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
    text = Path(file).read_text()
    (FOLDER / f"{number}.sh").write_text(text)
    array = re.search(r"^#SBATCH --array=0-(\d+)", text, re.MULTILINE)
    for name in [str(number)] if array is None else [f"{number}_{task}" for task in range(int(array[1]) + 1)]:
        run = [sys.executable, __file__, "run", name]
        process = subprocess.Popen(
            run, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        (FOLDER / f"{name}.pid").write_text(str(process.pid))
    print(f"Submitted batch job {number}")


def run(name: str) -> None:
    """A job, or a task of an array, from its beginning to its last end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    number, _, task = name.partition("_")
    given = {"SLURM_JOB_ID": f"{number}{task}"}
    if task:
        given |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": task}
    while True:
        subprocess.run(["bash", str(FOLDER / f"{number}.sh")], env={**os.environ, **given}, check=False)
        if not (FOLDER / f"{name}.again").exists():
            return
        (FOLDER / f"{name}.again").unlink()


def srun(*words: str) -> int:
    """The command behind the options, with its output where they say."""
    given = list(words)
    files = {}
    names = {"%j": "SLURM_JOB_ID", "%A": "SLURM_ARRAY_JOB_ID", "%a": "SLURM_ARRAY_TASK_ID"}
    while given[0].startswith("--"):
        option = given.pop(0)
        if option in ("--output", "--error"):
            path = given.pop(0).replace("%t", "0")
            for word, variable in names.items():
                path = path.replace(word, os.environ.get(variable, ""))
            files[option] = path
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
        for file in [*FOLDER.glob(f"{number}.pid"), *FOLDER.glob(f"{number}_*.pid")]:
            alive = psutil.pid_exists(int(file.read_text()))
            print(f"{file.stem}|{'RUNNING' if alive else 'NODE_FAIL'}|here")


def scontrol(word: str, number: str) -> None:
    assert word == "requeue"
    (FOLDER / f"{number}.again").touch()


if __name__ == "__main__":
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    if name == Path(__file__).resolve().name:
        name, words = words[0], words[1:]
    sys.exit(globals()[name](*words) or 0)
