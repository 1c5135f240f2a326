"""Seams: a composite slide against its fields run alone; where fields do not touch, counts must agree."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch import models
from pbsbatch.datasets.compose import ComposeSpec, Composite, Source, compose_archive, load_source
from pbsbatch.datasets.readers import DataSet
from pbsbatch.evaluate.labels import labels_from_run
from pbsbatch.results import open_run
from pbsbatch.slides import open_slide
from pbsbatch.slides.base import Slide
from pbsbatch.synth.write import write_field

__all__ = ["seams"]

SLOT_PX, DIAMETER = 384, 28.8
"""Red cells of 28.8 px: 0.25 um per pixel. The largest field then takes about 190 px of its slot."""
SLIDE = "composite_0000.tif"
APART_PX = 96  # a multiple of STRIDE_PX
"""Fields nearer to each other, or to the slide's border, are not counted: the network sees across, and alone a field
has that much glass around it."""
STRIDE_PX = 16
"""The network sees a cell alike from places that lie so many pixels apart, as the tiles of a slide do."""
Place = tuple[int, int, int, int]


class Alone:
    """One piece of a slide on the same glass, with nothing else near; it begins where a tile might."""

    def __init__(self, slide: Slide, scene: Composite, place: Place) -> None:
        x, y, w, h = place
        self.place = left, top, _, _ = _alone(place)
        self.width, self.height, self.mpp = left + w + APART_PX, top + h + APART_PX, scene.mpp
        self._pixels = np.empty((self.height, self.width, 3), np.uint8)
        self._pixels[:] = scene.paper
        n = STRIDE_PX  # JPEG spreads a field's border over the glass beside it
        part = slide.read(0, x - n, y - n, w + 2 * n, h + 2 * n)
        self._pixels[top - n : top + h + n, left - n : left + w + n] = part

    def render(self, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return a region."""
        return self._pixels[y : y + h, x : x + w]


def _alone(place: Place) -> Place:
    """Return where a field lies in its own picture."""
    x, y, w, h = place
    return APART_PX + x % STRIDE_PX, APART_PX + y % STRIDE_PX, w, h


def seams(settings: Mapping[str, Any], data: Path, model: str) -> list[dict[str, Any]]:
    """Count each field's cells on the slide and alone."""
    source = load_source([DataSet(data / "txl", "yolo", "val")])
    columns, rows = settings["columns"], settings["rows"]
    spec = ComposeSpec(columns * SLOT_PX, rows * SLOT_PX, grid=(columns, rows), scales=(1.0,), diameter=DIAMETER)
    scene = Composite(spec, source, 0)
    places = _apart([part.place for part in scene.parts()], (spec.width, spec.height))
    with TemporaryDirectory() as folder:
        slide = _run(Path(folder) / "whole", lambda out: _slide(spec, source, out), model)
        whole_slide = Path(folder) / "whole" / "slides" / SLIDE
        fields = _run(Path(folder) / "alone", lambda out: _fields(whole_slide, scene, places, out), model)
        kinds, centres = _found(slide)[SLIDE]
        alone = _found(fields)
        names = _classes(slide)
    whole, single = (np.zeros((len(places), len(names)), np.int64) for _ in range(2))
    for n, (x, y, w, h) in enumerate(places):
        whole[n] = _within(kinds, centres, (x, y, w, h), len(names))
        single[n] = _within(*alone[f"field_{n:04d}.png"], _alone((x, y, w, h)), len(names))
    about = models.load(model).spec
    row: dict[str, Any] = {"model": about.name, "version": about.version}
    row |= {"slide_px": f"{spec.width}x{spec.height}", "fields": len(places)}
    for k, name in enumerate(names):
        row |= {f"{name}_slide": int(whole[:, k].sum()), f"{name}_alone": int(single[:, k].sum())}
    return [row | {
        "difference_pct": round(100 * float(whole.sum() / max(1, single.sum()) - 1), 3),
        "fields_that_differ": int((whole != single).any(1).sum()),
        "largest_difference_of_a_field": int(np.abs(whole - single).max(initial=0)),
    }]  # fmt: skip


def _within(kinds: NDArray[np.int64], centres: NDArray[np.float64], place: Place, classes: int) -> NDArray[np.int64]:
    """Count the cells of each class whose centre lies in a place."""
    x, y, w, h = place
    here = (centres >= (x, y)).all(1) & (centres < (x + w, y + h)).all(1)
    return np.bincount(kinds[here], minlength=classes)


def _apart(places: list[Place], size: tuple[int, int]) -> list[Place]:
    """Return the places that keep their distance from all others, and from the slide's border."""
    box = np.array(places)
    low, high = box[:, :2], box[:, :2] + box[:, 2:]
    near = (low[:, None] < high[None] + APART_PX).all(2) & (low[None] < high[:, None] + APART_PX).all(2)
    np.fill_diagonal(near, False)
    at_border = (low < APART_PX).any(1) | (high > np.array(size) - APART_PX).any(1)
    touched = (near.any(1) | at_border).tolist()
    return [place for place, one in zip(places, touched, strict=True) if not one]


def _slide(spec: ComposeSpec, source: Source, out: Path) -> None:
    compose_archive(spec, source, out, images=1, file_format="tiff", workers=2)


def _fields(slide: Path, scene: Composite, places: list[Place], out: Path) -> None:
    out.mkdir(parents=True)
    opened = open_slide(slide, id="whole", mpp=None)
    for n, place in enumerate(places):
        write_field(Alone(opened, scene, place), out / f"field_{n:04d}.png")
    opened.close()


def _run(folder: Path, write: Any, model: str) -> Path:
    """Write slides and run the command line over them."""
    write(folder / "slides")
    command = [sys.executable, "-m", "pbsbatch", "run", "--input", str(folder / "slides"), "--output"]
    done = subprocess.run(
        [*command, str(folder / "out"), "--model", model, "--quiet", "--no-differential"], check=False
    )
    if done.returncode:
        with (folder / "out" / "failures.csv").open(encoding="utf-8", newline="") as handle:
            raise SystemExit(f"the run ended with {done.returncode}: {next(csv.DictReader(handle), None)}")
    return folder / "out"


def _classes(out: Path) -> tuple[str, ...]:
    return labels_from_run(open_run(out)).classes


def _found(out: Path) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return the classes and centres of each slide's cells."""
    images = labels_from_run(open_run(out)).images
    return {Path(i.name).name: (i.classes, (i.boxes[:, :2] + i.boxes[:, 2:]) / 2) for i in images}
