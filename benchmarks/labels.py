"""Measure what is done with cells' masks, beside other packages on the same cells in the same run.

`python -m benchmarks.labels --json` prints one JSON object and adds its rows to results/labels.csv. Each part grows
from 1e3 to 1e6 cells; a peer stops where it would take minutes or the whole slide in memory. One thread, but for the
rendering, which also says what two give.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import label_peers as peers
from benchmarks.label_field import Field, draw, in_strips
from benchmarks.record import append, show
from pbsbatch import ngff
from pbsbatch.store.render import write_labels
from pbsbatch.store.settle import settle_seams
from pbsbatch.store.tables import write_cells
from pbsbatch_kernels import labels, masks, polygons, regionprops, rle

SIZES = (1_000, 10_000, 100_000, 1_000_000)
IN_MEMORY = 100_000  # cells whose slide a peer holds at once: 0.6 GB of labels
SLOW = 100_000  # cells up to which a slow peer is run, by default
TOLERANCE = 0.5
SAMPLE = 10_000  # polygons whose vertices are counted and whose validity is checked
OURS = "pbsbatch"
Row = dict[str, Any]


@dataclass(frozen=True)
class Timed:
    """What a call returned, and its seconds over several repeats."""

    value: Any
    seconds: tuple[float, float, float]  # p20, p50, p80
    cpu: float  # the processor's, which other work on the machine leaves alone

    def row(self, part: str, field: Field, by: str, **more: Any) -> Row:
        """Return one row of results; every row has the same columns."""
        p20, p50, p80 = (round(s, 5) for s in self.seconds)
        rest = {
            "threads": 1,
            "vertices_per_cell": "",
            "invalid": "",
            "wrong_pixels": "",
            "worst_difference": "",
            **more,
        }
        return {
            "part": part, "cells": len(field), "by": by, "p20_s": p20, "p50_s": p50, "p80_s": p80,
            "cells_per_s": round(len(field) / p50), "mpix_per_s": round(field.side**2 / 1e6 / p50, 1),
            "cpu_s": round(self.cpu, 5), "cells_per_cpu_s": round(len(field) / self.cpu), **rest,
        }  # fmt: skip


def timed(call: Callable[[], Any], repeats: int = 5) -> Timed:
    """Call several times; a long call fewer times."""
    seconds: list[float] = []
    cpu: list[float] = []
    while len(seconds) < repeats and sum(seconds) < 10:
        start, start_cpu = time.perf_counter(), time.process_time()
        value = call()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return Timed(value, tuple(np.percentile(seconds, [20, 50, 80])), float(np.median(cpu)))


def named(package: str) -> str:
    """Return a peer's name with its version."""
    return f"{package} {version(package)}"


def paint(field: Field) -> Iterator[Row]:
    """Paint all cells into one picture, which is there already: fresh memory costs more than the cells."""
    if len(field) > IN_MEMORY:
        return
    cells, ids = field.cells, np.arange(1, len(field) + 1, dtype=np.int32)
    order = labels.priority(masks.areas(cells.bits, cells.offsets, cells.windows), cells.scores, ids)
    painter = labels.Painter(ids[order], cells.windows[order], cells.offsets[:-1][order], cells.bits)
    mine, theirs = (np.ones((field.side, field.side), np.int32) for _ in range(2))  # ones: zeros would not be there yet
    mine.fill(0)
    theirs.fill(0)
    yield timed(lambda: painter.paint(mine, 0, 0)).row("paint", field, OURS)
    loop = timed(lambda: peers.numpy_paint(field, order, theirs))
    np.testing.assert_array_equal(mine, theirs)
    yield loop.row("paint", field, f"{named('numpy')} loop", wrong_pixels=0)
    theirs.fill(0)
    contours = peers.cv2_contours(field, 0)
    filled = timed(lambda: peers.cv2_fill(contours, order, theirs))
    wrong = round(float((theirs != mine).mean()), 6)
    yield filled.row("paint", field, f"{named('opencv-python-headless')} fillPoly", wrong_pixels=wrong)


