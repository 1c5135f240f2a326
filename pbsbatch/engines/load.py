"""Find the engine for a model."""

from __future__ import annotations

from importlib.util import find_spec

from pbsbatch.engines.base import Engine
from pbsbatch.errors import EngineError
from pbsbatch.models.base import Model
from pbsbatch.models.classifier import CellClassifier
from pbsbatch.models.dense import DenseModel
from pbsbatch.models.folder import ClassifierFolder, ModelFolder

__all__ = ["ENGINES", "load", "load_classifier"]

ENGINES = ("opencv", "openvino", "torch")
"""The engines that exist, by name."""


def load(model: Model, asked: str = "auto", *, precision: str = "auto", threads: int | None = None) -> Engine:
    """Return the engine asked for. Law: "auto" is the model's own; one that it cannot run on is an EngineError.

    precision "auto" is the fastest that the model has and the processor computes; threads None is what this process
    may keep busy. Neither changes afterwards: engine.precision says what it is.
    """
    name = model.spec.engine if asked == "auto" else asked
    if isinstance(model, DenseModel):
        return _load_network(model.folder, name, precision, threads)
    if name != model.spec.engine:
        raise EngineError(
            f"the model {model.spec.name} cannot run on the engine {name!r}",
            cure=f"Use --engine auto, or --engine {model.spec.engine}",
        )
    if name == "opencv":
        from pbsbatch.engines.opencv import OpenCVEngine

        return OpenCVEngine()
    raise _unknown(model.spec.name, name)


def load_classifier(
    classifier: CellClassifier, asked: str = "auto", *, precision: str = "auto", threads: int | None = None
) -> Engine:
    """Return the engine of a classifier, by the same law: it runs where a detector would, beside the classical one too.

    PyTorch is the reference, and few crops come: there it computes in fp32.
    """
    if asked == "torch":
        precision = "fp32" if precision == "auto" else precision
        return _load_network(classifier.folder, asked, precision, threads)
    return _load_network(classifier.folder, "openvino", precision, threads)


def _load_network(folder: ModelFolder | ClassifierFolder, name: str, precision: str, threads: int | None) -> Engine:
    if name == "openvino":
        from pbsbatch.engines.openvino import OpenVINOEngine

        return OpenVINOEngine(folder, precision, threads)
    if name == "torch":
        missing = [package for package in ("torch", "safetensors") if find_spec(package) is None]
        if missing:
            raise EngineError(f"{' and '.join(missing)} not installed", cure="Run: pip install 'pbsbatch[gpu]'")
        from pbsbatch.engines.torch import TorchEngine

        return TorchEngine(folder, precision, threads=threads)
    raise _unknown(folder.path.name, name)


def _unknown(model: str, name: str) -> EngineError:
    return EngineError(
        f"the engine {name!r} does not exist here, or not for the model {model}",
        cure=f"Engines that exist: {', '.join(sorted(ENGINES))}",
    )
