"""Cells as rows of one flat table, for CSV and Parquet. Law: um columns are blank where the scale was not told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.detections import DOUBTS
from pbsbatch.errors import UsageError
from pbsbatch.export.present import KINDS, Present
from pbsbatch.results import RunSlide

__all__ = ["COLUMNS", "columns_of", "rows_of", "write_parquet"]

COLUMNS = (
    "slide", "id", "class", "type", "type_score", "score", "x0", "y0", "x1", "y1", "area_px", "area_um2", "diameter_um",
    "corrected",
)  # fmt: skip
"""Boxes in level-0 px; the diameter is that of a circle of the cell's area; `corrected` says what people did to it."""


SECOND_COLUMNS = ("second_type", "second_score", "doubt")
"""Behind them where a slide of the run was given a second opinion."""


def columns_of(slides: Sequence[RunSlide]) -> tuple[str, ...]:
    """Return the columns of a table of these slides' cells."""
    return (*COLUMNS, *SECOND_COLUMNS) if any(slide.store.second_types for slide in slides) else COLUMNS


def rows_of(slide: RunSlide, tick: Callable[[int], None] = lambda cells: None) -> Iterator[Mapping[str, Any]]:
    """Yield the columns of some rows at a time."""
    present = Present(slide)
    classes, kinds = np.array(present.classes, object), np.array(KINDS, object)
    types = np.array([*present.types, ""], object)
    for rows in present.tables():
        n = len(rows["id"])
        typed = rows["type"] < len(present.types)
        area = np.full(n, np.nan) if slide.mpp is None else rows["area_px"] * slide.mpp**2
        yield {
            "slide": [slide.name] * n, "id": rows["id"], "class": classes[rows["class"]],
            "type": types[rows["type"]],
            "type_score": np.where(typed, _short(rows["type_score"], 4), np.nan), "score": _short(rows["score"], 4),
            **{name: _short(rows[name], 2) for name in ("x0", "y0", "x1", "y1")}, "area_px": rows["area_px"],
            "area_um2": area.round(3), "diameter_um": (2 * np.sqrt(area / np.pi)).round(3),
            "corrected": kinds[rows["corrected"]], **_second(slide, rows),
        }  # fmt: skip
        tick(n)


def _second(slide: RunSlide, rows: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return what a second opinion says; of a slide that was given none nothing."""
    n, names = len(rows["id"]), slide.store.second_types
    if not names:
        return {"second_type": [""] * n, "second_score": np.full(n, np.nan), "doubt": [""] * n}
    asked = rows["second_type"] < len(names)
    return {
        "second_type": np.array([*names, ""], object)[np.where(asked, rows["second_type"], len(names))],
        "second_score": np.where(asked, _short(rows["second_score"], 4), np.nan),
        "doubt": np.array(DOUBTS, object)[rows["second_flags"]],
    }


def write_parquet(slides: Sequence[RunSlide], path: Path, tick: Callable[[int], None]) -> int:
    """Write all cells as a Parquet file, a row group for some rows of a slide; return how many."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow", cure="Run: pip install 'pbsbatch[report]'") from error
    text, number, whole = pa.dictionary(pa.int32(), pa.string()), pa.float64(), pa.int32()
    words = ("slide", "class", "type", "corrected", "second_type", "doubt")
    kinds, names = dict.fromkeys(words, text) | {"id": whole, "area_px": whole}, columns_of(slides)
    schema = pa.schema([(name, kinds.get(name, number)) for name in names])
    cells = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for slide in slides:
            for rows in rows_of(slide, tick):
                arrays = [_array(pa, rows[name], schema.field(name).type) for name in names]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                cells += len(rows["id"])
    return cells


def _array(pa: Any, values: Any, kind: Any) -> Any:
    if pa.types.is_dictionary(kind):
        return pa.array([v or None for v in values], pa.string()).dictionary_encode()
    return pa.array(values, kind, from_pandas=True)  # NaN as null


def _short(values: NDArray[Any], digits: int) -> NDArray[np.float64]:
    return values.astype(np.float64).round(digits)
