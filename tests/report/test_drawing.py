"""A drawing shows the slide's pixels and every cell's outline; regions are chosen by their white cells."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.colours import OUTLINES
from pbsbatch.errors import UsageError
from pbsbatch.geometry import Box
from pbsbatch.report.drawing import busiest, draw
from pbsbatch.results import Run, RunSlide, open_run, originals
from tests.report.test_report import EVIL, out

__all__ = ["out"]  # a fixture


@pytest.fixture
def slide(out: Path) -> RunSlide:
    return open_run(out).slide(EVIL)


def test_outlines_lie_on_the_borders_of_cells_and_nothing_else_is_touched(slide: RunSlide, out: Path) -> None:
    region = Box(200, 150, 640, 480)
    path = originals(open_run(out))[slide.id]
    drawing = draw(slide, region, path)
    plain = cv2.imread(str(path))[150:630, 200:840, ::-1]
    labels = slide.store.labels(0).read(200, 150, 640, 480)
    assert drawing.pixels.shape == (480, 640, 3) and not drawing.from_preview
    assert sum(drawing.counts.values()) == sum(
        region.x <= (x0 + x1) / 2 < region.x1 and region.y <= (y0 + y1) / 2 < region.y1
        for x0, y0, x1, y1 in zip(*(slide.cells[n] for n in ("x0", "y0", "x1", "y1")), strict=True)
    )
    changed = (drawing.pixels != plain).any(2)
    changed[:90, :160] = changed[-40:, -200:] = False  # legend and scale bar
    border = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        steps = np.diff(labels, axis=axis) != 0
        border |= np.pad(steps, [(0, 1), (0, 0)] if axis == 0 else [(0, 0), (0, 1)])
    near = cv2.dilate(border.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)  # half pixels, and soft lines
    assert not (changed & ~near)[3:-3, 3:-3].any()
    assert changed[border].mean() > 0.3


def test_colours_tell_classes_apart(slide: RunSlide, out: Path) -> None:
    cells = slide.cells
    big = [int(np.argmax(np.where(cells["class"] == kind, cells["area_px"], -1))) for kind in range(3)]
    for kind, i in enumerate(big):
        x, y = int(cells["x0"][i]), int(cells["y0"][i])
        w, h = int(cells["x1"][i]) - x, int(cells["y1"][i]) - y
        region = Box(max(0, x - 200), max(0, y - 200), 0, 0)
        region = Box(region.x, region.y, min(1500, x + w + 200) - region.x, min(1100, y + h + 200) - region.y)
        pixels = draw(slide, region, originals(open_run(out))[slide.id]).pixels
        around = pixels[y - region.y : y - region.y + h, x - region.x : x - region.x + w].reshape(-1, 3).astype(int)
        distance = np.abs(around - np.array(OUTLINES[kind])).sum(1)
        assert distance.min() < 30


def test_without_the_slide_the_preview_is_drawn_and_said(slide: RunSlide) -> None:
    drawing = draw(slide, Box(0, 0, 400, 300), None)
    assert drawing.from_preview and drawing.pixels.shape == (300, 400, 3)


def test_the_busiest_regions_come_first_and_lie_inside(out: Path) -> None:
    run: Run = open_run(out)
    for slide in run:
        boxes = busiest(slide.store, 4, side=512)
        white = []
        for box in boxes:
            assert box.x1 <= 1500 and box.y1 <= 1100
            white.append(draw(slide, box, None).counts["WBC"])
        assert len(boxes) == 4 and white[0] == max(white)


def test_what_cannot_be_drawn_is_said(slide: RunSlide, out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leaves the slide's 1500 x 1100 px"):
        draw(slide, Box(1400, 0, 101, 10), None)
    ask = ["draw", str(out), "--slide", "b.tif", "--output", str(tmp_path)]
    said = CliRunner().invoke(app, [*ask, "--region", "0,0,200,100"])
    assert said.exit_code == 0 and "RBC" in said.output and len(list(tmp_path.glob("b-*-0-0.png"))) == 1
    for extra, words in (
        (["--region", "0,0,200,100"], "stands there already"), (["--region", "1,2"], "x,y,width,height"),
        (["--region", "0,0,9,9", "--tiles", "2"], "exclude each other"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            CliRunner().invoke(app, [*ask, *extra], catch_exceptions=False)
