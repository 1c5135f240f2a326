"""What a person sees of a run: a bar on a terminal, a line now and then elsewhere, a table at the end."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType

from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pbsbatch.cli.console import console, duration, some
from pbsbatch.config import Config
from pbsbatch.errors import one_line
from pbsbatch.run.events import (
    EngineSaid,
    Event,
    ReadInPlace,
    RunFinished,
    RunStarted,
    SlideFinished,
    SlidePlanned,
    SlideResult,
    StripFinished,
)

__all__ = ["View", "exit_code"]

ROWS_SHOWN = 40
SECONDS_BETWEEN_LINES = 60


def exit_code(finished: RunFinished) -> int:
    """Return the contract's exit code of a finished run."""
    if finished.stopped is not None:
        return 130 if finished.interrupted else 3
    return 1 if any(r.status == "failed" for r in finished.results) else 0


class Work:
    """How much of a run is done, weighed by bytes, and by tiles within a slide that is in progress."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = {name: max(1, size) for name, size in sizes.items()}
        self.total = sum(self.sizes.values())
        self.ended = 0.0
        self.planned: dict[str, int] = {}
        self.seen: dict[str, int] = {}

    def plan(self, slide_id: str, tiles: int) -> None:
        """Take note of a slide's tiles that are to do."""
        self.planned[slide_id] = tiles

    def tiles(self, slide_id: str, tiles: int) -> None:
        """Take note of tiles that are done."""
        self.seen[slide_id] = self.seen.get(slide_id, 0) + tiles

    def end(self, slide_id: str, *, counted: bool) -> None:
        """Take note of a slide that needs nothing more; one that an earlier run did is no work of this one."""
        self.planned.pop(slide_id, None)
        if counted:
            self.ended += self.sizes[slide_id]
        else:
            self.total -= self.sizes[slide_id]

    @property
    def share(self) -> float:
        """Return the share of the work that is done."""
        going = sum(self.sizes[s] * min(1.0, self.seen.get(s, 0) / max(1, n)) for s, n in self.planned.items())
        return (self.ended + going) / self.total if self.total > 0 else 1.0


class _Rate(ProgressColumn):
    """Tiles, megapixels a second and what is left, from the figures of the view."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def render(self, task: Task) -> Text:
        return Text(self.view.rate_line(), style="cyan")


class View:
    """Follow the events of one run. Events may come from several threads."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.out = console()
        self.lock = threading.Lock()
        self.done = self.failed = self.tiles = 0
        self.work = Work({})
        self.mpix = 0.0
        self.started = False
        self.start = self.last_line = time.monotonic()
        self.live = self.out.is_terminal and not config.quiet
        columns = (TextColumn("{task.description}"), BarColumn(), _Rate(self), TimeElapsedColumn())
        self.progress = Progress(*columns, console=self.out, disable=not self.live, transient=True)
        self.task = self.progress.add_task("finding slides", total=1.0, visible=False)

    def __enter__(self) -> View:
        self.progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.progress.stop()

    def on_event(self, event: Event) -> None:
        """Take note of one event and show it."""
        with self.lock:
            match event:
                case RunStarted():
                    self._started(event)
                case SlidePlanned():
                    self.work.plan(event.slide_id, event.tiles_left)
                    self.progress.update(self.task, description=escape(event.name))
                case StripFinished():
                    self._strip(event)
                case SlideFinished():
                    self._slide(event.result)
                case EngineSaid():
                    self._say(f"[yellow]note:[/] {escape(event.text)}")
                case ReadInPlace():
                    self._say(f"[yellow]note:[/] {escape(event.name)} is read in place: {escape(event.why)}")
                case RunFinished():
                    pass
            self._line_now_and_then()

    def rate_line(self) -> str:
        """Return slides, tiles, MP/s and the time left, as far as they are known."""
        elapsed = time.monotonic() - self.start
        share = self.work.share
        left = f" · {duration(elapsed * (1 - share) / share)} left" if share > 0 and self.tiles else ""
        slides = f"{self.done + self.failed}/{some(len(self.work.sizes), 'slide')}"
        return f"{slides} · {some(self.tiles, 'tile')} · {self.mpix / max(elapsed, 1e-9):.1f} MP/s{left}"

    def _started(self, event: RunStarted) -> None:
        self.started = True
        self.work = Work(event.sizes)
        self.start = time.monotonic()
        self.progress.update(self.task, visible=True, description="running")
        skipped = f", {some(event.skipped, 'other file')} skipped" if event.skipped else ""
        named = f" · white cells named by {event.classifier}" if event.classifier else ""
        how = f"model {event.model} on {event.engine}{named} · {some(event.workers, 'worker')}"
        self._say(f"{some(len(event.sizes), 'slide')}{skipped} · {how}")
        for note in event.notes:
            self._say(f"[yellow]note:[/] {escape(note)}")

    def _strip(self, event: StripFinished) -> None:
        self.tiles += event.tiles
        self.mpix += event.mpix
        self.work.tiles(event.slide_id, event.tiles)
        self.progress.update(self.task, completed=self.work.share)

    def _slide(self, result: SlideResult) -> None:
        if result.status == "failed":
            self.failed += 1
            self._say(f"[red]failed[/] {escape(result.name)}")  # why stands in the closing lines
        else:
            self.done += 1
        self.work.end(result.slide_id, counted=not result.resumed)
        self.progress.update(self.task, completed=self.work.share)

    def _line_now_and_then(self) -> None:
        """Without a terminal, say once a minute how it goes."""
        now = time.monotonic()
        if not self.live and now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            self._say(f"{self.rate_line()}, {self.failed} failed")

    def _say(self, text: str) -> None:
        if not self.config.quiet:
            self.progress.console.print(text, soft_wrap=True)

    def show_summary(self, finished: RunFinished) -> None:
        """Print the table of slides, what went wrong, and where the results are; if quiet, what went wrong."""
        if self.config.quiet:
            for result in finished.results:
                if result.status == "failed":
                    print(f"pbsbatch: {one_line(result.name)}: {result.error}", file=sys.stderr)
            if finished.stopped is not None:
                print(f"pbsbatch: stopped: {one_line(finished.stopped)}", file=sys.stderr)
            return
        self.out.print(_table(finished.results))
        for line in _closing_lines(finished, self.config):
            self.out.print(line, soft_wrap=True)


