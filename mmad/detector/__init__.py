"""The multimodal Faster R-CNN."""

from mmad.detector.build import build_detector, parameter_counts
from mmad.detector.model import DetectorOutput, MultimodalRCNN
from mmad.detector.roi_heads import CLEAN, EVALUATION_MODES, SAMPLED, WITH_GROUND_TRUTH, RoiMode

__all__ = [
    "CLEAN",
    "EVALUATION_MODES",
    "SAMPLED",
    "WITH_GROUND_TRUTH",
    "DetectorOutput",
    "MultimodalRCNN",
    "RoiMode",
    "build_detector",
    "parameter_counts",
]