def render(field: Field) -> Iterator[Row]:
    """Settle strips and write the sharded label pyramid, as the commit of a slide does."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        header, strips, tiles = in_strips(field, root)
        tries = iter(range(1_000))

        def settle() -> Any:
            return write_cells(
                root / f"cells{next(tries)}", header, strips, settle_seams(strips, tiles, header.band_px)
            )

        numbered = timed(settle, 3)
        yield numbered.row("settle", field, OURS)
        ids = numbered.value.ids
        for threads in (1, 2):
            drawn = timed(lambda n=threads: write_labels(root / f"l{next(tries)}", header, strips, ids, n), 3)
            yield drawn.row("render", field, OURS, threads=threads)
        if len(field) <= IN_MEMORY:
            areas = masks.areas(field.cells.bits, field.cells.offsets, field.cells.windows)
            order, levels = np.argsort(-areas, kind="stable"), ngff.levels_for(field.side, field.side)
            store = timed(lambda: peers.numpy_store(field, order, root / f"p{next(tries)}", levels), 3)
            yield store.row("render", field, f"{named('numpy')} loop, {named('zarr')}", threads="zarr's own")


def properties(field: Field, slow: int) -> Iterator[Row]:
    """Measure area, box, centroid, perimeter, eccentricity, solidity and mean colour."""
    small = len(field) <= IN_MEMORY
    image = np.random.default_rng(1).integers(0, 256, (field.side, field.side, 3), np.uint8) if small else None
    mine = timed(lambda: regionprops.measure(*field.packed, image))
    if len(field) > slow or image is None or not find_spec("skimage"):
        yield mine.row("properties", field, OURS if small else f"{OURS}, no colour")
        return
    picture = np.zeros((field.side, field.side), np.int32)
    peers.numpy_paint(field, np.arange(len(field)), picture)
    theirs = timed(lambda: peers.skimage_properties(picture, image), 1)
    worst = differences(mine.value, theirs.value)
    yield mine.row("properties", field, OURS, worst_difference=worst)
    yield theirs.row("properties", field, named("scikit-image"))


def differences(mine: regionprops.Regions, theirs: dict[str, NDArray[Any]]) -> float:
    """Return the largest difference of any property of any cell."""
    assert mine.colour is not None
    pairs = [
        (mine.area, theirs["area"]), (mine.perimeter, theirs["perimeter"]), (mine.solidity, theirs["solidity"]),
        (mine.eccentricity, theirs["eccentricity"]),
        *((mine.centroid[:, k], theirs[f"centroid-{1 - k}"]) for k in range(2)),
        *((mine.box[:, k], theirs[f"bbox-{(1, 0, 3, 2)[k]}"]) for k in range(4)),
        *((mine.colour[:, k], theirs[f"intensity_mean-{k}"]) for k in range(3)),
    ]  # fmt: skip
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def outlines(field: Field, slow: int) -> Iterator[Row]:
    """Trace and thin every cell's outline."""
    mine = timed(lambda: polygons.trace(*field.packed))
    vertices, starts = mine.value
    rings = [vertices[a:b] for a, b in pairwise(starts[: SAMPLE + 1])]
    yield mine.row("polygons", field, OURS, **quality(rings))
    if len(field) <= IN_MEMORY:
        found = timed(lambda: peers.cv2_contours(field, TOLERANCE), 3)
        yield found.row("polygons", field, named("opencv-python-headless"), **quality(found.value[:SAMPLE]))
    if len(field) <= slow and find_spec("skimage"):
        found = timed(lambda: peers.skimage_contours(field, TOLERANCE), 1)
        yield found.row("polygons", field, named("scikit-image"), **quality(found.value[:SAMPLE]))


def quality(rings: list[NDArray[Any]]) -> Row:
    """Return the mean number of vertices, and the share of polygons that shapely calls invalid."""
    row: Row = {"vertices_per_cell": round(sum(map(len, rings)) / len(rings), 2)}
    if find_spec("shapely"):
        import shapely

        checked = [shapely.Polygon(ring).is_valid for ring in rings]
        row["invalid"] = round(1 - sum(checked) / len(checked), 5)
    return row


def runs(field: Field) -> Iterator[Row]:
    """Encode masks as COCO's compressed run lengths, and decode them."""
    mine = timed(lambda: rle.compress(*rle.encode(*field.packed, field.side, field.side)))
    back = timed(lambda: rle.decode(*rle.decompress(*mine.value), field.side, field.side))
    yield mine.row("encode", field, OURS)
    yield back.row("decode", field, OURS)
    if len(field) <= IN_MEMORY and find_spec("pycocotools"):
        by = f"{named('pycocotools')}, masks cut out"
        theirs = timed(lambda: peers.coco_encode(field), 3)
        yield theirs.row("encode", field, by)
        yield timed(lambda: peers.coco_decode(theirs.value), 3).row("decode", field, by)


def measure(parts: list[str], sizes: list[int], slow: int) -> dict[str, Any]:
    """Run the parts at all sizes, after once at a size that is not kept: that compiles."""
    doing: dict[str, Callable[[Field], Iterator[Row]]] = {
        "paint": paint, "render": render, "properties": lambda f: properties(f, slow),
        "polygons": lambda f: outlines(f, slow), "runs": runs,
    }  # fmt: skip
    rows: list[Row] = []
    for part in parts:
        list(doing[part](draw(100)))
        for size in sizes:
            rows += doing[part](draw(size))
    peers_absent = [name for name in ("skimage", "shapely", "pycocotools") if not find_spec(name)]
    return {"rows": rows, "absent": peers_absent}


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object (the only form there is)")
    parser.add_argument("--part", action="append", choices=["paint", "render", "properties", "polygons", "runs"])
    parser.add_argument("--cells", action="append", type=int, help=f"default: {SIZES}")
    parser.add_argument("--slow", type=int, default=SLOW, help="run scikit-image up to so many cells")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    parts = asked.part or ["paint", "render", "properties", "polygons", "runs"]
    result = measure(parts, asked.cells or list(SIZES), asked.slow)
    append("labels", result["rows"])
    show(result)


if __name__ == "__main__":
    main()
