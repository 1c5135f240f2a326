"""Canvases: cells keep their places through every cut, flip and turn."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pbsbatch.datasets.samples import Sample, encode
from pbsbatch.train import compose
from pbsbatch.train.compose import Composer, _View
from pbsbatch.train.settings import Variety

GLASS, CELL = 230, 60


def field(seed: int, width: int = 150, height: int = 110, unsure: bool = False) -> Sample:
    """A field of dark upright rectangles upon glass: a box is exact, and seen in the pixels."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), GLASS, np.uint8)
    boxes = []
    for y in range(4, height - 26, 36):
        for x in range(4, width - 30, 40):
            w, h = int(rng.integers(14, 26)), int(rng.integers(14, 22))
            image[y : y + h, x : x + w] = CELL
            boxes.append((x, y, x + w, y + h))
    many = len(boxes)
    return Sample(
        name=f"field-{seed}", source="drawn", encoded=encode(image), size=(width, height),
        boxes=np.array(boxes, np.float32), classes=np.zeros(many, np.uint8),
        outlines=np.full((many, 32), 1.0, np.float32),
        unsure=np.array([[0, 0, width, height]] if unsure else np.zeros((0, 4)), np.float32), red_cell_px=20.0,
    )  # fmt: skip


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pixels as they are, so that boxes can be held against them."""
    monkeypatch.setattr(compose, "restain", lambda image, rng, strength: image)
    monkeypatch.setattr(compose, "worsen", lambda image, rng, often: image)


def composer(samples: list[Sample], size: int = 160, red: float = 20.0) -> Composer:
    return Composer(samples, np.full(len(samples), 1 / len(samples)), size, red)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("number", range(6))
def test_every_box_holds_the_dark_rectangle_it_names(number: int) -> None:
    canvas = composer([field(1), field(2)]).compose(7, 0, number)
    assert len(canvas.boxes) > 5
    dark = canvas.image.min(axis=2) < (GLASS + CELL) // 2
    for x0, y0, x1, y1 in canvas.boxes:
        inner = dark[int(np.ceil(y0 + 1)) : int(y1 - 1), int(np.ceil(x0 + 1)) : int(x1 - 1)]
        assert inner.mean() > 0.97, (x0, y0, x1, y1)
    covered = np.zeros(dark.shape, bool)
    for x0, y0, x1, y1 in np.concatenate([canvas.boxes, canvas.unsure]):
        covered[max(0, int(y0 - 2)) : int(y1 + 3), max(0, int(x0 - 2)) : int(x1 + 3)] = True
    black = canvas.image.max(axis=2) == 0  # outside of a field
    stray = dark & ~covered & ~cv2.dilate(black.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    assert stray.sum() == 0, "a cell on the canvas has neither a box nor a doubt"


def test_the_same_numbers_give_the_same_canvas_and_others_another() -> None:
    one = composer([field(1), field(2)])
    a, b, c = one.compose(1, 2, 3), one.compose(1, 2, 3), one.compose(1, 2, 4)
    assert a.image.tobytes() == b.image.tobytes() and a.boxes.tobytes() == b.boxes.tobytes()
    assert a.image.tobytes() != c.image.tobytes()


def test_a_field_that_is_all_unsure_makes_its_piece_unsure() -> None:
    canvas = composer([field(3, unsure=True)]).compose(1, 0, 0)
    area = (canvas.unsure[:, 2:] - canvas.unsure[:, :2]).prod(1).sum()
    assert area > 0.5 * canvas.image.shape[0] ** 2


@given(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 10**6))
def test_outlines_turn_with_the_pixels(flip_x: bool, flip_y: bool, turned: bool, seed: int) -> None:
    """A lopsided star drawn before the view is the star of the turned outline drawn after it."""
    rng = np.random.default_rng(seed)
    outline = rng.uniform(0.6, 1.2, (1, 32)).astype(np.float32)
    box = np.array([[20.0, 30.0, 100.0, 84.0]], np.float32)
    view = _View((0, 0, 140, 120), (140, 120), flip_x, flip_y, turned)
    before = star((120, 140), box[0], outline[0])
    shown = view.pixels(np.repeat(before[:, :, None], 3, axis=2))[:, :, 0]
    after = star(shown.shape, view.boxes(box)[0], view.outlines(outline)[0])
    both, either = ((shown > 0) & (after > 0)).sum(), ((shown > 0) | (after > 0)).sum()
    assert both / either > 0.97


def star(shape: tuple[int, ...], box: NDArray[np.float32], outline: NDArray[np.float32]) -> NDArray[np.uint8]:
    angle = 2 * np.pi * np.arange(32) / 32
    x = (box[0] + box[2]) / 2 + outline * np.cos(angle) * (box[2] - box[0]) / 2
    y = (box[1] + box[3]) / 2 + outline * np.sin(angle) * (box[3] - box[1]) / 2
    out = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(out, [np.round(np.stack([x, y], 1) - 0.5).astype(np.int32)], 255)
    return out


def test_glass_stays_glass_under_another_stain() -> None:
    from pbsbatch.train.stain import restain, worsen

    image = field(1).image
    rng = np.random.default_rng(0)
    for _ in range(20):
        out = worsen(restain(image, rng), rng)
        assert out.shape == image.shape and out.dtype == np.uint8
        assert out[:, :, 1][image[:, :, 1] == GLASS].mean() > out[:, :, 1][image[:, :, 1] == CELL].mean()


def test_without_variety_a_canvas_shows_fields_as_they_are() -> None:
    source = field(5)
    still = Variety(stain=0.0, harm=0.0, scale=0.0, turns=0.0)
    canvas = Composer([source], np.ones(1), 96, source.red_cell_px, still).compose(3, 0, 0)
    sides = canvas.boxes[:, 2:] - canvas.boxes[:, :2]
    inner = ((canvas.boxes[:, :2] > 0).all(1)) & ((canvas.boxes[:, 2:] < 96).all(1))
    whole = np.isfinite(canvas.outlines).all(1) & inner
    known = {tuple(s) for s in (source.boxes[:, 2:] - source.boxes[:, :2]).tolist()}
    assert whole.sum() >= 2
    assert {tuple(s) for s in sides[whole].tolist()} <= known
    assert abs(int(canvas.image.min()) - CELL) <= 1 and abs(int(np.median(canvas.image)) - GLASS) <= 1


def discs(width: int = 150, height: int = 110) -> Sample:
    """A field of round cells, each whole."""
    image = np.full((height, width, 3), GLASS, np.uint8)
    boxes = []
    for y in range(20, height - 18, 34):
        for x in range(20, width - 18, 36):
            cv2.circle(image, (x, y), 14, (CELL,) * 3, -1)
            boxes.append((x - 14, y - 14, x + 15, y + 15))
    many = len(boxes)
    return Sample(
        name="discs", source="drawn", encoded=encode(image), size=(width, height), boxes=np.array(boxes, np.float32),
        classes=np.zeros(many, np.uint8), outlines=np.full((many, 32), 1.0, np.float32),
        unsure=np.zeros((0, 4), np.float32), red_cell_px=29.0,
    )  # fmt: skip


STILL = Variety(stain=0.0, harm=0.0, scale=0.0, turns=0.0)


def test_whole_fields_lie_on_white_with_every_cell_they_show() -> None:
    source = discs()
    canvas = Composer([source], np.ones(1), 384, 29.0, replace(STILL, whole=1.0)).compose(0, 0, 0)
    glass = (canvas.image < 250).all(2).astype(np.uint8)
    many, _, found, _ = cv2.connectedComponentsWithStats(glass)
    whole = [f for f in found[1:many].tolist() if (f[2], f[3]) == source.size]
    assert len(whole) == 6 and all(f[0] >= 8 and f[1] >= 8 for f in found[1:many].tolist())
    for x, y, *_ in whole:
        shown = (canvas.boxes[:, None] == source.boxes[None] + np.float32([x, y, x, y])).all(2)
        assert shown.any(0).all()
    white = (canvas.image == 255).all(2)
    for x0, y0, x1, y1 in canvas.boxes.astype(int):
        assert not white[y0:y1, x0:x1].any()


def test_what_is_left_of_a_round_cell_has_the_box_that_it_fills() -> None:
    """A box cut with its cell would be too long along the cut, where the cell is narrower than it was."""
    source, seen = discs(), 0
    for number in range(8):
        canvas = Composer([source], np.ones(1), 192, 29.0, STILL).compose(number, 0, 0)
        sides = canvas.boxes[:, 2:] - canvas.boxes[:, :2]
        for x0, y0, x1, y1 in canvas.boxes[sides.max(1) < 27].round().astype(int):  # cut by more than half, or twice
            dark = canvas.image[y0:y1, x0:x1, 0] < (GLASS + CELL) // 2
            assert dark[:, :2].any() and dark[:, -2:].any() and dark[:2].any() and dark[-2:].any()
            seen += 1
    assert seen >= 8
