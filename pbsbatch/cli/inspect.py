"""`pbsbatch inspect`: what one file is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pbsbatch.cli.options import AsJson, Mpp


def inspect(
    file: Annotated[Path, typer.Argument(help="A slide file, or the folder of a slide that is a folder.")],
    mpp: Mpp = None,
    json: AsJson = False,
) -> None:
    """Show a slide's format, levels, scale and where the scale comes from.

    Example:  pbsbatch inspect archive/a.svs
    """
    import json as json_module

    from pbsbatch.slides import open_slide

    slide = open_slide(file, mpp=mpp)
    try:
        facts = _facts(slide)
    finally:
        slide.close()
    if json:
        print(json_module.dumps(facts, indent=2))
    else:
        _show(facts)


def _facts(slide: Any) -> dict[str, Any]:
    level0 = slide.levels[0]
    size_mm = None if slide.mpp is None else [level0.width * slide.mpp / 1000, level0.height * slide.mpp / 1000]
    return {
        "file": str(slide.path), "format": slide.format, "width_px": level0.width, "height_px": level0.height,
        "mpp": slide.mpp, "mpp_source": slide.mpp_source, "size_mm": size_mm,
        "levels": [
            {"level": v.index, "width": v.width, "height": v.height, "downsample": v.downsample} for v in slide.levels
        ],
        "scanner": slide.origin.scanner, "scanned": slide.origin.scanned,
        "associated_images": list(slide.associated), "notes": list(slide.notes),
    }  # fmt: skip


def _show(facts: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pbsbatch.cli.console import console

    out = console()
    out.print(f"[bold]{escape(facts['file'])}[/]", soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("format", escape(facts["format"]))
    table.add_row("size", f"{facts['width_px']:,} × {facts['height_px']:,} px" + _millimetres(facts["size_mm"]))
    if facts["mpp"] is None:
        table.add_row("scale", "[yellow]unknown[/]: a run estimates it from the red cells, or takes --mpp")
    else:
        table.add_row("scale", f"{facts['mpp']:.4g} µm per pixel ({escape(facts['mpp_source'])})")
    made = " · ".join(escape(text) for text in (facts["scanner"], facts["scanned"].replace("T", " ")) if text)
    if made:
        table.add_row("scanned", made)
    for level in facts["levels"]:
        size = f"{level['width']:,} × {level['height']:,} px"
        table.add_row(f"level {level['level']}", f"{size} · downsample {level['downsample']:.6g}")
    kept = ", ".join(facts["associated_images"])
    table.add_row("associated", escape(f"{kept} (never opened)") if kept else "none")
    for note in facts["notes"]:
        table.add_row("note", f"[yellow]{escape(note)}[/]")
    out.print(table)


def _millimetres(size: list[float] | None) -> str:
    return "" if size is None else f" · {size[0]:.2f} × {size[1]:.2f} mm"
