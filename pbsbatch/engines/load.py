"""Find the engine for a model.

Laws. Nothing runs that has not passed the parity gate on this machine. "auto" falls along a chain, and says once what
it took and why what comes before it was not taken; an engine that was asked for by name runs or is an error with its
cure. The precision is that which was asked for, or the engine says in a note which one it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec

from pbsbatch.engines.base import DenseEngine, Engine
from pbsbatch.engines.gate import Reference, Wanted, pass_gate
from pbsbatch.engines.gpus import Gpus, find_gpus
from pbsbatch.errors import EngineError
from pbsbatch.models.base import Model
from pbsbatch.models.classifier import CellClassifier
from pbsbatch.models.dense import DenseModel
from pbsbatch.models.folder import ClassifierFolder, ModelFolder
from pbsbatch.models.foreign import ForeignModel
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.models.rcnn_folder import RcnnFolder

__all__ = ["ENGINES", "load", "load_classifier", "wanted_of"]

ENGINES = ("opencv", "openvino", "torch", "tensorrt")
"""The engines that exist, by name."""


@dataclass(frozen=True, slots=True)
class _Wish:
    folder: ModelFolder | ClassifierFolder
    precision: str
    threads: int | None
    gpus: Gpus = field(default_factory=Gpus)


def load(model: Model, asked: str = "auto", *, precision: str = "auto", threads: int | None = None) -> Engine:
    """Return the engine asked for, as NAME or NAME:PRECISION; "auto" is the fastest that runs here.

    precision "auto" is the fastest that the model has and the machine computes; threads None is what this process
    may keep busy. Neither changes afterwards: engine.precision says what it is.
    """
    name, _, said = asked.partition(":")
    precision = said or precision
    if isinstance(model, ForeignModel):
        return _foreign(model, name, precision, threads)
    if isinstance(model, RcnnModel):
        return _two_stage(model.folder, name, precision, threads)
    if isinstance(model, DenseModel):
        if name == "auto":
            return _first_that_runs(_Wish(model.folder, precision, threads, find_gpus()))
        return _named(name, _Wish(model.folder, precision, threads))
    if name not in ("auto", model.spec.engine):
        raise EngineError(
            f"the model {model.spec.name} cannot run on the engine {name!r}",
            cure=f"Use --engine auto, or --engine {model.spec.engine}",
        )
    if model.spec.engine == "opencv":
        from pbsbatch.engines.opencv import OpenCVEngine

        if precision not in ("auto", OpenCVEngine.precision):
            raise EngineError(f"the engine opencv has no precision {precision!r}", cure="Use --engine opencv")
        return OpenCVEngine()
    raise _unknown(model.spec.name, model.spec.engine)


def load_classifier(
    classifier: CellClassifier, asked: str = "auto", *, precision: str = "auto", threads: int | None = None
) -> Engine:
    """Return the engine of a classifier, on the CPU: few crops come. It runs beside every detector's engine.

    precision "auto" is fp32: how far a cell lies from the taught ones is a small difference of large numbers, and
    int8 loses it (measured at the gate: off by more than it varies; bf16 by a hundredth).
    """
    wish = _Wish(classifier.folder, "fp32" if precision == "auto" else precision, threads)
    return _named("torch" if asked.partition(":")[0] == "torch" else "openvino", wish)


def _foreign(model: ForeignModel, name: str, precision: str, threads: int | None) -> Engine:
    """Return the one engine that runs another project's network, in fp32 unless bf16 is asked for.

    fp32 is held against nothing: there is no other reading of such a network here.
    """
    if name not in ("auto", "openvino"):
        raise EngineError(
            f"the model {model.spec.name} is another project's network and cannot run on the engine {name!r}",
            cure="Use --engine openvino",
        )
    from pbsbatch.engines.openvino import OpenVINOEngine

    plain = OpenVINOEngine(model.folder, "fp32", threads)
    if precision in ("auto", "fp32"):
        return plain
    engine = OpenVINOEngine(model.folder, precision, threads)
    facts = model.folder.facts
    wanted = Wanted(model.folder.digest, facts.work_mpp, (facts.input_px, facts.input_px))
    pass_gate(engine, wanted, f"openvino {version('openvino')}", Reference("openvino fp32", lambda: plain))
    return engine


def _two_stage(folder: RcnnFolder, name: str, precision: str, threads: int | None) -> Engine:
    """Return the engine of a two-stage model, in fp32 unless bf16 is asked for: PyTorch where "auto" finds a GPU, else
    OpenVINO. Its gate looks at every network by fixed boxes.
    """
    from pbsbatch.engines.rcnn import Probed, RcnnEngine

    def of(name: str, precision: str, device: str = "auto") -> RcnnEngine:
        if name == "torch":
            _need("gpu", "torch", "torchvision", "safetensors")
            from pbsbatch.engines.rcnn_torch import torch_parts

            return RcnnEngine(torch_parts(folder, precision, device, threads), folder.facts)
        from pbsbatch.engines.rcnn_openvino import OpenVINOParts

        return RcnnEngine(OpenVINOParts(folder, precision, threads), folder.facts)

    if name == "auto":
        name = "torch" if find_gpus() and find_spec("torchvision") is not None else "openvino"
    if name not in ("openvino", "torch"):
        raise EngineError(
            f"the two-stage model {folder.facts.name} cannot run on the engine {name!r}",
            cure="Use --engine openvino or torch",
        )
    engine = of(name, precision)
    if (engine.name, engine.device) == ("torch", "cpu"):
        return engine  # the reference is not held against itself
    known = name == "openvino" and (engine.precision != "fp32" or "torch" not in sys.modules)
    other = ("openvino", "fp32") if known or find_spec("torchvision") is None else ("torch", "fp32")
    if (engine.name, engine.precision) == other:
        return engine  # fp32 of the one runtime that is there
    reference = Reference(" ".join(other), lambda: Probed(of(*other, device="cpu")))
    try:
        pass_gate(Probed(engine), Wanted(folder.digest, folder.facts.work_mpp), f"{name} {version(name)}", reference)
    except EngineError:
        engine.close()
        raise
    return engine


def wanted_of(folder: ModelFolder | ClassifierFolder) -> Wanted:
    """Return what the gate asks of a model: tiles of cells at its scale, or crops of its size."""
    if isinstance(folder, ClassifierFolder):
        return Wanted(folder.digest, folder.facts.crop_mpp, (folder.facts.crop_px, folder.facts.crop_px))
    return Wanted(folder.digest, folder.facts.work_mpp)


def _named(name: str, wish: _Wish) -> DenseEngine:
    makers = {"openvino": _openvino, "torch": _torch, "tensorrt": _tensorrt}
    if name not in makers:
        raise _unknown(wish.folder.facts.name, name)
    return _gated(wish, makers[name](wish))


def _first_that_runs(wish: _Wish) -> Engine:
    """Return the first engine of the chain that can be had and passes the gate, with a note that says why it is it."""
    passed_over: list[str] = []
    for name, make in _chain(wish):
        try:
            engine = _gated(wish, make())
        except EngineError as error:
            passed_over.append(f"{name}: {error}")
            continue
        on_cpu = engine.device == "cpu" and wish.gpus.why
        why = f"no GPU, {wish.gpus.why}" if on_cpu else f"the fastest that runs on {engine.device}"
        engine.notes.append(f"runs on {engine.name} {engine.precision}: {why}")
        engine.notes.extend(f"not on {reason}" for reason in passed_over)
        return engine
    raise EngineError(f"no engine can run the model {wish.folder.facts.name} here: {'; '.join(passed_over)}")


def _chain(wish: _Wish) -> Iterator[tuple[str, Callable[[], DenseEngine]]]:
    """Yield every engine that "auto" considers, the fastest first."""
    if wish.gpus:
        yield "tensorrt", lambda: _tensorrt(wish)
        yield "torch on the GPU", lambda: _torch(wish, "cuda")
    from pbsbatch.engines.openvino import precisions_here

    for precision in precisions_here(wish.folder) if wish.precision == "auto" else (wish.precision,):
        one = replace(wish, precision=precision)
        yield f"openvino {precision}", lambda one=one: _openvino(one)  # type: ignore[misc]
    yield "torch on the CPU", lambda: _torch(wish, "cpu")


def _openvino(wish: _Wish) -> DenseEngine:
    from pbsbatch.engines.openvino import OpenVINOEngine

    return OpenVINOEngine(wish.folder, wish.precision, wish.threads)


def _torch(wish: _Wish, device: str = "auto") -> DenseEngine:
    _need("gpu", "torch", "safetensors")
    from pbsbatch.engines.torch import TorchEngine

    return TorchEngine(wish.folder, wish.precision, device, threads=wish.threads)


def _tensorrt(wish: _Wish) -> DenseEngine:
    _need("tensorrt", "torch", "onnx")
    from pbsbatch.engines.tensorrt import open_compiled

    return open_compiled(wish.folder, wish.precision)


def _need(extra: str, *packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise EngineError(f"{' and '.join(missing)} not installed", cure=f"Run: pip install 'pbsbatch[{extra}]'")


def _gated(wish: _Wish, engine: DenseEngine) -> DenseEngine:
    """Return an engine that has passed the gate; one that has not is closed."""
    if engine.name == "tensorrt" or (engine.name, engine.device) == ("torch", "cpu"):
        return engine  # its plan bears the stamp of its own gate; and the reference is not held against itself
    try:
        versions = f"{engine.name} {version(engine.name)}"
        if engine.device != "cpu":
            versions += f", driver {find_gpus().driver}"
        pass_gate(engine, wanted_of(wish.folder), versions, _reference(wish, engine))
    except EngineError:
        engine.close()
        raise
    return engine


def _reference(wish: _Wish, engine: DenseEngine) -> Reference:
    """Return what an engine is held against: torch fp32 on the CPU, or OpenVINO fp32.

    To load torch takes longer than everything else at the gate: a run on the CPU does not do it for the gate alone.
    """
    plain = replace(wish, precision="fp32")
    narrow = engine.name == "openvino" and engine.precision != "fp32"
    if find_spec("torch") is None or find_spec("safetensors") is None or (narrow and "torch" not in sys.modules):
        return Reference("openvino fp32", lambda: _openvino(plain))
    return Reference("torch fp32", lambda: _torch(plain, "cpu"))


def _unknown(model: str, name: str) -> EngineError:
    return EngineError(
        f"the engine {name!r} does not exist here, or not for the model {model}",
        cure=f"Engines that exist: {', '.join(sorted(ENGINES))}",
    )
