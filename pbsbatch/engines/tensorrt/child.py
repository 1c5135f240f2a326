"""Compile and try one plan in a process of its own: what falls over there takes nothing else along.

Started by compile_all.py as `python -m pbsbatch.engines.tensorrt.child JSON`. It tells its progress and its result as
lines of JSON on its standard output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pbsbatch.engines.base import DenseEngine
from pbsbatch.engines.gate import Verdict, Wanted, judge
from pbsbatch.engines.load import wanted_of
from pbsbatch.engines.tensorrt.compiled import Place, compile_here, here, plan_cache
from pbsbatch.engines.tensorrt.engine import TensorRTEngine
from pbsbatch.errors import PbsbatchError
from pbsbatch.models.folder import read_folder

__all__ = ["check_every_profile", "main", "progress_monitor"]

Tell = Callable[[Mapping[str, Any]], None]


def check_every_profile(engine: TensorRTEngine, reference: DenseEngine, wanted: Wanted) -> Verdict:
    """Hold each batch size of the plan against the reference: one tile, a full batch, and one tile more than that."""
    found: list[Verdict] = []
    height, width = wanted.shape
    for profile in engine.profiles:
        engine.limit(profile.batch * height * width)
        found.append(judge(engine, reference, wanted, (1, profile.batch, profile.batch + 1)))
        if not found[-1]:
            return found[-1]
    return Verdict(max(v.rms for v in found), max(v.worst for v in found))


def progress_monitor(trt: Any, tell: Tell) -> Any:
    """Return an object of the library's kind that tells how far the outermost phase of building is."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self.phases[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self.phases:
                tell({"phase": phase_name, "step": step + 1, "of": self.phases[phase_name]})
            return True

        def phase_finish(self, phase_name: str) -> None:
            self.phases.pop(phase_name, None)

    return Monitor()


def main(argument: str, tell: Tell, find_place: Callable[[], Place] = here) -> int:
    """Compile what the argument says and tell the result, or the error with its cure."""
    wish = json.loads(argument)
    try:
        folder = read_folder(Path(wish["folder"]))
        place = find_place()
        from pbsbatch.engines.torch import TorchEngine

        reference = TorchEngine(folder, "fp32", device="cpu")
        compiled = compile_here(
            folder, wish["precision"], wish["batches"], place=place, cache=plan_cache(),
            check=lambda engine: check_every_profile(engine, reference, wanted_of(folder)),
            monitor=progress_monitor(place.library.trt, tell),
        )  # fmt: skip
    except PbsbatchError as error:
        tell({"error": {"what": error.what, "path": error.path, "cure": error.cure}})
        return 1
    tell({"compiled": asdict(compiled)})
    return 0


def _line(table: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(table) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], _line))
