"""From the path of an ablation file to its members: setting × grid × arm × seed, each with its run."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from mmad.base.errors import SpecError, WeightsError
from mmad.base.formatting import plural
from mmad.config.ablation_file import (
    ContinueFrom,
    Layer,
    ParsedFile,
    Setting,
    SourceFile,
    dotted,
    override_place,
    parse_file,
    parse_override,
    split_fields,
    toml_value,
)
from mmad.config.field_effects import Effect
from mmad.config.hypothesis import Hypothesis
from mmad.config.messages import did_you_mean
from mmad.config.protocol import Continues, EvaluationProtocol, Fold, TrainingProtocol
from mmad.config.runs import NO_DATA, VARIANT, Ablation, Member, RunSpec
from mmad.config.setup import ModelSetup, problems
from mmad.config.setup_checks import unsupported
from mmad.config.tuning import Tuning
from mmad.config.weights import is_file, weights_file

#: Members that one file may have.
MAX_MEMBERS = 100_000
#: Runs of one file that continue each other, one after another.
MAX_CHAIN = 100
#: Characters that the overrides have in the name of a variant.
MAX_VARIANT = 100
#: Digits of a run's whole key.
_KEY_LENGTH = 64


def load_ablation(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    weights: str | None = None,
) -> Ablation:
    """Read, check and expand an ablation file; its method ``on`` puts its runs on a data set.

    Args:
        path: the TOML file.
        overrides: ``field=value`` words that win over the file, in order, recorded with every member.
        weights: ``imagenet`` or ``none``: short for the override ``weights=…``.

    Raises:
        SpecError: one line with file, line, key, what is wrong and the hint.
    """
    words = [*overrides] if weights is None else [*overrides, f"weights={weights}"]
    layers = [parse_override(word) for word in words]
    return _expand(parse_file(Path(path)), layers)


def load_setup(overrides: Sequence[str] = ()) -> ModelSetup:
    """The default setup with ``field=value`` words put over it.

    Raises:
        SpecError: an unknown field, a wrong value, or fields that do not go together.
    """
    layers = [parse_override(word) for word in overrides]
    values = {name: value for layer in layers for name, value in layer.values.items()}
    origin = {name: layer for layer in layers for name in layer.values}
    setup, _, _ = split_fields(values)
    return _setup(setup, origin, SourceFile("the default setup", "", {}, {}))


# Runs that continue another: which one that is, and whether it can be continued.


def _continued(
    members: Sequence[Member], origins: Mapping[str, ContinueFrom], source: SourceFile
) -> tuple[Member, ...]:
    """``members`` with the runs they continue; ``origins`` by the name of the setting that has one.

    Raises:
        SpecError: a run that is not in the file, continues itself, or cannot be continued.
    """
    done: dict[int, Member] = {}

    def linked(index: int, path: tuple[int, ...]) -> Member:
        if index not in done:
            member = members[index]
            origin = origins.get(member.setting)
            if index in path and origin is not None:
                names = " → ".join(repr(members[i].setting) for i in (*path[path.index(index) :], index))
                raise source.error(origin.place, f"runs that continue each other in a circle: {names}", "leave one out")
            if len(path) > MAX_CHAIN:
                what = f"more than {MAX_CHAIN} runs that continue each other"
                raise source.error(origin.place if origin else (), what, "continue fewer")
            done[index] = member if origin is None else link(index, member, origin, path)
        return done[index]

    def link(index: int, member: Member, origin: ContinueFrom, path: tuple[int, ...]) -> Member:
        if isinstance(origin.run, str) and len(origin.run) == _KEY_LENGTH:
            return _with(member, Continues(key=origin.run))
        parent = linked(_parent(members, member, origin, source), (*path, index))
        if (problem := _unfit(member, parent)) is not None:
            raise source.error(origin.place, *problem)
        kind = "final" if isinstance(origin.run, str) else origin.run.get("checkpoint", "final")
        return _with(member, Continues(key=parent.run.key, checkpoint=kind))

    return tuple(linked(index, ()) for index in range(len(members)))


def _with(member: Member, continues: Continues) -> Member:
    protocol = member.run.protocol.model_copy(update={"continues": continues})
    return replace(member, run=replace(member.run, protocol=protocol))


def _parent(members: Sequence[Member], child: Member, origin: ContinueFrom, source: SourceFile) -> int:
    """The position of the member that ``child`` continues, of its own seed and replicate."""
    if isinstance(origin.run, str):
        fitting = [i for i, m in enumerate(members) if m.documented == origin.run]
        if not fitting:
            named = sorted({m.documented for m in members if m.documented})
            raise source.error(
                origin.place, f"no setting of this file mirrors {origin.run}", did_you_mean(origin.run, named)
            )
        setting = members[fitting[0]].setting
        arm = child.arm if child.documented is None else members[fitting[0]].arm
    else:
        setting, arm = str(origin.run["setting"]), str(origin.run.get("arm", child.arm))
    settings = list(dict.fromkeys(m.setting for m in members))
    if setting not in settings:
        raise source.error(origin.place, f"no setting is named {setting!r}", did_you_mean(setting, settings))
    arms = list(dict.fromkeys(m.arm for m in members))
    if arm not in arms:
        raise source.error(origin.place, f"no arm is named {arm!r}", did_you_mean(arm, arms))
    same = [i for i, m in enumerate(members) if (m.setting, m.arm) == (setting, arm)]
    for i in same:
        if (members[i].seed, members[i].replicate) == (child.seed, child.replicate):
            return i
    seeds = ", ".join(str(members[i].seed) for i in same)
    raise source.error(
        origin.place, f"{setting!r} has no run of seed {child.seed}", f"give both the same seeds (it has {seeds})"
    )


def _unfit(child: Member, parent: Member) -> tuple[str, str] | None:
    """What is wrong and its hint, where ``child`` cannot continue ``parent``."""
    ours, theirs = child.run, parent.run
    if modules := _differing(ours, theirs, "architecture"):
        return f"its detector is another than that of {parent.setting!r} ({', '.join(modules)})", "give both the same"
    if measured := _differing(ours, theirs, "evaluation"):
        name, value = next(iter(measured.items()))
        return f"{name} is another than that of {parent.setting!r}", f"give both {name} = {_word(value)}"
    if ours.protocol.epochs < theirs.protocol.epochs:
        what = f"epochs = {ours.protocol.epochs} is less than the {theirs.protocol.epochs} of {parent.setting!r}"
        return what, "epochs counts those of both runs"
    return None


def _differing(ours: RunSpec, theirs: RunSpec, effect: Effect) -> dict[str, Any]:
    """Fields that affect ``effect`` in one of two runs and differ, with the second one's value."""
    names = ours.affecting(effect) | theirs.affecting(effect)
    values = [run.setup.model_dump() | run.protocol.model_dump() for run in (ours, theirs)]
    return {name: values[1][name] for name in names if values[0][name] != values[1][name]}


