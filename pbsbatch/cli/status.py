"""`pbsbatch status`: how a run stands, from outside of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbsbatch.cli.options import AsJson

if TYPE_CHECKING:
    from rich.table import Table

    from pbsbatch.run.status import Status

SECONDS_BETWEEN_LOOKS = 2.0
NAMES_SHOWN = 10
COLOURS = {"running": "green", "starting": "green", "finished": "green", "silent": "yellow", "stopped": "yellow"}


def status(
    results: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of results of a run.")],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every other second until it ends.")] = False,
    json: AsJson = False,
) -> None:
    """Show how a run stands: at work, finished, stopped or crashed; slides, speed, time left, deadline.

    Reads the folder alone, so it works from any machine that sees it, and after a crash.

    Exit codes: 0 whatever the state; 2 wrong usage, or no folder of results.

    Examples:

      pbsbatch status results

      pbsbatch status results --watch

      pbsbatch status results --json
    """
    import json as json_module

    from pbsbatch.errors import UsageError
    from pbsbatch.run.status import read_status

    if json:
        if watch:
            raise UsageError("--json tells once", cure="Leave --watch out")
        print(json_module.dumps(_facts(read_status(results)), indent=2))
    elif watch:
        _watch(results)
    else:
        from pbsbatch.cli.console import console

        console().print(_table(read_status(results)))


def _watch(results: Path) -> None:
    """Look until nobody is at work: in place on a terminal, else one table after the other."""
    import contextlib
    import time

    from rich.live import Live

    from pbsbatch.cli.console import console
    from pbsbatch.run.status import read_status

    out = console()
    live = Live(console=out, auto_refresh=False) if out.is_terminal else None
    with contextlib.suppress(KeyboardInterrupt), live or contextlib.nullcontext():
        while True:
            now = read_status(results)
            if live is not None:
                live.update(_table(now), refresh=True)
            else:
                out.print(_table(now), "")
            if now.owner is None:
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _facts(now: Status) -> dict[str, Any]:
    """Return what --json tells. Scripts read it: extend it, do not break it."""
    return {
        "state": now.state, "owner": now.owner, "since_s": now.since_s, "eta_s": now.eta_s, "pending": now.pending,
        "on_disk": {"stores": now.stores, "strips": now.strips, "slides_begun": now.slides_begun},
        "progress": now.told,
    }  # fmt: skip


def _table(now: Status) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("run", f"[{COLOURS.get(now.state, 'red')}]{now.state}[/]{escape(_about(now))}")
    if now.told is not None:
        for name, text in _figures(now, now.told):
            table.add_row(name, escape(text))
    table.add_row("on disk", _on_disk(now))
    return table


def _about(now: Status) -> str:
    """Return what belongs to the state: since when, where, why."""
    from pbsbatch.cli.console import duration
    from pbsbatch.errors import one_line

    ago = "" if now.since_s is None else f"{duration(now.since_s)} ago"
    owner = f" · {one_line(now.owner)}" if now.owner else ""
    match now.state:
        case "crashed":
            return f" {ago} · run the same command again to resume"
        case "finished":
            return f" {ago}".rstrip()
        case "stopped" if now.told is not None:
            return f" {ago} · {one_line(now.told['stopped'])} · run the same command again to resume"
        case "silent":
            return f": at work, but no word for {ago.removesuffix(' ago')}{owner}"
        case "unknown":
            return ": a run ended here before it told anything · run the same command again"
        case _:
            return owner


def _figures(now: Status, told: dict[str, Any]) -> list[tuple[str, str]]:
    from pbsbatch.cli.console import duration
    from pbsbatch.errors import one_line

    slides = told["slides"]
    kept = f" ({slides['kept']:,} kept)" if slides["kept"] else ""
    running = f", {slides['running']:,} running" if now.owner else ""
    ended = f"{slides['done']:,} done{kept}, {slides['failed']:,} failed"
    speed = f"{told['mpix_per_s']:.1f} MP/s · {told['cells_per_s']:,.0f} cells/s"
    rows = [
        ("slides", f"{ended}{running}, {now.pending or 0:,} pending of {slides['total']:,}"),
        ("speed", f"{speed} for {duration(told['seconds'])}"),
    ]
    if now.owner:
        left = "" if now.eta_s is None else f" · about {duration(now.eta_s)} left"
        rows.append(("work", f"{100 * told['share']:.1f} %{left}"))
        if told["deadline_utc"] is not None:
            rows.append(("deadline", _deadline(told)))
        names = [f"{one_line(one['slide'])} {one['tiles_done']:,}/{one['tiles']:,} tiles" for one in told["running"]]
        rows += [("now" if i == 0 else "", name) for i, name in enumerate(names[:NAMES_SHOWN])]
    return rows


def _deadline(told: dict[str, Any]) -> str:
    from datetime import datetime

    at = datetime.fromisoformat(told["deadline_utc"]).astimezone()
    holds = {True: "holds", False: "will not hold", None: "not known yet"}[told["deadline_holds"]]
    return f"{at:%a %H:%M} · {holds}"


def _on_disk(now: Status) -> str:
    from pbsbatch.cli.console import some

    begun = f", {some(now.strips, 'strip')} of {some(now.slides_begun, 'slide')} in progress" if now.strips else ""
    return f"{some(now.stores, 'store')}{begun}"
