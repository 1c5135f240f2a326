"""The per-slide store: strips come in, in any order and from any process; one complete store comes out."""

from pbsbatch.store.protocol import Store
from pbsbatch.store.reading import StoredLabels, StoredSlide, open_store
from pbsbatch.store.records import (
    CELL_COLUMNS,
    SECOND_COLUMNS,
    SUMS,
    TILE_FAILED,
    TILE_OK,
    UNTYPED,
    BlockRows,
    CommittedInfo,
    Measure,
    Preview,
    StoreHeader,
    TileRows,
)
from pbsbatch.store.together import Together

open = open_store

__all__ = [
    "CELL_COLUMNS",
    "SECOND_COLUMNS",
    "SUMS",
    "TILE_FAILED",
    "TILE_OK",
    "UNTYPED",
    "BlockRows",
    "CommittedInfo",
    "Measure",
    "Preview",
    "Store",
    "StoreHeader",
    "StoredLabels",
    "StoredSlide",
    "TileRows",
    "Together",
    "open",
    "open_store",
]
