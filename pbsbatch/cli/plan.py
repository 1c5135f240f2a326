"""`pbsbatch plan`: what a run would do, and whether it fits."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pbsbatch.cli.options import AsJson, ConfigFile, Inputs, Memory, ModelName, Mpp, Scales, SecondOpinion, Workers

if TYPE_CHECKING:
    from pbsbatch.run.planning import ArchivePlan


def plan(
    input: Inputs = [],  # noqa: B006 - typer never writes to the default
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where results would go. \\[default: pbsbatch-results]")
    ] = None,
    model: ModelName = None,
    second_opinion: SecondOpinion = None,
    mpp: Mpp = None,
    scales: Scales = None,
    workers: Workers = None,
    memory: Memory = None,
    config: ConfigFile = None,
    json: AsJson = False,
) -> None:
    """Show slides, tiles, area, and projected memory and disk of a run, without running it.

    Exits with 2 when a budget is exceeded or nothing can run.

    Example:  pbsbatch plan --input archive/ --memory 8GB
    """
    import json as json_module

    from pbsbatch.config import parse_bytes, resolve
    from pbsbatch.run.planning import plan_archive

    settings = resolve(
        {
            "inputs": tuple(input) or None, "output": output, "model": model, "mpp": mpp, "scales": scales,
            "workers": workers, "second_opinion": second_opinion,
            "memory": None if memory is None else parse_bytes(memory),
        },
        config,
    )  # fmt: skip
    found = plan_archive(settings)
    if json:
        print(json_module.dumps(asdict(found), indent=2, default=str))
    else:
        _show(found)
    if found.refusals:
        raise typer.Exit(2)


def _show(found: ArchivePlan) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pbsbatch.cli.console import console, some

    out = console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("slide", overflow="fold")
    for title in ("pixels", "µm/px", "tiles", "strips", "area mm²", "core share"):
        table.add_column(title, justify="right", no_wrap=True)
    for slide in found.slides:
        if slide.error is not None:
            continue
        estimated = slide.mpp_source == "estimated"
        table.add_row(
            escape(slide.name), f"{slide.width_px:,} × {slide.height_px:,}",
            f"{slide.mpp:.4g} ({slide.mpp_source})", f"{slide.tiles:,}", f"{slide.strips:,}",
            "" if estimated else f"{slide.roi_mm2:.3g}", f"{slide.core_share:.2f}",
        )  # fmt: skip
    out.print(table)
    for slide in found.slides:
        if slide.error is not None:
            out.print(f"[red]would fail[/] {escape(slide.name)}: {escape(slide.error)}", soft_wrap=True)
    for path, reason in found.skipped:
        out.print(f"[yellow]skipped[/] {escape(path)}: {escape(reason)}", soft_wrap=True)
    for warning in found.warnings:
        out.print(f"[yellow]note:[/] {escape(warning)}", soft_wrap=True)
    gigabytes = 1e9
    out.print(
        f"\n[bold]{some(len(found.slides), 'slide')}, {some(found.tiles, 'tile')}[/] · "
        f"{some(found.workers, 'worker')} · "
        f"memory {found.memory_bytes / gigabytes:.2f} of {found.memory_budget / gigabytes:.2f} GB · "
        f"disk {found.disk_bytes / gigabytes:.2f} of {found.disk_free / gigabytes:.2f} GB",
        soft_wrap=True,
    )
    for refusal in found.refusals:
        out.print(f"[red]refused:[/] {escape(refusal)}", soft_wrap=True)
