"""The options that commands share, and what they mean: how a queue works, and which runs are meant."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from mmad.base.errors import MmadError
from mmad.base.formatting import short_key
from mmad.base.paths import DEFAULT_DATABASE, without_secrets

if TYPE_CHECKING:
    from mmad.store.store import Store

DEFAULT_DB = str(DEFAULT_DATABASE)
#: The variable in which a shell asks for completions.
VARIABLE = "_MMAD_COMPLETE"

#: Headings of ``--help`` above options that belong together.
WHAT, WHERE, MEANWHILE = "What is trained", "Where it trains", "While it trains"


class GroupedCommand(TyperCommand):
    """A command whose options stand under the headings that they name; those without one come first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            if (line := option.get_help_record(ctx)) is not None:
                plain = "Arguments" if option.param_type_name == "argument" else "Options"
                sections.setdefault(getattr(option, "rich_help_panel", None) or plain, []).append(line)
        for title in sorted(sections, key=lambda name: ("Arguments", "Options", WHAT, WHERE, MEANWHILE).index(name)):
            with formatter.section(title):
                formatter.write_dl(sections[title])


DatabaseOption = Annotated[
    str, typer.Option("--db", envvar="MMAD_DB", metavar="FILE|URL", help="The database: an SQLite file or a URL.")
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        rich_help_panel=WHAT,
        envvar="MMAD_DATA",
        metavar="DIR",
        help="Folder of the data set; default: what the file names, else the embedded phantom.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        rich_help_panel=WHAT,
        envvar="MMAD_SET",
        metavar="FIELD=VALUE",
        help="Override any field of the setup or the protocol; may be repeated; recorded, and part of the key. "
        "The variable holds several, separated by spaces; --set replaces it.",
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        rich_help_panel=WHAT,
        metavar="imagenet|none",
        help="none: train pretrained setups from scratch.",
    ),
]
WeightsDirOption = Annotated[
    Path | None,
    typer.Option(
        "--weights-dir",
        rich_help_panel=WHAT,
        envvar="MMAD_WEIGHTS",
        metavar="DIR",
        help="Folder with torchvision's weights files, searched before torch's own cache.",
    ),
]
#: Not the variable MMAD_DATA: the runs know their data set.
MovedDataOption = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Where the runs' data set is now, if it was moved.")
]


# How a queue works.


#: What every database keeps as a whole number.
LOWEST, HIGHEST = -(2**31), 2**31 - 1

DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        rich_help_panel=WHERE,
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="Where to train; auto takes every GPU.",
    ),
]
PerGpuOption = Annotated[
    str,
    typer.Option(
        "--per-gpu",
        rich_help_panel=WHERE,
        metavar="N|auto",
        help="Runs that share a GPU; auto: as many as its memory holds.",
    ),
]
IsolateOption = Annotated[
    bool, typer.Option("--isolate", rich_help_panel=WHERE, help="Give every run a process of its own.")
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        rich_help_panel=WHAT,
        metavar="WORDS",
        help="Only members of this setting, arm, seed=N or ablation/setting/arm; * matches anything; may be repeated.",
    ),
]
MaxHoursOption = Annotated[
    float | None,
    typer.Option(
        "--max-hours", rich_help_panel=MEANWHILE, metavar="H", min=0.0, help="Stop after H hours, as Ctrl-C does."
    ),
]
PriorityOption = Annotated[
    int | None,
    typer.Option(
        "--priority",
        rich_help_panel=MEANWHILE,
        metavar="N",
        min=LOWEST,
        max=HIGHEST,
        help="Train these runs before runs of lower priority; default: 0.",
    ),
]
CheckpointEveryOption = Annotated[
    int | None,
    typer.Option(
        "--checkpoint-every",
        rich_help_panel=MEANWHILE,
        metavar="STEPS",
        min=1,
        help="Write checkpoints within epochs too, every STEPS training steps.",
    ),
]
TensorboardOption = Annotated[
    bool, typer.Option("--tensorboard", rich_help_panel=MEANWHILE, help="Write TensorBoard event files beside the log.")
]
OnFinishOption = Annotated[
    str | None,
    typer.Option(
        "--on-finish", rich_help_panel=MEANWHILE, metavar="CMD", help="A shell command to run when the queue is done."
    ),
]

ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor",
        rich_help_panel=WHERE,
        metavar="local|ray|slurm|command",
        help="What trains: this machine, a cluster, a shell command.",
    ),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        "--template",
        rich_help_panel=WHERE,
        metavar="CMD",
        help="The shell command of --executor command, such as 'ssh gpu1 {quoted}' or 'qsub -b y {command}'.",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        rich_help_panel=WHERE,
        metavar="N",
        help="With --executor command: at most N runs at once; default: 32.",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        rich_help_panel=WHERE,
        metavar="HOST:PORT",
        help="The Ray cluster; default: the one that this machine belongs to.",
    ),
]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        rich_help_panel=WHERE,
        metavar="KEY=VALUE,…",
        help="Options of sbatch, such as partition=gpu,time=4:00:00; jobs=N: at most N at once; may be repeated.",
    ),
]

