"""``mmad plan``: what an ablation file expands to, what is done, what would run and how long it would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.api.loading import load_with_data
from mmad.api.planning import WEIGHTS, known_runs, planned, reasons, renewed
from mmad.api.tuning import Choice, searched
from mmad.base.errors import SpecError
from mmad.base.formatting import duration, plural
from mmad.base.json_values import picked
from mmad.cli.options import (
    DEFAULT_DB,
    AddressOption,
    DatabaseOption,
    DataOption,
    DeviceOption,
    ExecutorOption,
    GroupedCommand,
    JobsOption,
    JsonOption,
    OnlyOption,
    PerGpuOption,
    SetOption,
    SlurmOption,
    TemplateOption,
    WeightsDirOption,
    WeightsOption,
    refuse_idle,
    runs_per_gpu,
)
from mmad.cli.output import MOST_ROWS, console, print_json

if TYPE_CHECKING:
    from mmad.analysis.power import PowerPlan, Spread
    from mmad.api.loading import ChosenData, Loaded
    from mmad.api.planning import PlannedMember, Reason
    from mmad.base.records import ParameterCount, RunRecord
    from mmad.config.estimate import Estimator
    from mmad.config.protocol import Fold
    from mmad.config.runs import Ablation, RunSpec
    from mmad.data.dataset import DataSet
    from mmad.scheduler.devices import Slots


#: What the table says where the store says something shorter.
_WORDS = {"new": "would run", "finished": "done", "queued": "would run (queued)", "interrupted": "would resume"}
_SHORT_KEY = 10


@dataclass(frozen=True)
class Plan:
    """One file's members and data set, the missing weights with how many runs need each, counts by key, and the runs
    that train anew for their recipe or weights alone."""

    ablation: Ablation
    data: ChosenData
    rows: tuple[PlannedMember, ...]
    missing: Mapping[str, int]
    counts: Mapping[str, tuple[ParameterCount, ...]]
    renewed: tuple[Reason, ...]


def plan(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Ablation files.")],
    data: DataOption = None,
    db: DatabaseOption = DEFAULT_DB,
    overrides: SetOption = None,
    weights: WeightsOption = None,
    weights_dir: WeightsDirOption = None,
    only: OnlyOption = None,
    device: DeviceOption = "auto",
    per_gpu: PerGpuOption = "1",
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    slurm: SlurmOption = None,
    template: TemplateOption = None,
    jobs: JobsOption = None,
    trials: Annotated[
        str | None,
        typer.Option(
            "--trials",
            metavar="PATH|URL",
            help="A database of short runs (steps_per_epoch), from which the time of new kinds of runs is estimated.",
        ),
    ] = None,
    params: Annotated[bool, typer.Option("--params", help="Add parameter counts (loads torch).")] = False,
    why: Annotated[
        str | None,
        typer.Option(
            "--why",
            metavar="RUN|MEMBER",
            help="Say what differs from the nearest finished run: of a key, or ablation/setting/arm[/seed].",
        ),
    ] = None,
    power: Annotated[
        bool,
        typer.Option(
            "--power", help="Say how many seeds and patients the hypothesis takes, and which effect can be shown."
        ),
    ] = False,
    pilot: Annotated[
        str | None,
        typer.Option(
            "--pilot",
            metavar="ABLATION",
            help="With --power: whose finished pairs show how much seeds and patients vary; default: the file's own.",
        ),
    ] = None,
    seed_sd: Annotated[
        float | None,
        typer.Option("--seed-sd", metavar="AP", help="With --power: standard deviation of the difference over seeds."),
    ] = None,
    patient_error: Annotated[
        float | None,
        typer.Option("--patient-error", metavar="AP", help="With --power: its standard error over --patients."),
    ] = None,
    patients: Annotated[
        int | None, typer.Option("--patients", metavar="N", help="With --power: planned number of test patients.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the members of ablation files: keys, what is done, what would run, for how long.

    Nothing is written. Members and machine are chosen as for mmad ablate. Missing weights are named and do not fail
    the plan. --why says, in place of the table, why a run trains: field by field, data, weights and recipe.
    --power says what the [hypothesis] takes, by how far seeds and patients varied in earlier runs, or as stated by
    --seed-sd, --patient-error and --patients.

    --json prints {"runs": [{key, ablation, setting, arm, seed, documented, status, setup, protocol, …}],
    "provisional", "missing_weights", "searches", "estimate_seconds"}; status is new, queued, running, finished,
    failed or interrupted. With --why it prints [{"key", "ablation", "setting", "arm", "seed", "replicate", "status",
    "nearest", "differences": [{"field", "here", "there"}]}]. With --power it prints [{"ablation", "hypothesis",
    "spread", "pairs", "smallest", "effects": [{"effect", "seeds", "patients", "power"}]}].
    """
    from mmad.api.training import known_memory
    from mmad.scheduler.executors.factory import ExecutorChoice
    from mmad.scheduler.submit import narrowed, require_named

    loaded = [
        load_with_data(file, data=data, overrides=overrides or (), weights=weights, weights_dir=weights_dir)
        for file in files
    ]
    require_named([ablation for ablation, _ in loaded], only or ())
    declared = [(narrowed(ablation, only or ()), chosen) for ablation, chosen in loaded]
    recorded, estimator = known_runs(db, trials, [ablation for ablation, _ in declared])
    if power:
        from mmad.analysis.power import plain_plan

        stated = _stated(seed_sd, patient_error, patients)
        made = [(one.name, _power_plan(one, db, pilot, stated, patients)) for one, _ in declared]
        if json:
            print_json([{"ablation": name, **plain_plan(found)} for name, found in made])
        else:
            _print_power(made)
        return
    choices: dict[str, list[Choice]] = {}
    loaded = searched(declared, db, lambda ablation, choice: choices.setdefault(ablation.name, []).append(choice))
    searches = {one.name for one, _ in declared if one.tuning is not None}
    if why is not None:
        refuse_idle(context, "leave out one of the two: --why says why a run trains, and no more", "params")
        every = [row for ablation, chosen in loaded for row in planned(ablation, chosen, recorded, estimator)]
        found = reasons(_named_rows(why, every), recorded)
        print_json([_reason_json(reason) for reason in found]) if json else _print_reasons(found)
        return
    plans = []
    for ablation, chosen in loaded:
        rows = planned(ablation, chosen, recorded, estimator)
        if not rows and ablation.name in searches:  # no setup is chosen yet
            continue
        counts = _counts(rows, chosen.dataset) if params else {}
        plans.append(Plan(ablation, chosen, rows, _missing_weights(rows, weights_dir), counts, renewed(rows, recorded)))
    budgets = [
        _budget(ablation, chosen, loaded, recorded, estimator, choices.get(ablation.name, ()))
        for ablation, chosen in declared
        if ablation.tuning is not None
    ]
    if json:
        print_json(_plan_json(plans, budgets))
        return
    for one in plans:
        _print_plan(one)
    for budget in budgets:
        for line in budget.lines():
            print(line)
    choice = ExecutorChoice(executor, device, runs_per_gpu(per_gpu), address, tuple(slurm or ()), template, jobs)
    _print_total(plans, choice.slots(lambda: known_memory(db), dry=True))


