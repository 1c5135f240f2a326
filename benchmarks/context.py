"""How far around a cell a network looks: what changes when tiles get less of their surroundings.

`python -m benchmarks.context --json --model NAME|PATH` runs drawn smears whole, then cut into cores with ever
wider halos, and holds the cells that the cores own against those of the whole picture. The least halo at which the
counts agree within 0.1 %, less half of the largest cell, is what model.json must claim as context_px: far less than
the receptive field allows for. A two-stage model's proposals and cells are limited by area, as
those of its own tiles, and its halos keep tiles on the coarsest grid's steps, as runs do.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from pbsbatch import engines, models
from pbsbatch.engines.base import Engine
from pbsbatch.engines.rcnn import RcnnEngine
from pbsbatch.models.base import Model
from pbsbatch.models.operating import Adjustable
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.synth import STAINS, Scene

HALOS = (0, 16, 32, 48, 64, 80, 112, 128, 176, 192, 240, 256)
"""Those are taken that are multiples of the model's steps."""
CORE, EDGE = 320, 256
"""EDGE px of a picture around all cores are looked at by halos alone."""
SAME_PX = 2.0
"""A cell is the same one if every side of its box moved less."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smear")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--score", type=float, help="take cells from this score on [the model's own thresholds]")
    parser.add_argument("--pictures", type=int, default=3, help="how many drawn smears, each of another stain")
    parser.add_argument("--cores", type=int, default=6, help="so many of them make a picture's side")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    asked = parser.parse_args()
    model = models.load(asked.model)
    if asked.score is not None and isinstance(model, Adjustable):
        model = model.at(dict.fromkeys(model.spec.classes, asked.score), None)
    engine = engines.load(model, precision=asked.precision)
    side, stains = asked.cores * CORE, [*enumerate(STAINS)][: asked.pictures]
    around = side + 2 * EDGE
    pictures = [Scene(around, around, model.spec.work_mpp, 700 + i, stain=stain) for i, stain in stains]
    images = [scene.render(0, 0, around, around) for scene in pictures]
    fit = fitted(model, engine, around)
    whole = [inside(cells(*fit, image, -EDGE, -EDGE), 0, 0, side) for image in images]
    halos = [halo for halo in HALOS if halo % model.spec.step_px == 0]
    rows = [one(*fitted(model, engine, CORE + 2 * halo), images, whole, halo) for halo in halos]
    if not asked.no_record:
        record.append("context", rows)
    record.show({"half_of_the_largest_cell_px": model.spec.max_cell_um / model.spec.work_mpp / 2, "halos": rows})


def fitted(model: Model, engine: Engine, side: int) -> tuple[Model, Engine]:
    """Return a two-stage model with room for what a tile of so many pixels holds, as its own; any other as it is."""
    if not (isinstance(model, RcnnModel) and isinstance(engine, RcnnEngine)):
        return model, engine
    facts = model.folder.facts
    share = (side / facts.input_px) ** 2
    most = {name: round(share * getattr(facts, name)) for name in ("pre_nms", "post_nms", "detections")}
    facts = replace(facts, input_px=side, **most)
    return RcnnModel(replace(model.folder, facts=facts)), RcnnEngine(engine.parts, facts)


def inside(found: NDArray[np.float64], x: int, y: int, side: int) -> NDArray[np.float64]:
    """Return the cells whose centre lies in a square."""
    at = (found[:, 1:3] + found[:, 3:5]) / 2
    return found[((at >= [x, y]) & (at < [x + side, y + side])).all(1)]


def cells(model: Model, engine: Engine, image: NDArray[np.uint8], x: int, y: int) -> NDArray[np.float64]:
    """Return class and box of each cell of a tile that begins at (x, y)."""
    found = model.decode(engine(image[None]), 0, {})
    boxes = found.boxes.astype(np.float64) + np.array([x, y] * 2)
    return np.concatenate([found.classes[:, None].astype(np.float64), boxes], axis=1)


def one(
    model: Model, engine: Engine, images: list[NDArray[np.uint8]], whole: list[NDArray[np.float64]], halo: int
) -> dict[str, Any]:
    """Cut every picture with one halo and compare."""
    total = lost = new = 0
    for image, truth in zip(images, whole, strict=True):
        parts = []
        for y in range(0, len(image) - 2 * EDGE, CORE):
            for x in range(0, len(image) - 2 * EDGE, CORE):
                top, left = EDGE + y - halo, EDGE + x - halo
                tile = np.ascontiguousarray(image[top : top + CORE + 2 * halo, left : left + CORE + 2 * halo])
                parts.append(inside(cells(model, engine, tile, x - halo, y - halo), x, y, CORE))
        mine = np.concatenate(parts)
        same = matched(truth, mine)
        total, lost, new = total + len(truth), lost + len(truth) - same, new + len(mine) - same
    return {
        "model": model.spec.name, "digest": model.spec.digest[:12], "precision": engine.precision, "halo_px": halo,
        "cells": total, "lost": lost, "new": new,
        "differing_pct": round(100 * (lost + new) / total, 4),
        "count_difference_pct": round(100 * (new - lost) / total, 4),
    }  # fmt: skip


def matched(a: NDArray[np.float64], b: NDArray[np.float64]) -> int:
    """Return how many cells of a are cells of b too."""
    key = np.round(b[:, 1:3] / SAME_PX).astype(np.int64)
    cell_of: dict[tuple[int, int, int], list[int]] = {}
    for j in range(len(b)):
        cell_of.setdefault((int(b[j, 0]), *key[j].tolist()), []).append(j)  # type: ignore[arg-type]
    count = 0
    for row in a:
        u, v = np.round(row[1:3] / SAME_PX).astype(np.int64).tolist()
        near = [j for du in (-1, 0, 1) for dv in (-1, 0, 1) for j in cell_of.get((int(row[0]), u + du, v + dv), [])]
        count += any(np.abs(b[j, 1:] - row[1:]).max() < SAME_PX for j in near)
    return count


if __name__ == "__main__":
    main()
