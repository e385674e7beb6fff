"""What a study sets out to show, declared before anything trains: the ``[hypothesis]`` table of an ablation file."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Hypothesis(BaseModel):
    """The primary comparison and how it is decided.

    As it stands in a file, ``compare``, ``setting`` and ``seeds`` may be left out; an expanded ablation has them
    filled in, and that form is registered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    compare: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        (), max_length=2, description="The primary pair (reference arm, other arm); default: the file's only pair."
    )
    setting: str = Field("", description="The setting it is of; default: the file's only setting.")
    metric: Literal["ap"] = Field("ap", description="The primary metric: test AP under the file's protocol.")
    checkpoint: Literal["best_ap", "best_ar", "final"] = Field(
        "best_ap", description="The primary checkpoint: the rule that picks it is part of the arms."
    )
    goal: Literal["difference", "non-inferiority", "equivalence"] = Field(
        "difference",
        description="What is to be shown: that the arms differ, that the other arm is not worse by margin, or that "
        "they differ by less than margin.",
    )
    margin: float | None = Field(
        None, gt=0, le=1, description="Of non-inferiority or equivalence, in AP.", json_schema_extra={"unit": "AP"}
    )
    alpha: float = Field(0.05, gt=0, le=0.2, description="Chance of a false claim, two-sided.")
    power: float = Field(0.8, ge=0.5, lt=1, description="Chance of a true claim that is planned for.")
    smallest_effect: float | None = Field(
        None,
        gt=0,
        le=1,
        description="The smallest difference that matters, for plans; default: 0.02, 0.05 and 0.10.",
        json_schema_extra={"unit": "AP"},
    )
    seeds: int | None = Field(
        None, ge=1, le=1000, description="How many seeds are planned; default: those of the setting."
    )
    intended_use: str = Field("", description="For whom and for what the detector is meant.")

    def content(self) -> dict[str, Any]:
        """Plain JSON of all of it."""
        return self.model_dump(mode="json")


def digest(content: Any) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of a hypothesis' content."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
