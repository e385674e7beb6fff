"""``mmad reproduce``: train chapters of the documented log in its order, and report on them."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mmad.base.errors import SpecError
from mmad.base.paths import DEFAULT_REPORT, shipped_ablations
from mmad.cli.options import DEFAULT_DB, DatabaseOption, DataOption

#: The log's chapters, in its order.
CHAPTERS = (
    "overfitting", "schedulers", "with_clinical", "learning_rate", "fusion", "determined", "depth", "loss_weights",
    "patience", "correct", "resnet50", "clinical_placement", "larger", "newer", "small", "large", "last_chapter",
    "mdf_net",
)  # fmt: skip
#: What every command of a profile gets beside the files.
PROFILES: dict[str, tuple[str, ...]] = {
    "full": (),
    "short": ("--set", "epochs=3"),
    "smoke": ("--set", "epochs=1", "--set", "steps_per_epoch=1", "--set", "batch_size=1", "--weights", "none"),
}
SMOKE_DATABASE = "db/smoke.sqlite"
PHANTOM, SMOKE_DATA = Path("data/phantom"), Path("data/smoke")
#: What a plan says where no run like its own was recorded.
_UNTIMED = "time unknown"


def call(*words: str) -> int:
    """Runs ``mmad WORDS`` here; its exit code. What a user can fix is raised as in any command."""
    from mmad.cli.app import app

    return app(list(words), prog_name="mmad", standalone_mode=False) or 0


def reproduce(
    chapters: Annotated[
        list[str] | None,
        typer.Argument(metavar="CHAPTER", help="Files of ablations/; default: all, in the log's order."),
    ] = None,
    profile: Annotated[
        str,
        typer.Option("--profile", metavar="full|short|smoke", help="As printed; for 3 epochs; each run for one step."),
    ] = "full",
    data: DataOption = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Train the documented log's chapters and report on them.

    It can be repeated: what is finished is not trained again, what was interrupted resumes at its last committed epoch.
    Runs like none before are first tried for one step each, which tells the time and whether everything fits. The
    profiles short and smoke have databases and pages of their own.

    Exit code: that of mmad ablate.
    """
    if profile not in PROFILES:
        raise SpecError(f"no profile {profile!r}", where="--profile", hint=f"expected one of {', '.join(PROFILES)}")
    files = chapter_files(chapters or CHAPTERS)
    raise typer.Exit(_run(files, profile, data, db))


def chapter_files(chapters: Sequence[str]) -> list[str]:
    """The ablation files of ``chapters``, of this folder where it has them.

    Raises:
        SpecError: no such chapter; with the nearest.
    """
    from mmad.config.messages import did_you_mean

    here, shipped = Path("ablations"), shipped_ablations()
    known = sorted({file.stem for folder in (here, shipped) for file in folder.glob("*.toml")})
    for chapter in chapters:
        if chapter not in known:
            raise SpecError(f"no chapter {chapter!r}", hint=did_you_mean(chapter, known))
    files = [here / f"{chapter}.toml" for chapter in chapters]
    return [str(file if file.is_file() else shipped / file.name) for file in files]


def _run(files: Sequence[str], profile: str, data: str | None, db: str) -> int:
    page = DEFAULT_REPORT
    if profile != "full":
        db, page = f"db/{profile}.sqlite", page.parent / profile / page.name
    words = [*PROFILES[profile], *_data_words(profile, data)]
    typer.echo(f"== {len(files)} of the log's chapters, profile {profile}, database {db}")
    said = _plan(files, words, db)
    typer.echo(said)
    if profile == "smoke":
        typer.echo("loading torch comes on top, once for each run at a time")
    elif _UNTIMED in said:
        typer.echo("== trying each run for one step first, which tells the time and whether everything fits")
        if (code := _run(files, "smoke", None, SMOKE_DATABASE)) > 1:
            return code
        typer.echo(_plan(files, words, db))
    if (code := call("ablate", *files, *words, "--db", db)) > 1:  # 1: some runs failed, which the report shows
        return code
    page.parent.mkdir(parents=True, exist_ok=True)
    call("report", "--html", "--db", db, "--out", str(page))
    if any(Path(file).stem == "mdf_net" for file in files):
        call("report", "--paper", "--db", db, "--out", str(page))
    return code


def _data_words(profile: str, data: str | None) -> list[str]:
    """The words that name the data set; the embedded one is drawn where none is named and it is not there."""
    if data is not None:
        return ["--data", data]
    if profile == "smoke":
        if not (SMOKE_DATA / "dataset.toml").is_file():
            call("data", "phantom", "--studies", "20", "--out", str(SMOKE_DATA))
        return ["--data", str(SMOKE_DATA)]
    if "MMAD_DATA" not in os.environ and not PHANTOM.is_dir():
        call("data", "phantom", "--out", str(PHANTOM))
    return []


def _plan(files: Sequence[str], words: Sequence[str], db: str) -> str:
    """The last line of the plan: how many runs, and for how long."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        call("plan", *files, *words, "--trials", SMOKE_DATABASE, "--db", db)
    return out.getvalue().splitlines()[-1]


def register(app: typer.Typer) -> None:
    """Adds the command of this file to ``app``."""
    app.command("reproduce")(reproduce)
