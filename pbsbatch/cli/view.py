"""What a person sees of a run: a bar on a terminal, a line now and then elsewhere, a table at the end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from types import TracebackType

from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pbsbatch.cli.console import console, duration, some
from pbsbatch.config import Config
from pbsbatch.errors import one_line
from pbsbatch.run.events import (
    STAGES_SAID,
    EngineSaid,
    Event,
    ReadInPlace,
    RunFinished,
    RunProgress,
    RunStarted,
    SlideFinished,
    SlideResult,
    SlidesChanged,
    WorkerDied,
)
from pbsbatch.run.judge import Verdict, verdicts
from pbsbatch.run.tally import seen

__all__ = ["View", "exit_code", "progress_line"]

ROWS_SHOWN = 40
SECONDS_BETWEEN_LINES = 60


def exit_code(finished: RunFinished) -> int:
    """Return the contract's exit code of a finished run."""
    if finished.stopped is not None:
        return 130 if finished.interrupted else 3
    return 1 if any(r.status == "failed" for r in finished.results) else 0


def progress_line(at: RunProgress) -> str:
    """Return how far a run is, on one line."""
    parts = [f"{at.done}/{some(at.total, 'slide')}"]
    parts += [f"{count} {what}" for count, what in ((at.running, "running"), (at.failed, "failed")) if count]
    parts.append(f"{at.mpix_per_s:.1f} MP/s")
    parts.append(f"{at.cells_per_s:,.0f} cells/s")
    if at.eta_s is not None:
        parts.append(f"{duration(at.eta_s)} left")
    if at.deadline is not None:
        holds = {True: "holds", False: "will not hold", None: "not known yet"}[at.deadline_holds]
        parts.append(f"until {at.deadline.astimezone():%H:%M}: {holds}")
    return " · ".join(parts)


class _Figures(ProgressColumn):
    """Slides, speed and what is left, from the latest figures of the run."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def render(self, task: Task) -> Text:
        return Text(self.view.figures(), style="cyan")


class View:
    """Follow the events of one run."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.out = console()
        self.at: RunProgress | None = None
        self.started = False
        self.last_line = time.monotonic()
        self.live = self.out.is_terminal and not config.quiet
        columns = (TextColumn("{task.description}"), BarColumn(), _Figures(self), TimeElapsedColumn())
        self.progress = Progress(*columns, console=self.out, disable=not self.live, transient=True)
        self.task = self.progress.add_task("finding slides", total=1.0, visible=False)

    def __enter__(self) -> View:
        self.progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.progress.stop()

    def on_event(self, event: Event) -> None:
        """Take note of one event and show it."""
        match event:
            case RunStarted():
                self._started(event)
            case RunProgress():
                self._progressed(event)
            case SlideFinished(result) if result.status == "failed":
                self._say(f"[red]failed[/] {escape(result.name)}")  # why stands in the closing lines
            case SlidesChanged():
                what = some(len(event.names), "slide")
                self._say(f"[yellow]note:[/] {what} to do again: {escape(event.why)}")
            case WorkerDied():
                self._say(f"[yellow]a worker died[/], what it held runs again: {escape(event.why)}")
            case EngineSaid():
                self._say(f"[yellow]note:[/] {escape(event.text)}")
            case ReadInPlace():
                self._say(f"[yellow]note:[/] {escape(event.name)} is read in place: {escape(event.why)}")
            case _:
                pass

    def figures(self) -> str:
        """Return slides done, running and failed, speed, the time left and the deadline, as far as they are known."""
        return "" if self.at is None else progress_line(self.at)

    def _started(self, event: RunStarted) -> None:
        self.started = True
        self.progress.update(self.task, visible=True, description="running")
        skipped = f", {some(event.skipped, 'other file')} skipped" if event.skipped else ""
        named = f" · white cells named by {event.classifier}" if event.classifier else ""
        how = f"model {event.model} on {event.engine}{named} · {some(event.workers, 'worker')}"
        self._say(f"{some(len(event.sizes), 'slide')}{skipped} · {how}")
        for note in event.notes:
            self._say(f"[yellow]note:[/] {escape(note)}")

    def _progressed(self, event: RunProgress) -> None:
        """Move the bar; without a terminal, say once a minute how it goes."""
        self.at = event
        name = event.names[0][0] if event.names else "running"
        self.progress.update(self.task, completed=event.share, description=escape(name))
        now = time.monotonic()
        if not self.live and now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            self._say(f"{100 * event.share:.0f} % · {progress_line(event)}")

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
    """Return the slides as a table: failures first when there are too many to show, then what needs a look."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    names = list(dict.fromkeys(name for r in results for name in r.counts))
    judged = verdicts(results)
    for title in ("slide", "status"):
        table.add_column(title, overflow="fold")
    for title in (*names, "mm²", "analysed", "s"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("quality", overflow="fold")
    shown = results
    if len(results) > ROWS_SHOWN:
        order = ("", "fail", "review", "pass")
        shown = tuple(sorted(results, key=lambda r: order.index(judged[r.slide_id].status)))[:ROWS_SHOWN]
    for result in shown:
        table.add_row(*_cells(result, names), _quality(judged[result.slide_id]))
    if len(shown) < len(results):
        table.add_row(f"... and {len(results) - len(shown)} more in summary.csv")
    return table


def _cells(result: SlideResult, names: Iterable[str]) -> list[str]:
    colour = {"ok": "green", "failed": "red"}.get(result.status, "yellow")
    status = f"[{colour}]{result.status}[/]" + (" (kept)" if result.resumed else "")
    counts = [f"{found:,}" if (found := seen(result).get(n)) is not None else "" for n in names]
    area = share = ""
    if result.analysed_px is not None and result.roi_px is not None:
        share = f"{100 * result.analysed_px / result.roi_px:.1f} %" if result.roi_px else "blank"
        if result.mpp is not None and result.mpp_source != "estimated":
            area = f"{result.analysed_px * (result.mpp / 1000) ** 2:.3g}"
    seconds = "" if result.seconds is None or result.resumed else f"{result.seconds:.1f}"
    return [escape(result.name), status, *counts, area, share, seconds]


def _quality(verdict: Verdict) -> str:
    """Return a verdict in a few words."""
    colour = {"pass": "green", "fail": "red"}.get(verdict.status, "yellow")
    why = ", ".join(reason.replace("_", " ") for reason in verdict.reasons)
    return f"[{colour}]{verdict.status}[/]{': ' if why else ''}{why}" if verdict.status else ""


def _closing_lines(finished: RunFinished, config: Config) -> list[str]:
    count = [r.status for r in finished.results].count
    parts = [f"{count('ok')} done"] + [f"{count(s)} {s}" for s in ("failed", "pending") if count(s)]
    bound = f" · bound by {STAGES_SAID[finished.bound_by]}" if finished.bound_by in STAGES_SAID else ""
    if finished.core_share is not None:
        bound += f" · {100 * finished.core_share:.0f} % of what was computed was not overlap"
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
    changed = sum(r.changed is not None for r in finished.results)
    if changed:
        lines.append(f"[yellow]made again: {some(changed, 'slide')}[/] that had changed since; run.log says what")
    if finished.stopped is not None:
        lines.append(f"[yellow]stopped: {escape(finished.stopped)}[/] · run the same command again to resume")
    lines.append(
        f"results: {escape(os.fspath(config.output / 'summary.csv'))}, {escape(os.fspath(config.output / 'slides'))}/"
    )
    return lines