def _stated(seed_sd: float | None, error: float | None, patients: int | None) -> Spread | None:
    """What the options say of how differences vary; None where they say nothing."""
    from mmad.analysis.power import Spread

    for option, number in (("--seed-sd", seed_sd), ("--patient-error", error), ("--patients", patients)):
        if number is not None and not 0 < number <= (1e6 if option == "--patients" else 1):
            raise SpecError(f"{number:g}", where=option, hint="use a number above 0, such as 0.05, or 150 patients")
    if seed_sd is None and error is None:
        return None
    if seed_sd is None or error is None or patients is None:
        hint = "state all three, or name a pilot with --pilot"
        raise SpecError("--seed-sd, --patient-error and --patients belong together", where="plan --power", hint=hint)
    return Spread(seed_sd**2, None, error, patients, "as stated")


def _power_plan(
    ablation: Ablation, db: str, pilot: str | None, stated: Spread | None, patients: int | None
) -> PowerPlan:
    from mmad.analysis.power import power_plan, recorded_spread
    from mmad.api.results import open_store
    from mmad.config.hypothesis import Hypothesis

    if (fold := ablation.members[0].run.protocol.fold) is not None:
        from mmad.config.ablation_file import place_in_file

        what = f"--power plans seeds and patients of one test split, and {fold.of} folds have one each"
        where = place_in_file(ablation, "protocol", "folds")
        raise SpecError(what, where=where, hint="leave --power out, or folds")
    settings = len({member.setting for member in ablation.members})
    asked = ablation.hypothesis
    if asked is None:
        if not ablation.compare:
            raise SpecError("has no pair to compare", where=ablation.path, hint="add an arm, or compare = [[…]]")
        setting = ablation.members[0].setting
        seeds = len({member.seed for member in ablation.members if member.setting == setting})
        asked = Hypothesis(compare=ablation.compare[0], setting=setting, seeds=max(2, seeds))
    if stated is None:
        with open_store(db) as store:
            stated = recorded_spread(store, pilot or ablation.name)
        if patients is not None:
            error = stated.error * (stated.patients / patients) ** 0.5
            stated = replace(stated, error=error, patients=patients)
    return power_plan(asked, stated, settings * len(ablation.compare))


