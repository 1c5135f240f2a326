"""Take the results of a run elsewhere: one function for each format, streaming, whole or not there at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pbsbatch.disk import output_errors, remove_tree, unique
from pbsbatch.errors import UsageError
from pbsbatch.export import text
from pbsbatch.export.crops import write_crops
from pbsbatch.export.cvat import cvat
from pbsbatch.export.spatial import write_anndata, write_spatialdata
from pbsbatch.export.table import write_parquet
from pbsbatch.results import Run, RunSlide

__all__ = ["FORMATS", "Exported", "export"]

FORMATS = {
    "coco": "a COCO data set: boxes, scores, polygons (one JSON)",
    "geojson": "detections for QuPath (one file per slide)",
    "cvat": "CVAT for images 1.1: polygons to correct there (one XML)",
    "json": "per image its masks: class, score, box, vertices (one JSON)",
    "csv": "a row for each cell",
    "parquet": "the same for pandas, R, DuckDB",
    "anndata": "the same for the scverse (h5ad), with centres",
    "spatialdata": "a SpatialData store: label images, and a table that annotates them",
    "crops": "pictures of cells in folders of their type or class",
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    path: Path
    slides: int
    cells: int
    covered: int  # cells that others cover whole: their box stands for their outline
    corrected: int  # cells of these slides that are as people said, those taken away too


def export(
    run: Run, file_format: str, output: Path, *, slides: Sequence[RunSlide] | None = None, force: bool = False,
    as_run: bool = False, classes: Sequence[str] = ("WBC",), tick: Callable[[int], None] = lambda cells: None,
) -> Exported:  # fmt: skip
    """Write the cells of a run's slides as people corrected them, or `as_run`: as they were found.

    Law: `output` is there whole or as it was; what stands there needs `force`.
    """
    chosen = tuple(replace(s, ledger=None) if as_run else s for s in (run if slides is None else slides))
    if file_format not in FORMATS:
        raise UsageError(f"there is no format {file_format!r}", cure=f"Formats: {', '.join(FORMATS)}")
    if not chosen:
        raise UsageError("there is no finished slide to export", path=run.path, cure="Run until one is done")
    if output.exists() and not force:
        raise UsageError("something stands there already", path=output, cure="Give another --output, or --force")
    counter = text.Counter(tick)
    work = output.with_name(unique(f".tmp-{output.name}"))
    try:
        with output_errors(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            _write(run, chosen, file_format, work, classes, counter)
            _replace(work, output)
    finally:
        if work.is_dir():
            remove_tree(work)
        else:
            work.unlink(missing_ok=True)
    corrected = sum(len({one.cell for one in slide.corrections}) for slide in chosen)
    return Exported(output, len(chosen), counter.cells, counter.covered, corrected)


def _write(
    run: Run, slides: Sequence[RunSlide], file_format: str, work: Path, classes: Sequence[str], counter: text.Counter
) -> None:
    whole = {"coco": text.coco, "cvat": cvat, "json": text.outlines, "csv": text.csv_table}
    tables = {"parquet": write_parquet, "anndata": write_anndata, "spatialdata": write_spatialdata}
    if file_format in whole:
        _write_text(work, whole[file_format](slides, counter))
    elif file_format in tables:
        counter.cells = tables[file_format](slides, work, counter.tick)
    elif file_format == "crops":
        work.mkdir()
        counter.cells = write_crops(run, slides, work, classes, counter.tick)
    elif len(slides) == 1:
        _write_text(work, text.geojson(slides[0], counter))
    else:
        work.mkdir()
        for slide in slides:
            _write_text(work / f"{slide.id}.geojson", text.geojson(slide, counter))


def _write_text(path: Path, parts: Iterable[str]) -> None:
    with path.open("x", encoding="utf-8") as handle:
        handle.writelines(parts)


def _replace(work: Path, output: Path) -> None:
    if output.is_dir() and not output.is_symlink():
        shutil.rmtree(output)
    work.replace(output)