DetachOption = Annotated[
    bool,
    typer.Option(
        "--detach",
        rich_help_panel=WHERE,
        help="Train in the background, even after you log out; mmad attach follows it.",
    ),
]


def database_words(db: str) -> str:
    """The option that names ``db`` in a command that is shown, with a space before it; empty for the default."""
    return "" if db == DEFAULT_DB else f" --db {shlex.quote(without_secrets(db))}"


def refuse_idle(context: typer.Context, needed: str, *names: str) -> None:
    """Refuses options on the command line that have no effect as it stands; ``needed`` says what would give them one.

    Args:
        names: of the parameters.

    Raises:
        MmadError: naming the first of them.
    """
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in names and source is not None and source.name == "COMMANDLINE":
            raise MmadError("has no effect here", where=option.opts[0], hint=needed)


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
        raise MmadError(f"{word!r} is not a number of runs", where="--per-gpu", hint="give 1 or more, or auto")
    return number


# Which runs a command of the queue is about: named one by one, by ablation, or all.


RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN", help="Ablations, ablation/setting/arm[/seed], or a key's beginning."),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="best_ap|best_ar|final",
        help="Which checkpoint; default: best_ap, or final where no best one was kept.",
    ),
]
EnsembleOption = Annotated[bool, typer.Option("--ensemble", help="All seeds of an arm together, their boxes fused.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every run of the database.")]
AblationOption = Annotated[
    list[str] | None, typer.Option("--ablation", metavar="NAME", help="Every run of this ablation; may be repeated.")
]


def choose(store: Store, runs: Sequence[str] | None, ablations: Sequence[str] | None, every: bool) -> list[str]:
    """The keys of the runs that were named, each once, in the queue's order.

    Raises:
        MmadError: nothing was named, or no such ablation.
        StoreError: no such run.
    """
    from mmad.store.lookup import ablation_called, find_runs

    if not (runs or ablations or every):
        raise MmadError("no run is named", hint="give keys or ablation/setting/arm, --ablation NAME, or --all")
    there = {record.name: record for record in store.ablations()}
    chosen = {found.run.key for name in runs or () for found in find_runs(store, name)}
    for name in ablations or ():
        chosen |= {member.key for member in there[ablation_called(name, list(there), "--ablation")].members}
    return [run.key for run in store.run_records() if every or run.key in chosen]


def labels(store: Store, keys: Sequence[str]) -> dict[str, str]:
    """What to call each run: the path of the first member that asks for it, with the beginning of its key."""

    paths: dict[str, str] = {}
    for ablation in store.ablations():
        for member in ablation.members:
            paths.setdefault(member.key, member.path)
    return {key: f"{short_key(key)} {paths[key]}" if key in paths else short_key(key) for key in keys}
