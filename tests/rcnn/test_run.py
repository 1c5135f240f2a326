"""A two-stage model in a run: tiles of one size on the coarsest grid's steps, seams settled, each cell once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pbsbatch import store
from pbsbatch.config import Config
from pbsbatch.engines.rcnn import RcnnEngine
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.models.rcnn_folder import RcnnFolder
from pbsbatch.testing.oracle import cell_class
from tests.rcnn.fake_parts import FACTS, SIDE, FakeParts
from tests.run.inline import run_one


@pytest.mark.parametrize("origin", [(0, 0), (64, 192), (37, 101)])
def test_each_cell_is_counted_once(origin: tuple[int, int], labels: np.ndarray, slide: Path, tmp_path: Path) -> None:
    """Law: with identical views the counts are the truth's, wherever the grid starts; tiles have the model's side."""
    parts = FakeParts()
    model = RcnnModel(RcnnFolder(Path(), "fake", {}, FACTS))
    result = run_one(slide, tmp_path, Config(origin=origin), model=model, engine=RcnnEngine(parts, FACTS))
    numbers = np.unique(labels[labels > 0])
    truth = np.bincount(cell_class(numbers), minlength=3)
    assert [result.counts[name] for name in FACTS.classes] == truth.tolist() and truth.sum() > 700
    assert set(parts.tiles) == {(SIDE, SIDE)} and len(parts.tiles) > 9
    assert result.analysed_px == labels.size
    assert result.store is not None
    cells = store.open(result.store).cells
    assert cells["area_px"].sum() == pytest.approx((labels > 0).sum(), rel=0.03), "masks are the discs, but for 28 px"