def _print_power(plans: Iterable[tuple[str, PowerPlan]]) -> None:
    from mmad.analysis.power import plan_lines

    for name, plan in plans:
        for line in (name, *plan_lines(plan)):
            typer.echo(line)


def _counts(rows: Iterable[PlannedMember], dataset: DataSet | None) -> dict[str, tuple[ParameterCount, ...]]:
    from mmad.cli.params import counts_of

    return {row.key: counts_of(row.member.run.setup, dataset) for row in rows}


def _missing_weights(rows: Iterable[PlannedMember], weights_dir: Path | None) -> Counter[str]:
    """Weights files that open runs need and that are not here, with how many runs need each."""
    from mmad.config.weights import find_weights, weights_file

    wanted = [row.member.run for row in rows if row.open and not row.member.run.from_scratch]
    named = [(run.setup.image_backbone, run.protocol.weights) for run in wanted]
    return Counter(
        weights_file(backbone, weights)
        for backbone, weights in named
        if find_weights(backbone, weights_dir, weights) is None
    )


@dataclass(frozen=True)
class Budget:
    """What a search costs: ``trials`` runs, of which ``unknown`` follow from others, then ``later`` with what it chose.

    ``later`` are those whose setup is not chosen yet, ``seconds`` their time and that of the unknown ones. ``choices``
    are those that all trials of an arm have made.
    """

    ablation: Ablation
    trials: int
    unknown: int
    later: int
    seconds: float | None
    choices: tuple[Choice, ...] = ()

    def lines(self) -> Iterator[str]:
        tuning, time = self.ablation.tuning, "time unknown" if self.seconds is None else duration(self.seconds)
        assert tuning is not None
        arms, settings = ({one[place] for one in self.ablation.arms_of_settings()} for place in (1, 0))
        folded = any(one.run.protocol.fold is not None for one in self.ablation.members)
        parts = plural(len(settings), "fold" if folded else "setting")
        each = f"{plural(len(arms), 'arm')} × {parts} × {plural(tuning.trials, 'trial')}"
        head = f"{self.ablation.name}: a search of {plural(self.trials, 'run')} ({each}), equal for all arms"
        yield f"{head}: {tuning.words()}"
        if self.unknown:
            yield f"{plural(self.unknown, 'trial')} follow one after another from those before them"
        if self.later:
            yield (
                f"then {plural(self.later, 'run')} with the setups of the highest validation AP"
                f"{f' (with the trials that follow {time})' if self.unknown else f' ({time})'}"
            )
        yield from (choice.note for choice in self.choices if choice.note)


