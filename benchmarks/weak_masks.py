"""Hold weak masks of drawn white cells against their exact ones.

`python -m benchmarks.weak_masks --json [--picture FILE.png]` prints one JSON object and adds its rows to
results/weak_masks.csv. `--model FOLDER --layers 3,4,7` measures Grad-CAM of a classifier of one's own alone, `--eleven`
that of the study's network. The cells are drawn anew from seeds that no setting was chosen on; the same every time. The
plain Otsu threshold of grey, the biggest piece in the middle, stands beside the methods as the least that is to be had.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.record import append, show
from pbsbatch.datasets.crop import Rule
from pbsbatch.datasets.crop.stained import in_the_middle
from pbsbatch.datasets.weak import Blobs, Method, Steps, Watershed, draw_sheet, overlap
from pbsbatch.synth import CLASSES, Scene
from pbsbatch.train.classifier.gradcam import GradCam, Looker, layers_of, looker_of
from pbsbatch_kernels.regions import extents

SEEDS = range(2000, 2020)
MPP, SIDE = 0.15, 240
FIELD = 1400, 1100
WHITE = CLASSES.index("WBC")
LAYERS = ("", "stage8, stage16", "stage4, stage8, stage16", "3, 4, 7")
SHOWN = 12
Cell = tuple[str, NDArray[np.uint8], NDArray[np.int32]]


def cells(seeds: Sequence[int], white_per_1000: float = 40) -> Iterator[Cell]:
    """Yield type, picture and exact mask of every white cell far enough from its field's border."""
    wide, high = FIELD
    for seed in seeds:
        scene = Scene(wide, high, mpp=MPP, seed=seed, profile="field", white_per_1000=white_per_1000)
        found = scene.cells(0, 0, wide, high)
        for i in np.flatnonzero(found.classes == WHITE):
            x, y = ((found.boxes[i, :2] + found.boxes[i, 2:]) // 2 - SIDE // 2).tolist()
            if min(x, y) >= 0 and x + SIDE <= wide and y + SIDE <= high:
                mask = (scene.labels(x, y, SIDE, SIDE) == found.ids[i]).astype(np.int32)
                yield found.type_names()[i], scene.render(x, y, SIDE, SIDE), mask


def otsu_alone(image: NDArray[np.uint8]) -> Steps:
    """Return the biggest dark piece in the middle by Otsu's threshold of grey."""
    _, dark = cv2.threshold(255 - cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 0, 1, cv2.THRESH_OTSU)
    pieces = np.asarray(cv2.connectedComponents(np.asarray(dark, np.uint8), connectivity=4)[1], np.int32)
    grid = extents(pieces, int(pieces.max()) + 1)[1:]
    middle = in_the_middle(grid, pieces.shape, grid[:, 4] > 0)
    labels = np.concatenate([[0], middle]).astype(np.int32)[pieces]
    return Steps(labels, (("picture", image), ("otsu", np.asarray(dark, np.uint8)), ("mask", labels)))


def methods() -> Iterator[tuple[str, str, Method]]:
    """Yield each method with its name and what was chosen in it."""
    rule = Rule(pick="centre")
    yield "otsu", "grey", otsu_alone
    yield "watershed", "", Watershed(rule)
    yield "blobs", "", Blobs(rule)
    for asked in LAYERS:
        yield gradcam("differential", asked)


def gradcam(model: str, asked: str) -> tuple[str, str, Method]:
    """Return Grad-CAM of a classifier's layers."""
    return _gradcam(looker_of(model), Path(model).name, asked)


def eleven_layers() -> Iterator[tuple[str, str, Method]]:
    """Yield Grad-CAM of the study's network at the study's layers, and at its last."""
    from benchmarks.eleven_layers import taught

    looker, right = taught()
    for asked in ("3, 4, 7", ""):
        yield _gradcam(looker, f"eleven layers, {right:.0%} right", asked)


def _gradcam(looker: Looker, name: str, asked: str) -> tuple[str, str, Method]:
    layers = layers_of(looker, asked)
    return "gradcam", f"{name}: {', '.join(layers)}", GradCam(looker, layers, MPP)


def measure(
    drawn: Sequence[Cell], picture: Path | None = None, chosen_methods: Iterable[tuple[str, str, Method]] | None = None
) -> list[dict[str, Any]]:
    """Return a row for each method; draw some cells of each where a picture is asked for."""
    rows = []
    for name, chosen, method in methods() if chosen_methods is None else chosen_methods:
        made = [(kind, method(image), mask) for kind, image, mask in drawn]
        scores = np.array([overlap(steps.labels, mask) for _, steps, mask in made])
        low, median, high = np.percentile(scores, [10, 50, 90])
        kinds = sorted({kind for kind, _, _ in made})
        by_kind = {k: float(scores[[kind == k for kind, _, _ in made]].mean()) for k in kinds}
        worst = min(by_kind, key=lambda k: by_kind[k])
        rows.append({
            "method": name, "chosen": chosen, "cells": len(made), "iou_mean": round(float(scores.mean()), 4),
            "iou_p10": round(float(low), 4), "iou_median": round(float(median), 4), "iou_p90": round(float(high), 4),
            "none_found": int(sum(not steps.labels.any() for _, steps, _ in made)), "worst_type": worst,
            "iou_worst_type": round(by_kind[worst], 4),
        })  # fmt: skip
        if picture is not None:
            sheet = draw_sheet(made[:SHOWN])
            cv2.imwrite(str(picture.with_stem(f"{picture.stem}-{len(rows)}-{name}")), sheet[..., ::-1])
    return rows


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object (the only form there is)")
    parser.add_argument("--picture", type=Path, help="draw every step of some cells, a file for each method")
    parser.add_argument("--model", help="a classifier's folder: Grad-CAM of it alone")
    parser.add_argument("--eleven", action="store_true", help="the study's network, taught on drawn cells: it alone")
    parser.add_argument("--layers", action="append", help="of --model, by name or number; repeat for several choices")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="fields to draw")
    parser.add_argument("--dry", action="store_true", help="keep nothing")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    chosen = [gradcam(asked.model, layers) for layers in asked.layers or [""]] if asked.model else None
    chosen = list(eleven_layers()) if asked.eleven else chosen
    rows = measure(list(cells(SEEDS[: asked.seeds])), asked.picture, chosen)
    if not asked.dry:
        append("weak_masks", rows)
    show({"rows": rows})


if __name__ == "__main__":
    main()
