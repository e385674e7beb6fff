"""The command line: ``mmad COMMAND``. A command's module is imported when that command is called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from mmad import __version__
from mmad.base.errors import MmadError
from mmad.cli.options import VARIABLE

#: Command, its module and its line in ``mmad --help``, by what a person is about, in the order a newcomer meets them.
GROUPS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "Begin": (
        ("demo", "mmad.cli.project", "Train a small pair on the embedded data set and open its report."),
        ("init", "mmad.cli.project", "Lay out a folder for your own ablations, data and reports."),
    ),
    "Train": (
        ("ablate", "mmad.cli.ablate", "Train what an ablation file asks for and is not finished."),
        ("plan", "mmad.cli.plan", "Show what an ablation file expands to and what would run."),
        ("reproduce", "mmad.cli.reproduce", "Train chapters of the documented log and report on them."),
    ),
    "The queue": (
        ("status", "mmad.cli.queue", "Show how far the queued runs are."),
        ("watch", "mmad.cli.queue", "Watch a queue: runs, time left, GPUs and CPUs."),
        ("output", "mmad.cli.queue", "Print or follow what the worker of one run printed."),
        ("attach", "mmad.cli.queue", "Follow a queue that trains in the background."),
        ("stop", "mmad.cli.queue", "Stop runs that wait or train, here or elsewhere."),
        ("retry", "mmad.cli.queue", "Queue failed runs again."),
        ("requeue", "mmad.cli.queue", "Queue stopped and interrupted runs again; change priorities."),
        ("prune", "mmad.cli.queue", "Delete checkpoints that nothing needs any more."),
    ),
    "Results": (
        ("runs", "mmad.cli.results", "List the members of every ablation with their results."),
        ("show", "mmad.cli.results", "Show one run: setup, protocol, parameters, every epoch."),
        ("note", "mmad.cli.note", "Write a note about a run or an ablation, with tags."),
        ("eval", "mmad.cli.analysis", "Evaluate stored checkpoints: intervals, thresholds, protocols."),
        ("compare", "mmad.cli.analysis", "Compare two runs or an ablation's pairs: is one better?"),
        ("controls", "mmad.cli.analysis", "Measure what a run relies on: columns, records, image."),
        ("report", "mmad.cli.report", "Write the report of everything recorded."),
        ("predict", "mmad.cli.prediction", "Find boxes on new images with a trained run."),
        ("export", "mmad.cli.prediction", "Write a trained run as files that other programs read."),
    ),
    "Data, logs and files": (
        ("data", "mmad.cli.data", "Make, import and check data sets."),
        ("log", "mmad.cli.experiment_log", "Read, show and check experiment logs."),
        ("db", "mmad.cli.db", "Copy, check, back up, upgrade and export the database."),
        ("params", "mmad.cli.params", "Count the parameters of a setup, module by module."),
        ("parts", "mmad.cli.parts", "List fusions, backbones, … and how to write your own."),
        ("weights", "mmad.cli.weights", "List or fetch the pretrained weights."),
        ("schema", "mmad.cli.parts", "Print the JSON Schema of the ablation file."),
    ),
}
COMMANDS = tuple(command for group in GROUPS.values() for command in group)
#: Earlier names of commands, kept for one version.
RENAMED = {"logs": "output"}

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


class NamedGroup(TyperGroup):
    """A group in which a misspelled command meets the nearest one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            from mmad.config.messages import nearest

            path = ctx.command_path
            if Path(name).suffix == ".toml" and ctx.parent is None:
                ctx.fail(f"{name} is a file; did you mean {path} ablate {name}?")
            best = nearest(name, self.list_commands(ctx))
            hint = f"did you mean {best}?" if best else f"{path} --help lists them"
            ctx.fail(f"no such command: {name}; {hint}")
        return super().resolve_command(ctx, args)


class LazyGroup(NamedGroup):
    """A group whose commands are known by name and imported one at a time."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name, _, _ in COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command ``cmd_name``, its module imported; None when there is no such command."""
        if cmd_name not in self.commands and cmd_name in self.list_commands(ctx):
            module = next(module for name, module, _ in COMMANDS if name == cmd_name)
            part = typer.Typer(rich_markup_mode=None)
            importlib.import_module(module).register(part)
            command = typer.main.get_group(part).commands[cmd_name]
            if VARIABLE in os.environ:
                from mmad.cli.completion import completed

                command = completed(command)
            self.commands[cmd_name] = command
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in RENAMED:
            print(
                f"mmad: {args[0]} is called {RENAMED[args[0]]} now; the next version no longer knows it",
                file=sys.stderr,
            )
            args = [RENAMED[args[0]], *args[1:]]
        _name_warnings()
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:9}", line) for name, _, line in commands], col_max=12)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _name_warnings() -> None:
    """Warnings that a library logs are written like the commands' own."""
    import logging

    if logging.lastResort is not None:
        logging.lastResort.setFormatter(logging.Formatter("mmad: warning: %(message)s"))


app = typer.Typer(
    name="mmad",
    cls=LazyGroup,
    help="Ablations of multimodal abnormality detectors on chest X-rays: declare, queue, record, report.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmad {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Options that stand before the command."""


def main() -> None:
    """The console script: a user's failure is one line on stderr and exit code 2, an interruption 130."""
    from mmad.cli.output import guarded_output

    if os.environ.get(VARIABLE, "").startswith("complete_"):
        from mmad.cli.completion import answer

        answer(lambda: app(prog_name="mmad"))
    with guarded_output():
        try:
            app(prog_name="mmad")
        except MmadError as error:
            print(f"mmad: {error}", file=sys.stderr)
            sys.exit(EXIT_USER_ERROR)
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)
