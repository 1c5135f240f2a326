"""Find the engine for a model."""

from __future__ import annotations

from importlib.util import find_spec

from pbsbatch.engines.base import Engine
from pbsbatch.errors import EngineError
from pbsbatch.models.base import Model
from pbsbatch.models.dense import DenseModel

__all__ = ["ENGINES", "load"]

ENGINES = ("opencv", "openvino", "torch")
"""The engines that exist, by name."""


def load(model: Model, asked: str = "auto", *, precision: str = "auto", threads: int | None = None) -> Engine:
    """Return the engine asked for. Law: "auto" is the model's own; one that it cannot run on is an EngineError.

    precision "auto" is the fastest that the model has and the processor computes; threads None is what this process
    may keep busy. Neither changes afterwards: engine.precision says what it is.
    """
    name = model.spec.engine if asked == "auto" else asked
    if isinstance(model, DenseModel):
        return _load_dense(model, name, precision, threads)
    if name != model.spec.engine:
        raise EngineError(
            f"the model {model.spec.name} cannot run on the engine {name!r}",
            cure=f"Use --engine auto, or --engine {model.spec.engine}",
        )
    if name == "opencv":
        from pbsbatch.engines.opencv import OpenCVEngine

        return OpenCVEngine()
    raise _unknown(model, name)


def _load_dense(model: DenseModel, name: str, precision: str, threads: int | None) -> Engine:
    if name == "openvino":
        from pbsbatch.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(model.folder, precision, threads)
    if name == "torch":
        missing = [package for package in ("torch", "safetensors") if find_spec(package) is None]
        if missing:
            raise EngineError(f"{' and '.join(missing)} not installed", cure="Run: pip install 'pbsbatch[gpu]'")
        from pbsbatch.engines.torch import TorchEngine

        return TorchEngine(model.folder, precision, threads=threads)
    raise _unknown(model, name)


def _unknown(model: Model, name: str) -> EngineError:
    return EngineError(
        f"the engine {name!r} does not exist here, or not for the model {model.spec.name}",
        cure=f"Engines that exist: {', '.join(sorted(ENGINES))}",
    )
