"""Build a whole store in a folder of its own, from strips that are all there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from pbsbatch import ngff
from pbsbatch.errors import StoreError
from pbsbatch.store.picture import picture_attributes, write_levels
from pbsbatch.store.records import TILE_OK, CommittedInfo, Measure, Preview, StoreHeader, TileRows
from pbsbatch.store.render import write_labels
from pbsbatch.store.settle import settle_seams
from pbsbatch.store.strips import Strip
from pbsbatch.store.tables import read_cells, write_cells, write_tiles

__all__ = ["build", "info_of"]

_VERSION = 2


def build(
    path: Path, header: StoreHeader, key: str, strips: Sequence[Strip], preview: Preview, workers: int,
    measure: Measure | None = None,
) -> None:  # fmt: skip
    """Write the store, unsynced. Law: its bytes depend on header, key, cells, tiles, preview and measure alone.

    With more workers than one, it is measured and its picture is written while they paint labels.
    """
    tiles = TileRows.concat([s.tiles() for s in strips])
    seams = settle_seams(strips, tiles, header.band_px)
    numbered = write_cells(path / "cells", header, strips, seams)
    write_tiles(path / "tiles", tiles)
    whole = replace(tiles, blocks=tiles.blocks.merged())
    rows = read_cells(path / "cells", header.columns) if numbered.table is None else iter([dict(numbered.table)])

    def beside() -> Mapping[str, Any]:
        write_levels(path, header, preview)
        return {} if measure is None else measure(rows, whole)

    ngff.write_group(path / "labels", {"ome": {"version": ngff.VERSION, "labels": ["cells"]}})
    with ThreadPoolExecutor(1) if workers > 1 else nullcontext() as pool:
        waiting = None if pool is None else pool.submit(beside)
        write_labels(path / "labels" / "cells", header, strips, numbered.ids, workers)
        measures = beside() if waiting is None else waiting.result()
    ok, areas = tiles.status == TILE_OK, tiles.areas
    about = {
        "version": _VERSION,
        "key": key,
        "slide_id": header.slide_id,
        "width_px": header.width,
        "height_px": header.height,
        "mpp": header.mpp,
        "classes": list(header.classes),
        "cells": seams.cells,
        "counts": dict(zip(header.classes, numbered.counts, strict=True)),
        "tiles": {"ok": int(ok.sum()), "failed": int((~ok).sum())},
        "area_px": {"ok": float(areas[ok].sum()), "failed": float(areas[~ok].sum())},
        "seams": {"band_px": header.band_px, "candidates": seams.candidates, "joined": seams.joined},
        "measures": measures,
    }
    attributes = {"ome": picture_attributes(header, preview), "pbsbatch": {**header.attributes, "store": about}}
    ngff.write_group(path, attributes)


def info_of(path: Path) -> CommittedInfo:
    """Read what a store says of itself. Raises StoreError where there is none that can be read."""
    try:
        about: dict[str, Any] = ngff.read_attributes(path)["pbsbatch"]["store"]
        if about["version"] != _VERSION:
            what = f"the store has results version {about['version']}, this is {_VERSION}"
            raise StoreError(what, path=path, cure="Run the slide again: it is made anew")
        return CommittedInfo(
            key=str(about["key"]), path=path, cells=int(about["cells"]), counts=dict(about["counts"]),
            tiles_ok=int(about["tiles"]["ok"]), tiles_failed=int(about["tiles"]["failed"]),
            area_ok_px=float(about["area_px"]["ok"]), area_failed_px=float(about["area_px"]["failed"]),
            seam_candidates=int(about["seams"]["candidates"]), seam_joined=int(about["seams"]["joined"]),
            measures=dict(about["measures"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise StoreError(
            f"there is no store that can be read ({type(e).__name__}: {e})", path=path, cure="Run the slide again"
        ) from e