#: Fields of the training that follow a field of the evaluation unless somebody gives them.
_FOLLOWS = {"selection_overlap": "overlap", "selection_proposals": "proposals"}


@dataclass(frozen=True)
class _Point:
    """A setting with one combination of the grid."""

    name: str
    layers: tuple[Layer, ...]
    documented: Mapping[str, str]
    inferred: tuple[str, ...]
    continues: ContinueFrom | None = None


def _expand(parsed: ParsedFile, overrides: Sequence[Layer] = ()) -> Ablation:
    """The ablation with all its members, in the order setting, arm, seed, on no data set yet.

    Raises:
        SpecError: a combination of fields that is impossible or cannot be built yet; two members alike.
    """
    _check_number(parsed, overrides)
    _check_folds(parsed, overrides)
    variant = _variant(overrides)
    members: list[Member] = []
    seen: set[tuple[str, str, int, int]] = set()
    origins: dict[str, ContinueFrom] = {}
    for point in _points(parsed):
        if point.continues is not None:
            origins[point.name] = point.continues
        for arm, arm_layer in parsed.arms.items():
            layers = (parsed.protocol, parsed.setup, arm_layer, *point.layers, *overrides)
            for member in _members(parsed, point, arm, layers):
                identity = (member.setting, member.arm, member.seed, member.replicate)
                if identity in seen:
                    raise _twice(parsed, member)
                seen.add(identity)
                words = tuple(layer.word or "" for layer in overrides)
                members.append(replace(member, ablation=parsed.name + variant, overrides=words))
    if parsed.tuning is not None:
        _check_tuning(parsed, parsed.tuning, members, overrides)
    arms = tuple(parsed.arms)
    compare = parsed.compare or tuple((arms[0], arm) for arm in arms[1:])
    return Ablation(
        name=parsed.name + variant,
        path=parsed.source.path,
        title=parsed.title + variant,
        description=parsed.description,
        source=parsed.source.text,
        arms=arms,
        compare=compare,
        members=_continued(members, origins, parsed.source),
        on_out_of_memory=parsed.on_out_of_memory,
        data=parsed.data,
        phantom=parsed.phantom,
        hypothesis=None if parsed.hypothesis is None or variant else _declared(parsed, compare, members),
        looks=None if any("seeds" in layer.values for layer in overrides) else parsed.looks,
        tuning=parsed.tuning,
    )


