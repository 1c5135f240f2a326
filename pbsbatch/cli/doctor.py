"""`pbsbatch doctor`: what this machine has, how fast it is, and what would help."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbsbatch.cli.options import AsJson, ModelName

if TYPE_CHECKING:
    from pbsbatch.run.speed import Speed

__all__ = ["doctor"]

BUSY = 0.5
"""Load per core, before the test begins, from which on it does not have the machine to itself."""


def doctor(
    model: ModelName = None,
    *,
    engine: Annotated[str, typer.Option(help="auto, or an engine as --engine of `run` takes it.")] = "auto",
    seconds: Annotated[float, typer.Option(min=0.0, max=600.0, help="How long the speed test takes. 0: none.")] = 10.0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder whose disk is looked at.")] = Path(),
    json: AsJson = False,
) -> None:
    """Show what this machine has, which engine a run would take, how fast it is, and what would help.

    Example:  pbsbatch doctor

    Exit codes: 0 a run works here; 1 it does not, and the last line says why.
    """
    import json as json_module

    from pbsbatch.run.machine import advice, describe

    facts = describe(output)
    facts["engine"], speed = _try(model or "smear", engine, seconds)
    facts["speed"] = None if speed is None else _figures(speed)
    facts["advice"] = advice(facts, facts["engine"]["name"] or "")
    if json:
        print(json_module.dumps(facts, indent=2))
    else:
        _show(facts)
    if facts["engine"]["error"]:
        raise typer.Exit(1)


def _try(model: str, asked: str, seconds: float) -> tuple[dict[str, Any], Speed | None]:
    """Return the engine that a run would take, or why there is none, and what the speed test measured."""
    from pbsbatch import engines, models
    from pbsbatch.errors import PbsbatchError
    from pbsbatch.run.speed import measure_speed

    said: dict[str, Any] = dict.fromkeys(("name", "precision", "device", "error"))
    try:
        loaded = models.load(model)
        engine = engines.load(loaded, asked)
        said |= {"name": engine.name, "precision": engine.precision, "device": engine.device, "model": model}
        said["notes"] = list(engine.notes)
        try:
            return said, measure_speed(loaded, engine, seconds) if seconds > 0 else None
        finally:
            engine.close()
    except PbsbatchError as error:
        return {**said, "error": str(error)}, None


def _figures(speed: Speed) -> dict[str, Any]:
    from pbsbatch.run.speed import TYPICAL_MM2

    return {
        "seconds": round(speed.seconds, 2), "mpix_per_second": round(speed.mpix / speed.seconds, 2),
        "mpix_per_core_second": {stage: round(value, 1) for stage, value in speed.per_core().items()},
        "typical_slide_mm2": TYPICAL_MM2, "slides_per_hour": round(speed.slides_per_hour, 2),
    }  # fmt: skip


def _show(facts: dict[str, Any]) -> None:
    """Print one screen: a word in front, what it is behind it."""
    from rich.markup import escape
    from rich.table import Table

    from pbsbatch.cli.console import console

    out = console()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in _rows(facts):
        table.add_row(name, escape(value))
    out.print(table)
    for line in facts["advice"]:
        out.print(f"[yellow]→[/] {escape(line)}", soft_wrap=True)
    if facts["engine"]["error"]:
        out.print(f"[red]A run does not work here:[/] {escape(facts['engine']['error'])}", soft_wrap=True)
    elif not facts["advice"]:
        out.print("[green]Nothing to install would make this machine faster.[/]")


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    packages = {**facts["packages"], **{k: v for extra in facts["extras"].values() for k, v in extra.items() if v}}
    absent = [extra for extra, found in facts["extras"].items() if not all(found.values())]
    images, cpu, memory = facts["images"], facts["processor"], facts["memory_bytes"]
    narrow = ", ".join(name for name in ("int8", "bf16") if cpu[name]) or "neither int8 nor bf16"
    rows = [
        ("pbsbatch", f"{facts['pbsbatch']} on Python {facts['python']}, {facts['system']}"),
        ("packages", ", ".join(f"{name} {found or 'MISSING'}" for name, found in packages.items())),
        ("extras", f"not installed: {', '.join(absent)}" if absent else "all installed"),
        ("images", f"libvips {images['libvips'] or 'MISSING'} reads {', '.join(images['loaders']) or 'nothing'}; "
                   f"OpenSlide {images['openslide'] or 'MISSING'}"),
        ("processor", f"{cpu['model']}, {cpu['cores']} cores, {narrow}"),
        ("memory", f"{_gb(memory['available'])} free of {_gb(memory['total'])}"),
        ("disk", f"{_gb(facts['disk']['free_bytes'])} free at {facts['disk']['folder']}"),
        ("GPU", _gpu_line(facts)),
    ]  # fmt: skip
    return [*rows, *_engine_rows(facts)]


def _engine_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    engine, speed = facts["engine"], facts["speed"]
    if engine["error"]:
        return []
    rows = [("engine", f"{engine['model']} runs on {engine['name']} {engine['precision']} ({engine['device']})")]
    rows += [("", note) for note in engine["notes"][1:]]
    if speed is not None:
        stages = ", ".join(f"{stage} {value:g}" for stage, value in speed["mpix_per_core_second"].items())
        an_hour = f"{speed['slides_per_hour']:g} slides an hour"
        rows += [
            ("speed", f"{speed['mpix_per_second']:g} megapixels a second; per core-second: {stages}"),
            ("", f"about {an_hour}, of {speed['typical_slide_mm2']:g} mm² of cells each"),
        ]
        load, cores = facts["processor"]["load"], facts["processor"]["cores"]
        if load > BUSY * cores:
            rows.append(
                ("", f"measured beside other work (load {load:.1f} on {cores} cores): alone it would be faster")
            )
    return rows


def _gpu_line(facts: dict[str, Any]) -> str:
    gpus, tensorrt = facts["gpus"], facts["tensorrt"]
    if not gpus["found"]:
        return f"none: {gpus['why_none']}"
    names = ", ".join(f"{g['name']} ({_gb(g['memory_bytes'])}, SM {g['capability']})" for g in gpus["found"])
    library = f"{tensorrt['library']}, {tensorrt['plans']} plans compiled" if tensorrt["library"] else "no TensorRT"
    return f"{names}; CUDA {gpus['cuda_driver']}; {library}"


def _gb(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e9:.1f} GB"
