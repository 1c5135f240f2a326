"""The Dask cluster of a run, or of a sweep: one of our own on loopback, or one that is already there.

The only file, with worker.py, that knows Dask. Dask speaks pickle between its own processes: a scheduler
address must be one that you trust.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import KilledWorker

from pbsbatch.config import Config, cores_per_worker, worker_count
from pbsbatch.engines.processor import processor_class
from pbsbatch.errors import UsageError
from pbsbatch.run.events import Event
from pbsbatch.run.worker import TOPIC, Loaders, Setup
from pbsbatch_kernels.warm import WarmUp

__all__ = ["Cluster", "Loaders", "connect", "connect_bare", "death_of"]

SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # the driver decides what runs again (run/blame.py)
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,  # at most two instructions wait per worker: nothing to steal
    "distributed.worker.daemon": True,
    "distributed.worker.multiprocessing-method": "spawn",
    # it looks at all threads' frames a hundred times a second; before 3.11.8 and 3.12.1 CPython locks up in that for
    # good when another thread is just starting (its issue 106883), which a stream's threads often are
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.terminate": False,  # the plan bounds memory; Dask's guess would kill at a peak
    "distributed.worker.memory.pause": False,
    "distributed.nanny.pre-spawn-environ": {
        "OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1, "NUMBA_NUM_THREADS": 1,
        # Dask's own trim threshold of 64 kB gives every tile's arrays back to the kernel and takes them again
        "MALLOC_TRIM_THRESHOLD_": 1 << 28, "MALLOC_MMAP_THRESHOLD_": 1 << 25, "MALLOC_ARENA_MAX": 1,
    },
    "distributed.comm.timeouts.connect": "30s",
    "distributed.deploy.lost-worker-timeout": "1 hour",  # a busy machine needs more than Dask's 15 s for a restart
    "distributed.diagnostics.nvml": False,
}  # fmt: skip
THREADS = "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS"
"""Where an engine reads how many cores are its own: fewer workers than cores share them out."""
KEYS = "pbsbatch-"
"""What the names of our tasks begin with, on a scheduler that others may use too."""
SECONDS_BETWEEN_COUNTS = 2.0


class _OneDeathIsEnough(SchedulerPlugin):
    """Let a foreign scheduler hand our tasks back when their worker dies, instead of killing the next with them."""

    name = "pbsbatch-one-death-is-enough"

    async def start(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    def transition(self, key: Any, start: Any, finish: Any, *args: Any, **kwargs: Any) -> None:
        if finish == "processing" and str(key).startswith(KEYS):
            self.scheduler.tasks[key].suspicious = self.scheduler.allowed_failures


@dataclass(slots=True)
class Cluster:
    """The workers of a run, as the driver sees them."""

    client: Any
    counted: float = float("-inf")
    count: int = 0

    def workers(self) -> int:
        """Return how many tasks can be at work at once, as it was at most two seconds ago: workers come and go."""
        now = time.monotonic()
        if now - self.counted >= SECONDS_BETWEEN_COUNTS:
            self.counted = now
            self.count = sum(self.client.nthreads().values())
        return self.count

    def submit(self, do: Callable[..., Any], *values: Any) -> Any:
        """Start a task and return its future. The future is to be released as soon as it is done."""
        return self.client.submit(do, *values, key=f"{KEYS}{uuid.uuid4().hex}", pure=False)

    def listen(self, hear: Callable[[Event], None]) -> None:
        """Call `hear`, on a thread of Dask, with every event that a worker reports."""

        def came(told: tuple[float, bytes]) -> None:
            for event in pickle.loads(told[1]):  # noqa: S301 - from our workers
                hear(event)

        self.client.subscribe_topic(TOPIC, came)

    def abandon(self, futures: list[Any]) -> None:
        """Leave what is in flight behind."""
        self.client.cancel(futures, force=True)

    def blind(self, path: Path) -> list[str]:
        """Return the addresses of the workers that do not see a path."""
        seen: dict[str, bool] = self.client.run(os.path.exists, str(path))
        return sorted(address for address, sees in seen.items() if not sees)

    def kernels_ready(self) -> WarmUp:
        """Return how long the slowest worker took until its kernels were ready."""
        found: dict[str, WarmUp] = self.client.run(_kernels)
        return max(found.values(), key=lambda ready: ready.seconds)


def _kernels(dask_worker: Any) -> WarmUp:
    found: WarmUp = dask_worker.pbsbatch_kernels
    return found


def death_of(error: BaseException) -> str | None:
    """Return the address of the worker that died with a task, None if that is not what the error says."""
    return str(error.last_worker.address) if isinstance(error, KilledWorker) else None


@contextlib.contextmanager
def connect(config: Config, setup: Setup) -> Iterator[Cluster]:
    """Yield a cluster whose workers are set up; those that join later are, too."""
    with contextlib.ExitStack() as stack:
        client = _client(config, stack)
        setup.processor = _one_kind(client) if setup.one_kind else None
        client.register_plugin(setup)
        if config.scheduler is not None:
            stack.callback(_forget, client, setup.name)
        yield Cluster(client)


@contextlib.contextmanager
def connect_bare(config: Config) -> Iterator[Cluster]:
    """Yield a cluster whose workers know nothing of a run: for other tasks, which bring along all that they need."""
    with contextlib.ExitStack() as stack:
        yield Cluster(_client(config, stack))


def _client(config: Config, stack: contextlib.ExitStack) -> Any:
    """Return a client of a cluster with workers."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters comes back as an exception
    stack.enter_context(dask.config.set(SETTINGS))
    client = _own(config, stack) if config.scheduler is None else _foreign(config.scheduler, stack)
    if not client.nthreads():
        raise UsageError(f"the scheduler at {config.scheduler} has no workers", cure="Start some with `dask worker`")
    return client


