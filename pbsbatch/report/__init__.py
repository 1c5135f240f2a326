"""report.html and a page for each slide, made from a run's output.

Laws. A page opens from a file share without a network. What a slide's store alone decides is made once and kept in
OUT/.pbsbatch/report under the store's key: it is made as slides finish, and a resume makes it no second time.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pbsbatch.disk import make_folder, output_errors, write_atomic
from pbsbatch.errors import StoreError
from pbsbatch.report import pictures, slide_page
from pbsbatch.report.index_page import Entry, index_page
from pbsbatch.results import Run, RunSlide, open_run
from pbsbatch.run.csv_text import plain_cell
from pbsbatch.run.output import MARKER, PAGES

__all__ = ["INDEX", "has_page", "prepare", "write_report"]

INDEX = "report.html"
FORMAT = 3
"""Of the kept parts; raised when they look otherwise."""
MOST_THUMBNAILS = 1500
"""A table of more slides goes without pictures: it would grow beyond 25 MB."""
MOST_FIELD_PAGES, FIELD_PX = 300, 4_000_000
"""Where there are more slides, those of fewer pixels have no page of their own: it would take longer than the count."""


def has_page(slides: int, width: int, height: int) -> bool:
    """Say whether a slide of a run over so many has a page of its own."""
    return slides <= MOST_FIELD_PAGES or width * height >= FIELD_PX


def prepare(out: Path, slide: RunSlide, original: Path | None) -> Mapping[str, Any]:
    """Return the part of a slide's page that its store decides, from the kept file or made and kept now."""
    kept = out / MARKER / PAGES / f"{slide.id}-{slide.store.info.key[:16]}-{FORMAT}.json"
    try:
        part: dict[str, Any] = json.loads(kept.read_bytes())
        if part["shows_cells"] or original is None:
            return part
    except (OSError, ValueError, KeyError):
        pass  # not made yet, or torn by a power cut: made now
    store = slide.store
    tiles = store.tiles
    measured = {name: _median(getattr(tiles, name)) for name in ("rbc_od", "edge_px")}
    part = {
        "body": slide_page.body(store, original, slide.mpp), "thumbnail": pictures.thumbnail(store),
        "scanner": slide.scanner, "scanned": slide.scanned,
        "measured": {name: value for name, value in measured.items() if value is not None},
        "shows_cells": original is not None,
    }  # fmt: skip
    with output_errors(kept):
        make_folder(kept.parent)
        write_atomic(kept, [json.dumps(part).encode()])
        for old in kept.parent.glob(f"{slide.id}-*.json"):
            if old != kept and re.fullmatch(rf"{re.escape(slide.id)}-[0-9a-f]{{16}}-\d+\.json", old.name):
                old.unlink(missing_ok=True)
    return part


def _median(values: Any) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def write_report(out: Path, originals: Mapping[str, Path], tick: Callable[[str], None] = lambda name: None) -> Path:
    """Write OUT/report.html and OUT/report/<slide id>.html. Slides that `originals` lacks show no cells."""
    run = open_run(out)
    failures = _rows(out / "failures.csv")
    entries = []
    slides = {slide.name: slide for slide in run}
    rows = _rows(out / "summary.csv") or [{"slide": slide.name} for slide in run]
    for row in rows:
        slide = slides.get(row["slide"]) if row.get("status", "ok") == "ok" else None
        if not has_page(len(rows), int(row.get("width_px") or 0), int(row.get("height_px") or 0)):
            slide = None
        entries.append(_entry(run, slide, row, originals, [f for f in failures if f["slide"] == row["slide"]]))
        tick(row["slide"])
    if len(entries) > MOST_THUMBNAILS:
        entries = [replace(e, thumbnail="") for e in entries]
    with output_errors(out):
        page = index_page(run.facts, entries, _rows(out / "samples.csv"), _corrected(run))
        write_atomic(out / INDEX, [page.encode()])
    return out / INDEX


def _corrected(run: Run) -> int:
    """Count the corrections of cells that are still there. Raises StoreError where the ledger is damaged."""
    spoken_of, count = {one.slide for one in run.corrections}, 0
    for slide in run:
        if slide.id in spoken_of:
            with suppress(StoreError):  # of a store that cannot be read its row tells
                count += len(slide.corrections)
    return count


def _entry(
    run: Run, slide: RunSlide | None, row: Mapping[str, str], originals: Mapping[str, Path],
    failures: Sequence[Mapping[str, str]],
) -> Entry:  # fmt: skip
    if slide is None:
        return Entry(row)
    try:
        part = prepare(run.path, slide, originals.get(slide.id))
    except StoreError as error:  # damaged, or of another version: it costs this page
        return Entry({**row, "status": row.get("status") or "unread", "error": str(error)})
    link = f"{PAGES}/{slide.id}.html"
    kinds = Counter(one.kind for one in slide.corrections)
    page = slide_page.slide_page(row, part["body"], failures, f"../{INDEX}", kinds)
    with output_errors(run.path):
        make_folder(run.path / PAGES)
        write_atomic(run.path / link, [page.encode()])
    return Entry(row, link, part["thumbnail"], part["measured"], part["scanner"], part["scanned"])


def _rows(path: Path) -> list[Mapping[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return [{k: plain_cell(v or "") for k, v in row.items()} for row in csv.DictReader(handle)]
    except FileNotFoundError:
        return []
