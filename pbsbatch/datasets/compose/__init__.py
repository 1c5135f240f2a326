"""Compose labelled pictures into new ones with known truth: mixed magnifications, grids, mosaics, whole slides."""

from pbsbatch.datasets.compose.archive import FORMATS, Tally, compose_archive
from pbsbatch.datasets.compose.scene import Composite, Placed
from pbsbatch.datasets.compose.source import Source, load_source
from pbsbatch.datasets.compose.spec import ComposeSpec, parse_grid, parse_scales

__all__ = [
    "FORMATS",
    "ComposeSpec",
    "Composite",
    "Placed",
    "Source",
    "Tally",
    "compose_archive",
    "load_source",
    "parse_grid",
    "parse_scales",
]
