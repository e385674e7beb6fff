"""What an ablation file expands to: members (what a user asked for) and the runs that answer them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmad.config.fields import Effect, affecting, naming
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.setup import ModelSetup

#: Raised whenever the code changes the results of an unchanged specification.
RECIPE = 2

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
    """One training: setup, training protocol and data. Members with equal content share one."""

    setup: ModelSetup
    protocol: TrainingProtocol
    data: DataSource
    recipe: int = RECIPE

    @property
    def key(self) -> str:
        """SHA-256 (64 hex digits) of the canonical JSON of everything that decides the result."""
        text = json.dumps(self.content(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def provisional(self) -> bool:
        """Whether the data set was not there, so that the key will change once it is."""
        return self.data.fingerprint is None

    @property
    def continues(self) -> str | None:
        """The key of the run that this one continues, which has to be finished first; None without one."""
        return None if self.protocol.continues is None else self.protocol.continues.key

    def affecting(self, *effects: Effect) -> dict[str, Any]:
        """The fields of setup and protocol that affect one of ``effects`` and are not idle, with their values."""
        parts = (self.setup, self.protocol)
        return {name: getattr(part, name) for part in parts for name in affecting(type(part), *effects, run=parts)}

    def content(self) -> dict[str, Any]:
        """The plain JSON the key is made of. Whole numbers count as equal however they were written."""
        setup = self.setup.model_dump(mode="json", exclude=set(NAMING_FIELDS))
        if not self.setup.channels_last:  # keys are those from before there was a choice
            del setup["channels_last"]
        setup["multiStepLR_milestones"] = list(self.setup.milestones)
        setup["backbone"] = "custom1" if self.setup.backbone == "custom" else self.setup.backbone
        return {
            "setup": _plain(setup),
            "protocol": _plain(self._protocol()),
            "data": self.data.fingerprint,
            "recipe": self.recipe,
        }

    def _protocol(self) -> dict[str, Any]:
        """The training protocol; fields that came later and are not given leave keys as they were before them."""
        absent = {name for name in ("steps_per_epoch", "continues") if getattr(self.protocol, name) is None}
        return self.protocol.model_dump(mode="json", exclude=absent)


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


@dataclass(frozen=True)
class Ablation:
    """A file: a family of settings, expanded. ``compare`` holds pairs (reference arm, other arm).

    ``on_out_of_memory`` is ``fail`` or ``accumulate``: half the batch, twice the accumulated steps. ``data`` is the
    data set that the file names, a folder beside it or ``phantom``, which is drawn with the parameters ``phantom``.
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

    def on(self, data: DataSource) -> Ablation:
        """The ablation with every run on ``data``: the keys follow, and with them those that others continue."""
        runs = {member.run.key: member.run for member in self.members}

        def moved(run: RunSpec) -> RunSpec:
            protocol, parent = run.protocol, run.protocol.continues
            if parent is not None and parent.key in runs:
                continues = parent.model_copy(update={"key": moved(runs[parent.key]).key})
                protocol = protocol.model_copy(update={"continues": continues})
            return replace(run, data=data, protocol=protocol)

        return replace(self, members=tuple(replace(member, run=moved(member.run)) for member in self.members))
