"""``mmad log diff``: an entry against a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json
from mmad.cli.log.common import EntryArgument, library
from mmad.cli.reading import console, open_store, section

if TYPE_CHECKING:
    from mmad.documented.log.collection import NamedEntry
    from mmad.documented.log.diff import EntryDifference
    from mmad.store.detail import RunDetail

_NAMES = {"val_ap": "val AP", "val_ar": "val AR", "test_ap": "test AP", "test_ar": "test AR"}


def register(app: typer.Typer) -> None:
    @app.command("diff")
    def diff(
        entry: EntryArgument,
        run: Annotated[str, typer.Argument(metavar="RUN", help="Beginning of a key, or ablation/setting/arm[/seed].")],
        db: DatabaseOption = DEFAULT_DB,
        json: JsonOption = False,
    ) -> None:
        """Compare an entry with a run, field by field: setup, figures of the kept checkpoints, parameter counts.

        Only what the entry prints is compared. Measured figures are under the protocol the run's member asked for.

        --json prints {"log": …, "entry": "e069", "run": KEY, "evaluation": {…},
        "setup": [{"field": …, "documented": …, "run": …, "known": true, "equal": true}],
        "results": [{"result": "best_ap", "figure": "val_ap", "documented": …, "measured": …, "difference": …}],
        "params": [{"module": …, "documented": …, "counted": …, "equal": true}]}; measured and counted are null
        where the run has no such thing.
        """
        from mmad.documented.log.diff import compare_entry
        from mmad.store.detail import run_detail
        from mmad.store.plain import plain_results

        found = library(db).find(entry)
        with open_store(db) as store:
            detail = run_detail(store, run)
        measured = {kind: result or {} for kind, result in plain_results(detail.results).items()}
        counts = {count.module: count.count for count in detail.counts}
        compared = compare_entry(found.entry, detail.run.setup, measured, counts)
        if json:
            print_json(_plain(found, detail, compared))
        else:
            _print(found, detail, compared)


def _plain(found: NamedEntry, detail: RunDetail, compared: EntryDifference) -> dict[str, Any]:
    return {
        "log": found.log,
        "entry": found.entry.id,
        "run": detail.run.key,
        "evaluation": dict(detail.evaluation),
        "setup": [vars(field) for field in compared.setup],
        "results": [{**vars(figure), "difference": figure.difference} for figure in compared.results],
        "params": [{**vars(count), "equal": count.equal} for count in compared.params],
    }


def _print(found: NamedEntry, detail: RunDetail, compared: EntryDifference) -> None:
    from mmad.store.results import member_path

    out = console()
    names = [member_path(member) for member in detail.members] or [detail.run.key]
    section(out, f"{found.entry.id} of {found.log} against {names[0]}", f"key: {detail.run.key}")
    section(out, "Setup", *_setup(compared))
    judged = ", ".join(f"{name} {value}" for name, value in detail.evaluation.items())
    section(out, f"Results (measured under {judged})", *_results(compared))
    section(out, "Parameters", *_params(compared))


def _setup(compared: EntryDifference) -> list[str]:
    differing = [field for field in compared.setup if not field.equal]
    equal = len(compared.setup) - len(differing)
    lines = [
        f"{field.field}: documented {field.documented!r}, run {repr(field.run) if field.known else 'has no such field'}"
        for field in differing
    ]
    return [f"{equal} of {len(compared.setup)} printed fields are equal", *lines]


def _results(compared: EntryDifference) -> list[str]:
    lines = []
    for figure in compared.results:
        kind = figure.result.replace("_ap", " AP").replace("_ar", " AR")
        name = f"{kind}, {_NAMES.get(figure.figure, figure.figure)}"
        digits = "" if figure.figure == "epoch" else ".4f"
        told = f"{name}: documented {figure.documented:{digits}}"
        if figure.difference is None:
            lines.append(f"{told}, not measured")
        else:
            lines.append(f"{told}, measured {figure.measured:{digits}} ({figure.difference:+{digits}})")
    return lines or ["the entry prints no results"]


def _params(compared: EntryDifference) -> list[str]:
    differing = [count for count in compared.params if not count.equal]
    if not compared.params:
        return ["the entry prints no counts"]
    lines = [
        f"[{c.module}]: documented {c.documented:,}, counted {f'{c.counted:,}' if c.counted is not None else 'nothing'}"
        for c in differing
    ]
    return [f"{len(compared.params) - len(differing)} of {len(compared.params)} printed counts are equal", *lines]