def _budget(
    ablation: Ablation,
    data: ChosenData,
    loaded: Sequence[Loaded],
    recorded: Mapping[str, RunRecord],
    estimator: Estimator,
    choices: Sequence[Choice],
) -> Budget:
    from mmad.config.runs import TRIAL, TRIALS

    assert ablation.tuning is not None
    parts = {one.name: one for one, _ in loaded}
    trials, main = parts[ablation.name + TRIALS], parts[ablation.name]
    places, chosen = ablation.arms_of_settings(), main.arms_of_settings()
    waiting = [one for one in ablation.members if (one.setting, one.arm) not in chosen]
    rows = planned(replace(ablation, members=tuple(waiting)), data, recorded, estimator)
    known = {(row.member.setting, row.member.arm): row.seconds for row in rows}
    begun = Counter((one.setting.partition(TRIAL)[0], one.arm) for one in trials.members)
    left = {place: ablation.tuning.trials - begun[place] for place in places}
    seconds = [row.seconds for row in rows] + [
        known.get(place) for place, number in left.items() for _ in range(number)
    ]
    sure = [one for one in seconds if one is not None]
    total = sum(sure) if len(sure) == len(seconds) else None
    counts = ablation.tuning.trials * len(places), sum(left.values()), len(waiting)
    return Budget(ablation, *counts, total, tuple(choices))


def _budget_json(budget: Budget) -> dict[str, Any]:
    from mmad.config.tuning import TuneRange

    tuning = budget.ablation.tuning
    assert tuning is not None
    return {
        "ablation": budget.ablation.name,
        **picked(tuning, "sampler", "seed", "trials"),
        "space": {
            name: within.model_dump(by_alias=True) if isinstance(within, TuneRange) else list(within)
            for name, within in tuning.space.items()
        },
        "trial_runs": budget.trials,
        "unknown": budget.unknown,
        "later_runs": budget.later,
        "choices": [vars(choice) | {"note": choice.note or None} for choice in budget.choices],
        "estimate_seconds": budget.seconds,
    }


def _plan_json(plans: Sequence[Plan], budgets: Sequence[Budget]) -> dict[str, Any]:
    rows = [row for plan in plans for row in plan.rows]
    missing: Counter[str] = Counter()
    for plan in plans:
        missing.update(plan.missing)
    times = [_total(rows), *(budget.seconds for budget in budgets)]
    return {
        "runs": [_row_json(row, plan.counts.get(row.key)) for plan in plans for row in plan.rows],
        "provisional": any(row.member.run.provisional for row in rows),
        "missing_weights": missing,
        "searches": [_budget_json(budget) for budget in budgets],
        "estimate_seconds": None if None in times else sum(time for time in times if time is not None),
    }


def _row_json(row: PlannedMember, counts: tuple[ParameterCount, ...] | None) -> dict[str, Any]:
    member, run = row.member, row.member.run
    content = {
        "key": row.key,
        **picked(member, "ablation", "setting", "arm", "seed", "replicate", "documented"),
        "status": row.status,
        "provisional": run.provisional,
        "estimate_seconds": row.seconds if row.status != "finished" else 0.0,
        "inferred": member.inferred,
        "overrides": member.overrides,
        "setup": run.setup.model_dump(mode="json"),
        "protocol": run.recorded()[1] | member.evaluation.model_dump(mode="json"),
    }
    return content | ({} if counts is None else {"params": {count.module: count.count for count in counts}})


def _total(rows: Iterable[PlannedMember]) -> float | None:
    """Seconds of all open runs one after the other; None as soon as one is unknown."""
    seconds = {row.key: row.seconds for row in rows if row.open}
    known = [value for value in seconds.values() if value is not None]
    return sum(known, 0.0) if len(known) == len(seconds) else None


def _print_plan(plan: Plan) -> None:
    from mmad.base.terminal import TerminalColumn, fitted_table

    ablation, out = plan.ablation, console()
    columns = [
        TerminalColumn("#", right=True, yields=2),
        TerminalColumn("setting", wraps=True),
        TerminalColumn("arm", wraps=True),
        TerminalColumn("seed", right=True),
        *([TerminalColumn("log", yields=3)] if any(row.member.documented for row in plan.rows) else []),
        TerminalColumn("key", yields=1),
        *([TerminalColumn("parameters", right=True)] if plan.counts else []),
        TerminalColumn("status", wraps=True),
        TerminalColumn("time", right=True),
    ]
    rows = []
    for position, row in enumerate(plan.rows[:MOST_ROWS]):
        member = row.member
        status = _WORDS.get(row.status, row.status)
        if row.shared_with is not None:
            status = f"{'done' if row.status == 'finished' else 'shared'} with #{row.shared_with + 1}"
        cells = {
            "#": str(position + 1),
            "setting": member.setting,
            "arm": member.arm,
            "seed": str(member.seed) + (f" (repeat {member.replicate})" if member.replicate > 1 else ""),
            "log": member.documented or "–",
            "key": row.key[:_SHORT_KEY] + ("?" if member.run.provisional else ""),
            "parameters": f"{plan.counts[row.key][0].count:,}" if plan.counts else "",
            "status": status,
            "time": _time(row),
        }
        rows.append([cells[column.head] for column in columns])
    out.print(fitted_table(columns, rows, out.width, title=f"{ablation.name}: {ablation.title}"))
    if (more := len(plan.rows) - MOST_ROWS) > 0:
        print(f"and {more:,} more: --json prints them all")
    for note in _notes(plan):
        console(stderr=True).print(note)


