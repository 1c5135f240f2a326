"""The driver's side of one run: carry values between what decides (state.py), what works, and what listens.

Everything happens on one thread: what workers report and what became of their tasks comes in through one
queue, in the order in which it came.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from math import inf
from typing import Any

from pbsbatch.config import Config
from pbsbatch.disk import output_errors
from pbsbatch.errors import OutputError
from pbsbatch.pipeline import Timings, bound_by
from pbsbatch.run import tasks, worker
from pbsbatch.run.blackbox import cause_of_death, oom_kills
from pbsbatch.run.bundle import Bundle
from pbsbatch.run.cluster import Cluster, death_of
from pbsbatch.run.content import Content
from pbsbatch.run.discovery import Discovery
from pbsbatch.run.events import (
    ContentSeen,
    Event,
    ReadInPlace,
    RunFinished,
    SlideFinished,
    SlidePlanned,
    SlideResult,
    SlidesChanged,
    WorkerDied,
)
from pbsbatch.run.instructions import Commit, Instruction, Look, Prepare, Process
from pbsbatch.run.output import BOXES, MARKER
from pbsbatch.run.prepare import Prepared
from pbsbatch.run.progress import Progress
from pbsbatch.run.result import failed_result
from pbsbatch.run.slide_digest import Ledger, SlideDigest
from pbsbatch.run.staging import Staging
from pbsbatch.run.state import RunState
from pbsbatch.slides.base import SlideRef

__all__ = ["Driver"]

CONTENTS = "contents.jsonl"
"""Below MARKER: what slides held when they were digested last, so that unchanged files are not read again."""
SECONDS_BETWEEN_PROGRESS = 1.0
SECONDS_WITHOUT_WORKERS = 300.0
"""A cluster that has had no worker for so long will not get one."""
SECONDS_OVER_DEADLINE = 60.0
"""What was predicted to end in time and did not, gets so long; then it is left behind, to be resumed."""


@dataclass(slots=True)
class Driver:
    """One run in progress."""

    config: Config
    found: Discovery
    cluster: Cluster
    state: RunState
    listener: Callable[[Event], None]
    deadline: datetime | None = None
    staging: Staging | None = None
    on_digest: Callable[[str, SlideDigest], None] = lambda slide_id, digest: None
    inbox: queue.SimpleQueue[Event | tuple[Instruction, Any]] = field(default_factory=queue.SimpleQueue)
    stop_requests: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    futures: dict[Instruction, Any] = field(default_factory=dict)
    refs: dict[str, SlideRef] = field(init=False)
    contents: Ledger[Content] = field(init=False)
    progress: Progress = field(init=False)
    planned: dict[str, Prepared] = field(default_factory=dict)
    failed_tiles: dict[str, dict[int, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    results: dict[str, SlideResult] = field(default_factory=dict)
    deaths: dict[str, str] = field(default_factory=dict)  # address of a dead worker -> why
    changed: dict[str, str] = field(default_factory=dict)  # slide -> why it is done again
    stages: Timings = field(default_factory=Timings)
    started: float = field(default_factory=time.perf_counter)
    told: float = 0.0
    worked: float = field(default_factory=time.perf_counter)  # when there was a worker last
    kills: int = field(default_factory=oom_kills)
    stopped: str | None = None
    interrupted: bool = False

    def __post_init__(self) -> None:
        self.refs = {ref.id: ref for ref in self.found.slides}
        self.progress = Progress(self.state.sizes)
        self.contents = Ledger(self.config.output / MARKER / CONTENTS, Content)

    def drive(self) -> None:
        """Feed the workers until nothing is left; a second stop request leaves what is in flight behind."""
        self.cluster.listen(self.inbox.put)
        self._hold(self.state.waiting)
        while not self.state.finished:
            self._release()
            for instruction in self.state.next(self.cluster.workers(), self._time_left()):
                future = self._submit(instruction)
                self.futures[instruction] = future
                future.add_done_callback(partial(self._done, instruction))
            if not self._may_go_on():
                self.cluster.abandon(list(self.futures.values()))
                return
            self._tell_progress()
            with contextlib.suppress(queue.Empty):
                self._came(self.inbox.get(timeout=0.2))
        if self.state.left and self.stopped is None:
            self.stopped = "the deadline: nothing that is left would end in time"

    def _hold(self, slides: Iterable[str]) -> None:
        """With a stage, let slides begin only when they lie there."""
        if self.staging is not None:
            self.state.held.update(slides)
            self.staging.offer(slides)

    def _release(self) -> None:
        for arrival in self.staging.news() if self.staging is not None else ():
            self.state.held.discard(arrival.slide_id)
            if arrival.digest is not None:
                self.on_digest(arrival.slide_id, arrival.digest)
            if arrival.in_place is not None:
                self._tell(ReadInPlace(self.refs[arrival.slide_id].name, arrival.in_place))

    def _done(self, instruction: Instruction, future: Any) -> None:
        self.inbox.put((instruction, future))

    def _time_left(self) -> float:
        return inf if self.deadline is None else self.deadline.timestamp() - datetime.now(UTC).timestamp()

    def _may_go_on(self) -> bool:
        """Stop gracefully where there is reason to; return False where nothing is to be waited for."""
        while not self.stop_requests.empty():
            reason = self.stop_requests.get()
            if self.interrupted:
                return False
            self.interrupted = True
            self._stop(reason)
        if self.state.blame.hopeless:
            self._stop(f"workers die whatever they are given; the last: {list(self.deaths.values())[-1]}")
        now = time.perf_counter()
        if self.cluster.workers():
            self.worked = now
        elif now - self.worked > SECONDS_WITHOUT_WORKERS:
            self._stop("the cluster has no workers any more")
            return False
        if self.futures and self._time_left() < -SECONDS_OVER_DEADLINE:
            self._stop("the deadline: what was in flight took longer than predicted")
            return False
        return True

    def _stop(self, reason: str) -> None:
        self.stopped = self.stopped or reason
        self.state.stop()

    def _submit(self, instruction: Instruction) -> Any:
        match instruction:
            case Look(slides):
                known = {s: self.contents.known[s] for s in slides if s in self.contents.known}
                return self.cluster.submit(worker.look, [self.refs[s] for s in slides], known)
            case Prepare(slides, careful):
                refs = [self.refs[s] for s in slides]
                staged = refs if self.staging is None else [self.staging.staged(ref) for ref in refs]
                return self.cluster.submit(worker.prepare, staged, careful)
            case Process(slide_id, strips):
                return self.cluster.submit(worker.process, self.planned[slide_id], strips)
            case Commit(slide_id):
                failed = self.failed_tiles.get(slide_id, {})
                return self.cluster.submit(worker.commit, self.planned[slide_id], failed, self.seconds[slide_id])

    # ---- what came in

    def _came(self, what: Event | tuple[Instruction, Any]) -> None:
        if isinstance(what, SlideFinished):
            self._slide_ended(what.result)
        elif isinstance(what, ContentSeen):
            with output_errors(self.contents.path):
                self.contents.note(what.slide_id, what.content)
        elif not isinstance(what, tuple):
            self._tell(what)
        else:
            instruction, future = what
            del self.futures[instruction]
            self._outcome(instruction, future)
            future.release()

    def _outcome(self, instruction: Instruction, future: Any) -> None:
        """Turn a finished future into a decision."""
        if future.status == "finished":
            self._succeeded(instruction, future.result())
            return
        error = future.exception() if future.status == "error" else None
        if error is None or isinstance(error, OutputError):
            self._stop("the connection to the Dask scheduler was lost" if error is None else str(error))
            self.state.abandoned(instruction)
            return
        address = death_of(error)
        if address is not None:
            error = RuntimeError(self._died(address))
        guilty = self.state.raised(instruction) if address is None else self.state.lost(instruction)
        if guilty is not None:
            result = failed_result(self.refs[guilty], error)
            if address is not None:
                result = replace(
                    result, error=f"its worker died, at last with nothing else at work: {error}", details=None
                )
            self._slide_ended(result)

    def _died(self, address: str) -> str:
        """Find out why a worker died, once per death, and tell."""
        if address not in self.deaths:
            kills = oom_kills()
            why = cause_of_death(
                self.config.output / MARKER / BOXES, address, patience=self.config.patience,
                out_of_memory=kills > self.kills,
            )  # fmt: skip
            self.kills = kills
            self.deaths[address] = why
            self._tell(WorkerDied(why))
        return self.deaths[address]

    def _succeeded(self, instruction: Instruction, value: Any) -> None:
        match instruction:
            case Look():
                self._looked(instruction, value)
            case Prepare():
                self._prepared(instruction, value)
            case Process(slide_id):
                done: tasks.StripsDone = value
                self._add_stages(done.timings)
                self.state.processed(instruction, done.seconds)
                self.failed_tiles.setdefault(slide_id, {}).update(done.failed)
                self.seconds[slide_id] = self.seconds.get(slide_id, 0.0) + done.seconds
            case Commit(slide_id):
                result, timings = value
                self._add_stages(timings)
                self.state.committed(instruction, result.seconds - self.seconds.get(slide_id, 0.0))
                self._slide_ended(result)

    def _looked(self, instruction: Look, looked: tasks.Looked) -> None:
        for result in looked.kept:
            self._slide_ended(result)
        self.changed |= looked.changed
        self._hold(looked.changed)
        self.state.looked(instruction, looked.changed)
        for why in dict.fromkeys(looked.changed.values()):
            names = tuple(self.refs[s].name for s, reason in looked.changed.items() if reason == why)
            self._tell(SlidesChanged(why, names))

    def _prepared(self, instruction: Prepare, bundle: Bundle) -> None:
        for prepared in bundle.planned:
            plan, slide_id = prepared.plan, prepared.ref.id
            if slide_id in self.results:
                continue
            self.planned[slide_id] = prepared
            self.seconds[slide_id] = 0.0
            tiles = sum(prepared.missing.values())
            self._tell(SlidePlanned(slide_id, prepared.ref.name, plan.facts(), len(prepared.missing), tiles))
            self.state.planned(slide_id, prepared.missing, share=tiles / max(1, plan.tiles))
        computed = [r.slide_id for r in bundle.results if r.status == "ok" and not r.resumed]
        size = sum(self.state.sizes[s] for s in computed)
        self.state.prepared(instruction, count=len(computed), size=size, seconds=bundle.seconds)
        self._add_stages(bundle.timings)
        for result in bundle.results:
            self._slide_ended(result)

    def _add_stages(self, timings: Timings) -> None:
        for name, seconds in asdict(timings).items():
            setattr(self.stages, name, getattr(self.stages, name) + seconds)

    # ---- what is told

    def _slide_ended(self, result: SlideResult) -> None:
        """Take note of a slide's end, which may be reported twice."""
        slide_id = result.slide_id
        self.state.slide_ended(slide_id)
        if slide_id in self.results:
            return
        if self.staging is not None:
            self.staging.done(slide_id)
            result = self.staging.restored(result)
        self.results[slide_id] = replace(result, changed=self.changed.get(slide_id))
        self.planned.pop(slide_id, None)
        self.failed_tiles.pop(slide_id, None)
        self._tell(SlideFinished(self.results[slide_id]))

    def _tell(self, event: Event) -> None:
        self.progress.note(event)
        self.listener(event)

    def _tell_progress(self, *, always: bool = False) -> None:
        """Tell how far the run is, about once a second."""
        now = time.perf_counter()
        if not always and now - self.told < SECONDS_BETWEEN_PROGRESS:
            return
        self.told = now
        eta = self.state.remaining() / self.cluster.count if self.cluster.count and self.state.pace.measured else None
        self.listener(
            self.progress.now(now - self.started, running=self.state.running, eta_s=eta, deadline=self.deadline)
        )

    def finish(self, seconds: float) -> RunFinished:
        """Gather the run's result; slides without one are pending."""
        for ref in self.found.slides:
            if ref.id not in self.results:
                self.results[ref.id] = SlideResult(ref.id, ref.name, ref.path, ref.sample, "pending")
        self._tell_progress(always=True)
        stages = {name: round(value, 3) for name, value in self.stages.busy().items()}
        rows = tuple(self.results[ref.id] for ref in self.found.slides)
        return RunFinished(rows, seconds, self.stopped, self.interrupted, stages, bound_by(self.stages))
