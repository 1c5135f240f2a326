"""A crop is the slide's pixels around the cell, from whichever tile it is cut; types go to white cells alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.config import Config
from pbsbatch.detections import UNTYPED, Detections
from pbsbatch.differential import Differential
from pbsbatch.geometry import Level
from pbsbatch.models.classifier import CellClassifier
from pbsbatch.models.folder import ClassifierFolder
from pbsbatch.models.taxonomy import KINDS
from pbsbatch.plan import Needs, Plan, make_plan
from pbsbatch.testing.stores import cells_of
from tests.engines.tiny_classifier import FACTS

SIDE, WHITE = 700, 1


class FakeEngine:
    """Say of a crop that it is of the kind that its middle pixel's red tells."""

    name, precision = "fake", "exact"

    def __call__(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        middle = pixels.shape[1] // 2
        logits = np.where(pixels[:, middle, middle, :1] == np.arange(len(KINDS)), 9.0, -9.0)
        return {"logits": logits.astype(np.float32), "strangeness": np.zeros(len(pixels), np.float32)}

    def close(self) -> None: ...


def second_look(crop_px: int = 32, crop_mpp: float = 0.25) -> Differential:
    facts = replace(FACTS, crop_px=crop_px, crop_mpp=crop_mpp)
    folder = ClassifierFolder(Path("none"), "0", {}, facts)
    return Differential(CellClassifier(folder), FakeEngine(), WHITE)


def plan_of(core: int | None, origin: tuple[int, int] = (0, 0), mpp: float = 0.25) -> Plan:
    return make_plan(
        slide_id="s", levels=(Level(0, SIDE, SIDE, 1.0),), mpp=mpp, mpp_source="given",
        config=Config(core=core, origin=origin), needs=Needs(mpp, 25.0, 0),
    )  # fmt: skip


def read(slide: np.ndarray, box: object) -> np.ndarray:
    """Return a tile's pixels, glass beyond the slide."""
    out = np.full((box.h, box.w, 3), 240, np.uint8)
    y0, x0, y1, x1 = max(0, box.y), max(0, box.x), min(SIDE, box.y1), min(SIDE, box.x1)
    out[y0 - box.y : y1 - box.y, x0 - box.x : x1 - box.x] = slide[y0:y1, x0:x1]
    return out


@pytest.fixture(scope="module")
def slide() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, (SIDE, SIDE, 3)).astype(np.uint8)


@given(
    at=st.lists(st.tuples(st.floats(0, SIDE - 1), st.floats(0, SIDE - 1)), min_size=1, max_size=6),
    core=st.sampled_from([128, 256, None]), origin=st.sampled_from([(0, 0), (37, 101)]),
    mpp=st.sampled_from([0.25, 0.24, 0.2, 0.4]),
)  # fmt: skip
def test_a_crop_does_not_depend_on_the_tile(
    slide: np.ndarray, at: list[tuple[float, float]], core: int | None, origin: tuple[int, int], mpp: float
) -> None:
    look = second_look()
    centres = np.array(at)
    cells = replace(
        cells_of(np.concatenate([centres - 10, centres + 10], 1), np.ones(len(at))),
        classes=np.full(len(at), WHITE, np.uint8),
    )
    whole = plan_of(None, mpp=mpp)
    (only,) = (t for s in range(whole.strips) for t in whole.strip_tiles(s))
    wanted = look.look(cells, only, whole, read(slide, only.read))
    plan = plan_of(core, origin, mpp)
    found = 0
    for strip in range(plan.strips):
        for tile in plan.strip_tiles(strip):
            mine = np.flatnonzero(tile.owns(cells.centres))
            crops = look.look(cells.take(mine), tile, plan, read(slide, tile.read))
            np.testing.assert_array_equal(crops, wanted[mine])
            found += len(mine)
    assert found == len(at)


def test_near_its_scale_a_crop_is_the_slides_own_pixels(slide: np.ndarray) -> None:
    plan = plan_of(None, mpp=0.26)
    (tile,) = plan.strip_tiles(0)
    cells = replace(cells_of(np.array([[290, 390, 311, 411]]), np.ones(1)), classes=np.array([WHITE], np.uint8))
    (crop,) = second_look().look(cells, tile, plan, read(slide, tile.read))
    np.testing.assert_array_equal(crop, slide[385:417, 285:317])
    coarse = plan_of(None, mpp=0.5)
    (crop,) = second_look().look(cells, tile, coarse, read(slide, tile.read))
    assert np.abs(crop[1::2, 1::2].astype(int) - slide[393:409, 293:309]).mean() < 60  # sixteen pixels, enlarged


def test_types_go_to_white_cells_alone(slide: np.ndarray) -> None:
    painted = slide.copy()
    kinds = [KINDS.index("monocyte"), KINDS.index("eosinophil")]
    boxes = np.array([[100, 100, 121, 121], [300, 300, 321, 321], [500, 500, 521, 521]], np.float32)
    painted[311, 311], painted[511, 511] = kinds[0], kinds[1]
    cells = replace(cells_of(boxes, np.ones(3)), classes=np.array([0, WHITE, WHITE], np.uint8))
    plan, look = plan_of(None), second_look()
    (tile,) = plan.strip_tiles(0)
    crops = look.look(cells, tile, plan, read(painted, tile.read))
    assert len(crops) == 2
    typed = look.refine(cells, crops)
    assert typed.types[0] == UNTYPED and [look.types[t] for t in typed.types[1:]] == ["monocyte", "eosinophil"]
    assert typed.type_scores[0] == 0 and (typed.type_scores[1:] > 0.99).all()
    assert cells.types.tolist() == [UNTYPED] * 3  # what was given is left alone
    none = look.look(Detections.empty(), tile, plan, read(painted, tile.read))
    assert none.shape == (0, 32, 32, 3) and len(look.refine(Detections.empty(), none)) == 0
