"""Cells for the scverse: an AnnData file of the table, or a SpatialData store with the label images beside it.

Laws. A row is a cell; what was not measured is not a number, and so is all in um where the scale was not told. Both
packages hold the table whole: some 200 bytes a cell. Label images are copied a piece at a time, and stay as the run
found them: a cell that people added has a row and no pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pbsbatch import __version__
from pbsbatch.errors import UsageError
from pbsbatch.export.present import KINDS, Present, classes_of, types_of
from pbsbatch.results import RunSlide

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["table_of", "write_anndata", "write_spatialdata"]

MEASURES = ("score", "type_score", "area_px", "area_um2", "diameter_um", "width_px", "height_px")
PIECE_PX = 4096
"""Side of the pieces that label images are copied by: whole chunks of theirs."""


def write_anndata(slides: Sequence[RunSlide], path: Path, tick: Callable[[int], None]) -> int:
    """Write the cells of all slides as one file; return how many. Raises UsageError without anndata."""
    table = table_of(slides, tick)
    table.write_h5ad(path)
    return int(table.n_obs)


def write_spatialdata(slides: Sequence[RunSlide], path: Path, tick: Callable[[int], None]) -> int:
    """Write label images and one table that annotates them; return how many cells. Raises UsageError without it."""
    try:
        from spatialdata import SpatialData
        from spatialdata.models import TableModel
    except ImportError as error:
        cure = "Run: pip install spatialdata, in an environment of its own if it wants another dask"
        raise UsageError("this format needs spatialdata", cure=cure) from error
    table = table_of(slides, tick)
    keys = {"region": [_region(s) for s in slides], "region_key": "region", "instance_key": "cell"}
    cells = TableModel.parse(table, **keys)
    SpatialData(labels={_region(s): _labels(s) for s in slides}, tables={"cells": cells}).write(path)
    return int(table.n_obs)


def table_of(slides: Sequence[RunSlide], tick: Callable[[int], None] = lambda cells: None) -> AnnData:
    """Return the cells of slides: measures, centres in level-0 px (obsm "spatial"), and what they are called."""
    try:
        import pandas as pd
        from anndata import AnnData
    except ImportError as error:
        raise UsageError("this format needs anndata", cure="Run: pip install anndata") from error
    present = [Present(slide) for slide in slides]
    counts = [len(cells) for cells in present]
    total, classes, types = sum(counts), classes_of(present), types_of(present)
    done = np.zeros(total, np.int8)
    measures, centres = np.full((total, len(MEASURES)), np.nan, np.float32), np.zeros((total, 2), np.float32)
    numbers, kinds, sorts = np.zeros(total, np.int32), np.zeros(total, np.int16), np.full(total, -1, np.int16)
    at = 0
    for cells in present:
        to_class = np.array([classes.index(name) for name in cells.classes], np.int16)
        to_type = np.array([*(types.index(name) for name in cells.types), -1], np.int16)
        for rows in cells.tables():
            here = slice(at, at + len(rows["id"]))
            numbers[here], kinds[here], done[here] = rows["id"], to_class[rows["class"]], rows["corrected"]
            sorts[here] = to_type[rows["type"]]
            measures[here] = _measures(rows, rows["type"] < len(cells.types), cells.slide.mpp)
            centres[here] = np.stack([(rows[a] + rows[b]) / 2 for a, b in (("x0", "x1"), ("y0", "y1"))], axis=1)
            at = here.stop
            tick(len(rows["id"]))
    which = np.repeat(np.arange(len(slides)), counts)
    obs = pd.DataFrame(
        {
            "slide": pd.Categorical.from_codes(which, [slide.name for slide in slides]),
            "region": pd.Categorical.from_codes(which, [_region(slide) for slide in slides]),
            "cell": numbers, "class": pd.Categorical.from_codes(kinds, classes),
            "type": pd.Categorical.from_codes(sorts, types),
            "corrected": pd.Categorical.from_codes(done - 1, KINDS[1:]),
        },
        index=[f"{slides[s].id}-{n}" for s, n in zip(which.tolist(), numbers.tolist(), strict=True)],
    )  # fmt: skip
    var = pd.DataFrame(index=list(MEASURES))
    return AnnData(measures, obs=obs, var=var, obsm={"spatial": centres}, uns={"pbsbatch": {"version": __version__}})


def _measures(rows: Any, typed: Any, mpp: float | None) -> Any:
    area = np.full(len(typed), np.nan) if mpp is None else rows["area_px"] * mpp**2
    columns = (
        rows["score"], np.where(typed, rows["type_score"], np.nan), rows["area_px"], area, 2 * np.sqrt(area / np.pi),
        rows["x1"] - rows["x0"], rows["y1"] - rows["y0"],
    )  # fmt: skip
    return np.stack(columns, axis=1)


def _labels(slide: RunSlide) -> Any:
    """Return a slide's label image, not read yet, in pixels and where the scale was told in um."""
    from spatialdata.models import Labels2DModel
    from spatialdata.transformations import Identity, Scale

    lazily: Any = import_module("dask.array")  # its functions carry no types
    places: dict[str, Any] = {"global": Identity()}
    if slide.mpp is not None:
        places["um"] = Scale([slide.mpp, slide.mpp], axes=("x", "y"))
    array = lazily.from_array(slide.store.labels(0).array, chunks=(PIECE_PX, PIECE_PX))
    return Labels2DModel.parse(array, dims=("y", "x"), transformations=places)


def _region(slide: RunSlide) -> str:
    """Return what the label image of a slide is called: an id ends in a hash, so that no two become the same."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", slide.id)
