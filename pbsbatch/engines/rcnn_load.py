"""Find the engine for a two-stage model: PyTorch on a GPU, OpenVINO, PyTorch on the CPU.

Laws: those of load.py. fp32 is what is computed unless bf16 is asked for. The gate looks at every network by fixed
boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version

from pbsbatch.engines.base import Engine
from pbsbatch.engines.chain import first_that_runs, references
from pbsbatch.engines.extras import loading, need
from pbsbatch.engines.gate import Wanted, pass_gate
from pbsbatch.engines.gpus import Gpus, find_gpus
from pbsbatch.engines.rcnn import Probed, RcnnEngine
from pbsbatch.errors import EngineError
from pbsbatch.models.rcnn_folder import RcnnFolder

__all__ = ["load_two_stage"]


def load_two_stage(folder: RcnnFolder, name: str, precision: str, threads: int | None) -> Engine:
    """Return the engine asked for by name, or the first that runs."""
    if name == "auto":
        gpus = find_gpus()
        return first_that_runs(folder.facts.name, gpus, _chain(folder, precision, threads, gpus))
    if name == "openvino":
        return _gated(folder, _openvino(folder, precision, threads))
    if name == "torch":
        return _gated(folder, _torch(folder, precision, threads))
    raise EngineError(
        f"the two-stage model {folder.facts.name} cannot run on the engine {name!r}",
        cure="Use --engine openvino or torch",
    )


def _chain(
    folder: RcnnFolder, precision: str, threads: int | None, gpus: Gpus
) -> Iterator[tuple[str, Callable[[], Engine]]]:
    if gpus:
        yield "torch on the GPU", lambda: _gated(folder, _torch(folder, precision, threads, "cuda"))
    yield "openvino", lambda: _gated(folder, _openvino(folder, precision, threads))
    yield "torch on the CPU", lambda: _gated(folder, _torch(folder, precision, threads, "cpu"))


def _openvino(folder: RcnnFolder, precision: str, threads: int | None) -> RcnnEngine:
    with loading("openvino"):
        from pbsbatch.engines.rcnn_openvino import OpenVINOParts
    return RcnnEngine(OpenVINOParts(folder, precision, threads), folder.facts)


def _torch(folder: RcnnFolder, precision: str, threads: int | None, device: str = "auto") -> RcnnEngine:
    need("gpu", "torch", "torchvision", "safetensors")
    with loading("torch"):
        from pbsbatch.engines.rcnn_torch import torch_parts
    return RcnnEngine(torch_parts(folder, precision, device, threads), folder.facts)


def _plain(folder: RcnnFolder) -> Probed:
    from pbsbatch.engines.rcnn_plain import PlainParts

    probed = Probed(RcnnEngine(PlainParts(folder), folder.facts))
    probed.warm_up(*Wanted("", 1.0).shape)
    return probed


def _gated(folder: RcnnFolder, engine: RcnnEngine) -> RcnnEngine:
    """Return an engine that has passed the gate; one that has not is closed."""
    if (engine.name, engine.device) == ("torch", "cpu"):
        return engine  # the reference is not held against itself
    against = references(
        lambda: Probed(_torch(folder, "fp32", 1, "cpu")), lambda: _plain(folder),
        lambda: Probed(_openvino(folder, "fp32", None)), "torchvision", "safetensors",
    )  # fmt: skip
    versions = f"{engine.name} {version(engine.name)}"
    if engine.device != "cpu":
        versions += f", driver {find_gpus().driver}"
    try:
        pass_gate(Probed(engine), Wanted(folder.digest, folder.facts.work_mpp), versions, against)
    except EngineError:
        engine.close()
        raise
    return engine
