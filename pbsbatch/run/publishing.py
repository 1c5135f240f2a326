"""What stands between a slide's strips and its store: too many unreadable tiles, a preview, its measures."""

from __future__ import annotations

from collections.abc import Mapping

from pbsbatch.errors import UnreadableSlideError
from pbsbatch.plan import PREVIEW_PX, Plan
from pbsbatch.quality import measure
from pbsbatch.run.prepare import Prepared, Workbench
from pbsbatch.slides.base import Slide
from pbsbatch.store import TILE_FAILED, Measure, Preview, Store, StoreHeader

__all__ = ["measure_of", "preview_of", "refuse_unreadable"]


def refuse_unreadable(bench: Workbench, prepared: Prepared, store: Store, known: Mapping[int, str]) -> None:
    """Refuse a slide with too many tiles that could not be read; known: why, as far as this run knows."""
    failed, tiles = int((store.tiles().status == TILE_FAILED).sum()), prepared.plan.tiles
    if tiles and failed / tiles > bench.config.max_failed_tiles:
        first = known[min(known)] if known else "met by an earlier run"
        raise UnreadableSlideError(
            f"{failed} of {tiles} tiles could not be read; the first: {first}", path=prepared.ref.path,
            cure="Copy the slide again from its source, or raise max_failed_tiles in a config file",
        )  # fmt: skip


def preview_of(slide: Slide) -> Preview:
    """Return the picture of a slide that is kept in its store."""
    return Preview(*slide.thumbnail(PREVIEW_PX))


def measure_of(header: StoreHeader, plan: Plan) -> Measure:
    """Return what measures a slide from the tables of its store."""
    return lambda cells, tiles: measure(cells, tiles, classes=header.classes, types=header.types, plan=plan).to_json()
