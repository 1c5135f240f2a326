"""Compile a model ahead of the night, once for each kind of GPU in the machine, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import Any

from pbsbatch.engines.gate import Verdict
from pbsbatch.engines.gpus import VISIBLE, Gpu, Gpus, find_gpus
from pbsbatch.engines.tensorrt.compiled import Compiled
from pbsbatch.errors import EngineError, one_line
from pbsbatch.models.folder import ModelFolder

__all__ = ["compile_all"]

CHILD = (sys.executable, "-m", "pbsbatch.engines.tensorrt.child")
Progress = Callable[[Gpu, str, int, int], None]
"""Is told the GPU, what the builder is at, and how many steps of how many are done."""


def compile_all(
    folder: ModelFolder, precision: str, batches: Sequence[int], progress: Progress, *,
    gpus: Gpus | None = None, child: Sequence[str] = CHILD,
) -> Iterator[Compiled]:  # fmt: skip
    """Yield what became of each kind of GPU. A builder that dies is an EngineError that says of what."""
    found = find_gpus() if gpus is None else gpus
    if not found:
        raise EngineError(
            f"there is no GPU to compile for: {found.why}",
            cure="Plans are compiled on the machine that runs them; without a GPU, OpenVINO needs none",
        )
    kinds = {(g.name, g.capability, g.multiprocessors, g.memory, g.l2_bytes): g for g in reversed(found.found)}
    wish = {"folder": str(folder.path), "precision": precision, "batches": list(batches)}
    for gpu in sorted(kinds.values(), key=lambda g: g.index):
        yield _compile(gpu, [*child, json.dumps(wish)], progress)


def _compile(gpu: Gpu, command: list[str], progress: Progress) -> Compiled:
    told: dict[str, Any] = {}
    with TemporaryFile("w+", errors="replace") as words, subprocess.Popen(  # noqa: S603 - our own module, no shell
        command, stdout=subprocess.PIPE, stderr=words, text=True, errors="replace",
        env={**os.environ, VISIBLE: gpu.uuid},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            told = _table(line) or told
            if "phase" in told:
                progress(gpu, str(told["phase"]), int(told["step"]), int(told["of"]))
        process.wait()
        words.seek(0)
        last_words = words.read().strip().splitlines()
    if "compiled" in told:
        values = told["compiled"]
        return Compiled(**{**values, "batches": tuple(values["batches"]), "verdict": Verdict(**values["verdict"])})
    if "error" in told:
        error = told["error"]
        raise EngineError(f"on {gpu.name}: {error['what']}", path=error["path"], cure=error["cure"])
    code = process.returncode
    end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    said = one_line(last_words[-1])[:300] if last_words else "it said nothing"
    raise EngineError(
        f"the builder on {gpu.name} died ({end}): {said}",
        cure="The run uses another engine; report this with the versions that `pbsbatch doctor` shows",
    )


def _table(line: str) -> dict[str, Any] | None:
    """Return a line of JSON as a table; what a library printed in between is none."""
    try:
        table = json.loads(line)
    except ValueError:
        return None
    return table if isinstance(table, dict) else None