def _table(results: tuple[SlideResult, ...]) -> Table:
    """Return the slides as a table: failures first when there are too many to show."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    names = list(dict.fromkeys(name for r in results for name in r.counts))
    for title in ("slide", "status"):
        table.add_column(title, overflow="fold")
    for title in (*names, "mm²", "analysed", "s"):
        table.add_column(title, justify="right", no_wrap=True)
    shown = results
    if len(results) > ROWS_SHOWN:
        shown = tuple(sorted(results, key=lambda r: r.status == "ok"))[:ROWS_SHOWN]
    for result in shown:
        table.add_row(*_cells(result, names))
    if len(shown) < len(results):
        table.add_row(f"... and {len(results) - len(shown)} more in summary.csv")
    return table


def _cells(result: SlideResult, names: Iterable[str]) -> list[str]:
    colour = {"ok": "green", "failed": "red"}.get(result.status, "yellow")
    status = f"[{colour}]{result.status}[/]" + (" (kept)" if result.resumed else "")
    counts = [f"{result.counts[n]:,}" if n in result.counts else "" for n in names]
    area = share = ""
    if result.analysed_px is not None and result.roi_px is not None:
        share = f"{100 * result.analysed_px / result.roi_px:.1f} %" if result.roi_px else "blank"
        if result.mpp is not None and result.mpp_source != "estimated":
            area = f"{result.analysed_px * (result.mpp / 1000) ** 2:.3g}"
    seconds = "" if result.seconds is None or result.resumed else f"{result.seconds:.1f}"
    return [escape(result.name), status, *counts, area, share, seconds]


def _closing_lines(finished: RunFinished, config: Config) -> list[str]:
    count = [r.status for r in finished.results].count
    parts = [f"{count('ok')} done"] + [f"{count(s)} {s}" for s in ("failed", "pending") if count(s)]
    bound = f" · bound by {finished.bound_by}" if finished.bound_by != "nothing" else ""
    lines = ["", f"[bold]{', '.join(parts)}[/] in {duration(finished.seconds)}{bound}"]
    failed_tiles = sum(len(r.failed_tiles) for r in finished.results)
    if failed_tiles:
        lines.append(
            f"[yellow]{some(failed_tiles, 'tile')} could not be read[/]: see failures.csv; counts leave them out"
        )
    lines += [
        f"[red]failed[/] {escape(r.name)}: {escape(r.error or '')}" for r in finished.results if r.status == "failed"
    ]
    estimated = sum(r.mpp_source == "estimated" for r in finished.results)
    if estimated:
        lines.append(
            f"[yellow]no scale in {some(estimated, 'file')}[/]: it was estimated from the red cells (7.2 µm); "
            "µm and mm² columns stay blank. Give it with --mpp or slides.csv"
        )
    if finished.stopped is not None:
        lines.append(f"[yellow]stopped: {escape(finished.stopped)}[/] · run the same command again to resume")
    lines.append(
        f"results: {escape(os.fspath(config.output / 'summary.csv'))}, {escape(os.fspath(config.output / 'slides'))}/"
    )
    return lines
