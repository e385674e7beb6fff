"""An ablation as an RO-Crate 1.1: its file, report, Methods, tables, and every run's setup, versions and checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmad.base.errors import ReportError
from mmad.base.files import FolderFilled, folder_beside, write_atomically
from mmad.base.formatting import clip, plural
from mmad.base.json_values import picked
from mmad.base.paths import file_stem
from mmad.report.figure_renderer import FigureRenderer
from mmad.report.methods import render_methods
from mmad.report.sections import ReportModel, RunSection
from mmad.report.table_model import ReportTable
from mmad.report.tables import all_tables
from mmad.report.writers.html import render_html
from mmad.report.writers.tables import write_tables

#: The media types of the files in a crate, by their endings.
_FORMS = {".toml": "application/toml", ".html": "text/html", ".md": "text/markdown", ".csv": "text/csv"}
_FORMS |= {".json": "application/json", "": "text/plain"}
_SUMS = "SHA256SUMS"


def write_crate(model: ReportModel, folder: Path, renderer: FigureRenderer) -> tuple[Path, ...]:
    """Write the crate of the ablations of ``model`` into the new ``folder``, whole or not at all; its files.

    ``runs.json`` holds what every run was trained and evaluated with, and the SHA-256 of its checkpoints and its data
    set; ``SHA256SUMS`` those of the crate's own files, as ``sha256sum -c`` reads them.

    Raises:
        ReportError: the package rocrate is not installed; ``folder`` holds something, or cannot be written.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ImportError:
        hint = "install it with pip install 'mmad[crate]'"
        raise ReportError("needs rocrate, which is not installed", where="--ro-crate", hint=hint) from None
    try:
        with folder_beside(folder) as part:
            described = _fill(model, part, renderer)
            crate = ROCrate(version="1.1")
            crate.name = f"Ablation: {', '.join(clip(one.title, 160) for one in model.ablations)}"
            crate.description = _description(model)
            crate.datePublished = model.created
            for name, words in described.items():
                size = str((part / name).stat().st_size)
                properties = {"name": words, "encodingFormat": _FORMS[Path(name).suffix], "contentSize": size}
                crate.add_file(part / name, name, properties=properties)
            crate.metadata.write(part)
            return tuple(folder / name for name in (*described, "ro-crate-metadata.json"))
    except FolderFilled as error:
        raise ReportError("holds something already", where=folder, hint="name a new folder") from error
    except OSError as error:
        hint = "choose another place, or make room there"
        raise ReportError(f"cannot be written ({error.strerror or error})", where=folder, hint=hint) from error


def _description(model: ReportModel) -> str:
    counts = f"{plural(len(model.ablations), 'ablation')}, {plural(len(model.runs), 'run')}"
    descriptions = [one.frame.record.description for one in model.ablations if one.frame.record.description]
    return " ".join(
        [*(clip(text, 1000) for text in descriptions), f"{counts}.", f"{model.synthetic}." if model.synthetic else ""]
    ).strip()


def _fill(model: ReportModel, folder: Path, renderer: FigureRenderer) -> dict[str, str]:
    """Every file of the crate in ``folder``: its name, and what it is in words."""
    found: dict[str, str] = {}

    def write(name: str, text: str, words: str) -> None:
        write_atomically(folder / name, text.encode("utf-8"))
        found[name] = words

    for ablation in model.ablations:
        record = ablation.frame.record
        name = f"ablations/{file_stem(record.name, '').removesuffix('--')}.toml"
        (folder / "ablations").mkdir(exist_ok=True)
        write(name, record.source, f"The ablation file of {clip(record.name, 160)}")
    write("report.html", render_html(model, renderer=renderer), "The report")
    write("methods.md", render_methods(model), "Methods and reporting checklists")
    tables: tuple[ReportTable, ...] = tuple(all_tables(model))
    files, _ = write_tables(tables, csv=folder / "tables")
    titles = {f"{table.name}.csv": table.full_title for table in tables}
    for file in files:
        words = titles.get(file.name, "What the columns of the tables mean")
        found[f"tables/{file.name}"] = clip(words, 200)
    runs = json.dumps([_run(section) for section in model.runs], indent=1, ensure_ascii=False)
    write("runs.json", runs + "\n", "Setup, protocol, data, versions and checksums of every run")
    sums = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in found)
    write(_SUMS, sums, "SHA-256 of the files")
    return found


def _run(section: RunSection) -> Mapping[str, Any]:
    run = section.run
    record = run.record
    return {
        "key": record.key,
        "status": record.status,
        "asked_by": [
            picked(member.record, "ablation", "setting", "arm", "seed", "evaluation") for member in section.members
        ],
        "setup": dict(record.setup),
        "protocol": dict(record.protocol),
        "recipe": record.recipe,
        "dataset": {"name": record.dataset_name, "sha256": record.dataset_fingerprint},
        "epochs": record.epochs_done,
        "trained_with": [
            picked(one, "python", "versions", "device", "threads")
            | {"commit": one.git_commit, "from_epoch": one.from_epoch}
            for one in run.environments
        ],
        "checkpoints": [picked(one, "kind", "epoch", "sha256", "size") for one in run.checkpoints],
    }
