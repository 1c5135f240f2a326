"""The TensorRT engine, for the full library and for TensorRT-RTX: compiled ahead, gated, cached."""

from pbsbatch.engines.tensorrt.compiled import open_compiled

__all__ = ["open_compiled"]