class _Client(Client):
    """A client that is closed by whoever opened it, and not by the garbage collector: one that could not connect, or
    lost its scheduler, may be collected while this thread holds the very lock of Dask's that closing waits for.
    Nor is it the default of this process: what a notebook computes with Dask beside a run is its own affair.
    """

    def __del__(self) -> None:
        """Leave it to the end of the process."""


def _own(config: Config, stack: contextlib.ExitStack) -> Any:
    workers = worker_count(config)
    stack.enter_context(dask.config.set({THREADS: cores_per_worker(config)}))
    folder = stack.enter_context(TemporaryDirectory(prefix="pbsbatch-dask-"))
    cluster = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers, threads_per_worker=1, processes=True,
        # on any free port of loopback, whether bokeh is there to draw it or not: with None Dask listens on
        # 8787, and says so on stderr where another run does already
        dashboard_address="127.0.0.1:0", host="127.0.0.1", memory_limit=0, silence_logs=logging.CRITICAL,
        local_directory=folder,
    )  # fmt: skip
    client = _Client(stack.enter_context(_closing(cluster)), set_as_default=False)  # type: ignore[no-untyped-call]
    return stack.enter_context(client)


@contextlib.contextmanager
def _closing(cluster: LocalCluster) -> Iterator[LocalCluster]:
    """Close a cluster in the end. A worker that does not die in Dask's few seconds, as on a machine that is overloaded,
    costs no tables: all it had is published, and it goes with this process.
    """
    try:
        yield cluster
    finally:
        with contextlib.suppress(TimeoutError):
            cluster.close()


def _foreign(address: str, stack: contextlib.ExitStack) -> Any:
    try:
        client = _Client(address, timeout="15s", set_as_default=False)  # type: ignore[no-untyped-call]
        stack.enter_context(client)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {address} ({error})",
            cure="Start one with `dask scheduler`, or leave --scheduler out",
        ) from error
    client.register_plugin(_OneDeathIsEnough())
    return client


def _one_kind(client: Any) -> str:
    """Return the kind of the workers' processors, or refuse a mixture: one slide's strips must come from one kind."""
    kinds: dict[str, str] = client.run(processor_class)
    if len(set(kinds.values())) > 1:
        each = ", ".join(f"{address}: {kind}" for address, kind in sorted(kinds.items())[:4])
        raise UsageError(
            f"the workers' processors differ, and so would their results ({each})",
            cure="Use workers of one kind, or a cluster for each kind and a part of the slides",
        )
    return next(iter(kinds.values()))


def _forget(client: Any, name: str) -> None:
    """Take the run's setup off a cluster that goes on, so that its next workers do not get it."""
    with contextlib.suppress(OSError, TimeoutError):
        client.unregister_worker_plugin(name)
