"""``ModelSetup``: every hyper-parameter of one run, under the names the documented log prints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mmad.base.records import LOSS_COMPONENTS

Era = Literal["A", "B", "C"]
LossWeight = Annotated[float, Field(ge=0)] | Literal["detach"]

BACKBONES = (
    "mobilenet_v3",
    "mobilenet_v2",
    "resnet18",
    "resnet50",
    "swin_t",
    "custom",
    "custom1",
    "custom2",
    "custom3",
)
#: Losses that can be weighted: those of every detector, and the mask head's.
LOSS_NAMES = (*LOSS_COMPONENTS, "loss_mask")


def _none_word(value: object) -> object:
    """TOML has no null: the word ``none`` stands for it."""
    return None if isinstance(value, str) and value.lower() == "none" else value


def unit(name: str) -> dict[str, Any]:
    """The unit of a field, carried into the JSON Schema."""
    return {"unit": name}


class ModelSetup(BaseModel):
    """Every hyper-parameter of one run. Names follow the documented log; ``fusion_residual`` is read too."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=False)

    # identity and paths: printed by the log, no part of a run's content
    name: str = Field("", description="Name printed in headings and checkpoint names; empty takes the arm's name.")
    best_ar_val_model_path: str | None = Field(
        None, description="Checkpoint with the best validation AR, filled after a run."
    )
    best_ap_val_model_path: str | None = Field(
        None, description="Checkpoint with the best validation AP, filled after a run."
    )
    final_model_path: str | None = Field(None, description="Checkpoint of the last epoch, filled after a run.")

    # what is trained
    use_clinical: bool = Field(False, description="Read the clinical columns beside the image.")
    use_custom_model: bool = Field(
        True, description="The multimodal detector; false builds torchvision's own Mask R-CNN."
    )
    use_early_stop_model: bool = Field(
        True, description="Keep the best-AP and best-AR checkpoints beside the final one."
    )
    record_training_performance: bool = Field(True, description="Measure AP and AR on the training batches too.")
    dataset_mode: Literal["normal", "unified", "full"] = Field(
        "unified",
        description="One sample per reading (normal), per image (unified), or every reading without clinical data (full).",
    )
    era: Annotated[Era | None, BeforeValidator(_none_word)] = Field(
        None,
        description="Form of the clinical branch; none derives it: clinical_expand_conv_channels given is C, FPN with fuse_depth 0 is B, else A.",
    )

    # image branch
    backbone: str = Field("mobilenet_v3", description="Image network: " + ", ".join(BACKBONES) + ", or timm:NAME.")
    pretrained: bool = Field(True, description="Start the backbone from ImageNet weights.")
    image_size: int = Field(
        256,
        ge=32,
        le=4096,
        description="Side of the square the image is resized to; a power of two.",
        json_schema_extra=unit("px"),
    )
    backbone_out_channels: int = Field(
        16,
        ge=1,
        le=4096,
        description="Width of the image map handed to the heads (no effect with FPN).",
        json_schema_extra=unit("channels"),
    )
    using_fpn: bool = Field(False, description="Feature pyramid network on the backbone.")
    norm_momentum: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Momentum of the backbone's BatchNorm running statistics; none keeps the backbone's own (0.01 for mobilenet_v3, else 0.1).",
    )

    # clinical branch
    clinical_input_channels: int = Field(
        32,
        ge=1,
        le=8192,
        description="Length of the clinical vector after the categories' embedding.",
        json_schema_extra=unit("channels"),
    )
    clinical_num_len: int | None = Field(
        None,
        ge=0,
        description="How many numeric clinical columns; none takes the data set's.",
        json_schema_extra=unit("columns"),
    )
    clinical_numeric: tuple[str, ...] | None = Field(
        None, description="Numeric clinical columns by name; none takes all of the data set."
    )
    clinical_categorical: tuple[str, ...] | None = Field(
        None, description="Categorical clinical columns by name; none takes all of the data set."
    )
    clinical_values: Literal["standardised", "raw"] = Field(
        "standardised",
        description="Numbers standardised with the training split's mean and deviation, or raw as the log did; missing values take the training mean.",
    )
    clinical_expand_conv_channels: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Width of era C's expansion; giving it selects era C.",
        json_schema_extra=unit("channels"),
    )
    clinical_conv_channels: int = Field(
        32,
        ge=1,
        le=4096,
        description="Width of era A's encoder and fuse convolutions.",
        json_schema_extra=unit("channels"),
    )
    clinical_expand_dropout_rate: float = Field(
        0, ge=0, lt=1, description="Dropout after each ReLU of era A's expansion."
    )
    clinical_conv_dropout_rate: float = Field(0, ge=0, lt=1, description="Dropout after each ReLU of era A's encoder.")
    fuse_conv_channels: int = Field(
        32,
        ge=1,
        le=4096,
        description="Printed by the log, without effect in every logged run.",
        json_schema_extra=unit("channels"),
    )
    fuse_dropout_rate: float = Field(0, ge=0, lt=1, description="Dropout after each ReLU of era A's fuse convolutions.")
    fuse_depth: int = Field(
        4,
        ge=0,
        le=64,
        description="Number of 3x3 fuse convolutions after the fusion.",
        json_schema_extra=unit("layers"),
    )
    fuse_stride: Literal[1, 2] = Field(
        1, description="Stride of era A's fuse convolutions; the log's was 2, which shrinks the fused map to 1x1."
    )
    fusion_strategy: Literal["concat", "add"] = Field(
        "concat", description="How era A joins the image map and the clinical map."
    )
    fusion_residule: bool = Field(
        False,
        validation_alias=AliasChoices("fusion_residule", "fusion_residual"),
        description="Add the image map back to the fused map (also read as fusion_residual).",
    )
    spatialise_clinical: bool = Field(
        True, description="Era C: turn the vector into a clinical image and add its map to the image map."
    )
    add_clinical_to_roi_heads: bool = Field(
        True, description="Era C: append the clinical vector to every RoI's features before fc6."
    )

    # heads
    anchor_sizes: tuple[int, ...] = Field(
        (32, 64, 128, 256, 512),
        description="Sides of the RPN's anchors; with FPN one per level.",
        json_schema_extra=unit("px"),
    )
    anchor_ratios: tuple[float, ...] = Field((0.5, 1.0, 2.0), description="Height to width of the RPN's anchors.")
    representation_size: int = Field(
        32, ge=1, le=8192, description="Width of the box head's two linear layers.", json_schema_extra=unit("features")
    )
    box_head_dropout_rate: float = Field(
        0, ge=0, lt=1, description="Dropout between each linear layer of the box head and its ReLU."
    )
    use_mask: bool = Field(False, description="Mask head beside the box head.")
    mask_hidden_layers: int = Field(
        256,
        ge=1,
        le=4096,
        description="Width of the mask head (no effect without use_mask).",
        json_schema_extra=unit("channels"),
    )
    rpn_nms_thresh: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Overlap above which the RPN drops the weaker proposal.",
        json_schema_extra=unit("IoU"),
    )
    rpn_score_thresh: float = Field(0.0, ge=0, lt=1, description="Objectness below which the RPN drops a proposal.")
    box_nms_thresh: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Overlap above which the weaker detection of a class is dropped.",
        json_schema_extra=unit("IoU"),
    )
    box_score_thresh: float = Field(0.05, ge=0, lt=1, description="Score below which a detection is dropped.")
    box_detections_per_img: int = Field(10, ge=1, le=1000, description="Most detections kept per image.")
    rpn_batch_size_per_image: int = Field(
        256,
        ge=1,
        le=100_000,
        description="Anchors per image that the RPN's losses are taken of.",
        json_schema_extra=unit("anchors"),
    )
    box_batch_size_per_image: int = Field(
        512,
        ge=1,
        le=100_000,
        description="Proposals per image that the box head's losses are taken of; at most a quarter of them hold a finding.",
        json_schema_extra=unit("proposals"),
    )
    gt_in_train_till: int = Field(
        999,
        ge=0,
        description="Ground-truth boxes join the training proposals up to this epoch (999 always, 0 never).",
        json_schema_extra=unit("epochs"),
    )

    # optimisation
    optimiser: Literal["sgd", "adamw"] = Field("sgd", description="Optimiser; SGD runs with momentum.")
    lr: float = Field(1e-3, gt=0, le=10, description="Learning rate at the start.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(0, ge=0, le=1, description="Weight decay (L2).")
    batch_size: int = Field(
        4, ge=1, le=4096, description="Images per optimiser step.", json_schema_extra=unit("images")
    )
    warmup_epochs: int = Field(
        0,
        ge=0,
        description="The scheduler is not stepped before this epoch (no ramp, as in the log).",
        json_schema_extra=unit("epochs"),
    )
    lr_scheduler: Annotated[Literal["ReduceLROnPlateau", "MultiStepLR"] | None, BeforeValidator(_none_word)] = Field(
        None, description="Learning-rate schedule; none keeps the rate."
    )
    plateau_metric: Literal["val_loss", "val_ap"] = Field(
        "val_loss", description="What ReduceLROnPlateau watches: the validation loss (min) or AP (max)."
    )
    reduceLROnPlateau_factor: float = Field(0.1, gt=0, lt=1, description="Factor of ReduceLROnPlateau.")
    reduceLROnPlateau_patience: int = Field(
        10, ge=0, description="Bad epochs ReduceLROnPlateau waits for.", json_schema_extra=unit("epochs")
    )
    reduceLROnPlateau_full_stop: bool = Field(
        False, description="Stop the run when the patience is used up (the rate is then never lowered)."
    )
    multiStepLR_milestones: int | tuple[int, ...] = Field(
        (30, 50, 70, 90),
        description="Epochs at which MultiStepLR lowers the rate; one number is read too.",
        json_schema_extra=unit("epochs"),
    )
    multiStepLR_gamma: float = Field(0.1, gt=0, lt=1, description="Factor of MultiStepLR.")
    loss_weights: dict[str, LossWeight] = Field(
        default_factory=dict, description='Factor per loss component, or "detach"; components not named count once.'
    )
    horizontal_flip: float = Field(0.5, ge=0, le=1, description="Chance of flipping a training image left to right.")

    @model_validator(mode="after")
    def _fits_together(self) -> ModelSetup:
        if self.image_size & (self.image_size - 1):
            below = 1 << (self.image_size.bit_length() - 1)
            raise ValueError(f"image_size = {self.image_size}: must be a power of two, such as {below} or {below * 2}")
        if self.backbone not in BACKBONES and not self.backbone.startswith("timm:"):
            raise ValueError(f"backbone = {self.backbone!r}: expected one of {', '.join(BACKBONES)}, or timm:NAME")
        for name in ("anchor_sizes", "anchor_ratios"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise ValueError(f"{name} = {list(values)}: expected at least one number, each greater than 0")
        if any(epoch < 1 for epoch in self.milestones):
            raise ValueError(f"multiStepLR_milestones = {list(self.milestones)}: expected epochs, counted from 1")
        unknown = [name for name in self.loss_weights if name not in LOSS_NAMES]
        if unknown:
            raise ValueError(f"loss_weights.{unknown[0]}: expected one of {', '.join(LOSS_NAMES)}")
        if self.resolved_era == "A" and self.use_clinical and self.fusion_strategy == "concat" and self.fuse_depth == 0:
            raise ValueError(
                'fusion_strategy = "concat" with fuse_depth = 0: the joined map would be twice as wide; use "add", or fuse_depth >= 1'
            )
        if (
            self.use_clinical
            and self.resolved_era == "C"
            and not (self.spatialise_clinical or self.add_clinical_to_roi_heads)
        ):
            raise ValueError(
                "use_clinical = true with spatialise_clinical = false and add_clinical_to_roi_heads = false: nothing would read the clinical data; set one of them true"
            )
        return self

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
