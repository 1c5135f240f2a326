"""From a model folder to an engine: which plan belongs to this GPU, where it is kept, and how it is made.

Laws. A plan is looked for by every fact that decides it; one that bears no stamp of the parity gate is not run. A run
builds nothing: plans are compiled ahead, by `pbsbatch models compile`.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pbsbatch.engines.gate import Verdict
from pbsbatch.engines.gpus import Gpu, Gpus, find_gpus
from pbsbatch.engines.keep import keep_folder
from pbsbatch.engines.tensorrt.build import BATCHES, FLAGS, Profile, build, profiles_for
from pbsbatch.engines.tensorrt.cache import Kept, PlanCache
from pbsbatch.engines.tensorrt.engine import TensorRTEngine
from pbsbatch.engines.tensorrt.execute import Loaded, load_plan
from pbsbatch.engines.tensorrt.graph import PRECISIONS, baked
from pbsbatch.engines.tensorrt.library import Library, find_library
from pbsbatch.engines.tensorrt.memory import Card, TorchCard
from pbsbatch.errors import EngineError
from pbsbatch.models.folder import INT8, ClassifierFolder, ModelFolder

__all__ = ["Compiled", "Place", "compile_here", "here", "open_compiled", "plan_cache", "plan_facts"]

FORMAT = 1
COMPILE = "Run: pbsbatch models compile"


@dataclass(frozen=True, slots=True)
class Place:
    """What plans are compiled for and run on: a library, a GPU, its driver, and memory there."""

    library: Library
    gpu: Gpu
    driver: str
    card: Card


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of compiling."""

    key: str
    precision: str
    batches: tuple[int, ...]
    gpu: str
    built: bool  # now, or long ago
    plan_bytes: int
    verdict: Verdict


def here(gpus: Gpus | None = None) -> Place:
    """Return this process's first GPU, or say why it cannot be used. The driver is asked before any library."""
    found = find_gpus() if gpus is None else gpus
    if not found:
        raise EngineError(
            f"TensorRT needs an NVIDIA GPU: {found.why}", cure="Use --engine openvino, or mend the driver"
        )
    return Place(find_library(), found.found[0], found.driver, TorchCard())


def plan_cache() -> PlanCache:
    """Return where this user's plans are kept."""
    return PlanCache(keep_folder("plans"))


def plan_facts(place: Place, graph: bytes, precision: str) -> dict[str, Any]:
    """Return what decides a plan, but for its profiles."""
    gpu = asdict(place.gpu)
    for of_this_very_card in ("index", "uuid"):
        del gpu[of_this_very_card]
    return {
        "format": FORMAT, "library": place.library.name, "version": place.library.version,
        "graph": hashlib.sha256(graph).hexdigest(), "precision": precision, "flags": list(FLAGS),
        "system": [platform.system(), platform.machine()], "driver": place.driver,
        "gpu": {**gpu, "capability": list(place.gpu.capability)},
    }  # fmt: skip


def open_compiled(
    folder: ModelFolder | ClassifierFolder,
    precision: str = "auto",
    place: Place | None = None,
    cache: PlanCache | None = None,
) -> TensorRTEngine:
    """Return an engine of a plan that was compiled and admitted on this machine."""
    place = here() if place is None else place
    cache = plan_cache() if cache is None else cache
    wanted = PRECISIONS if precision == "auto" else (precision,)
    refused = "no plan was compiled for this model, GPU, driver and library"
    for one in wanted:
        if precision == "auto" and one == "int8" and INT8 not in folder.files:
            continue
        try:
            graph = baked(folder, one)
        except EngineError as error:
            if precision != "auto":
                raise
            refused = str(error)
            continue
        for kept in cache.find(plan_facts(place, graph, one)):
            if kept.stamp is None:
                refused = "the plan that was compiled never passed the parity gate"
                continue
            loaded = load_plan(place.library, kept.plan)
            if loaded is not None:
                return _engine(loaded, place, kept)
            cache.put_aside(kept.key)
            refused = f"{place.library.name} does not take its plan back: {place.library.told()}"
    raise EngineError(refused, path=folder.path, cure=f"{COMPILE} {folder.facts.name}")


def compile_here(
    folder: ModelFolder | ClassifierFolder, precision: str, batches: Sequence[int] = BATCHES, *, place: Place,
    cache: PlanCache, check: Callable[[TensorRTEngine], Verdict], monitor: Any = None,
) -> Compiled:  # fmt: skip
    """Build a plan unless it is there, hold it against the reference, and admit it. A plan that fails is put aside."""
    library, graph, profiles = place.library, baked(folder, precision), profiles_for(batches)
    facts = plan_facts(place, graph, precision)
    timed = {name: facts[name] for name in ("library", "version", "system", "driver", "gpu")}

    def make() -> bytes:
        made = build(library, graph, profiles, cache.times(timed), monitor)
        if made.times:
            cache.keep_times(timed, made.times)
        return made.plan

    kept, loaded, built = cache.open(
        {**facts, "profiles": [asdict(p) for p in profiles]},
        make,
        lambda plan: load_plan(library, plan),
        library.told,
    )
    engine = _engine(loaded, place, kept)
    try:
        verdict = check(engine)
    finally:
        engine.close()
    if not verdict:
        cache.put_aside(kept.key)
        raise EngineError(
            f"the plan does not compute what the reference does: off by {verdict.rms:.4f} on the average and "
            f"{verdict.worst:.4f} at most, {verdict.where}; it is not used", path=folder.path,
            cure="Compile another --precision, and report this",
        )  # fmt: skip
    cache.admit(kept, asdict(verdict))
    return Compiled(
        kept.key, precision, tuple(p.batch for p in profiles), place.gpu.name, built, len(kept.plan), verdict
    )


def _engine(loaded: Loaded, place: Place, kept: Kept) -> TensorRTEngine:
    profiles = [Profile(int(p["batch"]), int(p["side"])) for p in kept.facts["profiles"]]
    return TensorRTEngine(loaded, place.card, profiles, precision=str(kept.facts["precision"]), device=place.gpu.name)