def _time(row: PlannedMember) -> str:
    if not row.open:
        return "–"
    return "unknown" if row.seconds is None else duration(row.seconds)


def _notes(plan: Plan) -> list[str]:
    from mmad.config.setup import map_sides
    from mmad.config.setup_checks import network_warnings

    notes = [] if plan.data.note is None else [plan.data.note]
    setups = {row.key: row.member.run.setup.stock() for row in plan.rows if row.open}
    warned = [said for setup in setups.values() if (said := network_warnings(setup, map_sides(setup))) is not None]
    notes += [f"{plural(warned.count(said), 'run')}: {said}" for said in dict.fromkeys(warned)]
    if plan.ablation.looks is not None:
        first, most = plan.ablation.looks
        notes.append(f"seeds {first} to {most - 1} are trained one by one, only for pairs that are not settled")
    if (fold := plan.ablation.members[0].run.protocol.fold) is not None:
        notes.append(_fold_note(plan, fold))
    notes += _idle_notes(plan.rows)
    if plan.renewed:
        causes = {name for reason in plan.renewed for name in reason.differences}
        words = [text for name, text in _RENEWED.items() if name in causes]
        notes.append(
            f"{plural(len(plan.renewed), 'run')} will train anew only because {' and '.join(words)}; "
            "the finished ones stay, and --why compares them"
        )
    for name, number in plan.missing.items():
        notes.append(
            f"missing weights: {name}, needed by {plural(number, 'run')}; fetch them with "
            "`mmad weights --fetch`, name their folder with --weights-dir, or train from scratch with --weights none"
        )
    return notes


def _fold_note(plan: Plan, fold: Fold) -> str:
    """What is trained for a cross-validation, and whose splits it uses."""
    from mmad.base.records import SPLITS
    from mmad.config.runs import TRIAL

    members = plan.ablation.members
    settings = len({one.whole_setting for one in members})
    arms, seeds = len(plan.ablation.arms), len({(one.seed, one.replicate) for one in members})
    counts = [plural(settings, "setting"), plural(arms, "arm"), f"{fold.of} folds", plural(seeds, "seed")]
    trials = {one.setting.partition(TRIAL)[2] for one in members}
    counts += [plural(len(trials), "trial")] if trials != {""} else []
    said = f"{plural(len(members), 'member')}: {' × '.join(counts)}"
    dataset = plan.data.dataset
    sizes = "" if dataset is None else f" ({', '.join(f'{split} {len(dataset.split(split))}' for split in SPLITS)})"
    return (
        f"{said}; folds by patient (fold_seed {fold.seed}), each with a test, a validation and a training split of its "
        f"own: the data set's splits{sizes} are not used"
    )


#: Why a run that is finished but for this trains anew.
_RENEWED = {
    "recipe": "a change of mmad changes the results of an unchanged file",
    WEIGHTS: "the content of the pretrained weights is another, or was not recorded",
}


def _idle_notes(rows: Iterable[PlannedMember]) -> list[str]:
    """One line for each field in which members of one run differ, because it is idle there."""
    from mmad.config.field_effects import idle_because

    sharing: dict[str, list[RunSpec]] = {}
    for row in rows:
        sharing.setdefault(row.key, []).append(row.member.run)
    found: dict[tuple[str, str], int] = {}
    for runs in sharing.values():
        setups = [run.setup for run in runs]
        for name, field in type(setups[0]).model_fields.items():
            values = {repr(getattr(setup, name)) for setup in setups}
            if len(values) > 1 and (cause := idle_because(field, (setups[0], runs[0].protocol))):
                found[name, cause] = found.get((name, cause), 0) + len(runs)
    return [
        f"{number} members that share runs differ in {name}, which is idle there ({cause})"
        for (name, cause), number in found.items()
    ]


