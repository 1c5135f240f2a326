"""A worker's side of Dask: what is set up once per process, and the tasks as Dask calls them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
from distributed import Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from pbsbatch import __version__
from pbsbatch.config import Config
from pbsbatch.engines.base import Engine
from pbsbatch.engines.gpus import take_gpu
from pbsbatch.engines.processor import processor_class
from pbsbatch.errors import EngineError, GpuLostError
from pbsbatch.models.base import Model
from pbsbatch.models.carry import unpack
from pbsbatch.models.operating import at_operating_point
from pbsbatch.opinion import SecondLook
from pbsbatch.pipeline import Timings
from pbsbatch.run import bundle, tasks
from pbsbatch.run.blackbox import BlackBox, offer_to_die_first
from pbsbatch.run.content import Content
from pbsbatch.run.events import EngineSaid, Event, SlideResult
from pbsbatch.run.fence import Fence
from pbsbatch.run.output import BOXES
from pbsbatch.run.post import SECONDS_HELD, Post
from pbsbatch.run.prepare import Prepared, Workbench
from pbsbatch.run.second_look import nobody
from pbsbatch.slides.base import SlideRef
from pbsbatch_kernels.warm import warm_up

__all__ = ["TOPIC", "Loaders", "Setup", "commit", "look", "prepare", "process"]

TOPIC = "pbsbatch"


@dataclass(frozen=True, slots=True)
class Loaders:
    """How a worker gets its model, its engine and its second look; tests put fakes in their place."""

    model: Callable[[str], Model]
    engine: Callable[[Model, str], Engine]
    second: Callable[[Config, Model, str], SecondLook | None] = nobody


class Setup(WorkerPlugin):
    """Load kernels, model and engine once per worker process, before its first task.

    A model that is not shipped travels as bytes, once per worker: a worker on another machine does not
    see the folder, and one that joins late must not see what it became meanwhile.
    """

    name = "pbsbatch"

    def __init__(
        self, config: Config, loaders: Loaders, fence: Fence, *, digest: str, files: Mapping[str, bytes] | None,
        second: Mapping[str, Any] | None = None, second_files: Mapping[str, Mapping[str, bytes]] | None = None,
        one_kind: bool = True, gpus: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.config, self.loaders, self.fence = config, loaders, fence
        self.version, self.digest, self.files = __version__, digest, files
        self.second = second  # the identity of who names white cells
        self.second_files = second_files or {}  # of those that are not shipped, by the setting that names each
        self.gpus = gpus  # those that the workers share out
        self.one_kind = one_kind  # whether results depend on the processor
        self.processor: str | None = None  # the kind that all workers must be of

    async def setup(self, worker: Worker) -> None:
        """Make a worker ready, or refuse one that would compute otherwise than the others."""
        if threading.current_thread() is threading.main_thread() and os.getppid() != 1:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
            offer_to_die_first()
        cv2.setNumThreads(1)  # Dask owns the cores
        self._refuse_other_kind()
        # on a thread: the first time on a machine it takes long, and the worker must go on answering
        worker.pbsbatch_kernels = await asyncio.to_thread(warm_up)  # type: ignore[attr-defined]
        name = self.config.model
        if self.files is not None:
            name = str(unpack(self.files, Path(worker.local_directory), self.digest))
        model = self.loaders.model(name)
        if model.spec.digest != self.digest:
            raise EngineError(f"the model {model.spec.name} is another one here than at the driver")
        model = at_operating_point(model, self.config)
        take_gpu(worker.name, self.gpus)
        engine = self.loaders.engine(model, self.config.engine)
        second = self._second(worker, model)
        boxes = self.fence.lock.parent / BOXES
        worker.pbsbatch_box = BlackBox(boxes, worker.address, self.config.patience)  # type: ignore[attr-defined]
        worker.pbsbatch_bench = Workbench(  # type: ignore[attr-defined]
            self.config, model, engine, second, self.fence
        )

    def _second(self, worker: Worker, model: Model) -> SecondLook | None:
        """Return what names white cells: the same, in the same precision, as at the driver."""
        if self.second is None:
            return None
        config, said = self.config, self.second.get("second_opinion", {})
        digests = {"classifier": self.second.get("classifier_digest"), "second_opinion": said.get("digest")}
        for setting, files in self.second_files.items():
            folder = str(unpack(files, Path(worker.local_directory), str(digests[setting])))
            is_first = setting == "classifier"
            config = replace(config, classifier=folder) if is_first else replace(config, second_opinion=folder)
        engine, precision = said.get("engine"), said.get("precision")  # both classifiers run alike
        chosen = f"{self.second.get('classifier_engine', engine)}:{self.second.get('classifier_precision', precision)}"
        second = self.loaders.second(config, model, chosen)
        if second is None or second.identity != self.second:
            raise EngineError("what names white cells is another one here than at the driver")
        return second

    def _refuse_other_kind(self) -> None:
        if __version__ != self.version:
            raise EngineError(f"pbsbatch is {__version__} here and {self.version} at the driver")
        if self.processor is not None and processor_class() != self.processor:
            raise EngineError(f"this processor is a {processor_class()}, the run's are {self.processor}")


@contextlib.contextmanager
def _at_work(*, careful: bool = False) -> Iterator[tuple[Workbench, bundle.Report]]:
    """Give a task its workbench and what it reports through, and watch that it goes on.

    Careful: it may kill this process, so that nothing it reports waits.
    """
    worker: Any = get_worker()  # here: reports come from threads that do not know their worker
    box: BlackBox = worker.pbsbatch_box

    post = Post(lambda events: worker.log_event(TOPIC, pickle.dumps(events)), 0.0 if careful else SECONDS_HELD)

    def report(event: Event) -> None:
        box.news()
        post.send(event)

    notes: list[str] = worker.pbsbatch_bench.engine.notes
    try:
        with box.task():
            yield worker.pbsbatch_bench, report
    except GpuLostError as error:
        box.farewell(str(error))
        os._exit(1)  # whatever this process computes on its GPU from now on is wrong or fails; the next one is fresh
    finally:  # but for a process that ends itself: its last news go with it
        while notes:
            report(EngineSaid(notes.pop(0)))
        post.flush()


def look(refs: Sequence[SlideRef], known: Mapping[str, Content]) -> tasks.Looked:
    """Run tasks.look_at_slides on this worker."""
    with _at_work() as (bench, report):
        return tasks.look_at_slides(bench, refs, report, known)


def prepare(refs: Sequence[SlideRef], careful: bool) -> bundle.Bundle:
    """Run bundle.prepare_slides on this worker."""
    with _at_work(careful=careful) as (bench, report):
        return bundle.prepare_slides(bench, refs, report, careful=careful)


def process(prepared: Prepared, strips: tuple[int, ...]) -> tasks.StripsDone:
    """Run tasks.process_strips on this worker."""
    with _at_work() as (bench, report):
        return tasks.process_strips(bench, prepared, strips, report)


def commit(prepared: Prepared, failed: Mapping[int, str], seconds: float) -> tuple[SlideResult, Timings]:
    """Run tasks.commit_slide on this worker."""
    with _at_work() as (bench, _):
        return tasks.commit_slide(bench, prepared, failed, seconds)
