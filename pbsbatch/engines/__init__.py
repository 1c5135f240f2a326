"""Engines: fixed-shape pixels in, named raw arrays out."""

from pbsbatch.engines.base import Engine
from pbsbatch.engines.load import load

__all__ = ["Engine", "load"]
