"""mmad: ablations of multimodal abnormality detectors on chest X-rays."""

__version__ = "0.1.0"
