"""`pbsbatch models compile`: plans for this machine's GPUs, ahead of the night."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pbsbatch.cli.options import AsJson

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pbsbatch.engines.gpus import Gpu
    from pbsbatch.engines.tensorrt.compiled import Compiled

__all__ = ["compile_model"]


def compile_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a shipped model, or a model's folder.")],
    *,
    precision: Annotated[str, typer.Option(help="fp16, fp32 or int8.")] = "fp16",
    batch: Annotated[
        list[int], typer.Option("--batch", min=1, help="Most tiles at once; may be given several times.")
    ] = [1, 4, 16],  # noqa: B006 - typer never writes to the default
    json: AsJson = False,
) -> None:
    """Compile a model with TensorRT for every kind of GPU in this machine, and hold each against the reference.

    It takes minutes. A run then uses what was compiled by itself; `--engine tensorrt` insists on it. Compiling again
    costs nothing unless the model, a driver or TensorRT has changed. Exit codes: 0 done; 2 it cannot be done here.
    """
    import json as json_module

    from pbsbatch.engines.tensorrt.compile_all import compile_all
    from pbsbatch.errors import UsageError
    from pbsbatch.models.dense import DenseModel
    from pbsbatch.models.load import load

    loaded = load(model)
    if not isinstance(loaded, DenseModel):
        raise UsageError(f"the model {model} needs no compiling: it runs on the engine {loaded.spec.engine}")
    start, done = time.perf_counter(), []
    with _shown() as progress:
        task = progress.add_task(f"{model} {precision}", total=None)
        for one in compile_all(loaded.folder, precision, batch, _on(progress, task)):
            done.append(one)
            if not json:
                progress.console.print(_line(one, time.perf_counter() - start), soft_wrap=True)
            start = time.perf_counter()
    if json:
        print(json_module.dumps([asdict(one) for one in done], indent=2))


def _shown() -> Progress:
    """Return a progress bar on stderr that goes when it is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True, highlight=False), transient=True)


def _on(progress: Progress, task: TaskID):  # type: ignore[no-untyped-def]
    def tell(gpu: Gpu, phase: str, step: int, of: int) -> None:
        progress.update(task, description=f"{gpu.name}: {phase}", completed=step, total=of)

    return tell


def _line(one: Compiled, seconds: float) -> str:
    """Say what was compiled, how well it agrees and where it is kept."""
    from pbsbatch.engines.gate import TOLERANCES
    from pbsbatch.engines.tensorrt.compiled import plan_cache

    how = f"compiled in {seconds:.0f} s" if one.built else "was compiled already"
    batches = ", ".join(map(str, one.batches))
    return (
        f"{one.gpu}: {one.precision} for batches up to {batches} {how}, {one.plan_bytes / 1e6:.1f} MB; "
        f"off the reference by {one.verdict.rms:.5f} on the average ({TOLERANCES[one.precision].rms:g} is allowed); "
        f"kept in {plan_cache().root / one.key}"
    )
