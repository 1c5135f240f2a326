"""One slide's result, read from its published store alone: a kept slide reports what it did when it was made."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pbsbatch.errors import PbsbatchError, one_line
from pbsbatch.quality import Measures
from pbsbatch.run.events import SlideResult
from pbsbatch.slides.base import SlideRef
from pbsbatch.store import TILE_FAILED, StoredSlide
from pbsbatch.store import open as open_store

__all__ = ["failed_result", "slide_result"]

EARLIER = "could not be read when an earlier run tried"


def slide_result(
    ref: SlideRef, path: Path, *, seconds: float, failed: Mapping[int, str] | None = None, resumed: bool = False
) -> SlideResult:
    """Gather a row of the summary. An estimated scale is reported, and gives no um or mm2 anywhere.

    failed: why tiles could not be read, as far as this run knows.
    """
    stored = open_store(path)
    about, info = stored.attributes, stored.info
    height, width = about["plan"]["tile_shape"]
    return SlideResult(
        slide_id=ref.id, name=ref.name, path=ref.path, sample=ref.sample, status="ok",
        width_px=about["store"]["width_px"], height_px=about["store"]["height_px"],
        mpp=about["mpp"], mpp_source=about["mpp_source"], scale_confidence=about["scale_confidence"],
        roi_px=info.area_ok_px + info.area_failed_px, analysed_px=info.area_ok_px, counts=info.counts,
        measures=Measures.from_json(info.measures),
        failed_tiles=_failed_tiles(stored, failed or {}), seconds=seconds,
        computed_mpix=about["plan"]["tiles"] * height * width / 1e6,
        core_share=about["plan"]["core_share"], store=info.path,
        resumed=resumed,
    )  # fmt: skip


def _failed_tiles(stored: StoredSlide, known: Mapping[int, str]) -> tuple[tuple[int, str], ...]:
    """Return every unreadable tile by its place in the grid, also those that an earlier attempt met."""
    if not stored.info.tiles_failed:
        return ()
    plan: Mapping[str, Any] = stored.attributes["plan"]
    tiles = stored.tiles
    indices = []
    for x, y, *_ in tiles.core[tiles.status == TILE_FAILED].tolist():
        # the first core of a row or column may start before the slide and is cut off at 0
        row, col = (
            int((at / plan["scale"] + -start % core) / core + 1e-6)
            for at, start, core in (
                (y, plan["origin"][1], plan["core_px"][1]),
                (x, plan["origin"][0], plan["core_px"][0]),
            )
        )
        indices.append(row * plan["cols"] + col)
    return tuple((index, known.get(index, EARLIER)) for index in sorted(indices))


def failed_result(ref: SlideRef, error: BaseException) -> SlideResult:
    """Return the row of a slide that was given up, with the reason on one line."""
    details = None
    if isinstance(error, PbsbatchError):
        text = str(error) if error.path is None else str(error).removeprefix(f"{one_line(error.path)}: ")
    elif isinstance(error, MemoryError):
        text = "out of memory while it was computed. Use fewer --workers or a machine with more memory"
    else:
        first = str(error).split("\n", 1)[0][:160]
        text = one_line(f"unexpected {type(error).__name__}: {first} (run.log has the details; please report it)")
        details = "".join(traceback.format_exception(error)).rstrip()
    return SlideResult(ref.id, ref.name, ref.path, ref.sample, "failed", error=text, details=details)
