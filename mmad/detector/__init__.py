"""The multimodal Faster and Mask R-CNN."""

from mmad.detector.build import build_detector, idle_modules, parameter_counts
from mmad.detector.model import DetectorOutput, MultimodalRCNN
from mmad.detector.roi_heads import CLEAN, EVALUATION_MODES, SAMPLED, WITH_GROUND_TRUTH, RoiMode
from mmad.detector.weights import SharedWeights, load_shared, load_weights

__all__ = [
    "CLEAN",
    "EVALUATION_MODES",
    "SAMPLED",
    "WITH_GROUND_TRUTH",
    "DetectorOutput",
    "MultimodalRCNN",
    "RoiMode",
    "SharedWeights",
    "build_detector",
    "idle_modules",
    "load_shared",
    "load_weights",
    "parameter_counts",
]
