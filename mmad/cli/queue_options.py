"""The options that tell a queue how to work."""

from __future__ import annotations

from typing import Annotated

import typer

from mmad.base.errors import MmadError

#: What every database keeps as a whole number.
LOWEST, HIGHEST = -(2**31), 2**31 - 1

DeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where to train; auto takes every GPU found.")
]
PerGpuOption = Annotated[
    str, typer.Option("--per-gpu", metavar="N|auto", help="Runs that share a GPU; auto: as many as its memory holds.")
]
IsolateOption = Annotated[bool, typer.Option("--isolate", help="Give every run a process of its own.")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="WORDS",
        help="Only members of this setting, arm, seed=N or ablation/setting/arm; * is anything; may be repeated.",
        show_default=False,
    ),
]
MaxHoursOption = Annotated[
    float | None,
    typer.Option("--max-hours", metavar="H", min=0.0, help="Stop as by Ctrl-C after H hours.", show_default=False),
]
PriorityOption = Annotated[
    int | None,
    typer.Option(
        "--priority",
        metavar="N",
        min=LOWEST,
        max=HIGHEST,
        help="Train these runs before those of lower priority (0).",
        show_default=False,
    ),
]
CheckpointEveryOption = Annotated[
    int | None,
    typer.Option(
        "--checkpoint-every",
        metavar="STEPS",
        min=1,
        help="Checkpoint within epochs too, every STEPS training steps.",
        show_default=False,
    ),
]
TensorboardOption = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard event files beside the log.")]
OnFinishOption = Annotated[
    str | None,
    typer.Option("--on-finish", metavar="CMD", help="A shell command to run when all is over.", show_default=False),
]

EngineOption = Annotated[
    str, typer.Option("--engine", metavar="local|ray|slurm", help="What trains: this machine, or a cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="The Ray cluster; left out: the one this machine is a node of.",
        show_default=False,
    ),
]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        metavar="KEY=VALUE,…",
        help="Options of sbatch, such as partition=gpu,time=4:00:00; jobs=N: at most N at once; may be repeated.",
        show_default=False,
    ),
]


def runs_per_gpu(word: str) -> int | None:
    """The number that ``--per-gpu`` names; None for ``auto``.

    Raises:
        MmadError: it is neither.
    """
    if word.strip().lower() == "auto":
        return None
    try:
        number = int(word)
    except ValueError:
        number = 0
    if number < 1:
        raise MmadError(f"{word!r} is no number of runs", where="--per-gpu", mend="give 1 or more, or auto")
    return number