def _check_tuning(parsed: ParsedFile, tuning: Tuning, members: Sequence[Member], overrides: Sequence[Layer]) -> None:
    """SpecError where ``[tune]`` contradicts the file, leaves an arm nothing to search, or has impossible trials."""
    source, settings = parsed.source, [setting.layer for setting in parsed.settings]
    layers = (parsed.setup, parsed.protocol, *parsed.arms.values(), *settings, Layer(parsed.grid, ("grid",)))
    for name in tuning.space:
        for layer in (*layers, *overrides):
            if name in layer.values:
                whose = dotted(layer.place) if layer.word is None else override_place(layer.word)
                what = f"{whose} sets it, and what is searched has no value of its own"
                raise source.error(("tune", "space", name), what, "leave one of the two out")
    for setting in parsed.settings:
        for key, given in (("continue_from", setting.continues), ("documented", setting.documented)):
            if given:
                what = "its setup is that of another run, and [tune] searches one"
                raise source.error((*setting.place, key), what, f"leave {key} or [tune] out")
    if tuning.seed in {member.seed for member in members}:
        what = f"{tuning.seed} is a seed of the file, and a chosen setup is measured with fresh seeds"
        raise source.error(("tune", "seed"), what, "give [tune] a seed that [protocol] does not have")
    trials = tuning.drawn() if tuning.sampler == "random" else tuple(tuning.corners())
    for member in {(one.setting, one.arm): one for one in members}.values():
        runs = [replace(member.run, setup=member.run.setup.model_copy(update=dict(values))) for values in trials]
        if not any(name in run.affecting(*get_args(Effect)) for run in runs for name in tuning.space):
            what = f"every field is idle in the arm {member.arm!r}, which would be the only one without a search"
            raise source.error(("tune", "space"), what, "add a field that each arm uses, such as lr")
        for run, values in zip(runs, trials, strict=True):
            found = next(problems(run.setup), None)
            hint = None
            if found is None and (missing := unsupported(run.setup)) is not None:
                found, hint = f"{missing[0]}: {missing[1]}", missing[2]
            if found is not None:
                words = ", ".join(f"{name} = {toml_value(value)}" for name, value in values.items())
                raise source.error(("tune", "space"), f"a trial of {member.arm!r} with {words}: {found}", hint)


def _declared(parsed: ParsedFile, compare: Sequence[tuple[str, str]], members: Sequence[Member]) -> Hypothesis:
    """The hypothesis with what it leaves out; SpecError where it contradicts itself or the file."""
    declared = parsed.hypothesis
    assert declared is not None

    def refuse(key: str, what: str, hint: str | None) -> SpecError:
        return parsed.source.error(("hypothesis", key), what, hint)

    if declared.goal == "difference" and declared.margin is not None:
        hint = 'set goal = "non-inferiority" or "equivalence"; the smallest difference that matters is smallest_effect'
        raise refuse("margin", "a difference is shown without a margin", hint)
    if declared.goal != "difference" and declared.margin is None:
        hint = "add the line margin = 0.05, or what you hold for alike"
        raise refuse("goal", f"{declared.goal} needs a margin", hint)
    if declared.goal != "difference" and parsed.looks is not None:
        raise refuse(
            "goal", f"{declared.goal} is decided once, and [protocol] has seeds until settled", "fix the seeds"
        )
    pair = tuple(declared.compare) or (compare[0] if len(compare) == 1 else ())
    if pair not in compare:
        known = ", ".join(f'["{a}", "{b}"]' for a, b in compare) or "none, with one arm"
        what = "the file has no such pair" if pair else "which of the file's pairs is the primary one?"
        raise refuse("compare", what, f"name one of the file's pairs as compare = [reference, other]: {known}")
    settings = list(dict.fromkeys(member.whole_setting for member in members))
    setting = declared.setting or (settings[0] if len(settings) == 1 else "")
    if setting not in settings:
        what = f"no setting is named {setting!r}" if setting else "which of the file's settings is the primary one?"
        raise refuse("setting", what, did_you_mean(setting, settings))
    runs = [member.run for member in members if member.whole_setting == setting and member.arm in pair]
    if declared.checkpoint != "final" and not all(run.setup.use_early_stop_model for run in runs):
        what = f"{declared.checkpoint}, but runs with use_early_stop_model = false keep no best checkpoint"
        raise refuse("checkpoint", what, 'set checkpoint = "final"')
    seeds = len({run.protocol.seed for run in runs})
    if declared.seeds not in (None, seeds):
        raise refuse("seeds", f"{declared.seeds}, but {setting!r} has {seeds}", "give both the same number")
    if runs[0].protocol.fold is None and seeds < (2 if len(settings) * len(compare) > 1 else 3):
        what = f"{setting!r} has {plural(seeds, 'seed')}, and nothing can be settled about the arms"
        raise refuse("seeds", what, "train at least three seeds, such as [protocol] seeds = [0, 1, 2]")
    return declared.model_copy(update={"compare": pair, "setting": setting, "seeds": seeds})


