"""Measure how fast single cells are cut out of pictures, beside the plain way in the same run, and whether they agree.

`python -m benchmarks.crop --json` prints one JSON object and adds its rows to results/crop.csv. One thread; seconds are
the processor's. "find" is from pixels to boxes, "files" from files to written crops. Pictures are those of the data
folder (one cell each: pbc; fields: cbc), and drawn ones beside them.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.crop_peer import plain_boxes
from benchmarks.record import append, data_folder, show
from pbsbatch.datasets.crop import Frame, Rule, cell_diameter, crop_archive, cut, find
from pbsbatch.datasets.samples import decode, encode
from pbsbatch.synth import Scene

PUBLISHED_S = 0.1448
"""Seconds for a picture of one cell, as published for these steps."""
FIELD_CELL_PX = {"cbc fields": 190.0, "drawn fields": 85.0}
SAME = 0.5
"""Overlap from which on two boxes are one cell."""
REPEATS = 3
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Set:
    """Pictures of one kind as the bytes of their files."""

    name: str
    pick: str
    files: list[bytes]

    def rules(self) -> list[Rule]:
        """Return how each picture is looked at: with a size of cells that both ways are given."""
        if self.pick == "all":
            return [Rule(cell_px=FIELD_CELL_PX[self.name])] * len(self.files)
        centre = Rule(pick="centre")
        return [replace(centre, cell_px=cell_diameter(pixels(f), centre)) for f in self.files]


def pixels(file: bytes) -> Image:
    """Return a picture that is known to be one."""
    image = decode(file)
    assert image is not None
    return image


def sets(most: int) -> list[Set]:
    """Return the pictures, at most so many of a kind."""
    scenes = [
        Scene(900, 700, mpp=0.15, seed=s, profile="field", white_per_1000=60, platelets_per_1000=0) for s in range(most)
    ]
    found = [Set("drawn fields", "all", [encode(s.render(0, 0, 900, 700)) for s in scenes])]
    data = data_folder()
    if data is not None:
        for name, pick, below in (
            ("pbc cells", "centre", "pbc/*/*.jpg"),
            ("cbc fields", "all", "cbc/Training/Images/*"),
        ):
            paths = sorted(data.glob(below))
            found.append(Set(name, pick, [p.read_bytes() for p in paths[:: max(1, len(paths) // most)][:most]]))
    return found


def spent(call: Callable[[], Any]) -> float:
    """Return the least of a few calls' processor seconds: what others did meanwhile only adds."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


def agreement(mine: list[NDArray[Any]], theirs: list[NDArray[Any]]) -> dict[str, Any]:
    """Return how far the boxes of all pictures are the same."""
    best = [float(_iou(m, t).max(initial=0.0)) for a, b in zip(mine, theirs, strict=True) for t in b for m in [a]]
    same = [iou for iou in best if iou >= SAME]
    return {
        "cells": sum(map(len, mine)), "cells_plain": len(best), "same": len(same),
        "iou_median": round(float(np.median(same)), 4), "iou_p5": round(float(np.percentile(same, 5)), 4),
    }  # fmt: skip


def _iou(boxes: NDArray[Any], one: NDArray[Any]) -> NDArray[np.float64]:
    low, high = np.maximum(boxes[:, :2], one[:2]), np.minimum(boxes[:, 2:], one[2:])
    both = np.maximum(high - low, 0).prod(1)
    return np.asarray(both / ((boxes[:, 2:] - boxes[:, :2]).prod(1) + (one[2:] - one[:2]).prod() - both), np.float64)


def measure(pictures: Set) -> list[dict[str, Any]]:
    """Return the rows of one set."""
    images = [pixels(f) for f in pictures.files]
    jobs = [(i, r) for i, r in zip(images, pictures.rules(), strict=True) if math.isfinite(r.cell_px)]
    same = agreement([find(*job).boxes for job in jobs], [plain_boxes(*job) for job in jobs])
    ours = sum(spent(lambda job=job: find(*job)) for job in jobs) / len(jobs)
    plain = sum(spent(lambda job=job: plain_boxes(*job)) for job in jobs) / len(jobs)
    rows = [row(pictures, "find", len(jobs), ours, plain, same)]
    with TemporaryDirectory() as folder:
        root = Path(folder) / "in"
        root.mkdir()
        for number, file in enumerate(pictures.files):
            (root / f"{number:05d}{'.png' if file[1:4] == b'PNG' else '.jpg'}").write_bytes(file)
        rule = Rule(cell_px=FIELD_CELL_PX.get(pictures.name, math.nan))
        tries = iter(range(1_000))
        ours = spent(lambda: crop_archive(root, Path(folder) / f"o{next(tries)}", rule, Frame(), pick=pictures.pick))
        plain = spent(lambda: plain_files(root, Path(folder) / "p", pictures))
    n = len(pictures.files)
    return [*rows, row(pictures, "files", n, ours / n, plain / n, dict.fromkeys(same, ""))]


def plain_files(root: Path, out: Path, pictures: Set) -> None:
    """Read, find and write the plain way."""
    out.mkdir(exist_ok=True)
    for path, rule in zip(sorted(root.iterdir()), pictures.rules(), strict=True):
        image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        boxes = plain_boxes(image, rule) if math.isfinite(rule.cell_px) else []
        for number, box in enumerate(boxes):
            cv2.imwrite(str(out / f"{path.stem}-{number}.png"), cut(image, *Frame().around(box))[..., ::-1])


def row(pictures: Set, part: str, n: int, ours: float, plain: float, same: dict[str, Any]) -> dict[str, Any]:
    """Return one row of results; every row has the same columns."""
    return {
        "part": part, "pictures": pictures.name, "n": n,
        "ours_ms": round(1e3 * ours, 4), "plain_ms": round(1e3 * plain, 3),
        "times_faster": round(plain / ours, 1),
        "published_ms": 1e3 * PUBLISHED_S if pictures.pick == "centre" else "",
        "plain": f"opencv {cv2.__version__}, scikit-image {version('scikit-image')}", **same,
    }  # fmt: skip


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object (the only form there is)")
    parser.add_argument("--most", type=int, default=80, help="pictures of a kind")
    parser.add_argument("--dry", action="store_true", help="keep nothing")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    for pictures in sets(2):
        measure(pictures)  # compiles
    rows = [r for pictures in sets(asked.most) for r in measure(pictures)]
    if not asked.dry:
        append("crop", rows)
    show({"rows": rows})


if __name__ == "__main__":
    main()
