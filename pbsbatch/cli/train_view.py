"""What a person sees of a training: a table that lives on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from pbsbatch.cli.console import console
from pbsbatch.train.finish import Finished
from pbsbatch.train.judge import Report

__all__ = ["DetectorView", "View", "figure"]

STEPS_BETWEEN_LINES = 100
SMOOTH = 0.95
"""What of the shown losses and speed stays from step to step."""


class View:
    """Follow the events of a training: steps, and judgements, which have a report. Say `scores` of a report."""

    parts: tuple[str, ...] = ()
    """Losses that the total is made of."""
    unit = "images"

    def __init__(self, steps: int, minutes: float) -> None:
        self.steps, self.minutes = steps, minutes
        self.out = console()
        self.live: Live | None = None
        self.losses: dict[str, float] = {}
        self.now: Any = None
        self.first: Any = None
        self.last: Any = None
        self.best: Any = None

    def scores(self, report: Any) -> str:
        """Say in a line how good a report is."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self.out.print(text, soft_wrap=True)

    def on_event(self, event: Any) -> None:
        """Show one event."""
        if self.live is None and self.out.is_terminal:
            self.live = Live(console=self.out, refresh_per_second=2, get_renderable=self._table)
            self.live.start()
        if hasattr(event, "report"):
            self._judged(event)
        else:
            self._taught(event)

    def _taught(self, event: Any) -> None:
        self.first, self.now = self.first or event, event
        for name in ("total", *self.parts):
            value = getattr(event, name)
            self.losses[name] = SMOOTH * self.losses.get(name, value) + (1 - SMOOTH) * value
        if self.live is None and event.step % STEPS_BETWEEN_LINES == 0:
            self.say(f"step {event.step:,} · {self._losses()} · {self._speed()}")

    def _judged(self, event: Any) -> None:
        self.last = event
        if event.best:
            self.best = event
        if self.live is None:
            best = " · best so far" if event.best else ""
            self.say(f"step {event.step:,} · validation {self.scores(event.report)}{best}")

    def _table(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        if self.now is not None:
            of = "" if self.minutes or not self.steps else f" of {self.steps:,}"
            table.add_row("step", f"{self.now.step:,}{of} ({100 * self.now.share:.1f} %)")
            table.add_row("loss", self._losses())
            table.add_row("speed", self._speed())
        for name, judged in (("last validation", self.last), ("best validation", self.best)):
            if judged is not None:
                table.add_row(name, f"{self.scores(judged.report)} · step {judged.step:,}")
        return table

    def _losses(self) -> str:
        parts = ", ".join(f"{name} {self.losses[name]:.3f}" for name in self.parts)
        return f"loss {self.losses['total']:.3f}{f' ({parts})' if parts else ''}"

    def _speed(self) -> str:
        """Return images a second and the time left, from the steps seen here."""
        seconds = self.now.seconds - self.first.seconds
        if seconds <= 0:
            return "speed not known yet"
        images = (self.now.step - self.first.step) * self.now.images / seconds
        left = seconds * (1 - self.now.share) / max(1e-9, self.now.share - self.first.share)
        return f"{images:.1f} {self.unit}/s · {_duration(left)} left"


class DetectorView(View):
    """Follow a detector's training."""

    parts: tuple[str, ...] = ("score", "box", "outline")

    def scores(self, report: Report) -> str:
        per_class = ", ".join(f"{name} {figure(c.ap50)}" for name, c in report.classes.items())
        return f"mAP50 {report.map50:.4f} ({per_class}) · mAP50-95 {report.map:.4f}"

    def show_end(self, done: Finished, output: Path) -> None:
        """Print the table of metrics and where the model is."""
        self.out.print(_metrics_table(done.report))
        if done.unseen:
            self.say(f"[yellow]not calibrated[/] for want of right and wrong finds: {', '.join(done.unseen)}")
        self.say(f"[bold]model[/] {escape(str(done.folder))}")
        self.say(f"[dim]metrics, plot, checkpoints in[/] {escape(str(output))}")


def _metrics_table(report: Report) -> Table:
    """Return every class of every source as rows."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("fields of")
    for title in ("class", "cells", "AP50", "AP50-95", "precision", "recall", "F1", "count off"):
        table.add_column(title, justify="right", no_wrap=True)
    for source, part in (*report.sources.items(), ("all", report)):
        for i, (name, c) in enumerate(part.classes.items()):
            off = "" if c.count_error is None else f"{100 * c.count_error:.1f} %"
            table.add_row(
                escape(source) if i == 0 else "", name, f"{c.cells:,}",
                *(figure(v) for v in (c.ap50, c.ap, c.precision, c.recall, c.f1)), off,
            )  # fmt: skip
        table.add_row("", "mean", "", f"{part.map50:.4f}", f"{part.map:.4f}")
    return table


def figure(value: float | None) -> str:
    """Return a share with four digits, nothing where there is none."""
    return "" if value is None else f"{value:.4f}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest:02d} min" if hours else f"{rest} min" if rest else "under a minute"
