"""metrics.jsonl of a classifier's training, by the laws of train.metrics."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pbsbatch.train import metrics
from pbsbatch.train.classifier.loop import Event, Judged, Taught

__all__ = ["ClassifierMetrics"]


class ClassifierMetrics:
    """Write events to a file as they come."""

    def __init__(self, path: Path, step: int) -> None:
        """Go on after `step`; 0 begins anew."""
        self._file = metrics.Metrics(path, step)
        self._taught: list[Taught] = []

    def on_event(self, event: Event) -> None:
        """Take note of one event."""
        if isinstance(event, Judged):
            self._file._write({"kind": "judged", **asdict(event)})
            return
        self._taught.append(event)
        if event.step % metrics.EVERY == 0:
            total = sum(e.total for e in self._taught) / len(self._taught)
            images = sum(e.images for e in self._taught)
            self._file._write({"kind": "taught", **asdict(event), "images": images, "total": total})
            self._taught.clear()
