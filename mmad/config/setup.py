"""``ModelSetup``: every hyper-parameter of one run, under the names the documented log prints; which go together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mmad.base.records import LOSS_COMPONENTS
from mmad.config.field_effects import ALWAYS, Effect, Later, affecting, affects, unless, when
from mmad.config.named_parts import PARTS, STRIDES, TIMM, is_own, part_arguments, part_name, part_problems

Era = Literal["A", "B", "C"]
LossWeight = Annotated[float, Field(ge=0)] | Literal["detach"]
#: A named part: a word, or ``{ use = "MODULE:CLASS", … }`` with the arguments of the class.
OwnPart = dict[str, Any]

BACKBONES = tuple(STRIDES)
#: Losses that can be weighted: those of every detector, and the mask head's.
LOSS_NAMES = (*LOSS_COMPONENTS, "loss_mask")
#: Backbones a feature pyramid can stand on; of timm's any with maps at strides 4, 8, 16 and 32.
PYRAMID_BACKBONES = ("resnet18", "resnet50", "swin_t")
PYRAMID_CHANNELS = 256
LARGEST_ANCHOR = 16_384  # px: four times the largest image
#: Pixels per cell of a pyramid's levels, the last one pooled from the one before.
PYRAMID_STRIDES = (4, 8, 16, 32, 64)

# When fields are idle. With ``use_custom_model = false`` the image branch is that of torchvision's Mask R-CNN.
IMAGE_ALONE = when(use_clinical=False)
TORCHVISION = when(use_custom_model=False)
SWIN = when(use_custom_model=True, backbone="swin_t")
FIXED_NORM = when(image_backbone={"resnet18", "resnet50"}, has_pyramid=True, frozen_norm=True)
NO_ERA = (IMAGE_ALONE, unless(fusion="era"))
TOKENS = when(clinical_encoder_name="tokens")
NOT_ERA_A = unless(resolved_era="A")
NOT_ERA_C = unless(resolved_era="C")
NOT_SPATIALISED = when(resolved_era="C", spatialise_clinical=False)
REPEATED = when(resolved_era="C", spatialise_method="repeat")
NOT_FUSED = when(fuse_layers=0)
NO_PLATEAU = unless(lr_scheduler="ReduceLROnPlateau")
NO_STEPS = unless(lr_scheduler="MultiStepLR")
NO_COSINE = unless(lr_scheduler="CosineAnnealingLR")

#: What an evaluation reads too, where it samples its proposals with the targets as a training does.
SAMPLES = affects("evaluation", idle=when(selection_proposals="clean"))


def _none_word(value: object) -> object:
    """TOML has no null: the word ``none`` stands for it."""
    return None if isinstance(value, str) and value.lower() == "none" else value


def _layers(value: object) -> object:
    """No layer is ``false`` however it was written, as keys have had it; ``true`` is one."""
    return (int(value) or False) if isinstance(value, int) else value


def unit(name: str) -> dict[str, Any]:
    """The unit of a field, carried into the JSON Schema."""
    return {"unit": name}


class ModelSetup(BaseModel):
    """Every hyper-parameter of one run. Names follow the documented log; ``fusion_residual`` is read too."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=False)

    # identity and paths: printed by the log, no part of a run's content
    name: str = Field("", description="Name in headings and of checkpoints; empty: the arm's.")
    best_ar_val_model_path: str | None = Field(None, description="Best-AR checkpoint, filled after a run.")
    best_ap_val_model_path: str | None = Field(None, description="Best-AP checkpoint, filled after a run.")
    final_model_path: str | None = Field(None, description="Final checkpoint, filled after a run.")

    # what is trained
    use_clinical: Annotated[bool, affects("architecture", "training", "speed")] = Field(
        False, description="Read the clinical columns beside the image."
    )
    use_custom_model: Annotated[bool, affects("architecture", "training", "speed")] = Field(
        True, description="The multimodal detector; false: torchvision's own Mask R-CNN."
    )
    use_early_stop_model: Annotated[bool, affects("evaluation")] = Field(
        True, description="Keep the best-AP and best-AR checkpoints beside the final one."
    )
    record_training_performance: Annotated[bool, affects("evaluation", "speed")] = Field(
        True, description="Measure AP and AR on the training batches too; changes no weight."
    )
    measure_test: Annotated[bool, affects("evaluation", "speed")] = Field(
        True,
        description="Measure the test split every epoch; false: only where an epoch becomes best or last.",
    )
    dataset_mode: Annotated[Literal["normal", "unified", "full"], affects("training", "evaluation", "speed")] = Field(
        "unified",
        description="A sample: a reading (normal), an image (unified), or a reading without clinical data (full).",
    )
    era: Annotated[Era | None, BeforeValidator(_none_word), affects("architecture", "training", idle=NO_ERA)] = Field(
        None,
        description="Form of the clinical branch; none: C if clinical_expand_conv_channels is given, B for FPN with fuse_depth 0, else A.",
    )

    # image branch
    backbone: Annotated[str | OwnPart, affects("architecture", "training", "speed", idle=TORCHVISION)] = Field(
        "mobilenet_v3", description="Image network: " + ", ".join(BACKBONES) + ", timm:NAME, or a class of your own."
    )
    pretrained: Annotated[bool, affects("training", "speed", idle=when(weights="none"))] = Field(
        True, description="Start the backbone from ImageNet weights."
    )
    image_size: Annotated[int, affects("architecture", "training", "evaluation", "speed")] = Field(
        256,
        ge=32,
        le=4096,
        description="Side of the square the image is resized to; a power of two.",
        json_schema_extra=unit("px"),
    )
    image_input: Annotated[Literal["xray", "training_mean"], affects("training", "evaluation"), Later("xray")] = Field(
        "xray",
        description="What the image branch sees; training_mean: every study has the training split's mean image.",
    )
    backbone_out_channels: Annotated[int, affects("architecture", "training", idle=when(has_pyramid=True))] = Field(
        16,
        ge=1,
        le=4096,
        description="Width of the image map that the heads read.",
        json_schema_extra=unit("channels"),
    )
    using_fpn: Annotated[bool, affects("architecture", "training", "speed", idle=TORCHVISION)] = Field(
        False, description="Feature pyramid network on the backbone."
    )
    trainable_layers: Annotated[int | None, affects("training", "speed", idle=when(has_pyramid=False))] = Field(
        None,
        ge=0,
        le=5,
        description="With FPN: how many of the ResNet's five parts train, the last first; none: 3, or 5 from scratch.",
        json_schema_extra=unit("layers"),
    )
    frozen_norm: Annotated[bool, affects("architecture", "training", "speed", idle=(when(has_pyramid=False), SWIN))] = (
        Field(
            True,
            description="With FPN: the ResNet's BatchNorm is fixed, as in the log.",
        )
    )
    norm_momentum: Annotated[float | None, affects("training", idle=(SWIN, FIXED_NORM))] = Field(
        None,
        gt=0,
        le=1,
        description="Momentum of BatchNorm's running statistics; none: the backbone's own (0.01 for mobilenet_v3, else 0.1).",
    )

    # clinical branch
    clinical_input_channels: Annotated[int, affects("architecture", "training", idle=IMAGE_ALONE)] = Field(
        32,
        ge=1,
        le=8192,
        description="Length of the clinical vector after the categories' embedding.",
        json_schema_extra=unit("channels"),
    )
    clinical_num_len: Annotated[int | None, affects("training", idle=ALWAYS)] = Field(
        None,
        ge=0,
        description="How many numeric columns; none: the data set's.",
        json_schema_extra=unit("columns"),
    )
    clinical_numeric: Annotated[
        tuple[str, ...] | None, affects("architecture", "training", "evaluation", idle=IMAGE_ALONE)
    ] = Field(None, description="Numeric columns by name; none: all.")
    clinical_categorical: Annotated[
        tuple[str, ...] | None, affects("architecture", "training", "evaluation", idle=IMAGE_ALONE)
    ] = Field(None, description="Categorical columns by name; none: all.")
    clinical_values: Annotated[
        Literal["standardised", "standardised_all_splits", "raw"],
        affects("training", "evaluation", idle=(IMAGE_ALONE, when(clinical_numeric=()))),
    ] = Field(
        "standardised",
        description="Numbers standardised by the training split, by all splits (the log's later code), or raw (the log); a missing one takes the mean.",
    )
    clinical_missing_indicators: Annotated[
        bool, affects("architecture", "training", "evaluation", idle=(IMAGE_ALONE, TOKENS, when(clinical_numeric=())))
    ] = Field(
        False,
        description="One more number per numeric column: 1 where the value is missing.",
    )
    clinical_unknown_slot: Annotated[
        bool,
        affects("architecture", "training", "evaluation", idle=(IMAGE_ALONE, TOKENS, when(clinical_categorical=()))),
    ] = Field(False, description="A learned embedding for a missing category, in place of zeros.")
    fusion: Annotated[
        Literal["era", "film", "daft", "gated_sum", "mmtm", "cross_attention", "late"] | OwnPart,
        affects("architecture", "training", "speed", idle=IMAGE_ALONE),
        Later("era"),
    ] = Field(
        "era",
        description="How the clinical values join the image: the documented forms (era), a published one, or a class of your own.",
    )
    clinical_encoder: Annotated[
        Literal["vector", "tokens"] | OwnPart | None,
        affects("architecture", "training", "speed", idle=IMAGE_ALONE),
        Later(None),
    ] = Field(
        None,
        description="What the fusion reads: one vector, a token per column, or a class of your own; none: tokens for cross_attention, else the vector.",
    )
    clinical_records: Annotated[
        Literal["true", "permuted", "constant", "missing"],
        affects("training", "evaluation", idle=IMAGE_ALONE),
        Later("true"),
    ] = Field(
        "true",
        description="Whose record is read: the patient's own, another's of the same split (missing values move along), a constant one, or the own one's gaps alone.",
    )
    clinical_permutation: Annotated[
        int,
        affects("training", "evaluation", idle=(IMAGE_ALONE, unless(clinical_records="permuted"))),
        Later(0),
    ] = Field(0, ge=0, lt=2**31, description="Which permutation of the records.")
    clinical_dropout: Annotated[float, affects("training", idle=IMAGE_ALONE), Later(0.0)] = Field(
        0.0,
        ge=0,
        lt=1,
        description="Chance that a value is left out in training, drawn per study, column and epoch.",
    )
    clinical_dropout_of: Annotated[
        Literal["value", "record"],
        affects("training", idle=(IMAGE_ALONE, when(clinical_dropout=0.0))),
        Later("value"),
    ] = Field("value", description="What clinical_dropout takes: single values, or whole records.")
    clinical_expand_conv_channels: Annotated[
        int | None,
        affects(
            "architecture",
            "training",
            idle=(
                *NO_ERA,
                when(era={"A", "B"}),
                when(era="C", spatialise_clinical=False),
                when(era="C", spatialise_method="repeat"),
            ),
        ),
    ] = Field(
        None,
        ge=1,
        le=4096,
        description="Width of era C's expansion; giving it selects era C.",
        json_schema_extra=unit("channels"),
    )
    clinical_conv_channels: Annotated[
        int,
        affects(
            "architecture",
            "training",
            idle=(
                *NO_ERA,
                NOT_SPATIALISED,
                REPEATED,
                when(resolved_era="C") & unless(clinical_expand_conv_channels=None),
            ),
        ),
    ] = Field(
        32,
        ge=1,
        le=4096,
        description="Width of era A's expansion, encoder and fuse convolutions, and of era B's expansion.",
        json_schema_extra=unit("channels"),
    )
    clinical_expand_dropout_rate: Annotated[float, affects("architecture", "training", idle=(*NO_ERA, NOT_ERA_A))] = (
        Field(0, ge=0, lt=1, description="Dropout of whole channels after each ReLU of era A's expansion.")
    )
    clinical_conv_dropout_rate: Annotated[float, affects("architecture", "training", idle=(*NO_ERA, NOT_ERA_A))] = (
        Field(0, ge=0, lt=1, description="Dropout of whole channels after each ReLU of era A's encoder.")
    )
    clinical_last_relu: Annotated[
        bool,
        affects("training", "evaluation", idle=(*NO_ERA, NOT_ERA_A, when(resolved_era="A", using_fpn=True))),
        Later(True),
    ] = Field(
        True,
        description="Era A without FPN: expansion and encoder end in ReLU and dropout; false: in BatchNorm, as in the log from 19 May 2022.",
    )
    clinical_idle_network: Annotated[
        bool,
        affects("architecture", "speed", idle=(*NO_ERA, NOT_ERA_C, when(spatialise_clinical=True))),
        Later(True),
    ] = Field(
        True,
        description="Era C with spatialise_clinical = false: build the second image network that nothing reads, as the log did until 25 May 2022.",
    )
    fuse_conv_channels: Annotated[
        int, affects("architecture", "training", idle=(*NO_ERA, NOT_ERA_C, when(fuse_layers={0, 1})))
    ] = Field(
        32,
        ge=1,
        le=4096,
        description="Width between era C's fuse convolutions (the original's: clinical_conv_channels).",
        json_schema_extra=unit("channels"),
    )
    fuse_dropout_rate: Annotated[
        float, affects("architecture", "training", idle=(NOT_FUSED, when(resolved_era="A", using_fpn=True)))
    ] = Field(0, ge=0, lt=1, description="Dropout of whole channels after each ReLU of the fuse convolutions.")
    fuse_depth: Annotated[
        int,
        affects(
            "architecture",
            "training",
            idle=(*NO_ERA, when(era="B"), when(era="A", using_fpn=True), NOT_SPATIALISED),
        ),
    ] = Field(
        4,
        ge=0,
        le=64,
        description="3x3 convolutions after the fusion (era A with FPN has one per level).",
        json_schema_extra=unit("layers"),
    )
    fuse_stride: Annotated[Literal[1, 2], affects("training", "evaluation", "speed", idle=NOT_FUSED)] = Field(
        1,
        description="Stride of the fuse convolutions; the log's 2 shrinks the map to 1x1 without FPN.",
    )
    fusion_strategy: Annotated[Literal["concat", "add"], affects("architecture", "training", idle=NOT_FUSED)] = Field(
        "concat", description="How eras A and C join image map and clinical map (era B adds)."
    )
    fusion_residule: Annotated[bool, affects("training", "evaluation", "speed", idle=NOT_FUSED)] = Field(
        False,
        validation_alias=AliasChoices("fusion_residule", "fusion_residual"),
        description='Add both maps to the fused one; needs fusion_strategy = "add" (also read as fusion_residual).',
    )
    spatialise_clinical: Annotated[bool, affects("architecture", "training", idle=(*NO_ERA, NOT_ERA_C))] = Field(
        True, description="Era C: turn the vector into a clinical image whose map joins the image's."
    )
    spatialise_method: Annotated[
        Literal["convs", "repeat"], affects("architecture", "training", idle=(*NO_ERA, NOT_SPATIALISED))
    ] = Field(
        "convs",
        description="Era C: expand the vector to an image for a second network, or repeat it at every cell after a linear layer per map.",
    )
    pre_spatialised_layer: Annotated[
        Literal[False] | Annotated[int, Field(ge=1, le=64)],
        BeforeValidator(_layers),
        affects("architecture", "training", idle=(*NO_ERA, NOT_SPATIALISED)),
    ] = Field(
        False,
        description="Era C: so many stages of linear layer, BatchNorm and LeakyReLU, and a linear layer, before the vector is used.",
        json_schema_extra=unit("layers"),
    )
    add_clinical_to_roi_heads: Annotated[bool, affects("architecture", "training", idle=(*NO_ERA, NOT_ERA_C))] = Field(
        True, description="Era C: append the vector to every RoI's features before fc6."
    )

    # heads
    anchor_sizes: Annotated[tuple[int, ...], affects("architecture", "training", "evaluation", idle=TORCHVISION)] = (
        Field(
            (32, 64, 128, 256, 512),
            description="Sides of the RPN's anchors; with FPN one per level.",
            json_schema_extra=unit("px"),
        )
    )
    anchor_ratios: Annotated[tuple[float, ...], affects("architecture", "training", "evaluation", idle=TORCHVISION)] = (
        Field((0.5, 1.0, 2.0), description="Height to width of the RPN's anchors.")
    )
    representation_size: Annotated[int, affects("architecture", "training", idle=TORCHVISION)] = Field(
        32, ge=1, le=8192, description="Width of the box head's two linear layers.", json_schema_extra=unit("features")
    )
    box_head_dropout_rate: Annotated[float, affects("training", "speed", idle=TORCHVISION)] = Field(
        0, ge=0, lt=1, description="Dropout before each ReLU of the box head."
    )
    box_loss: Annotated[
        Literal["smooth_l1"] | OwnPart,
        affects("architecture", "training", "speed", idle=TORCHVISION),
        Later("smooth_l1"),
    ] = Field(
        "smooth_l1",
        description="Loss of the box head's deltas, summed over the boxes; or a class of your own.",
    )
    use_mask: Annotated[bool, affects("architecture", "training", "evaluation", "speed", idle=TORCHVISION)] = Field(
        False, description="Mask head beside the box head."
    )
    mask_hidden_layers: Annotated[
        int, affects("architecture", "training", idle=(TORCHVISION, when(has_masks=False)))
    ] = Field(
        256,
        ge=1,
        le=4096,
        description="Width of the mask head.",
        json_schema_extra=unit("channels"),
    )
    rpn_pre_nms_top_n_train: Annotated[int, affects("training", "speed")] = Field(
        2000,
        ge=1,
        le=100_000,
        description="Anchors per level kept before suppression, in training.",
        json_schema_extra=unit("proposals"),
    )
    rpn_pre_nms_top_n_test: Annotated[int, affects("evaluation", "speed")] = Field(
        1000,
        ge=1,
        le=100_000,
        description="Anchors per level kept before suppression, in evaluation.",
        json_schema_extra=unit("proposals"),
    )
    rpn_post_nms_top_n_train: Annotated[int, affects("training", "speed")] = Field(
        2000,
        ge=1,
        le=100_000,
        description="Most proposals per image after suppression, in training.",
        json_schema_extra=unit("proposals"),
    )
    rpn_post_nms_top_n_test: Annotated[int, affects("evaluation", "speed")] = Field(
        1000,
        ge=1,
        le=100_000,
        description="Most proposals per image after suppression, in evaluation.",
        json_schema_extra=unit("proposals"),
    )
    rpn_nms_thresh: Annotated[float, affects("training", "evaluation", "speed")] = Field(
        0.3,
        gt=0,
        le=1,
        description="Overlap above which the RPN drops the weaker proposal.",
        json_schema_extra=unit("IoU"),
    )
    rpn_score_thresh: Annotated[float, affects("training", "evaluation", "speed")] = Field(
        0.0, ge=0, lt=1, description="Objectness below which the RPN drops a proposal."
    )
    box_nms_thresh: Annotated[float, affects("evaluation")] = Field(
        0.2,
        gt=0,
        le=1,
        description="Overlap above which the weaker detection of a class is dropped.",
        json_schema_extra=unit("IoU"),
    )
    box_score_thresh: Annotated[float, affects("evaluation")] = Field(
        0.05, ge=0, lt=1, description="Score below which a detection is dropped."
    )
    box_detections_per_img: Annotated[int, affects("evaluation", "speed")] = Field(
        10, ge=1, le=1000, description="Most detections kept per image."
    )
    rpn_fg_iou_thresh: Annotated[float, affects("training")] = Field(
        0.7,
        gt=0,
        le=1,
        description="Overlap from which an anchor is a finding for the RPN's losses.",
        json_schema_extra=unit("IoU"),
    )
    rpn_bg_iou_thresh: Annotated[float, affects("training")] = Field(
        0.3,
        gt=0,
        le=1,
        description="Overlap below which an anchor is background.",
        json_schema_extra=unit("IoU"),
    )
    box_fg_iou_thresh: Annotated[float, affects("training"), SAMPLES] = Field(
        0.5,
        gt=0,
        le=1,
        description="Overlap from which a proposal is a finding for the box head's losses.",
        json_schema_extra=unit("IoU"),
    )
    box_bg_iou_thresh: Annotated[float, affects("training"), SAMPLES] = Field(
        0.5,
        gt=0,
        le=1,
        description="Overlap below which a proposal is background.",
        json_schema_extra=unit("IoU"),
    )
    rpn_positive_fraction: Annotated[float, affects("training")] = Field(
        0.5, gt=0, le=1, description="Largest share of findings among the RPN's anchors."
    )
    box_positive_fraction: Annotated[float, affects("training", "speed"), SAMPLES] = Field(
        0.25, gt=0, le=1, description="Largest share of findings among the box head's proposals."
    )
    rpn_batch_size_per_image: Annotated[int, affects("training", "speed")] = Field(
        256,
        ge=1,
        le=100_000,
        description="Anchors per image in the RPN's losses.",
        json_schema_extra=unit("anchors"),
    )
    box_batch_size_per_image: Annotated[int, affects("training", "speed"), SAMPLES] = Field(
        512,
        ge=1,
        le=100_000,
        description="Proposals per image in the box head's losses.",
        json_schema_extra=unit("proposals"),
    )
    gt_in_train_till: Annotated[int, affects("training")] = Field(
        999,
        ge=0,
        description="Ground-truth boxes join the training proposals up to this epoch (999: always).",
        json_schema_extra=unit("epochs"),
    )

    # optimisation
    optimiser: Annotated[Literal["sgd", "adamw"] | OwnPart, affects("training", "speed")] = Field(
        "sgd", description="Optimiser."
    )
    lr: Annotated[float, affects("training")] = Field(1e-3, gt=0, le=10, description="Learning rate at the start.")
    momentum: Annotated[float, affects("training", idle=unless(optimiser="sgd"))] = Field(
        0.9, ge=0, lt=1, description="Momentum of SGD."
    )
    weight_decay: Annotated[float, affects("training")] = Field(0, ge=0, le=1, description="Weight decay (L2).")
    batch_size: Annotated[int, affects("training", "speed")] = Field(
        4, ge=1, le=4096, description="Images per batch.", json_schema_extra=unit("images")
    )
    gradient_accumulation: Annotated[int, affects("training")] = Field(
        1,
        ge=1,
        le=4096,
        description="Batches per optimiser step, their gradients averaged.",
        json_schema_extra=unit("batches"),
    )
    gradient_clip_norm: Annotated[float | None, affects("training")] = Field(
        None, gt=0, description="Largest norm of all gradients together."
    )
    mixed_precision: Annotated[bool, affects("training", "speed")] = Field(
        False, description="Half precision where it is safe; needs a GPU of NVIDIA or AMD."
    )
    channels_last: Annotated[bool | None, BeforeValidator(_none_word), affects("training", "speed"), Later(None)] = (
        Field(
            None,
            description="Keep the channels of a cell side by side in memory: rounds otherwise; none: on a CPU, with one image map, from 128 px on, without backbone or fusion of your own.",
        )
    )
    tf32: Annotated[bool, affects("training", "speed"), Later(False)] = Field(
        False,
        description="TensorFloat-32 (10 bits of mantissa) on NVIDIA GPUs from Ampere on: faster, rounds otherwise.",
    )
    bf16: Annotated[bool, affects("training", "speed"), Later(False)] = Field(
        False,
        description="bfloat16 (8 bits of mantissa) where it is safe, on a device that has it.",
    )
    gpus_per_run: Annotated[int, affects("training", "speed"), Later(1)] = Field(
        1,
        ge=1,
        le=64,
        description="GPUs of one machine, or processes on the CPU, that share each batch.",
    )
    sync_batch_norm: Annotated[bool, affects("training", "speed", idle=when(gpus_per_run=1)), Later(False)] = Field(
        False, description="BatchNorm sees the whole batch, not each GPU its share; on GPUs alone."
    )
    gradient_checkpointing: Annotated[bool, affects("speed"), Later(False)] = Field(
        False,
        description="Compute the image network's blocks again in the backward pass: less memory, more time, equal results.",
    )
    ema_decay: Annotated[float | None, affects("training", "evaluation", "speed"), Later(None)] = Field(
        None,
        gt=0,
        lt=1,
        description="Evaluate and keep an exponential moving average of the weights, with this decay per step.",
    )
    warmup_epochs: Annotated[
        int, affects("training", idle=(when(lr_scheduler=None), when(lr_scheduler="CosineAnnealingLR")))
    ] = Field(
        0,
        ge=0,
        description="The scheduler starts after these epochs (no ramp, as in the log).",
        json_schema_extra=unit("epochs"),
    )
    lr_scheduler: Annotated[
        Literal["ReduceLROnPlateau", "MultiStepLR", "CosineAnnealingLR"] | OwnPart | None,
        BeforeValidator(_none_word),
        affects("training"),
    ] = Field(None, description="Learning-rate schedule.")
    plateau_metric: Annotated[
        Literal["val_loss", "val_loss_last_20", "val_ap", "previous_val_ap"], affects("training", idle=NO_PLATEAU)
    ] = Field(
        "val_loss",
        description="What ReduceLROnPlateau watches: validation loss, that of the last 20 batches (the log from May 2022), AP, or the AP of the epoch before (the log until then).",
    )
    reduceLROnPlateau_factor: Annotated[
        float, affects("training", idle=(NO_PLATEAU, when(reduceLROnPlateau_full_stop=True)))
    ] = Field(0.1, gt=0, lt=1, description="Factor of ReduceLROnPlateau.")
    reduceLROnPlateau_patience: Annotated[int, affects("training", idle=NO_PLATEAU)] = Field(
        10, ge=0, description="Bad epochs ReduceLROnPlateau waits for.", json_schema_extra=unit("epochs")
    )
    reduceLROnPlateau_full_stop: Annotated[bool, affects("training", idle=NO_PLATEAU)] = Field(
        False, description="Stop the run when the patience is used up, in place of lowering the rate."
    )
    multiStepLR_milestones: Annotated[int | tuple[int, ...], affects("training", idle=NO_STEPS)] = Field(
        (30, 50, 70, 90),
        description="Epochs at which MultiStepLR lowers the rate.",
        json_schema_extra=unit("epochs"),
    )
    multiStepLR_gamma: Annotated[float, affects("training", idle=NO_STEPS)] = Field(
        0.1, gt=0, lt=1, description="Factor of MultiStepLR."
    )
    cosine_ramp_epochs: Annotated[int, affects("training", idle=NO_COSINE), Later(0)] = Field(
        0,
        ge=0,
        description="Epochs in which the rate first rises to lr in equal steps.",
        json_schema_extra=unit("epochs"),
    )
    cosine_last_factor: Annotated[float, affects("training", idle=NO_COSINE), Later(0.0)] = Field(
        0.0, ge=0, le=1, description="Share of lr that CosineAnnealingLR falls to."
    )
    loss_weights: Annotated[dict[str, LossWeight], affects("training")] = Field(
        default_factory=dict, description='Factor per loss component (default 1), or "detach".'
    )
    learned_loss_weights: Annotated[bool, affects("training")] = Field(
        False,
        description="Learn weights w: the sum of 0.5/w² · loss + log(1 + w²) (Kendall et al., arXiv:1705.07115).",
    )
    augmentation: Annotated[OwnPart | None, affects("training", "speed"), Later(None)] = Field(
        None,
        description="A class of your own that changes a training image and its boxes, after the others.",
    )
    horizontal_flip: Annotated[float, affects("training")] = Field(
        0.5,
        ge=0,
        le=1,
        description="Chance of mirroring a training image, which swaps the heart's side.",
    )
    augment_scale: Annotated[float, affects("training"), Later(0.0)] = Field(
        0.0, ge=0, lt=1, description="Largest share by which a training image grows or shrinks."
    )
    augment_shift: Annotated[float, affects("training"), Later(0.0)] = Field(
        0.0, ge=0, lt=1, description="Largest shift along each axis, as a share of the side."
    )
    augment_rotation: Annotated[float, affects("training"), Later(0.0)] = Field(
        0.0,
        ge=0,
        le=45,
        description="Largest rotation to either side; a box becomes the one around it.",
        json_schema_extra=unit("degrees"),
    )
    augment_contrast: Annotated[float, affects("training"), Later(0.0)] = Field(
        0.0, ge=0, lt=1, description="Largest share by which the contrast rises or falls."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> ModelSetup:
        problem = next(problems(self), None)
        if problem is not None:
            raise ValueError(problem)
        return self

    def part(self, *effects: Effect) -> str:
        """The fields that affect one of ``effects``, as a text: equal for setups that are alike in these."""
        return self.model_dump_json(include=set(affecting(ModelSetup, *effects)))

    @property
    def fusion_name(self) -> str:
        """The word or ``MODULE:CLASS`` of ``fusion``."""
        return str(part_name(self.fusion))

    @property
    def clinical_encoder_name(self) -> str:
        """The word or ``MODULE:CLASS`` of ``clinical_encoder``, or what the fusion reads by itself."""
        return part_name(self.clinical_encoder) or self.fusions_encoder

    @property
    def fusions_encoder(self) -> str:
        """What the fusion reads where ``clinical_encoder`` says nothing."""
        return "tokens" if self.fusion_name == "cross_attention" else "vector"

    @property
    def missing_indicators(self) -> bool:
        """Whether the detector gets a flag for missing numbers: asked for, or as tokens need it."""
        return self.clinical_missing_indicators or self.clinical_encoder_name == "tokens"

    @property
    def control(self) -> str | None:
        """What stands in place of an image or of its own record, as in an arm that others are compared with; else None."""
        if self.image_input != "xray":
            return "image_input = training_mean"
        other = self.use_clinical and self.clinical_records != "true"
        return f"clinical_records = {self.clinical_records}" if other else None

    @property
    def era_form(self) -> Era | None:
        """The documented form of the clinical branch; None without one."""
        return self.resolved_era if self.use_clinical and self.fusion_name == "era" else None

    @property
    def resolved_era(self) -> Era:
        """The clinical branch's form: ``era`` if given, else by the documented rule."""
        if self.era is not None:
            return self.era
        if self.clinical_expand_conv_channels is not None:
            return "C"
        return "B" if self.using_fpn and self.fuse_depth == 0 else "A"

    @property
    def milestones(self) -> tuple[int, ...]:
        """``multiStepLR_milestones`` as a tuple, however it was written."""
        value = self.multiStepLR_milestones
        return (value,) if isinstance(value, int) else value

    @property
    def image_backbone(self) -> str:
        """The backbone that is built, by its name: torchvision's own Mask R-CNN has a ResNet50."""
        return str(part_name(self.backbone)) if self.use_custom_model else "resnet50"

    @property
    def has_pyramid(self) -> bool:
        """Whether there is a feature pyramid: asked for, or part of torchvision's own Mask R-CNN."""
        return self.using_fpn or not self.use_custom_model

    @property
    def has_masks(self) -> bool:
        """Whether there is a mask head: asked for, or part of torchvision's own Mask R-CNN."""
        return self.use_mask or not self.use_custom_model

    @property
    def fuse_layers(self) -> int:
        """How many fuse convolutions stand on each map: ``fuse_depth``, but one per level in era A with FPN."""
        if self.era_form in (None, "B"):
            return 0
        if self.era_form == "A" and self.using_fpn:
            return 1
        return self.fuse_depth if self.era_form == "A" or self.spatialise_clinical else 0

    def stock(self) -> ModelSetup:
        """This setup, or with ``use_custom_model = false`` the one that torchvision's Mask R-CNN amounts to.

        Source: ``torchvision.models.detection.maskrcnn_resnet50_fpn`` (He et al., arXiv:1703.06870).
        """
        if self.use_custom_model:
            return self
        return self.model_copy(
            update={
                "use_custom_model": True,
                "backbone": self.image_backbone,
                "using_fpn": True,
                "use_mask": True,
                "mask_hidden_layers": 256,
                "representation_size": 1024,
                "box_head_dropout_rate": 0.0,
                "box_loss": "smooth_l1",
                "anchor_sizes": (32, 64, 128, 256, 512),
                "anchor_ratios": (0.5, 1.0, 2.0),
            }
        )


# Which fields go together, and how large the maps are.


def problems(setup: ModelSetup) -> Iterator[str]:
    """What does not go together in ``setup``: each names its fields and what would do."""
    for field in PARTS:
        yield from part_problems(field, getattr(setup, field))
    yield from _values(setup)
    yield from _image_branch(setup)
    yield from _losses(setup)
    if setup.use_clinical:
        yield from _clinical_branch(setup)


def _values(setup: ModelSetup) -> Iterator[str]:
    if setup.image_size & (setup.image_size - 1):
        below = 1 << (setup.image_size.bit_length() - 1)
        yield f"image_size = {setup.image_size}: must be a power of two, such as {below} or {below * 2}"
    for name in ("anchor_sizes", "anchor_ratios"):
        values = getattr(setup, name)
        if not values or min(values) <= 0:
            yield f"{name} = {list(values)}: expected at least one number, each greater than 0"
        elif max(values) > LARGEST_ANCHOR:
            yield f"{name} = {list(values)}: expected numbers up to {LARGEST_ANCHOR}"
    for name in ("clinical_numeric", "clinical_categorical"):
        columns = getattr(setup, name) or ()
        if len(set(columns)) < len(columns):
            yield f"{name} = {list(columns)}: names a column twice; keep one of them"
    if setup.mixed_precision and setup.bf16:
        yield "mixed_precision = true with bf16 = true: two precisions; set one of them false"
    if setup.gpus_per_run > setup.batch_size:
        yield (
            f"gpus_per_run = {setup.gpus_per_run} with batch_size = {setup.batch_size}: a batch is the images "
            f"of all GPUs; set batch_size to {setup.gpus_per_run} or more"
        )
    if setup.gpus_per_run > 1 and setup.record_training_performance:
        yield (
            f"gpus_per_run = {setup.gpus_per_run} with record_training_performance = true: training AP is measured on "
            "one GPU alone; set record_training_performance = false"
        )
    if any(epoch < 1 for epoch in setup.milestones):
        yield f"multiStepLR_milestones = {list(setup.milestones)}: expected epochs, counted from 1"
    if setup.dataset_mode == "full" and setup.use_clinical:
        yield (
            'dataset_mode = "full" with use_clinical = true: full is every reading without clinical data; '
            'set dataset_mode = "normal", or use_clinical = false'
        )
    for part in ("rpn", "box"):
        below_, above = getattr(setup, f"{part}_bg_iou_thresh"), getattr(setup, f"{part}_fg_iou_thresh")
        if below_ > above:
            yield (
                f"{part}_bg_iou_thresh = {below_} is above {part}_fg_iou_thresh = {above}: "
                f"set {part}_bg_iou_thresh to {above} or less"
            )
        size, share = getattr(setup, f"{part}_batch_size_per_image"), getattr(setup, f"{part}_positive_fraction")
        if int(size * share) < 1:
            yield (
                f"{part}_batch_size_per_image = {size} with {part}_positive_fraction = {share}: no finding would ever "
                f"be sampled; set {part}_batch_size_per_image to {math.ceil(1 / share)} or more"
            )


def _image_branch(setup: ModelSetup) -> Iterator[str]:
    name = part_name(setup.backbone) or ""
    known = name in STRIDES
    if not known and not is_own(setup.backbone) and not re.fullmatch(rf"{TIMM}[\w.-]+", name):
        yield f"backbone = {name!r}: expected one of {', '.join(STRIDES)}, or timm:NAME"
    if not setup.use_custom_model:
        if setup.use_clinical:
            yield (
                "use_custom_model = false with use_clinical = true: torchvision's own Mask R-CNN reads no clinical "
                "data; set use_custom_model = true"
            )
        return
    if setup.using_fpn and setup.trainable_layers is not None and not name.startswith("resnet"):
        yield f"trainable_layers with backbone = {name!r}: only a ResNet's parts are counted; drop it"
    if setup.using_fpn and setup.trainable_layers not in (None, 5) and not setup.pretrained:
        yield (
            f"trainable_layers = {setup.trainable_layers} with pretrained = false: parts drawn at random would stay "
            "so; drop it, or set pretrained = true"
        )
    if setup.using_fpn:
        if known and name not in PYRAMID_BACKBONES:
            yield (
                f"using_fpn = true with backbone = {name!r}: it has no feature pyramid; "
                f"use one of {', '.join(PYRAMID_BACKBONES)}, or timm:NAME"
            )
        if len(setup.anchor_sizes) != len(PYRAMID_STRIDES):
            yield (
                f"anchor_sizes = {list(setup.anchor_sizes)} with using_fpn = true: expected "
                f"{len(PYRAMID_STRIDES)} sizes, one per level"
            )


def _losses(setup: ModelSetup) -> Iterator[str]:
    for name in setup.loss_weights:
        if name not in LOSS_NAMES:
            yield f"loss_weights.{name}: expected one of {', '.join(LOSS_NAMES)}"
    present = [name for name in LOSS_NAMES if name != "loss_mask" or setup.has_masks]
    if all(setup.loss_weights.get(name) in ("detach", 0) for name in present):
        yield "loss_weights: every component is detached or 0, so nothing would be trained; leave one its weight"


def _clinical_branch(setup: ModelSetup) -> Iterator[str]:
    yield from _reading(setup)
    era = setup.era_form
    if era == "C" and not (setup.spatialise_clinical or setup.add_clinical_to_roi_heads):
        yield (
            "use_clinical = true with spatialise_clinical = false and add_clinical_to_roi_heads = false: "
            "nothing would read the clinical data; set one of them true"
        )
    if era not in ("C", None) and (setup.spatialise_method == "repeat" or setup.pre_spatialised_layer):
        field = "spatialise_method" if setup.spatialise_method == "repeat" else "pre_spatialised_layer"
        yield f'{field} belongs to era C and this setup is of era {era}: drop it, or set era = "C"'
    if setup.clinical_numeric == () and setup.clinical_categorical == ():
        yield (
            "use_clinical = true with clinical_numeric = [] and clinical_categorical = []: no clinical column is "
            "left; name one, or set use_clinical = false"
        )
    fuses = era == "A" or (era == "C" and setup.spatialise_clinical)
    if fuses and setup.fusion_strategy == "concat" and setup.fuse_layers == 0:
        yield (
            'fusion_strategy = "concat" with fuse_depth = 0: the joined map would be twice as wide; '
            'use "add", or fuse_depth >= 1'
        )
    if setup.fuse_layers and setup.fusion_residule and setup.fusion_strategy == "concat":
        yield (
            'fusion_residule = true with fusion_strategy = "concat": a residual adds the image map and the clinical '
            'map to their fused sum; use fusion_strategy = "add", or fusion_residule = false'
        )
    if (problem := misfit(setup, map_sides(setup))) is not None:
        yield problem


#: Attention heads of ``cross_attention`` where its table gives no other number.
_HEADS = 8


def _reading(setup: ModelSetup) -> Iterator[str]:
    """Whether the fusion can read what the clinical encoder makes."""
    fusion, encoder = setup.fusion_name, setup.clinical_encoder_name
    if fusion == "cross_attention":
        if encoder == "vector":
            yield (
                'clinical_encoder = "vector" with fusion = "cross_attention": it attends to tokens; '
                "drop clinical_encoder"
            )
        heads = part_arguments(setup.fusion).get("heads", _HEADS)
        if isinstance(heads, int) and (heads < 1 or setup.clinical_input_channels % heads):
            yield (
                f'clinical_input_channels = {setup.clinical_input_channels} with fusion = "cross_attention": '
                f"expected a multiple of its {heads} heads"
            )
    elif encoder == "tokens" and not is_own(setup.fusion):
        yield f'clinical_encoder = "tokens" with fusion = "{fusion}": it reads one vector; drop clinical_encoder'
    if setup.clinical_records == "missing" and setup.clinical_numeric != () and not setup.missing_indicators:
        yield (
            'clinical_records = "missing" with clinical_missing_indicators = false: which numbers are missing would '
            "not be seen; set clinical_missing_indicators = true"
        )


def misfit(setup: ModelSetup, sides: tuple[int, ...] | None) -> str | None:
    """Why maps of ``sides`` cells cannot be added to the fused ones (``fusion_residule``); else None."""
    for side in sides or ():
        fused = fused_side(setup, side)
        if setup.fusion_residule and fused not in (1, side):
            return (
                f"fusion_residule = true with fuse_stride = {setup.fuse_stride}: the fused map has {fused} cells a "
                f"side and the image's {side}, which cannot be added; set fuse_stride = 1"
            )
    return None


def map_sides(setup: ModelSetup) -> tuple[int, ...] | None:
    """Cells per side of the image's maps, level by level; None for timm's networks, which have to be built to know."""
    if setup.using_fpn or not setup.use_custom_model:
        return tuple(-(-setup.image_size // stride) for stride in PYRAMID_STRIDES)
    stride = STRIDES.get(setup.image_backbone)
    return None if stride is None else (-(-setup.image_size // stride),)


def fused_side(setup: ModelSetup, side: int) -> int:
    """Cells per side that a map of ``side`` cells has after the fuse convolutions."""
    for _ in range(setup.fuse_layers):
        side = -(-side // setup.fuse_stride)
    return side
