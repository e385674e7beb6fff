"""What an ablation file expands to: members (what a user asked for) and the runs that answer them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args

from pydantic import BaseModel

from mmad.base.records import RunRecord
from mmad.config.field_effects import Effect, affecting, later, naming
from mmad.config.hypothesis import Hypothesis
from mmad.config.named_parts import PARTS, plain_part
from mmad.config.protocol import EvaluationProtocol, OwnModule, TrainingProtocol, without_fold
from mmad.config.setup import ModelSetup
from mmad.config.tuning import TrialValues, Tuning

#: Raised whenever the code changes the results of an unchanged specification; ``_CHANGED`` says of which.
RECIPE = 3

#: What stands between the name of an ablation's file and the overrides of a variant of it: ``depth3 · epochs=4``.
VARIANT = " · "
#: What follows the name of an ablation in that of its trials.
TRIALS = f"{VARIANT}trials"
#: What stands between a setting and the number of a trial in it.
TRIAL = ", trial "

#: Stands for the value of a field that decides nothing in a run.
IDLE = "idle"

#: Fields of a setup that name things and decide nothing.
NAMING_FIELDS = naming(ModelSetup)


@dataclass(frozen=True)
class DataSource:
    """The data set of a run: its folder, its name and the fingerprint of its content (None: not looked at)."""

    path: str
    name: str
    fingerprint: str | None


#: The data set of a file that was read without looking at any.
NO_DATA = DataSource(path="", name="", fingerprint=None)


@dataclass(frozen=True)
class RunSpec:
    """One training: setup, training protocol and data. Members with equal content share one.

    ``recorded_as`` is the key of a run of equal content that a database has from before keys left out idle fields.
    """

    setup: ModelSetup
    protocol: TrainingProtocol
    data: DataSource
    recipe: int = RECIPE
    recorded_as: str | None = None

    @property
    def key(self) -> str:
        """What the run is known by: the hash of its content, unless a database knows it by an older key."""
        return self.recorded_as or self.content_key

    @cached_property
    def content_key(self) -> str:
        """SHA-256 (64 hex digits) of the canonical JSON of everything that decides the result."""
        text = json.dumps(self.content(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def provisional(self) -> bool:
        """Whether the data set or the weights were not there, so that the key will change once they are."""
        return self.data.fingerprint is None or self.lacks_weights

    @property
    def lacks_weights(self) -> bool:
        """Whether it starts from weights whose content nobody looked at yet."""
        return not self.from_scratch and not self.protocol.weights_hash

    @property
    def continues(self) -> str | None:
        """The key of the run that this one continues, which has to be finished first; None without one."""
        return None if self.protocol.continues is None else self.protocol.continues.key

    def affecting(self, *effects: Effect) -> dict[str, Any]:
        """The fields of setup and protocol that affect one of ``effects`` and are not idle, with their values."""
        parts = (self.setup, self.protocol)
        return {name: getattr(part, name) for part in parts for name in affecting(type(part), *effects, run=parts)}

    @property
    def from_scratch(self) -> bool:
        """Whether the weights it starts from are drawn, by its setup or by its protocol."""
        return not self.setup.pretrained or self.protocol.weights == "none"

    @cached_property
    def lasting_recipe(self) -> int:
        """The newest recipe that gives this run's results: those after its own that change other runs alone count."""
        recipe = self.recipe
        while recipe + 1 in _CHANGED and not _CHANGED[recipe + 1](self.affecting(*get_args(Effect))):
            recipe += 1
        return recipe

    def content(self) -> dict[str, Any]:
        """The plain JSON the key is made of: every field that is not idle, in one of the ways to write it.

        Whole numbers count as equal however they were written.
        """
        setup, protocol = self.recorded()
        used = self.affecting(*get_args(Effect))
        setup = {name: value for name, value in setup.items() if name in used}
        protocol = {name: value for name, value in protocol.items() if name in used or name == "replicate"}
        if "modules" in protocol:  # wherever they lie, too
            protocol["modules"] = [{n: v for n, v in one.items() if n != "folder"} for one in protocol["modules"]]
        if self.from_scratch:  # which two fields can say
            setup.pop("pretrained", None)
            protocol.pop("weights_hash", None)
            protocol["weights"] = "none"
        else:
            protocol.pop("weights")  # wherever they lie: their hash says what they are
        return {"setup": setup, "protocol": protocol, "data": self.data.fingerprint, "recipe": self.lasting_recipe}

    def differences(self, other: RunSpec) -> dict[str, tuple[Any, Any]]:
        """What of the contents of two runs differs: ``setup.lr``, ``protocol.epochs``, ``data`` … with both values.

        A field that is idle in one of them, or came later, is ``IDLE`` there.
        """
        contents = (self.content(), other.content())
        every = {part: (contents[0][part], contents[1][part]) for part in ("data", "recipe")}
        for part in ("setup", "protocol"):
            mine, theirs = (content[part] for content in contents)
            every |= {
                f"{part}.{n}": (mine.get(n, IDLE), theirs.get(n, IDLE)) for n in sorted(mine.keys() | theirs.keys())
            }
        return {name: values for name, values in every.items() if values[0] != values[1]}

    def recorded(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Setup and training protocol as plain JSON: idle fields included, names and paths left out."""
        setup = self.setup.model_dump(mode="json", exclude=set(NAMING_FIELDS))
        setup["multiStepLR_milestones"] = list(self.setup.milestones)
        for name in PARTS:
            setup[name] = plain_part(setup[name])
        if setup["clinical_encoder"] == self.setup.fusions_encoder:
            setup["clinical_encoder"] = None
        setup["backbone"] = "custom1" if self.setup.backbone == "custom" else self.setup.backbone
        return _plain(_without_later(self.setup, setup)), _plain(
            _without_later(self.protocol, self.protocol.model_dump(mode="json"))
        )


def _changed_by_3(used: Mapping[str, Any]) -> bool:
    """Dropout of whole channels, the residual's clinical map, the forms before the maps, and what is recorded."""
    rates = ("clinical_expand_dropout_rate", "clinical_conv_dropout_rate", "fuse_dropout_rate")
    return (
        any(used.get(name, 0) > 0 for name in rates)
        or bool(used.get("fusion_residule"))
        or bool(used.get("pre_spatialised_layer"))
        or used.get("spatialise_method") == "repeat"
        or bool(used.get("record_training_performance") and used.get("box_head_dropout_rate", 0) > 0)
    )


#: Recipe → whether it changed the results of a run, by the fields that are not idle in it.
_CHANGED: Mapping[int, Callable[[Mapping[str, Any]], bool]] = {3: _changed_by_3}


def _without_later(model: BaseModel, values: dict[str, Any]) -> dict[str, Any]:
    """``values`` of ``model`` but for fields that came later and have the value of a run from before them."""
    before = later(type(model))
    return {name: value for name, value in values.items() if name not in before or before[name] != value}


def _plain(value: Any) -> Any:
    """JSON with whole floats written as integers, so that ``lr = 1`` and ``lr = 1.0`` are one content."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


@dataclass(frozen=True)
class Member:
    """Ablation × setting × arm × seed (× replicate), with the documented entry it mirrors.

    ``overrides`` are the ``--set`` words that changed it, ``inferred`` the fields the log does not print.
    """

    ablation: str
    setting: str
    arm: str
    seed: int
    run: RunSpec
    evaluation: EvaluationProtocol
    replicate: int = 1
    documented: str | None = None
    inferred: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()

    @property
    def whole_setting(self) -> str:
        """The setting that it is of, whatever its fold, and its trial of a search."""
        setting = self.setting.partition(TRIAL)[0]
        return setting if self.run.protocol.fold is None else without_fold(setting)


@dataclass(frozen=True)
class Ablation:
    """A file: a family of settings, expanded. ``compare`` holds pairs (reference arm, other arm).

    ``name`` is the file's, followed by ``VARIANT`` and the overrides where there are some: a variant of the file,
    beside the file's own form.

    ``on_out_of_memory`` is ``fail`` or ``accumulate``: half the batch, twice the accumulated steps. ``data`` is the
    data set that the file names, a folder beside it or ``phantom``, which is drawn with the parameters ``phantom``.
    ``hypothesis`` is what the file declares, filled in; None for a variant, which nobody declared. ``looks`` are the
    seeds of the first and of the last look where seeds are added until pairs are settled; members are of all of them.
    With ``tuning`` the members have the file's setups, which ``tuned`` gives the values that were chosen.
    """

    name: str
    path: str
    title: str
    description: str
    source: str
    arms: tuple[str, ...]
    compare: tuple[tuple[str, str], ...]
    members: tuple[Member, ...]
    on_out_of_memory: str = "fail"
    data: str = "phantom"
    phantom: Mapping[str, Any] = field(default_factory=dict)
    hypothesis: Hypothesis | None = None
    looks: tuple[int, int] | None = None
    tuning: Tuning | None = None

    def trial(self, member: Member, number: int, values: TrialValues) -> Member:
        """The trial of ``member``'s setting and arm with this number, from 1."""
        assert self.tuning is not None
        seed, setup = self.tuning.seed, member.run.setup.model_copy(update=dict(values))
        run = replace(member.run, setup=setup, protocol=member.run.protocol.model_copy(update={"seed": seed}))
        setting = f"{member.setting}{TRIAL}{number}"
        return replace(member, ablation=self.name + TRIALS, setting=setting, seed=seed, run=run)

    def trials(self, members: Iterable[Member]) -> Ablation:
        """The trials ``members`` as an ablation of their own, which compares nothing."""
        assert self.tuning is not None
        return replace(
            self,
            name=self.name + TRIALS,
            title=self.title + TRIALS,
            description=f"Each arm's setup is the one with the highest validation AP of {self.tuning.words()}.",
            compare=(),
            members=tuple(members),
            hypothesis=None,
            looks=None,
            tuning=None,
        )

    def arms_of_settings(self) -> dict[tuple[str, str], Member]:
        """The first member of each setting and arm."""
        found: dict[tuple[str, str], Member] = {}
        for member in self.members:
            found.setdefault((member.setting, member.arm), member)
        return found

    def tuned(self, chosen: Mapping[tuple[str, str], TrialValues]) -> Ablation:
        """The members of the settings and arms that have a choice, with its values."""
        members = []
        for member in self.members:
            if (values := chosen.get((member.setting, member.arm))) is not None:
                setup = member.run.setup.model_copy(update=dict(values))
                members.append(replace(member, run=replace(member.run, setup=setup)))
        return replace(self, members=tuple(members), tuning=None)

    def on(self, data: DataSource) -> Ablation:
        """The ablation with every run on ``data``: the keys follow, and with them those that others continue."""
        return self._moved(lambda run: replace(run, data=data))

    def starting_from(self, digest: Callable[[RunSpec], str]) -> Ablation:
        """The ablation with the hash of the pretrained weights of every run that starts from some."""

        def filled(run: RunSpec) -> RunSpec:
            if run.from_scratch:
                return run
            return replace(run, protocol=run.protocol.model_copy(update={"weights_hash": digest(run)}))

        return self._moved(filled)

    def naming_modules(self, find: Callable[[RunSpec], tuple[OwnModule, ...]]) -> Ablation:
        """The ablation with the modules of the user's own that every run names."""

        def filled(run: RunSpec) -> RunSpec:
            found = find(run)
            if found == run.protocol.modules:
                return run
            return replace(run, protocol=run.protocol.model_copy(update={"modules": found}))

        return self._moved(filled)

    def recorded_as(self, keys: Mapping[str, str]) -> Ablation:
        """The ablation with the keys that a database has for runs of equal content: ``keys`` by content key."""
        return self._moved(lambda run: replace(run, recorded_as=keys.get(run.content_key))) if keys else self

    def _moved(self, change: Callable[[RunSpec], RunSpec]) -> Ablation:
        """Every run changed; those that continue another follow its key before they are changed themselves."""
        if all(member.run.continues is None for member in self.members):  # then no key is needed, which takes long
            return replace(self, members=tuple(replace(one, run=change(one.run)) for one in self.members))
        runs = {member.run.key: member.run for member in self.members}
        found: dict[str, RunSpec] = {}

        def moved(run: RunSpec) -> RunSpec:
            if run.key not in found:
                parent, followed = run.protocol.continues, run
                if parent is not None and parent.key in runs:
                    continues = parent.model_copy(update={"key": moved(runs[parent.key]).key})
                    protocol = run.protocol.model_copy(update={"continues": continues})
                    followed = replace(run, protocol=protocol)
                found[run.key] = change(followed)
            return found[run.key]

        def own(member: Member) -> Member:
            """The run of ``member`` in its own words: members that share a run may differ in idle fields."""
            shared = moved(member.run)
            return replace(member, run=replace(shared, setup=member.run.setup))

        return replace(self, members=tuple(own(member) for member in self.members))


def file_name(ablation: str) -> str:
    """The name of the file that ``ablation`` is the own form or a variant of."""
    return ablation.partition(VARIANT)[0]


def older_keys(runs: Iterable[RunRecord]) -> dict[str, str]:
    """The keys of recorded runs by the key that their content has now, where the two differ."""
    return {run.content: run.key for run in runs if run.content is not None and run.content != run.key}
