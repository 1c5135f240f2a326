"""The audit of a run: it listens, has slides digested as they end, and writes the manifest when all is over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pbsbatch.disk import output_errors
from pbsbatch.run import manifest
from pbsbatch.run.digester import Digester
from pbsbatch.run.events import Event, RunFinished, SlideFinished, SlideResult
from pbsbatch.run.output import MARKER
from pbsbatch.run.slide_digest import Ledger, SlideDigest

__all__ = ["Audit", "audited"]

LEDGER = "digests.jsonl"
LEAST_WAIT, MOST_WAIT, WAIT_SHARE = 2.0, 30.0, 0.02
"""What a run waits at its end for slides' digests: next to nothing; the next run goes on with them."""


class Audit:
    """Know the slides' digests. Law: a slide that was computed anew has none until its bytes are read anew."""

    def __init__(self, out: Path, *, with_paths: bool) -> None:
        self.out, self.with_paths = out, with_paths
        self.ledger = Ledger(out / MARKER / LEDGER, SlideDigest)
        self.read: set[str] = set()  # digested by this run, while they were staged
        self.unsure: set[str] = set()
        self.digester: Digester | None = None

    def note(self, slide_id: str, digest: SlideDigest) -> None:
        """Take the digest of a slide that was read as a whole for another reason."""
        self.read.add(slide_id)
        self._keep(slide_id, digest)

    def listening(self, on_event: Callable[[Event], None]) -> Callable[[Event], None]:
        """Return a listener that passes every event on, and only then takes note of it."""

        def listen(event: Event) -> None:
            on_event(event)
            match event:
                case SlideFinished(result) if result.slide_id not in self.read:
                    self._ask(result)
                case RunFinished():
                    self._finish(event)
                case _:
                    pass

        return listen

    def close(self) -> None:
        """End the process that reads slides."""
        if self.digester is not None:
            self.digester.close()

    def _ask(self, result: SlideResult) -> None:
        known = self.ledger.known.get(result.slide_id)
        if known is not None and not result.resumed:
            self.unsure.add(result.slide_id)
        self.digester = self.digester or Digester()
        self.digester.ask(result.slide_id, result.path, None if known is None else known.hint)
        self._take(0.0)

    def _take(self, seconds: float) -> None:
        if self.digester is None:
            return
        for slide_id, answer in self.digester.answers(seconds):
            if isinstance(answer, SlideDigest):
                self._keep(slide_id, answer)
            elif answer is None:
                self.unsure.add(slide_id)
            else:
                self.unsure.discard(slide_id)

    def _keep(self, slide_id: str, digest: SlideDigest) -> None:
        self.unsure.discard(slide_id)
        with output_errors(self.out):
            self.ledger.note(slide_id, digest)

    def _finish(self, event: RunFinished) -> None:
        self._take(0.0 if event.stopped else min(MOST_WAIT, max(LEAST_WAIT, WAIT_SHARE * event.seconds)))
        known = {name: digest for name, digest in self.ledger.known.items() if name not in self.unsure}
        manifest.write(self.out, event.results, known, with_paths=self.with_paths)


@contextlib.contextmanager
def audited(out: Path, *, with_paths: bool) -> Iterator[Audit]:
    """Begin the audit of a run that holds the lock of its folder."""
    manifest.remove(out)
    with contextlib.closing(Audit(out, with_paths=with_paths)) as audit:
        yield audit