def _named_rows(name: str, rows: Sequence[PlannedMember]) -> list[PlannedMember]:
    """The rows, each run once, whose key begins with ``name`` or whose member it names.

    Raises:
        SpecError: there are none; with the nearest name.
    """
    from mmad.config.messages import did_you_mean
    from mmad.scheduler.submit import is_named, names_of

    found = [row for row in rows if is_named(row.member, (name,)) or row.key.startswith(name.lower())]
    if not found:
        names = list(dict.fromkeys(one for row in rows for one in names_of(row.member)))
        raise SpecError(f"no run or member {name!r} in the plan", where="--why", hint=did_you_mean(name, names))
    return list({row.key: row for row in reversed(found)}.values())[::-1]


def _reason_json(reason: Reason) -> dict[str, Any]:
    names = ("key", "ablation", "setting", "arm", "seed", "replicate", "status")
    row = _row_json(reason.row, None)
    differences = [{"field": name, "here": a, "there": b} for name, (a, b) in reason.differences.items()]
    return {name: row[name] for name in names} | {"nearest": reason.nearest, "differences": differences}


def _print_reasons(reasons: Iterable[Reason]) -> None:
    for reason in reasons:
        row, member = reason.row, reason.row.member
        name = f"{row.key[:_SHORT_KEY]} {member.ablation}/{member.setting}/{member.arm}/{member.seed}"
        if row.status == "finished":
            print(f"{name}: is finished, nothing trains")
        elif reason.nearest is None:
            print(f"{name}: {_WORDS.get(row.status, row.status)}; no finished run to compare it with is recorded")
        else:
            what = f"the nearest finished run is {reason.nearest[:_SHORT_KEY]}"
            print(f"{name}: {_WORDS.get(row.status, row.status)}; {what}, which differs in")
            for field, (here, there) in reason.differences.items():
                print(f"  {_difference(field, here, there)}")


def _difference(field: str, here: object, there: object) -> str:
    from mmad.config.ablation_file import toml_value
    from mmad.config.runs import IDLE

    if field == WEIGHTS and not there:
        return "the hash of its pretrained weights: it was recorded before their content was part of the key"
    if field in (WEIGHTS, "data"):
        name = "the data set's content" if field == "data" else "the content of the pretrained weights"
        return f"{name}: {_short(here)} here, {_short(there)} there"
    if field == "recipe":
        return f"recipe: {here} here, {there} there ({_RENEWED['recipe']})"
    values = [IDLE if value == IDLE else "none" if value is None else toml_value(value) for value in (here, there)]
    return f"{field}: {values[0]} here, {values[1]} there"


def _short(digest: object) -> str:
    return str(digest)[:_SHORT_KEY] if digest else "unknown"


def _print_total(plans: Sequence[Plan], slots: Slots) -> None:
    rows = [row for plan in plans for row in plan.rows]
    runs = {row.key: row for row in rows if row.shared_with is None}
    waiting = [row for row in runs.values() if row.open]
    known = [row.seconds for row in waiting if row.seconds is not None]
    time = (
        f"about {duration(sum(known))} one after the other" if known else "time unknown: no such run has been recorded"
    )
    threads = max((row.member.run.protocol.threads for row in waiting), default=1)
    gpus = max((row.member.run.setup.gpus_per_run for row in waiting), default=1)
    if len(known) == len(waiting) and (at_once := min(len(waiting), slots.capacity(threads, gpus))) > 1:
        time += f", {duration(max(sum(known) / at_once, *known))} with {at_once} at once"
    if 0 < len(known) < len(waiting):
        time += f" for {len(known)} of them, time unknown for the others"
    words = f"{len(waiting)} to run, {time}" if waiting else "all done"
    print(f"{plural(len(rows), 'member')}, {plural(len(runs), 'run')}: {words}")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("plan", cls=GroupedCommand)(plan)
