"""The multimodal Faster and Mask R-CNN."""
