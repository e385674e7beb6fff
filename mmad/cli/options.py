"""The options that commands share, and what they mean: how a queue works, and which runs are meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.base.errors import MmadError
from mmad.base.formatting import short_key
from mmad.base.paths import DEFAULT_DATABASE

if TYPE_CHECKING:
    from mmad.store.store import Store

DEFAULT_DB = str(DEFAULT_DATABASE)

DatabaseOption = Annotated[
    str,
    typer.Option("--db", envvar="MMAD_DB", metavar="FILE|URL", help="The database: an SQLite file or a URL."),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        envvar="MMAD_DATA",
        metavar="DIR",
        help="Folder of the data set; left out: what the file names, else the embedded phantom.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of words.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        envvar="MMAD_SET",
        metavar="FIELD=VALUE",
        help="Override any field of the setup or the protocol; may be repeated; recorded, and part of the key. "
        "The variable holds such words with spaces between them, and a --set on the line stands in its place.",
        show_default=False,
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="imagenet|none",
        help="none trains from scratch what the setup prints as pretrained.",
        show_default=False,
    ),
]
WeightsDirOption = Annotated[
    Path | None,
    typer.Option(
        "--weights-dir",
        envvar="MMAD_WEIGHTS",
        metavar="DIR",
        help="Folder with torchvision's weights files, looked into before torch's own cache.",
        show_default=False,
    ),
]
#: Not the variable MMAD_DATA: the runs know their data set.
MovedDataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Where the runs' data set lies now, if it was moved.", show_default=False
    ),
]


# How a queue works.


#: What every database keeps as a whole number.
LOWEST, HIGHEST = -(2**31), 2**31 - 1

DeviceOption = Annotated[
    str,
    typer.Option("--device", metavar="auto|cpu|cuda|cuda:N|mps", help="Where to train; auto takes every GPU."),
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

ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor", metavar="local|ray|slurm|command", help="What trains: this machine, a cluster, lines of a shell."
    ),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        "--template",
        metavar="LINE",
        help="The line of --executor command, such as 'ssh gpu1 {quoted}' or 'qsub -b y {command}'.",
        show_default=False,
    ),
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", metavar="N", help="At most N such lines at once (32).", show_default=False)
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
        raise MmadError(f"{word!r} is no number of runs", where="--per-gpu", hint="give 1 or more, or auto")
    return number


# Which runs a command of the queue is about: named one by one, by ablation, or all.


RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="Beginnings of keys, or ablation/setting/arm[/seed].", show_default=False),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every run of the database.")]
AblationOption = Annotated[
    list[str] | None,
    typer.Option("--ablation", metavar="NAME", help="Every run of this ablation; may be repeated.", show_default=False),
]


def choose(store: Store, runs: Sequence[str] | None, ablations: Sequence[str] | None, every: bool) -> list[str]:
    """The keys of the runs that were named, each once, in the queue's order.

    Raises:
        MmadError: nothing was named, or no such ablation.
        StoreError: no such run.
    """
    from mmad.store.lookup import ablation_called, find_seeds

    if not (runs or ablations or every):
        raise MmadError("name runs", hint="give keys or ablation/setting/arm, --ablation NAME, or --all")
    there = {record.name: record for record in store.ablations()}
    chosen = {found.run.key for name in runs or () for found in find_seeds(store, name)}
    for name in ablations or ():
        chosen |= {member.key for member in there[ablation_called(name, list(there), "--ablation")].members}
    return [run.key for run in store.run_records() if every or run.key in chosen]


def labels(store: Store, keys: Sequence[str]) -> dict[str, str]:
    """What to call each run: the path of the first member that asks for it, with the beginning of its key."""
    from mmad.store.lookup import member_path

    paths: dict[str, str] = {}
    for ablation in store.ablations():
        for member in ablation.members:
            paths.setdefault(member.key, member_path(member))
    return {key: f"{short_key(key)} {paths[key]}" if key in paths else short_key(key) for key in keys}
