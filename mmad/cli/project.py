"""``mmad init`` and ``mmad demo``: a folder to work in, and the whole way from a data set to a report once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mmad.base.errors import SpecError
from mmad.base.formatting import plural
from mmad.base.paths import DEFAULT_REPORT, shipped_ablations
from mmad.cli.options import DEFAULT_DB, DatabaseOption, DeviceOption

#: What a project's folder holds beside the ablation files, and what git passes over.
FOLDERS = ("data", "db", "reports")
IGNORED = "/data/\n/db/\n/reports/\n"
#: What ``mmad init`` copies into ``ablations/``.
COPIED = ("quickstart.toml", "schema.json")
QUICKSTART = Path("ablations/quickstart.toml")


#: What a file of one's own begins with; the field's default is the documented log's, and part of keys.
NO_FLIP = "horizontal_flip = 0  # a flip swaps the side of the heart; left out it has a chance of 0.5, as in the log\n"


def _begun(text: str) -> str:
    """A shipped file as a new project begins with it: an ablation does not flip its images."""
    return text.replace("[setup]\n", f"[setup]\n{NO_FLIP}", 1)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where; made if it is not there.")] = Path(),
) -> None:
    """Lay out a project: ablations/ with an example and its schema, data/, db/, reports/, and a .gitignore.

    What is there already stays as it is.
    """
    try:
        for name in ("ablations", *FOLDERS):
            (folder / name).mkdir(parents=True, exist_ok=True)
        made = []
        for name in COPIED:
            target = folder / "ablations" / name
            if not target.exists():
                target.write_text(_begun((shipped_ablations() / name).read_text("utf-8")), "utf-8")
                made.append(target)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text(IGNORED, "utf-8")
            made.append(ignore)
    except OSError as error:
        raise SpecError(
            f"cannot be laid out ({error.strerror})", where=error.filename or folder, hint="name another folder"
        ) from None
    for path in made:
        typer.echo(f"wrote {path}")
    go = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    typer.echo(f"next: {go}mmad plan {QUICKSTART}" if made else f"{folder}: nothing to do")


def demo(
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", min=1, help="Train so many instead of the file's.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Pairs to train, a seed each.")] = 1,
    device: DeviceOption = "auto",
    show: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open the report; default: on a terminal.")
    ] = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Draw the embedded data set, train a small pair on it, and write and open the report.

    All of it goes into data/, db/ and reports/ of the present folder. It can be repeated: what is finished is not
    trained again.
    """
    from mmad.cli.reproduce import call

    file = QUICKSTART if QUICKSTART.exists() else shipped_ablations() / QUICKSTART.name
    words = [] if epochs is None else ["--set", f"epochs={epochs}"]
    words += [] if seeds == 1 else ["--set", f"seeds={list(range(seeds))}"]
    typer.echo(f"== training {plural(seeds, 'pair')} of {file.name}")
    code = call("ablate", str(file), *words, "--device", device, "--db", db)
    if code > 1:
        raise typer.Exit(code)
    if seeds == 1:
        typer.echo(
            "one seed says how these two networks differ, not whether clinical data helps; three say more: "
            + " ".join(["mmad demo --seeds 3", *([] if epochs is None else [f"--epochs {epochs}"])])
        )
    typer.echo("== writing the report")
    opened = sys.stdout.isatty() if show is None else show
    call("report", "--html", "--out", str(DEFAULT_REPORT), *(["--open"] if opened else []), "--db", db)
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to ``app``."""
    app.command("init")(init)
    app.command("demo")(demo)
