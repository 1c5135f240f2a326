"""Make a report while the run goes: a thread takes each slide as it finishes, so that the end has little left to do.

Law: a report never costs a run. What goes wrong with it is said at the end, the run's results stand.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from types import TracebackType

from pbsbatch.errors import PbsbatchError
from pbsbatch.report import has_page, prepare, write_report
from pbsbatch.results import RunSlide
from pbsbatch.run.events import Event, RunFinished, RunStarted, SlideFinished, SlideResult

__all__ = ["Reporter"]


class Reporter:
    """Follow the events of one run. `report` is where the report was written; None: not yet, or see `problem`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.report: Path | None = None
        self.problem: str | None = None
        self._slides = 0
        self._originals: dict[str, Path] = {}
        self._finished: queue.SimpleQueue[SlideResult | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="report", daemon=True)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._finished.put(None)

    def on_event(self, event: Event) -> None:
        """Take note of a finished slide; write the report once the run's tables are there."""
        match event:
            case RunStarted():
                self._slides = len(event.sizes)
            case SlideFinished(result) if result.status == "ok":
                self._finished.put(result)
            case RunFinished():
                self._finish()
            case _:
                pass

    def _finish(self) -> None:
        self._finished.put(None)
        self._thread.join()
        try:
            self.report = write_report(self.out, self._originals)
        except (PbsbatchError, OSError) as error:
            self.problem = str(error)

    def _work(self) -> None:
        while (result := self._finished.get()) is not None:
            self._originals[result.slide_id] = result.path
            if result.store is None or not has_page(self._slides, result.width_px or 0, result.height_px or 0):
                continue
            try:
                prepare(self.out, RunSlide(result.slide_id, result.name, {}, result.store), result.path)
            except (PbsbatchError, OSError) as error:
                self.problem = str(error)  # _finish() tries again
