"""The driver's side of one run: carry values between what decides (choice.py), what works, and what listens.

Everything happens on one thread: what workers report and what became of their tasks comes in through one
queue, in the order in which it came.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pbsbatch.config import Config
from pbsbatch.disk import output_errors
from pbsbatch.errors import OutputError
from pbsbatch.run import tasks, worker
from pbsbatch.run.account import Account
from pbsbatch.run.bundle import Bundle
from pbsbatch.run.choice import start_next
from pbsbatch.run.cluster import Cluster, death_of
from pbsbatch.run.content import Content
from pbsbatch.run.deaths import Deaths
from pbsbatch.run.discovery import Discovery
from pbsbatch.run.events import (
    ContentSeen,
    Event,
    ReadInPlace,
    RunFinished,
    SlideFinished,
    SlidePlanned,
    SlideResult,
    WorkerDied,
)
from pbsbatch.run.forecast import remaining
from pbsbatch.run.instructions import Commit, Instruction, Look, Prepare, Process
from pbsbatch.run.output import BOXES, MARKER
from pbsbatch.run.prepare import Prepared
from pbsbatch.run.progress import Progress
from pbsbatch.run.result import failed_result
from pbsbatch.run.slide_digest import Ledger, SlideDigest
from pbsbatch.run.staging import Staging
from pbsbatch.run.state import RunState
from pbsbatch.run.stopping import Stopping
from pbsbatch.slides.base import SlideRef

__all__ = ["Driver"]

CONTENTS = "contents.jsonl"
"""Below MARKER: what slides held when they were digested last, so that unchanged files are not read again."""


@dataclass(slots=True)
class Driver:
    """One run in progress."""

    config: Config
    found: Discovery
    cluster: Cluster
    state: RunState
    listener: Callable[[Event], None]
    stopping: Stopping = field(default_factory=Stopping)
    staging: Staging | None = None
    on_digest: Callable[[str, SlideDigest], None] = lambda slide_id, digest: None
    inbox: queue.SimpleQueue[Event | tuple[Instruction, Any]] = field(default_factory=queue.SimpleQueue)
    futures: dict[Instruction, Any] = field(default_factory=dict)
    refs: dict[str, SlideRef] = field(init=False)
    account: Account = field(init=False)
    contents: Ledger[Content] = field(init=False)
    deaths: Deaths = field(init=False)
    planned: dict[str, Prepared] = field(default_factory=dict)
    failed_tiles: dict[str, dict[int, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.refs = {ref.id: ref for ref in self.found.slides}
        self.account = Account(self.refs, Progress(self.state.sizes), self.listener)
        self.contents = Ledger(self.config.output / MARKER / CONTENTS, Content)
        self.deaths = Deaths(self.config.output / MARKER / BOXES, self.config.patience)

    def drive(self) -> None:
        """Feed the workers until nothing is left; a second stop request leaves what is in flight behind."""
        self.cluster.listen(self.inbox.put)
        self._hold(self.state.waiting.names)
        while not self.state.finished:
            self._release()
            for instruction in start_next(self.state, self.cluster.workers(), self.stopping.time_left()):
                future = self._submit(instruction)
                self.futures[instruction] = future
                future.add_done_callback(partial(self._done, instruction))
            if not self._may_go_on():
                self.cluster.abandon(list(self.futures.values()))
                return
            if self.account.progress_is_due():
                self._tell_progress()
            with contextlib.suppress(queue.Empty):
                self._came(self.inbox.get(timeout=0.2))
        if self.state.left and self.stopping.reason is None:
            self.stopping.stop("the deadline: nothing that is left would end in time")

    def _hold(self, slides: Iterable[str]) -> None:
        """With a stage, let slides begin only when they lie there."""
        if self.staging is not None:
            self.state.waiting.held.update(slides)
            self.staging.offer(slides)

    def _release(self) -> None:
        for arrival in self.staging.news() if self.staging is not None else ():
            self.state.waiting.held.discard(arrival.slide_id)
            if arrival.digest is not None:
                self.on_digest(arrival.slide_id, arrival.digest)
            if arrival.in_place is not None:
                self.account.tell(ReadInPlace(self.refs[arrival.slide_id].name, arrival.in_place))

    def _done(self, instruction: Instruction, future: Any) -> None:
        self.inbox.put((instruction, future))

    def _may_go_on(self) -> bool:
        """Stop gracefully where there is reason to; return False where nothing is to be waited for."""
        if self.state.blame.hopeless:
            self.stopping.stop(f"workers die whatever they are given; the last: {self.deaths.last}")
        may_wait = self.stopping.may_wait(workers=self.cluster.workers(), in_flight=len(self.futures))
        if self.stopping.reason is not None:
            self.state.stop()
        return may_wait

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
            self.account.tell(what)
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
            self.stopping.stop("the connection to the Dask scheduler was lost" if error is None else str(error))
            self.state.stop()
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
        """Find out why a worker died, and tell it once per death."""
        known = address in self.deaths
        why = self.deaths.find_out(address)
        if not known:
            self.account.tell(WorkerDied(why))
        return why

    def _succeeded(self, instruction: Instruction, value: Any) -> None:
        match instruction:
            case Look():
                self._looked(instruction, value)
            case Prepare():
                self._prepared(instruction, value)
            case Process(slide_id):
                done: tasks.StripsDone = value
                self.account.worked(done.timings)
                self.state.processed(instruction, done.seconds)
                self.failed_tiles.setdefault(slide_id, {}).update(done.failed)
                self.seconds[slide_id] = self.seconds.get(slide_id, 0.0) + done.seconds
            case Commit(slide_id):
                result, timings = value
                self.account.worked(timings)
                self.state.committed(instruction, result.seconds - self.seconds.get(slide_id, 0.0))
                self._slide_ended(result)

    def _looked(self, instruction: Look, looked: tasks.Looked) -> None:
        for result in looked.kept:
            self._slide_ended(result)
        self._hold(looked.changed)
        self.state.looked(instruction, looked.changed)
        self.account.slides_changed(looked.changed)

    def _prepared(self, instruction: Prepare, bundle: Bundle) -> None:
        for prepared in bundle.planned:
            plan, slide_id = prepared.plan, prepared.ref.id
            if slide_id in self.account.results:
                continue
            self.planned[slide_id] = prepared
            self.seconds[slide_id] = 0.0
            tiles = sum(prepared.missing.values())
            self.account.tell(SlidePlanned(slide_id, prepared.ref.name, plan.facts(), len(prepared.missing), tiles))
            self.state.planned(slide_id, prepared.missing, share=tiles / max(1, plan.tiles))
        computed = [r.slide_id for r in bundle.results if r.status == "ok" and not r.resumed]
        size = sum(self.state.sizes[s] for s in computed)
        self.state.prepared(instruction, count=len(computed), size=size, seconds=bundle.seconds)
        self.account.worked(bundle.timings)
        for result in bundle.results:
            self._slide_ended(result)

    def _slide_ended(self, result: SlideResult) -> None:
        """Take note of a slide's end, which may be reported twice."""
        slide_id = result.slide_id
        self.state.slide_ended(slide_id)
        if slide_id in self.account.results:
            return
        if self.staging is not None:
            self.staging.done(slide_id)
            result = self.staging.restored(result)
        self.planned.pop(slide_id, None)
        self.failed_tiles.pop(slide_id, None)
        self.account.slide_ended(result)

    # ---- what is told

    def _tell_progress(self) -> None:
        """Tell how far the run is, and how long still as soon as anything is measured."""
        count = self.cluster.count
        eta = remaining(self.state) / count if count and self.state.pace.measured else None
        self.account.tell_progress(running=self.state.running, eta_s=eta, deadline=self.stopping.deadline)

    def finish(self, seconds: float) -> RunFinished:
        """Gather the run's result; slides without one are pending."""
        self._tell_progress()
        stopping = self.stopping
        return self.account.finish(seconds, stopping.reason, interrupted=stopping.interrupted)
