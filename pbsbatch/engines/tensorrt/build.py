"""Build a plan: a network in one precision, compiled for one kind of GPU and some sizes of batches.

Laws. Networks are strongly typed, so that the graph alone says what is computed in which precision; TF32 is off,
because fp32 means fp32. A plan brings no library code along (VERSION_COMPATIBLE stays off). Every answer of the library
is looked at, and what it refuses is an error that names the operator.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pbsbatch.engines.tensorrt.library import Library
from pbsbatch.errors import EngineError, one_line
from pbsbatch.plan import STEP_PX

__all__ = ["BATCHES", "FLAGS", "INPUT", "Profile", "build", "profiles_for"]

INPUT = "pixels"
MOST_PX = 4096 * 4096
"""Pixels of the largest batch of a profile: the activations of a plan grow with it."""
MOST_BATCH = 256
BATCHES = (1, 4, 16)
"""One profile each: whole tiles of slides come one by one, small fields many at a time."""
FLAGS = ("STRONGLY_TYPED", "no TF32")
"""What decides the results of a build beside graph and profiles, by name: numbers changed between versions."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The batches that a plan takes: up to `batch` tiles with sides up to `side`, and what it is tuned for."""

    batch: int
    side: int

    def shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Return the least, the best and the largest input."""
        best = max(STEP_PX, self.side // 2 // STEP_PX * STEP_PX)
        return (
            (1, STEP_PX, STEP_PX, 3),
            (self.batch, best, best, 3),
            (self.batch, self.side, self.side, 3),
        )

    def fits(self, count: int, height: int, width: int) -> bool:
        """Say whether a batch can be run."""
        return count <= self.batch and max(height, width) <= self.side


def profiles_for(batches: Sequence[int] = BATCHES) -> tuple[Profile, ...]:
    """Return one profile per batch size; all of them hold the same number of pixels."""
    wrong = [b for b in batches if not 1 <= b <= MOST_BATCH]
    if wrong or not batches:
        raise EngineError(f"a batch holds 1 to {MOST_BATCH} tiles, not {', '.join(map(str, wrong)) or 'none'}")
    return tuple(Profile(b, math.isqrt(MOST_PX // b) // STEP_PX * STEP_PX) for b in sorted(set(batches)))


@dataclass(frozen=True, slots=True)
class Built:
    """A plan, and the times of kernels that the next build can use."""

    plan: bytes
    times: bytes


def build(
    library: Library, graph: bytes, profiles: Sequence[Profile], times: bytes = b"", monitor: Any = None
) -> Built:
    """Return the plan of an ONNX graph. times is what an earlier build on this GPU measured."""
    trt = library.trt
    library.log.take()
    builder = trt.Builder(library.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, library.logger)
    if not parser.parse(graph):
        raise EngineError(f"{library.name} {library.version} cannot take the network: {_errors(parser, library)}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    for profile in profiles:
        _add(builder, config, profile, library)
    if monitor is not None:
        config.progress_monitor = monitor
    kept = _use_times(config, times, library) if library.times else None
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{library.name} {library.version} cannot build the network: {library.told()}")
    measured = b"" if kept is None else bytes(kept.serialize())
    return Built(bytes(plan), measured)


def _errors(parser: Any, library: Library) -> str:
    """Name what the parser did not like, with the operator where it says one."""
    said = []
    for i in range(parser.num_errors):
        error = parser.get_error(i)
        operator = error.node_operator()
        where = f"the operator {operator} ({error.node_name()}): " if operator else ""
        said.append(where + one_line(re.sub(r"\n.*catchCudaError.*", "", error.desc())))
    words = library.told()
    return "; ".join(said)[:500] or words


def _add(builder: Any, config: Any, profile: Profile, library: Library) -> None:
    """Add a profile. Sizes that contradict each other do not raise in the library: it says so in its answer."""
    made = builder.create_optimization_profile()
    made.set_shape(INPUT, *profile.shapes())
    if config.add_optimization_profile(made) < 0:
        raise EngineError(f"{library.name} refuses batches of {profile.batch} at {profile.side} px: {library.told()}")


def _use_times(config: Any, times: bytes, library: Library) -> Any:
    """Attach what earlier builds measured; what another GPU or version measured is left out, not believed."""
    cache = config.create_timing_cache(times)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        if cache is None or not config.set_timing_cache(cache, False):
            raise EngineError(f"{library.name} gives no timing cache: {library.told()}")
    return cache