def _variant(overrides: Sequence[Layer]) -> str:
    """What a variant's name has after the file's: each field with its last value, sorted; nothing without overrides.

    Long ones are cut and end with eight digits of their SHA-256.
    """
    values = {name: value for layer in overrides for name, value in layer.values.items()}
    if not values:
        return ""
    words = " ".join(f"{name}={_compact(value)}" for name, value in sorted(values.items()))
    if len(words) > MAX_VARIANT:
        words = f"{words[: MAX_VARIANT - 10]}… {hashlib.sha256(words.encode()).hexdigest()[:8]}"
    return VARIANT + words


def _compact(value: object) -> str:
    if isinstance(value, str) and is_file(value):  # the name of an ablation is passed on, a path is not
        return f"{Path(value).name}#{hashlib.sha256(value.encode()).hexdigest()[:6]}"
    if isinstance(value, str) or value is None:
        return value or "none"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _check_number(parsed: ParsedFile, overrides: Sequence[Layer]) -> None:
    """Refuse, before one of them is made, more members than a queue is for."""
    points = math.prod(map(len, parsed.grid.values()))
    every = Layer({"seeds": (0,)}, ()) if "seed" in parsed.grid else None

    def seeds(setting: Setting | None) -> int:
        layers = [parsed.protocol, *([setting.layer] if setting else []), *([every] if every else []), *overrides]
        return next((len(layer.values["seeds"]) for layer in reversed(layers) if "seeds" in layer.values), 1)

    folds = next((layer.values["folds"] for layer in (*overrides[::-1], parsed.protocol) if "folds" in layer.values), 1)
    number = len(parsed.arms) * points * folds * sum(map(seeds, parsed.settings or (None,)))
    if number > MAX_MEMBERS:
        counts = " × ".join(
            (
                plural(len(parsed.settings or (None,)), "setting"),
                plural(points, "combination of the grid", "combinations of the grid"),
                plural(len(parsed.arms), "arm"),
                *([plural(folds, "fold")] if folds > 1 else []),
            )
        )
        raise SpecError(
            f"expands to {number:,} members ({counts}, each with its seeds)",
            where=parsed.source.where(("grid",) if points > 1 else ("protocol", "seeds")),
            hint=f"at most {MAX_MEMBERS:,} are possible: leave values out, or write several files",
        )


def _check_folds(parsed: ParsedFile, overrides: Sequence[Layer]) -> None:
    """Refuse what a cross-validation leaves undefined."""
    given = {name: layer for layer in (parsed.protocol, *overrides) for name in layer.values}
    if "folds" not in given:
        if "fold_seed" in given:
            raise _blame("fold_seed", "fold_seed: there are no folds", "add folds = 5", given, parsed.source)
        return
    if parsed.looks is not None and not any("seeds" in layer.values for layer in overrides):
        what = "folds: seeds until settled are looked at on one test split, and each fold has its own"
        raise _blame(
            "folds", what, "fix the seeds, such as seeds = [0, 1, 2], or leave folds out", given, parsed.source
        )
    if continuing := next((one for one in parsed.settings if one.continues is not None), None):
        what = f"folds: {continuing.name!r} continues a run, whose patients may be in this fold's test split"
        raise _blame("folds", what, "leave folds or continue_from out", given, parsed.source)


def _points(parsed: ParsedFile) -> Iterator[_Point]:
    settings: Sequence[Setting | None] = parsed.settings or (None,)
    for setting in settings:
        for words in itertools.product(*map(_named, parsed.grid.values())):
            chosen = {field: value for field, (_, value) in zip(parsed.grid, words, strict=True)}
            named = ", ".join(f"{field}={word}" for field, (word, _) in zip(parsed.grid, words, strict=True))
            own = (setting.name if setting else "", named)
            layers = (setting.layer,) if setting else ()
            if "seed" in chosen:
                chosen["seeds"] = (chosen.pop("seed"),)
            if chosen:
                layers = (*layers, Layer(chosen, ("grid",)))
            yield _Point(
                name=", ".join(part for part in own if part) or "default",
                layers=layers,
                documented=setting.documented if setting else {},
                inferred=setting.inferred if setting else (),
                continues=setting.continues if setting else None,
            )


