"""What this version can build and train: the one place to shorten as the family of detectors grows."""

from __future__ import annotations

from mmad.spec.setup import ModelSetup

#: Backbones that can be built.
BUILT_BACKBONES = ("mobilenet_v3", "resnet18", "custom", "custom1", "custom2")


def unsupported(setup: ModelSetup) -> tuple[str, str, str] | None:
    """The first field of ``setup`` that cannot be built yet: (field, what, mend); None when all can."""
    if setup.backbone not in BUILT_BACKBONES:
        return "backbone", f'"{setup.backbone}" cannot be built yet', "choose one of " + ", ".join(BUILT_BACKBONES)
    if setup.using_fpn:
        return "using_fpn", "feature pyramids cannot be built yet", "set using_fpn = false"
    if setup.use_mask:
        return "use_mask", "the mask head cannot be built yet", "set use_mask = false"
    if not setup.use_custom_model:
        return "use_custom_model", "torchvision's own Mask R-CNN cannot be built yet", "set use_custom_model = true"
    if setup.use_clinical and setup.resolved_era == "B":
        return "era", "era B cannot be built yet", "choose era A or C"
    if setup.dataset_mode != "unified":
        return "dataset_mode", f'"{setup.dataset_mode}" cannot be trained yet', 'set dataset_mode = "unified"'
    return None
