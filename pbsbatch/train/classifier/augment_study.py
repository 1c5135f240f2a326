"""The augmentations of two published studies, each a switch by name, over batches of crops.

Laws. What becomes of a crop depends on the seed, its number and the switches that are on: not on the batch that it
comes in, and no switch's draws on whether another is on. Switches are applied in the order of ALL, each on the result
of the one before. Sizes and bytes' type stay as they are.

`SMALL` is the vector of the small study, `ADAPTATION` that of the adaptation study with its published rates: zoom out
.5-1, flips at 1/3, colour at 1/6 each, blur of 5, 11 or 17 px, quarter turns at 1/4. Ranges that were not published
are ours and stand below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import UsageError
from pbsbatch.train.classifier.backgrounds import glass_of, on_normal, on_stained

__all__ = ["ADAPTATION", "ALL", "SMALL", "VECTORS", "apply", "vector_of"]

Image = NDArray[np.uint8]
Switch = Callable[[Image, np.random.Generator], Image]

TURN, SHIFT, SHEAR, ZOOM = 40.0, 0.2, 0.2, 0.2
"""Degrees; shares of the side; radians; share of the size: the most of each in the small study."""
BACKGROUND = 1 / 3
"""Share of crops that a background switch puts on another background."""
COLOUR, COLOUR_MOST = 1 / 6, 0.2
BLURS = (0, 5, 11, 17)
LIGHT, CONTRAST = 0.25, 0.3
SPECKS = 0.02
"""The most of a crop's pixels that become black or white."""


def _warped(crop: Image, square: NDArray[np.float64], move: tuple[float, float] = (0.0, 0.0)) -> Image:
    """Return a crop seen through a linear map about its middle, output to input; its edge goes on outside."""
    side = np.array(crop.shape[1::-1])
    middle = (side - 1) / 2
    start = middle - square @ middle - np.array(move) * side
    return np.asarray(cv2.warpAffine(
        crop, np.hstack([square, start[:, None]]), (int(side[0]), int(side[1])),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    ), np.uint8)  # fmt: skip


def _rotation(crop: Image, rng: np.random.Generator) -> Image:
    angle = math.radians(rng.uniform(-TURN, TURN))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return _warped(crop, turn)


def _width_shift(crop: Image, rng: np.random.Generator) -> Image:
    return _warped(crop, np.eye(2), (rng.uniform(-SHIFT, SHIFT), 0.0))


def _height_shift(crop: Image, rng: np.random.Generator) -> Image:
    return _warped(crop, np.eye(2), (0.0, rng.uniform(-SHIFT, SHIFT)))


def _shear(crop: Image, rng: np.random.Generator) -> Image:
    return _warped(crop, np.array([[1.0, -math.sin(angle := rng.uniform(-SHEAR, SHEAR))], [0.0, math.cos(angle)]]))


def _zoom(crop: Image, rng: np.random.Generator) -> Image:
    return _warped(crop, np.diag(rng.uniform(1 - ZOOM, 1 + ZOOM, 2)))


def _rescale(crop: Image, _: np.random.Generator) -> Image:
    """Change no byte: the study's rescale by 1/255 is the network's normalisation here."""
    return crop


def _horizontal_flip(crop: Image, rng: np.random.Generator) -> Image:
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def _vertical_flip(crop: Image, rng: np.random.Generator) -> Image:
    return crop[::-1] if rng.random() < 0.5 else crop


def _normal_background(crop: Image, rng: np.random.Generator) -> Image:
    return on_normal(crop, rng) if rng.random() < BACKGROUND else crop


def _stain_background(crop: Image, rng: np.random.Generator) -> Image:
    return on_stained(crop, rng) if rng.random() < BACKGROUND else crop


def _zoom_out(crop: Image, rng: np.random.Generator) -> Image:
    """Return a crop at .5 to 1 of its size in the middle of glass of its own colour."""
    height, width = crop.shape[:2]
    size = rng.uniform(0.5, 1.0)
    rows, cols = max(1, round(height * size)), max(1, round(width * size))
    out = np.empty_like(crop)
    out[:] = glass_of(crop)
    top, left = (height - rows) // 2, (width - cols) // 2
    out[top : top + rows, left : left + cols] = cv2.resize(crop, (cols, rows), interpolation=cv2.INTER_AREA)
    return out