def _named(values: Sequence[Any]) -> list[tuple[str, Any]]:
    """The values of a grid, each with the word that names it: cut where it is long, unless two would be alike."""
    short = [(_word(value), value) for value in values]
    return short if len(dict(short)) == len(short) else [(_word(value, None), value) for value in values]


def _word(value: object, most: int | None = 60) -> str:
    if isinstance(value, str):
        return value
    return "none" if value is None else toml_value(value, most)


def _members(parsed: ParsedFile, point: _Point, arm: str, layers: Sequence[Layer]) -> Iterator[Member]:
    values: dict[str, Any] = {}
    origin: dict[str, Layer] = {}
    for layer in layers:
        values.update(layer.values)
        origin.update(dict.fromkeys(layer.values, layer))
    for follower, leader in _FOLLOWS.items():
        if leader in values:
            values.setdefault(follower, values[leader])
    setup_values, training, evaluation = split_fields(values)
    setup = _setup({"name": arm} | setup_values, origin, parsed.source)
    if not setup.pretrained:
        training["weights"] = "none"
    elif training.get("weights", "imagenet") != "none":
        training["weights"] = _weights(setup, training.get("weights", "imagenet"), origin, parsed.source)
    folds = [
        Fold(number=k + 1, of=values["folds"], seed=values.get("fold_seed", 0)) for k in range(values.get("folds", 0))
    ]
    for fold, seed in itertools.product(folds or (None,), values.get("seeds", (0,))):
        protocol = TrainingProtocol.model_construct(**training, seed=seed, fold=fold)
        yield Member(
            ablation=parsed.name,
            setting=point.name if fold is None else fold.of_setting(point.name),
            arm=arm,
            seed=seed,
            run=RunSpec(setup, protocol, NO_DATA),
            evaluation=EvaluationProtocol.model_construct(**evaluation),
            replicate=protocol.replicate,
            documented=point.documented.get(arm) if fold is None else None,
            inferred=tuple(dict.fromkeys((*parsed.inferred, *point.inferred))),
        )


def _setup(values: dict[str, Any], origin: Mapping[str, Layer], source: SourceFile) -> ModelSetup:
    """The setup, or the reason why its fields do not go together at the line of one that was given.

    Each value by itself was checked where the file, or a word over it, was read.
    """
    setup = ModelSetup.model_construct(**values)
    if (problem := next(problems(setup), None)) is not None:
        named = [word for word in re.findall(r"\w+", problem) if word in ModelSetup.model_fields]
        given = [name for name in named if name in origin and _place(origin[name], name, source) != source.path]
        raise _blame(given[0] if given else "", problem, None, origin, source)
    if (missing := unsupported(setup)) is not None:
        field, what, hint = missing
        raise _blame(field, f"{field}: {what}", hint, origin, source)
    return setup


def _weights(setup: ModelSetup, weights: str, origin: Mapping[str, Layer], source: SourceFile) -> str:
    """``weights`` if there are such for the backbone; a path that the file gives starts from the file's folder."""
    try:
        weights_file(setup.image_backbone, weights)
    except WeightsError as error:
        field = "backbone" if weights == "imagenet" else "weights"
        raise _blame(field, error.what, error.hint, origin, source) from None
    if not is_file(weights):
        return weights
    layer = origin.get("weights")
    beside = Path(source.path).parent if layer is not None and layer.word is None else Path()
    return str((beside / Path(weights).expanduser()).absolute())


def _blame(field: str, what: str, hint: str | None, origin: Mapping[str, Layer], source: SourceFile) -> SpecError:
    layer = origin.get(field)
    return SpecError(what, where=source.path if layer is None else _place(layer, field, source), hint=hint)


def _place(layer: Layer, field: str, source: SourceFile) -> str:
    """Where ``layer`` gives ``field``: a line of the file, the file (a default), or the ``--set`` word."""
    return source.where(layer.key(field)) if layer.word is None else override_place(layer.word)


def _twice(parsed: ParsedFile, member: Member) -> SpecError:
    place = max((s.place for s in parsed.settings if member.setting.startswith(s.name)), default=("settings",))
    what = f"the setting {member.setting!r} is there twice (arm {member.arm}, seed {member.seed})"
    return SpecError(what, where=parsed.source.where(place), hint="name it differently or set replicate = 2")
