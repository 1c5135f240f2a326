"""Fall along a chain of engines to the first that runs, and choose what engines are held against.

Laws. Whoever asked for "auto" is told once which engine it is and why, and why each one before it was passed over. What
is wrong with the model itself ends the chain: no other engine would make it right.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from pbsbatch.engines.base import DenseEngine, Engine
from pbsbatch.engines.extras import installed
from pbsbatch.engines.gpus import Gpus
from pbsbatch.errors import EngineError

__all__ = ["first_that_runs", "references"]

Make = Callable[[], DenseEngine]


def first_that_runs(model: str, gpus: Gpus, chain: Iterable[tuple[str, Callable[[], Engine]]]) -> Engine:
    """Return the first engine of the chain that can be had and passes the gate, with a note that says why it is it."""
    passed_over: list[str] = []
    for name, make in chain:
        try:
            engine = make()
        except EngineError as error:
            passed_over.append(f"{name}: {error}")
            continue
        on_cpu = engine.device == "cpu" and gpus.why
        why = f"no GPU, {gpus.why}" if on_cpu else f"the fastest that runs on {engine.device}"
        engine.notes.append(f"runs on {engine.name} {engine.precision}: {why}")
        engine.notes.extend(f"not on {reason}" for reason in passed_over)
        return engine
    raise EngineError(f"no engine can run the model {model} here: {'; '.join(passed_over)}")


def references(torch: Make, plain: Make, openvino: Make, *needed: str) -> list[Make]:
    """Return what an engine is held against: PyTorch, where this process has loaded it; else the graph as OpenCV reads
    it, and PyTorch where that disagrees. needed: packages that PyTorch's reference takes.

    To load PyTorch takes seconds, all else at the gate half a second. Without PyTorch, and where OpenCV cannot read a
    graph, OpenVINO in fp32 is what is left.
    """

    def without_torch() -> DenseEngine:
        try:
            return plain()
        except EngineError:
            return openvino()

    if not installed("torch", *needed):
        return [without_torch]
    return [torch] if "torch" in sys.modules else [plain, torch]