def _flips(crop: Image, rng: np.random.Generator) -> Image:
    which = int(rng.integers(3))
    return crop[:, ::-1] if which == 1 else crop[::-1] if which == 2 else crop


def _cooler(crop: Image, rng: np.random.Generator) -> Image:
    return _tinted(crop, -rng.uniform(0, COLOUR_MOST)) if rng.random() < COLOUR else crop


def _warmer(crop: Image, rng: np.random.Generator) -> Image:
    return _tinted(crop, rng.uniform(0, COLOUR_MOST)) if rng.random() < COLOUR else crop


def _tinted(crop: Image, warmth: float) -> Image:
    return _bytes(crop * np.array([1 + warmth, 1.0, 1 - warmth]))


def _blur(crop: Image, rng: np.random.Generator) -> Image:
    kernel = BLURS[int(rng.integers(len(BLURS)))]
    return np.asarray(cv2.GaussianBlur(crop, (kernel, kernel), 0), np.uint8) if kernel else crop


def _rotations(crop: Image, rng: np.random.Generator) -> Image:
    turns = int(rng.integers(4))
    return np.rot90(crop, turns) if crop.shape[0] == crop.shape[1] else np.rot90(crop, turns // 2 * 2)


def _brightness(crop: Image, rng: np.random.Generator) -> Image:
    return _bytes(crop * rng.uniform(1 - LIGHT, 1 + LIGHT))


def _contrast(crop: Image, rng: np.random.Generator) -> Image:
    mean = crop.mean()
    return _bytes(mean + (crop - mean) * rng.uniform(1 - CONTRAST, 1 + CONTRAST))


def _salt_and_pepper(crop: Image, rng: np.random.Generator) -> Image:
    at = rng.random(crop.shape[:2])
    share = rng.uniform(0, SPECKS) / 2
    out = crop.copy()
    out[at < share], out[at > 1 - share] = 0, 255
    return out


def _bytes(values: NDArray[Any]) -> Image:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


_SMALL: dict[str, Switch] = {
    "rotation": _rotation, "width-shift": _width_shift, "height-shift": _height_shift, "shear": _shear, "zoom": _zoom,
    "rescale": _rescale, "horizontal-flip": _horizontal_flip, "vertical-flip": _vertical_flip,
}  # fmt: skip
_ADAPTATION: dict[str, Switch] = {
    "normal-background": _normal_background, "stain-background": _stain_background, "zoom-out": _zoom_out,
    "flips": _flips, "cooler": _cooler, "warmer": _warmer, "blur": _blur, "rotations": _rotations,
    "brightness": _brightness, "contrast": _contrast, "salt-and-pepper": _salt_and_pepper,
}  # fmt: skip
_DO: dict[str, Switch] = {**_SMALL, **_ADAPTATION}

SMALL: tuple[str, ...] = tuple(_SMALL)
ADAPTATION: tuple[str, ...] = tuple(_ADAPTATION)
ALL = (*SMALL, *ADAPTATION)
VECTORS = {"small": SMALL, "adaptation": ADAPTATION}
"""What may be asked for by one word."""


def vector_of(names: Collection[str]) -> tuple[str, ...]:
    """Return switches by their names or their study's; one that is not there is a UsageError."""
    wanted = {switch for name in names for switch in VECTORS.get(name, (name,))}
    unknown = sorted(wanted - set(ALL))
    if unknown:
        known = ", ".join((*VECTORS, *ALL))
        raise UsageError(f"no augmentation is called {unknown[0]!r}", cure=f"There are {known}")
    return tuple(name for name in ALL if name in wanted)


def apply(vector: Collection[str], crops: NDArray[np.uint8], seed: int, first: int = 0) -> NDArray[np.uint8]:
    """Return crops (N, H, W, 3) with some switches on; the first of them is number `first` of all under this seed."""
    if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
        raise ValueError(f"crops must be uint8 (N, H, W, 3), not {crops.dtype} {crops.shape}")
    switches = vector_of(vector)
    out = np.empty_like(crops)
    for i, crop in enumerate(crops):
        made = crop
        for switch in switches:
            made = np.ascontiguousarray(_DO[switch](made, np.random.default_rng((seed, first + i, ALL.index(switch)))))
        out[i] = made
    return out
