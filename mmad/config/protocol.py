"""Protocols: what else decides a training, and how a checkpoint is evaluated."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmad.config.field_effects import ALWAYS, Later, affects, when

Overlap = Literal["iou", "iobb"]
Proposals = Literal["clean", "sampled", "with_ground_truth"]


class Continues(BaseModel):
    """The run that another continues, and from which of its checkpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[0-9a-f]{64}$", description="The run's key.")
    checkpoint: Literal["final", "best_ap", "best_ar"] = Field("final", description="Which of its checkpoints.")


class OwnModule(BaseModel):
    """A module of the user's own that the setup names: its content decides the run, the folder it lies in does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Its top package, or the module itself.")
    folder: str = Field("", description="The folder it lies in beside the ablation file; empty for one installed.")
    sha256: str = Field(description="SHA-256 over all of its files, and those it imports from the same folder.")
    versions: dict[str, str] = Field(
        default_factory=dict, description="Distribution → version of what it imports besides."
    )


class Fold(BaseModel):
    """One fold of a cross-validation: its patients are the test split, others validation and training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=1, description="Which fold, from 1.")
    of: int = Field(ge=2, description="How many folds there are.")
    seed: int = Field(0, ge=0, lt=2**31, description="Decides, with the data set's content, who is in which fold.")

    def __str__(self) -> str:
        return f"fold {self.number} of {self.of}"

    def of_setting(self, setting: str) -> str:
        """The name of a setting's runs of this fold: ``default, fold 2 of 5``."""
        return f"{setting}, {self}"


_OF_SETTING = re.compile(r", fold \d+ of \d+$")


def without_fold(setting: str) -> str:
    """The setting that a name of ``Fold.of_setting`` is of; any other name as it is."""
    return _OF_SETTING.sub("", setting)


class TrainingProtocol(BaseModel):
    """Everything beside the setup that decides which numbers a training gives: part of a run's key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[int, affects("training")] = Field(100, ge=1, le=100_000, description="Epochs to train.")
    seed: Annotated[int, affects("training")] = Field(
        0, ge=0, lt=2**31, description="Seed of weights, data order and augmentation."
    )
    threads: Annotated[int, affects("training", "speed")] = Field(
        1, ge=1, le=1024, description="Threads of one run on the CPU; other numbers give other bits."
    )
    weights: Annotated[str, affects("training", idle=when(pretrained=False))] = Field(
        "imagenet",
        min_length=1,
        description="Pretrained weights: imagenet, a member of torchvision's enums, hf-hub:OWNER/NAME (timm), "
        "or the path of a .safetensors or .pth file; none trains from scratch.",
    )
    pretrained_on: Annotated[tuple[str, ...], affects("training", idle=ALWAYS), Later([])] = Field(
        (),
        description="The data sets that weights of one's own were pretrained on; decides nothing, but is compared "
        "with the data set.",
    )
    weights_hash: Annotated[str, affects("training", idle=when(weights="none"))] = Field(
        "", description="SHA-256 of the pretrained weights' file, empty without one; filled when planning."
    )
    selection_overlap: Annotated[Overlap, affects("evaluation")] = Field(
        "iou", description="Overlap of the validation AP and AR that choose the best checkpoints."
    )
    selection_proposals: Annotated[Proposals, affects("evaluation")] = Field(
        "clean", description="Which proposals the evaluations during training use."
    )
    steps_per_epoch: Annotated[int | None, affects("training", "evaluation", "speed"), Later(None)] = Field(
        None,
        ge=1,
        le=1_000_000,
        description="A trial: most batches of a pass, training or evaluation.",
        json_schema_extra={"unit": "batches"},
    )
    replicate: Annotated[int, affects("training", idle=ALWAYS)] = Field(
        1, ge=1, description="Number of a true repeat of an equal run."
    )
    modules: Annotated[tuple[OwnModule, ...], affects("training", "speed"), Later([])] = Field(
        (), description="The modules of the user's own that the setup names; filled when planning."
    )
    continues: Annotated[Continues | None, affects("training"), Later(None)] = Field(
        None, description="The run that this one continues; filled from a setting's continue_from."
    )
    fold: Annotated[Fold | None, affects("training", "evaluation"), Later(None)] = Field(
        None, description="Its fold, in place of the data set's own splits; filled from [protocol] folds."
    )


class EvaluationProtocol(BaseModel):
    """How a member's checkpoints are evaluated: belongs to an evaluation, never to a run's key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    overlap: Overlap = Field("iou", description="iou, or iobb (intersection over the predicted box) as the log.")
    threshold: float = Field(0.5, gt=0, le=1, description="Overlap from which a detection is a hit.")
    max_detections: int = Field(10, ge=1, le=1000, description="Most detections of an image that count.")
    proposals: Proposals = Field(
        "clean",
        description="Which proposals: clean never sees the targets; with_ground_truth as the log until 16 May 2022.",
    )
