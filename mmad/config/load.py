"""From the path of an ablation file to an ``mmad.config.runs.Ablation``: read once, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmad.config.ablation_file import parse_file, parse_override
from mmad.config.expand import expand, one_setup
from mmad.config.runs import Ablation, DataSource
from mmad.config.setup import ModelSetup


def load_ablation(
    path: str | Path,
    *,
    data: DataSource | None = None,
    overrides: Sequence[str] = (),
    weights: str | None = None,
) -> Ablation:
    """Read, check and expand an ablation file.

    Args:
        path: the TOML file.
        data: the data set of every run; left out, or without a fingerprint, the keys are provisional. Which data set
            the file names stands in the result, whose method ``on`` puts its runs on one.
        overrides: ``field=value`` words that win over the file, in order, recorded with every member.
        weights: ``imagenet`` or ``none``: short for the override ``weights=…``.

    Raises:
        SpecError: one line with file, line, key, what is wrong and the hint.
    """
    words = [*overrides] if weights is None else [*overrides, f"weights={weights}"]
    layers = [parse_override(word) for word in words]
    ablation = expand(parse_file(Path(path)), layers)
    return ablation if data is None else ablation.on(data)


def load_setup(overrides: Sequence[str] = ()) -> ModelSetup:
    """The default setup with ``field=value`` words put over it.

    Raises:
        SpecError: an unknown field, a wrong value, or fields that do not go together.
    """
    return one_setup([parse_override(word) for word in overrides])
