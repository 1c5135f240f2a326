"""One image in a notebook: `pbsbatch.detect(image)` finds its cells and draws itself.

Law: what is found is what a run finds in a file of these pixels with the same model, engine and scale: it takes the
same way, through a store that nobody else sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch import engines, models
from pbsbatch.config import Config, resolve
from pbsbatch.engines.base import Engine
from pbsbatch.errors import SlideError, UsageError
from pbsbatch.geometry import Box
from pbsbatch.models.base import Model
from pbsbatch.opinion import SecondLook
from pbsbatch.report.drawing import MOST_PX, draw
from pbsbatch.results import RunSlide, frame_of
from pbsbatch.run.here import do_slide
from pbsbatch.run.prepare import Workbench
from pbsbatch.run.second_look import second_look
from pbsbatch.slides.base import SlideRef
from pbsbatch.store import StoredSlide

__all__ = ["Found", "detect"]

Image = NDArray[np.uint8]

NAME = "image"
SHOWN_PX = 1600
"""The longer side of the picture that a notebook shows."""


@dataclass(frozen=True, eq=False)
class Found:
    """The cells of one image."""

    image: Image  # (H, W, 3) RGB
    cells: Mapping[str, NDArray[Any]]  # one array for each column, rows in the order of the ids
    labels: NDArray[np.int32]  # (H, W) ids, 0 where there is no cell
    classes: tuple[str, ...]  # what the column `class` indexes
    types: tuple[str, ...]  # what the column `type` indexes; beyond: none
    mpp: float  # um per pixel that the model worked with
    mpp_source: str  # given; estimated: by the red cells, and no measure in um is to be trusted
    drawn: Image  # the image with outlines

    def __len__(self) -> int:
        return len(self.cells["id"])

    def __repr__(self) -> str:
        height, width = self.labels.shape
        said = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        return f"<{width} x {height} px at {self.mpp:.4g} um ({self.mpp_source}): {said or 'no cell'}>"

    @property
    def counts(self) -> dict[str, int]:
        """Return how many cells there are of each class."""
        return {name: int((self.cells["class"] == i).sum()) for i, name in enumerate(self.classes)}

    @property
    def type_counts(self) -> dict[str, int]:
        """Return how many cells were given each type, without those that nobody was given."""
        counts = {name: int((self.cells["type"] == i).sum()) for i, name in enumerate(self.types)}
        return {name: count for name, count in counts.items() if count}

    def frame(self) -> Any:
        """Return the cells as a pandas DataFrame by id. Raises UsageError without pandas."""
        return frame_of(self.cells, self.classes, self.types)

    def _repr_png_(self) -> bytes:
        shrink = SHOWN_PX / max(self.drawn.shape[:2])
        drawn = self.drawn
        if shrink < 1:
            drawn = np.asarray(cv2.resize(drawn, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
        return _png(drawn)


def detect(
    image: Any, *, mpp: float | None = None, model: str = "smear", engine: str = "auto", differential: bool = True,
    score_threshold: float | None = None,
) -> Found:  # fmt: skip
    """Find the cells of one image, an array (H, W, 3) of uint8 in RGB.

    Without mpp (um per pixel) the scale is measured by the red cells. The options are those of `pbsbatch run`.
    Raises UsageError where the image cannot be meant, SlideError where nothing in it tells its scale.
    """
    pixels = _checked(image)
    asked = {"mpp": mpp, "model": model, "engine": engine, "score_threshold": score_threshold}
    with TemporaryDirectory(prefix="pbsbatch-") as folder:
        config = resolve({**asked, "differential": differential, "output": Path(folder) / "out"})
        path = Path(folder) / f"{NAME}.png"
        path.write_bytes(_png(pixels, cv2.IMWRITE_PNG_COMPRESSION, 1))
        bench = Workbench(config, *_loaded(config.model, config.engine, config.differential), fence=nullcontext)
        result = do_slide(bench, SlideRef(NAME, path, NAME, NAME, mpp))
        if result.store is None or result.mpp is None or result.mpp_source is None:
            raise SlideError(result.error or "no cells were looked for")
        slide = RunSlide(NAME, NAME, {}, result.store)
        height, width = pixels.shape[:2]
        drawing = draw(slide, Box(0, 0, width, height), path)
        return _found(pixels, slide.store, drawing.pixels, result.mpp, result.mpp_source)


def _found(pixels: Image, store: StoredSlide, drawn: Image, mpp: float, source: str) -> Found:
    height, width = pixels.shape[:2]
    labels = store.labels(0).read(0, 0, width, height)
    return Found(pixels, dict(store.cells), labels, store.classes, store.types, mpp, source, drawn)


def _checked(image: Any) -> Image:
    if isinstance(image, str | Path):
        raise UsageError("an image is an array, not a path", cure="Read it first, or run `pbsbatch run` on the file")
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise UsageError(
            f"an image is uint8 (H, W, 3) in RGB, not {pixels.dtype} {pixels.shape}",
            cure="Leave out an alpha channel; repeat a grey one three times",
        )  # fmt: skip
    if pixels.shape[0] * pixels.shape[1] > MOST_PX:
        what = f"an image of {pixels.shape[0] * pixels.shape[1] / 1e6:.0f} MP is more than {MOST_PX / 1e6:.0f} MP"
        raise UsageError(what, cure="Run `pbsbatch run` on the file")
    return np.ascontiguousarray(pixels)


@lru_cache(maxsize=2)
def _loaded(model_name: str, engine_name: str, differential: bool) -> tuple[Model, Engine, SecondLook | None]:
    """Load model, engine and classifier once: they take seconds, an image of a field much less."""
    model = models.load(model_name)
    config = Config(model=model_name, engine=engine_name, differential=differential)
    return model, engines.load(model, engine_name), second_look(config, model)


def _png(pixels: Image, *settings: int) -> bytes:
    done, file = cv2.imencode(".png", pixels[..., ::-1], settings)
    assert done
    return file.tobytes()
