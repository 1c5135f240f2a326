"""What a person sees of a training: a table that lives on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from pbsbatch.cli.console import console
from pbsbatch.train.detector import Event, Judged, Taught
from pbsbatch.train.finish import Finished
from pbsbatch.train.judge import Report
from pbsbatch.train.settings import Settings

__all__ = ["View"]

STEPS_BETWEEN_LINES = 100
SMOOTH = 0.95
"""What of the shown losses and speed stays from step to step."""


class View:
    """Follow the events of a training."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.out = console()
        self.live: Live | None = None
        self.losses: dict[str, float] = {}
        self.now: Taught | None = None
        self.first: Taught | None = None
        self.last: Judged | None = None
        self.best: Judged | None = None

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self.out.print(text, soft_wrap=True)

    def on_event(self, event: Event) -> None:
        """Show one event."""
        if self.live is None and self.out.is_terminal:
            self.live = Live(console=self.out, refresh_per_second=2, get_renderable=self._table)
            self.live.start()
        if isinstance(event, Judged):
            self._judged(event)
        else:
            self._taught(event)

    def _taught(self, event: Taught) -> None:
        self.first, self.now = self.first or event, event
        for name in ("total", "score", "box", "outline"):
            value = getattr(event, name)
            self.losses[name] = SMOOTH * self.losses.get(name, value) + (1 - SMOOTH) * value
        if self.live is None and event.step % STEPS_BETWEEN_LINES == 0:
            self.say(f"step {event.step:,} · {self._losses()} · {self._speed()}")

    def _judged(self, event: Judged) -> None:
        self.last = event
        if event.best:
            self.best = event
        if self.live is None:
            self.say(
                f"step {event.step:,} · validation {_scores(event.report)}{' · best so far' if event.best else ''}"
            )

    def _table(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        if self.now is not None:
            of = "" if self.settings.minutes else f" of {self.settings.steps:,}"
            table.add_row("step", f"{self.now.step:,}{of} ({100 * self.now.share:.1f} %)")
            table.add_row("loss", self._losses())
            table.add_row("speed", self._speed())
        for name, judged in (("last validation", self.last), ("best validation", self.best)):
            if judged is not None:
                table.add_row(name, f"{_scores(judged.report)} · step {judged.step:,}")
        return table

    def _losses(self) -> str:
        parts = ", ".join(f"{name} {self.losses[name]:.3f}" for name in ("score", "box", "outline"))
        return f"loss {self.losses['total']:.3f} ({parts})"

    def _speed(self) -> str:
        """Return images a second and the time left, from the steps seen here."""
        assert self.first is not None and self.now is not None
        seconds = self.now.seconds - self.first.seconds
        if seconds <= 0:
            return "speed not known yet"
        images = (self.now.step - self.first.step) * self.now.images / seconds
        left = seconds * (1 - self.now.share) / max(1e-9, self.now.share - self.first.share)
        return f"{images:.1f} images/s · {_duration(left)} left"

    def show_end(self, done: Finished, output: Path) -> None:
        """Print the table of metrics and where the model is."""
        self.out.print(_metrics_table(done.report))
        if done.unseen:
            self.say(f"[yellow]not calibrated[/] for want of right and wrong finds: {', '.join(done.unseen)}")
        self.say(f"[bold]model[/] {escape(str(done.folder))}")
        self.say(f"[dim]metrics, plot, checkpoints in[/] {escape(str(output))}")


def _scores(report: Report) -> str:
    per_class = ", ".join(f"{name} {_text(c.ap50)}" for name, c in report.classes.items())
    return f"mAP50 {report.map50:.4f} ({per_class}) · mAP50-95 {report.map:.4f}"


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
                *(_text(v) for v in (c.ap50, c.ap, c.precision, c.recall, c.f1)), off,
            )  # fmt: skip
        table.add_row("", "mean", "", f"{part.map50:.4f}", f"{part.map:.4f}")
    return table


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest:02d} min" if hours else f"{rest} min" if rest else "under a minute"
