"""The fixtures of this room's tests."""

from queue_bench import bench

__all__ = ["bench"]
