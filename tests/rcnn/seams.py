"""How much of what a two-stage network finds hangs on where its tiles lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pbsbatch import store
from pbsbatch.config import Config
from pbsbatch.engines.rcnn import RcnnEngine
from pbsbatch.engines.rcnn_openvino import OpenVINOParts
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.models.rcnn_folder import RcnnFolder
from tests.run.inline import run_one

__all__ = ["differing"]

SAME_PX = 2.0


def differing(folder: RcnnFolder, slide: Path, out: Path, halo: int) -> tuple[float, float]:
    """Return the shares of cells that two grids do not have in common, and of the count that they differ by."""
    side = 128 + 2 * halo
    share = (side / folder.facts.input_px) ** 2  # of what a tile may hold
    room = {name: round(share * getattr(folder.facts, name)) for name in ("pre_nms", "post_nms", "detections")}
    facts = replace(folder.facts, input_px=side, max_cell_um=20.0, context_px=halo - 28, **room)
    model, parts = RcnnModel(replace(folder, facts=facts)), OpenVINOParts(folder, threads=1)
    found = []
    for name, origin in (("a", (0, 0)), ("b", (64, 64))):
        config = Config(origin=origin, mpp=facts.work_mpp, differential=False)
        result = run_one(slide, out / f"{halo}-{name}", config, model=model, engine=RcnnEngine(parts, facts))
        assert result.store is not None
        cells = store.open(result.store).cells
        found.append(np.stack([cells[side] for side in ("x0", "y0", "x1", "y1")], 1))
    parts.close()
    a, b = found
    near = np.abs(a[:, None] - b[None]).max(2) < SAME_PX
    apart = int((~near.any(1)).sum() + (~near.any(0)).sum())
    return apart / len(a), abs(len(a) - len(b)) / len(a)
