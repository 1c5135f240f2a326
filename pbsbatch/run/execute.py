"""Drive a run: discover, claim the output, keep the workers fed, and tell what happened.

State decides (run/state.py), tasks work (run/tasks.py), Dask carries (run/cluster.py); this file
only moves values between them. The result of a run is its output folder: running again resumes.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from types import FrameType
from typing import Any

from distributed import get_worker
from distributed.scheduler import KilledWorker

from pbsbatch import engines, models
from pbsbatch.config import Config
from pbsbatch.errors import OutputError, PbsbatchError, one_line
from pbsbatch.pipeline import StripDone, Timings, bound_by
from pbsbatch.run import cluster, summary, tasks
from pbsbatch.run.audit import audited
from pbsbatch.run.deidentify import deidentified
from pbsbatch.run.discovery import Discovery, discover
from pbsbatch.run.events import (
    Event,
    RunFinished,
    RunStarted,
    SlideFinished,
    SlidePlanned,
    SlideResult,
    StripFinished,
)
from pbsbatch.run.keyfile import Key, load_key, record_names
from pbsbatch.run.log import logged
from pbsbatch.run.output import MARKER, check_ours, claim, host_name, is_deidentified, locked, start_over
from pbsbatch.run.progress import Progress, kept_in_file
from pbsbatch.run.state import Commit, Instruction, Prepare, Process, RunState, bundles
from pbsbatch.slides.base import SlideRef
from pbsbatch.slides.files import slide_files

__all__ = ["execute"]

IN_FLIGHT_PER_WORKER = 2
"""One at work and one waiting at the worker, so that none is idle between two tasks."""
TOPIC = "pbsbatch-strip"
SECONDS_BETWEEN_PROGRESS = 1.0


REAL = cluster.Loaders(models.load, engines.load)


def execute(config: Config, on_event: Callable[[Event], None], *, loaders: cluster.Loaders = REAL) -> RunFinished:
    """Run over an archive and return how it ended. Raises UsageError before anything is touched."""
    start = time.perf_counter()
    config = replace(  # a worker may stand in another folder
        config, inputs=tuple(p.absolute() for p in config.inputs), output=config.output.absolute(),
        model=models.anywhere(config.model),
    )  # fmt: skip
    model = loaders.model(config.model)
    engine = loaders.engine(model, config.engine)
    engine.close()
    found = discover(config.inputs, output=config.output, mpp=config.mpp)
    key = _key(config)
    check_ours(config.output, config.inputs, fresh=config.fresh, key=key)
    with locked(config.output, key) as token, contextlib.ExitStack() as stack:
        claim(config.output, config.inputs, key)
        removed = start_over(config.output) if config.fresh else []
        on_event = logged(config.output / "run.log", kept_in_file(config.output / MARKER, on_event, host_name(key)))
        if key is not None:
            found, scrubber, known = deidentified(found, key, config.inputs, config.output)
            record_names(key, known)
            on_event = scrubber.listening(on_event)
        on_event = stack.enter_context(audited(config.output, with_paths=key is None)).listening(on_event)
        notes = [*engine.notes, *found.warnings]
        if removed:
            notes.append(f"--fresh removed {len(removed)} results of earlier runs")
        chosen = replace(config, engine=f"{engine.name}:{engine.precision}")  # no worker chooses for itself
        with cluster.connect(chosen, loaders, token) as (client, workers):
            run = _Run(config, found, client, workers, on_event)
            on_event(
                RunStarted(
                    sizes=run.sizes, skipped=len(found.skipped), workers=workers, engine=engine.name,
                    model=model.spec.name, notes=tuple(notes), kernels=str(cluster.kernels_ready(client)),
                )
            )  # fmt: skip
            with _stop_signals(run.stop_requests):
                run.drive()
        finished = run.finish(time.perf_counter() - start)
        if key is not None:
            finished = scrubber.finished(finished)
        summary.write(config, found, model.spec, engine, finished)
        on_event(finished)
    return finished


def _key(config: Config) -> Key | None:
    """Return the key of a run that hides names; one is made only for results that have none yet."""
    if not config.deidentify:
        return None
    return load_key(config.key_file, config.output, create=config.fresh or not is_deidentified(config.output))


@dataclass(slots=True)
class _Run:
    """One run in progress: the driver's side of it."""

    config: Config
    found: Discovery
    client: Any
    workers: int
    on_event: Callable[[Event], None]
    state: RunState = field(init=False)
    refs: dict[str, SlideRef] = field(init=False)
    sizes: dict[str, int] = field(init=False)
    progress: Progress = field(init=False)
    started: float = field(default_factory=time.perf_counter)
    told: float = 0.0
    # what the workers report and what became of instructions, in the order in which it came in
    inbox: queue.SimpleQueue[Event | tuple[Instruction, Any]] = field(default_factory=queue.SimpleQueue)
    stop_requests: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    prepared: dict[str, tasks.Prepared] = field(default_factory=dict)
    strips: dict[str, list[StripDone]] = field(default_factory=dict)
    results: dict[str, SlideResult] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    stages: Timings = field(default_factory=Timings)
    stopped: str | None = None
    interrupted: bool = False

    def __post_init__(self) -> None:
        self.refs = {ref.id: ref for ref in self.found.slides}
        self.sizes = {ref.id: _bytes(ref) for ref in self.found.slides}
        self.state = RunState.of(self.sizes)
        self.progress = Progress(self.sizes)

    def drive(self) -> None:
        """Feed the workers until nothing is left; a second stop request leaves what is in flight behind."""
        self.client.subscribe_topic(TOPIC, self._strip_event)
        futures: dict[Instruction, Any] = {}
        while not self.state.finished:
            for instruction in self.state.next(self.workers * IN_FLIGHT_PER_WORKER):
                future = self._submit(instruction)
                futures[instruction] = future
                future.add_done_callback(partial(self._done, instruction))
            if not self._heed_stop_requests():
                self.client.cancel(list(futures.values()), force=True)
                return
            self._tell_progress()
            with contextlib.suppress(queue.Empty):
                came = self.inbox.get(timeout=0.2)
                if not isinstance(came, tuple):
                    self._tell(came)
                    continue
                instruction, future = came
                del futures[instruction]
                self._outcome(instruction, future)
                future.release()

    def _tell(self, event: Event) -> None:
        self.progress.note(event)
        self.on_event(event)

    def _tell_progress(self, *, always: bool = False) -> None:
        """Tell how far the run is, about once a second."""
        now = time.perf_counter()
        if always or now - self.told >= SECONDS_BETWEEN_PROGRESS:
            self.told = now
            self.on_event(self.progress.now(now - self.started, running=self.state.in_flight))

    def _done(self, instruction: Instruction, future: Any) -> None:
        self.inbox.put((instruction, future))

    def _heed_stop_requests(self) -> bool:
        """Stop gracefully at the first request; return False at the second."""
        while not self.stop_requests.empty():
            reason = self.stop_requests.get()
            if self.interrupted:
                return False
            self.interrupted = True
            self._stop(reason)
        return True

    def _stop(self, reason: str) -> None:
        self.stopped = self.stopped or reason
        self.state.stop()

    def _submit(self, instruction: Instruction) -> Any:
        match instruction:
            case Prepare(slide_id):
                return self.client.submit(_prepare, self.refs[slide_id], pure=False)
            case Process(slide_id, strips):
                return self.client.submit(_process, self.prepared[slide_id], strips, pure=False)
            case Commit(slide_id):
                strips_done = self.strips.get(slide_id, [])
                return self.client.submit(_commit, self.prepared[slide_id], strips_done, pure=False)

    def _outcome(self, instruction: Instruction, future: Any) -> None:
        """Turn a finished future into a decision and an event."""
        if future.status == "finished":
            self._succeeded(instruction, future.result())
            return
        error = future.exception() if future.status == "error" else RuntimeError(f"task {future.status}")
        if isinstance(error, OutputError):
            self._stop(str(error))
            self.state.done(instruction.slide_id)
        elif isinstance(error, KilledWorker) and self.state.worker_died(instruction):
            pass
        elif self.state.failed(instruction.slide_id):
            self._finish_slide(self._failed(instruction.slide_id, error))

    def _succeeded(self, instruction: Instruction, value: Any) -> None:
        slide_id = instruction.slide_id
        match instruction:
            case Prepare():
                prepared: tasks.Prepared = value
                self._add_stages(prepared.stages)
                if prepared.done is not None:
                    self.state.done(slide_id)
                    self._finish_slide(prepared.done)
                    return
                self.prepared[slide_id] = prepared
                self.seconds[slide_id] = prepared.seconds
                tiles = sum(prepared.missing.values())
                facts = prepared.plan.facts()
                self._tell(SlidePlanned(slide_id, prepared.ref.name, facts, len(prepared.missing), tiles))
                self.state.prepared(slide_id, bundles(prepared.missing))
            case Process():
                strips, timings = value
                self._add_stages(asdict(timings))
                self.strips.setdefault(slide_id, []).extend(strips)
                self.seconds[slide_id] += sum(timings.busy().values())
                self.state.processed(slide_id)
            case Commit():
                result, timings = value
                self._add_stages(asdict(timings))
                self.state.done(slide_id)
                self.prepared.pop(slide_id)
                self._finish_slide(result, self.seconds.pop(slide_id, 0.0))

    def _add_stages(self, stages: Any) -> None:
        for name, seconds in stages.items():
            setattr(self.stages, name, getattr(self.stages, name) + seconds)

    def _finish_slide(self, result: SlideResult, earlier_seconds: float = 0.0) -> None:
        if result.seconds is not None and earlier_seconds:
            result = summary.with_seconds(result, result.seconds + earlier_seconds)
        self.results[result.slide_id] = result
        self._tell(SlideFinished(result))

    def _failed(self, slide_id: str, error: BaseException) -> SlideResult:
        ref = self.refs[slide_id]
        details = None
        if isinstance(error, PbsbatchError):
            text = str(error) if error.path is None else str(error).removeprefix(f"{one_line(error.path)}: ")
        elif isinstance(error, KilledWorker):
            text = "its worker died twice, the second time with nothing else at work (a crash, or out of memory)"
        else:
            first = str(error).split("\n", 1)[0][:160]
            text = one_line(f"unexpected {type(error).__name__}: {first} (run.log has the details; please report it)")
            details = "".join(traceback.format_exception(error)).rstrip()
        return SlideResult(slide_id, ref.name, ref.path, ref.sample, "failed", error=text, details=details)

    def _strip_event(self, event: tuple[float, dict[str, Any]]) -> None:
        self.inbox.put(StripFinished(**{f.name: event[1][f.name] for f in fields(StripFinished)}))

    def finish(self, seconds: float) -> RunFinished:
        """Gather the run's result; slides without one are pending."""
        for ref in self.found.slides:
            if ref.id not in self.results:
                self.results[ref.id] = SlideResult(ref.id, ref.name, ref.path, ref.sample, "pending")
        self._tell_progress(always=True)
        stages = {name: round(value, 3) for name, value in self.stages.busy().items()}
        rows = tuple(self.results[ref.id] for ref in self.found.slides)
        return RunFinished(rows, seconds, self.stopped, self.interrupted, stages, bound_by(self.stages))


def _prepare(ref: SlideRef) -> tasks.Prepared:
    return tasks.prepare_slide(cluster.bench(), ref, _report)


def _process(prepared: tasks.Prepared, strips: tuple[int, ...]) -> tuple[list[StripDone], Timings]:
    return tasks.process_strips(cluster.bench(), prepared, strips, _report)


def _report(strip: StripDone) -> None:
    event = StripFinished(strip.slide_id, strip.tiles, len(strip.failed_tiles), strip.cells, strip.pixels / 1e6)
    get_worker().log_event(TOPIC, asdict(event))  # a plain dict: Dask packs events with msgpack


def _commit(prepared: tasks.Prepared, strips: list[StripDone]) -> tuple[SlideResult, Timings]:
    return tasks.commit_slide(cluster.bench(), prepared, strips)


def _bytes(ref: SlideRef) -> int:
    """Return a slide's size on disk, the measure by which the largest goes first."""
    try:
        return sum(file.stat().st_size for file in slide_files(ref.path))
    except OSError:
        return 0


@contextlib.contextmanager
def _stop_signals(requests: queue.SimpleQueue[str]) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into stop requests while the run lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _: FrameType | None) -> None:
        requests.put(f"interrupted by {signal.Signals(number).name}")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, ask) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
