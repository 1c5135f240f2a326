"""Find the engine for a model."""

from __future__ import annotations

from pbsbatch.engines.base import Engine
from pbsbatch.errors import EngineError
from pbsbatch.models.base import Model

__all__ = ["ENGINES", "load"]

ENGINES = ("opencv",)
"""The engines that exist, by name."""


def load(model: Model, asked: str = "auto") -> Engine:
    """Return the engine asked for. Law: "auto" is the model's own; one that it cannot run on is an EngineError."""
    spec = model.spec
    name = spec.engine if asked == "auto" else asked
    if name != spec.engine:
        raise EngineError(
            f"the model {spec.name} cannot run on the engine {name!r}",
            cure=f"Use --engine auto, or --engine {spec.engine}",
        )
    if name == "opencv":
        from pbsbatch.engines.opencv import OpenCVEngine

        return OpenCVEngine()
    raise EngineError(
        f"the engine {name!r} of the model {spec.name} does not exist here",
        cure=f"Engines that exist: {', '.join(sorted(ENGINES))}",
    )
