"""From the path of an ablation file to an ``mmad.config.runs.Ablation``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmad.config.ablation_file import parse_file, parse_override
from mmad.config.expand import expand, one_setup
from mmad.config.runs import Ablation, DataSource
from mmad.config.setup import ModelSetup

#: The data set of a file that was read without looking at any.
NO_DATA = DataSource(path="", name="", fingerprint=None)


def load_ablation(
    path: str | Path,
    *,
    data: DataSource = NO_DATA,
    overrides: Sequence[str] = (),
    weights: str | None = None,
) -> Ablation:
    """Read, check and expand an ablation file.

    Args:
        path: the TOML file.
        data: the data set of every run; without a fingerprint the keys are provisional.
        overrides: ``field=value`` words that win over the file, in order, recorded with every member.
        weights: ``imagenet`` or ``none``: short for the override ``weights=…``.

    Raises:
        SpecError: one line with file, line, key, what is wrong and the hint.
    """
    words = [*overrides] if weights is None else [*overrides, f"weights={weights}"]
    layers = [parse_override(word) for word in words]
    return expand(parse_file(Path(path)), data, layers)


def load_setup(overrides: Sequence[str] = ()) -> ModelSetup:
    """The default setup with ``field=value`` words put over it.

    Raises:
        SpecError: an unknown field, a wrong value, or fields that do not go together.
    """
    return one_setup([parse_override(word) for word in overrides])
