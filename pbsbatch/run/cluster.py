"""The Dask cluster of a run: one of our own on loopback, or one that is already there.

The only file, with execute.py, that knows Dask. Dask speaks pickle between its own processes: a
scheduler address must be one that you trust.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import dask
from distributed import Client, LocalCluster, Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from pbsbatch.config import Config
from pbsbatch.engines.base import Engine
from pbsbatch.errors import OutputError, UsageError
from pbsbatch.models.base import Model
from pbsbatch.run.output import MARKER
from pbsbatch.run.tasks import Workbench
from pbsbatch_kernels.warm import WarmUp, warm_up

__all__ = ["Loaders", "bench", "connect", "kernels_ready"]


@dataclass(frozen=True, slots=True)
class Loaders:
    """How a worker gets its model and engine; tests put fakes in their place."""

    model: Callable[[str], Model]
    engine: Callable[[Model, str], Engine]


SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # the driver decides what runs again (run/state.py)
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,  # at most two instructions wait per worker: nothing to steal
    "distributed.worker.daemon": True,
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.worker.memory.terminate": False,  # the plan bounds memory; Dask's guess would kill at a peak
    "distributed.worker.memory.pause": False,
    "distributed.nanny.pre-spawn-environ": {
        "OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1, "NUMBA_NUM_THREADS": 1,
        # Dask's own trim threshold of 64 kB gives every tile's arrays back to the kernel and takes them again
        "MALLOC_TRIM_THRESHOLD_": 1 << 28, "MALLOC_MMAP_THRESHOLD_": 1 << 25, "MALLOC_ARENA_MAX": 1,
    },
    "distributed.comm.timeouts.connect": "30s",
    "distributed.diagnostics.nvml": False,
}  # fmt: skip


THREADS = "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS"
"""Where an engine reads how many cores are its own: fewer workers than cores share them out."""


class _Setup(WorkerPlugin):
    """Load kernels, model and engine once per worker process, before its first task."""

    name = "pbsbatch"

    def __init__(self, config: Config, loaders: Loaders, token: str) -> None:
        self.config, self.loaders, self.token = config, loaders, token

    async def setup(self, worker: Worker) -> None:
        if threading.current_thread() is threading.main_thread() and os.getppid() != 1:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
        cv2.setNumThreads(1)  # Dask owns the cores
        # on a thread: the first time on a machine it takes long, and the worker must go on answering
        worker.pbsbatch_kernels = await asyncio.to_thread(warm_up)  # type: ignore[attr-defined]
        model = self.loaders.model(self.config.model)
        engine = self.loaders.engine(model, self.config.engine)
        fence = _Fence(self.config.output, self.token)
        worker.pbsbatch_bench = Workbench(self.config, model, engine, fence)  # type: ignore[attr-defined]


class _Fence:
    """Refuse to publish once another run holds the output folder: a worker may outlive its driver."""

    def __init__(self, out: Path, token: str) -> None:
        self.out, self.token = out, token

    def __call__(self) -> None:
        lines = (self.out / MARKER / "lock").read_text(encoding="utf-8").split("\n")
        if len(lines) < 2 or lines[1] != self.token:
            raise OutputError("another run took this folder over", path=self.out)


def bench() -> Workbench:
    """Return this worker's workbench."""
    found: Workbench = get_worker().pbsbatch_bench  # type: ignore[attr-defined]
    return found


def kernels_ready(client: Any) -> WarmUp:
    """Return how long the slowest worker took until its kernels were ready."""
    found: dict[str, WarmUp] = client.run(_kernels)
    return max(found.values(), key=lambda ready: ready.seconds)


def _kernels(dask_worker: Worker) -> WarmUp:
    found: WarmUp = dask_worker.pbsbatch_kernels  # type: ignore[attr-defined]
    return found


@contextlib.contextmanager
def connect(config: Config, loaders: Loaders, token: str) -> Iterator[tuple[Any, int]]:
    """Yield a client whose workers are set up, and how many there are."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters comes back as an exception
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        if config.scheduler is None:
            workers = config.workers or os.cpu_count() or 1
            stack.enter_context(dask.config.set({THREADS: max(1, (os.cpu_count() or 1) // workers)}))
            folder = stack.enter_context(TemporaryDirectory(prefix="pbsbatch-dask-"))
            cluster = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers, threads_per_worker=1, processes=True,
                # on any free port of loopback, whether bokeh is there to draw it or not: with None Dask listens on
                # 8787, and says so on stderr where another run does already
                dashboard_address="127.0.0.1:0", host="127.0.0.1", memory_limit=0, silence_logs=logging.CRITICAL,
                local_directory=folder,
            )  # fmt: skip
            client = stack.enter_context(Client(stack.enter_context(cluster)))  # type: ignore[no-untyped-call]
        else:
            try:
                client = stack.enter_context(Client(config.scheduler, timeout="15s"))  # type: ignore[no-untyped-call]
            except (OSError, ValueError) as error:
                raise UsageError(
                    f"no Dask scheduler answers at {config.scheduler} ({error})",
                    cure="Start one with `dask scheduler`, or leave --scheduler out",
                ) from error
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if workers == 0:
            raise UsageError(
                f"the scheduler at {config.scheduler} has no workers", cure="Start some with `dask worker`"
            )
        client.register_plugin(_Setup(config, loaders, token))
        yield client, workers
