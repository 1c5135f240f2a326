"""Find the engine for a model.

Laws. Nothing runs that has not passed the parity gate on this machine. "auto" falls along a chain, and says once what
it took and why what comes before it was not taken; an engine that was asked for by name runs or is an error with its
cure. The precision is that which was asked for, or the engine says in a note which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version

from pbsbatch.engines.base import DenseEngine, Engine
from pbsbatch.engines.chain import first_that_runs, references
from pbsbatch.engines.extras import loading, need
from pbsbatch.engines.gate import Wanted, pass_gate
from pbsbatch.engines.gpus import Gpus, find_gpus
from pbsbatch.engines.rcnn_load import load_two_stage
from pbsbatch.errors import EngineError
from pbsbatch.models.base import Model
from pbsbatch.models.classifier import CellClassifier
from pbsbatch.models.dense import DenseModel
from pbsbatch.models.folder import ClassifierFolder, ModelFolder
from pbsbatch.models.foreign import ForeignModel
from pbsbatch.models.rcnn import RcnnModel

__all__ = ["ENGINES", "load", "load_classifier", "wanted_of"]

Link = tuple[str, Callable[[], DenseEngine]]
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
        return load_two_stage(model.folder, name, precision, threads)
    if isinstance(model, DenseModel):
        if name == "auto":
            wish = _Wish(model.folder, precision, threads, find_gpus())
            return first_that_runs(model.folder.facts.name, wish.gpus, _chain(wish))
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

    precision "auto" falls along bf16, where the processor has it, and fp32. int8 has to be asked for: how far a cell
    lies from the taught ones is a small difference of large numbers, which bf16 keeps in float32 and int8 loses.
    """
    wish = _Wish(classifier.folder, precision, threads)
    if asked.partition(":")[0] == "torch":
        return _named("torch", replace(wish, precision="fp32") if precision == "auto" else wish)
    if precision != "auto":
        return _named("openvino", wish)
    return first_that_runs(classifier.name, wish.gpus, _without_int8(wish))


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
    pass_gate(engine, wanted, f"openvino {version('openvino')}", [lambda: plain])
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


def _chain(wish: _Wish) -> Iterator[Link]:
    """Yield every engine that "auto" considers, the fastest first; each has passed the gate when it is made."""
    if wish.gpus:
        yield "tensorrt", lambda: _gated(wish, _tensorrt(wish))
        yield "torch on the GPU", lambda: _gated(wish, _torch(wish, "cuda"))
    for precision in _cpu_precisions(wish):
        one = replace(wish, precision=precision)
        yield f"openvino {precision}", lambda one=one: _gated(one, _openvino(one))  # type: ignore[misc]
    yield "torch on the CPU", lambda: _gated(wish, _torch(wish, "cpu"))


def _without_int8(wish: _Wish) -> Iterator[Link]:
    """Yield the engines that "auto" considers for a classifier."""
    for precision in _cpu_precisions(wish):
        if precision != "int8":
            one = replace(wish, precision=precision)
            yield f"openvino {precision}", lambda one=one: _gated(one, _openvino(one))  # type: ignore[misc]


def _cpu_precisions(wish: _Wish) -> tuple[str, ...]:
    """Return the precisions that OpenVINO is asked for in turn; where it does not load, one says so."""
    if wish.precision != "auto":
        return (wish.precision,)
    try:
        with loading("openvino"):
            from pbsbatch.engines.openvino import precisions_here
    except EngineError:
        return ("fp32",)
    return precisions_here(wish.folder)


def _openvino(wish: _Wish) -> DenseEngine:
    with loading("openvino"):
        from pbsbatch.engines.openvino import OpenVINOEngine
    return OpenVINOEngine(wish.folder, wish.precision, wish.threads)


def _torch(wish: _Wish, device: str = "auto") -> DenseEngine:
    need("gpu", "torch", "safetensors")
    with loading("torch"):
        from pbsbatch.engines.torch import TorchEngine
    return TorchEngine(wish.folder, wish.precision, device, threads=wish.threads)


def _tensorrt(wish: _Wish) -> DenseEngine:
    need("tensorrt", "torch", "onnx")
    with loading("torch"):
        from pbsbatch.engines.tensorrt import open_compiled
    return open_compiled(wish.folder, wish.precision)


def _gated(wish: _Wish, engine: DenseEngine) -> DenseEngine:
    """Return an engine that has passed the gate; one that has not is closed."""
    if engine.name == "tensorrt" or (engine.name, engine.device) == ("torch", "cpu"):
        return engine  # its plan bears the stamp of its own gate; and the reference is not held against itself
    try:
        versions = f"{engine.name} {version(engine.name)}"
        if engine.device != "cpu":
            versions += f", driver {find_gpus().driver}"
        pass_gate(engine, wanted_of(wish.folder), versions, _references(wish))
    except EngineError:
        engine.close()
        raise
    return engine


def _references(wish: _Wish) -> list[Callable[[], DenseEngine]]:
    from pbsbatch.engines.plain import PlainNetwork

    one = replace(wish, precision="fp32")
    return references(
        lambda: _torch(one, "cpu"), lambda: PlainNetwork(wish.folder, wanted_of(wish.folder).shape),
        lambda: _openvino(one), "safetensors",
    )  # fmt: skip


def _unknown(model: str, name: str) -> EngineError:
    return EngineError(
        f"the engine {name!r} does not exist here, or not for the model {model}",
        cure=f"Engines that exist: {', '.join(sorted(ENGINES))}",
    )
