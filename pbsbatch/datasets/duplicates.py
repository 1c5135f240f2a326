"""Find pictures that show the same cell or the same field, so that a split never parts them.

Laws. Two pictures belong together if one is the other, turned or mirrored or not, or if they are views of one field,
shifted. The groups do not depend on the order of the pictures. Views are found by their dark spots (nuclei) and
believed by what surrounds them: two lymphocytes look alike (measured, r up to .98), their neighbourhoods do not.

A perceptual hash as a first pass was left out: every pair of 4,000 pictures is correlated in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Groups", "group", "likeness", "same_pictures"]

F32 = NDArray[np.float32]

COARSE = 32
"""Side of the pictures that are compared whole."""
SAME = 0.95
"""Correlation of two whole pictures that are one."""
FINE = 68
"""Side of the pictures that spots are looked for in."""
REACH = 9
"""A spot's patch reaches so far about it, in such pixels."""
ALIKE = 0.85
"""Correlation of two patches that is worth a look at what surrounds them."""
HIDDEN = 16
"""What surrounds a spot begins so far from it: beyond the largest cell."""
AROUND = 0.9
"""Correlation of the surroundings of one field's views (measured: .98 and more; of two fields': .80 and less)."""
WORTH = 0.3
"""The same before the shift is known to a pixel; below, no other shift is tried."""
LEAST_AROUND = 0.15
"""Share of a picture that two views must have in common beside the spot."""
ROWS = 1024


@dataclass(frozen=True, slots=True)
class Groups:
    """A group's number for each picture, numbered by first member, and the pairs that made them."""

    of: NDArray[np.int64]
    same: tuple[tuple[int, int], ...]
    overlapping: tuple[tuple[int, int], ...]

    def summary(self) -> dict[str, int]:
        """Return how much was found."""
        sizes = np.bincount(self.of)
        return {
            "pictures": len(self.of), "groups": len(sizes), "in_shared_groups": int(sizes[sizes > 1].sum()),
            "largest": int(sizes.max(initial=0)), "same": len(self.same), "overlapping": len(self.overlapping),
        }  # fmt: skip


def group(pictures: Sequence[NDArray[np.uint8]]) -> Groups:
    """Return which pictures (H, W, 3) belong together."""
    if any(p.dtype != np.uint8 or p.ndim != 3 or p.shape[2] != 3 or min(p.shape) < 1 for p in pictures):
        raise ValueError("pictures must be uint8 (H, W, 3)")
    same = same_pictures(pictures)
    views = sorted(set(_views(_grey(pictures, FINE))) - set(same))
    return Groups(_joined(len(pictures), [*same, *views]), tuple(same), tuple(views))


def same_pictures(pictures: Sequence[NDArray[np.uint8]]) -> list[tuple[int, int]]:
    """Return the pairs of pictures (H, W, 3) that are one, in any of the eight positions of a square."""
    return sorted(set(_same(_grey(pictures, COARSE))))


def _grey(pictures: Sequence[NDArray[np.uint8]], side: int) -> F32:
    out = np.empty((len(pictures), side, side), np.float32)
    for i, picture in enumerate(pictures):
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        out[i] = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return out


def _same(small: F32) -> Iterator[tuple[int, int]]:
    """Yield pairs of one picture, in any of the eight positions of a square."""
    plain = _unit(small)
    for turns in range(4):
        turned = np.rot90(small, turns, (1, 2))
        for other in (turned, turned[:, :, ::-1]):
            yield from _pairs(plain, _unit(other), SAME)


def _views(small: F32) -> Iterator[tuple[int, int]]:
    """Yield pairs of shifted views of one field."""
    owner, at, patches = _spots(small)
    for p, q in _pairs(patches, patches, ALIKE):
        a, b = int(owner[p]), int(owner[q])
        if a != b and _one_field(small[a], small[b], at[p], at[q]):
            yield min(a, b), max(a, b)


def _spots(small: F32) -> tuple[NDArray[np.int64], NDArray[np.int64], F32]:
    """Return owner, place (y, x) and patch of every dark spot that is far enough from the border."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (REACH, REACH))
    dark = np.zeros(small.shape, np.bool_)
    inner = slice(REACH, -REACH)
    for i, picture in enumerate(small):
        soft = cv2.GaussianBlur(picture, (0, 0), 2.0)
        lowest = (soft == cv2.erode(soft, disc)) & (soft < (soft.min() + soft.max()) / 2)
        dark[i, inner, inner] = lowest[inner, inner]
    owner, y, x = np.nonzero(dark)
    side = np.arange(-REACH, REACH + 1)
    patches = small[owner[:, None, None], y[:, None, None] + side[:, None], x[:, None, None] + side]
    return owner, np.stack([y, x], 1), _unit(patches)


def _pairs(a: F32, b: F32, least: float) -> Iterator[tuple[int, int]]:
    """Yield i < j with a[i] . b[j] at least so large."""
    for start in range(0, len(a), ROWS):
        for i, j in np.argwhere(a[start : start + ROWS] @ b.T >= least).tolist():
            if start + i < j:
                yield start + i, j


def _one_field(a: F32, b: F32, at_a: NDArray[np.int64], at_b: NDArray[np.int64]) -> bool:
    """Say whether two pictures, laid over each other by a spot, agree around it."""
    around = np.ones_like(a, np.bool_)
    y, x = at_a
    around[max(0, y - HIDDEN) : y + HIDDEN + 1, max(0, x - HIDDEN) : x + HIDDEN + 1] = False
    down, right = (at_b - at_a).tolist()
    if likeness(a, b, around, down, right) < WORTH:
        return False
    near = (-1, 0, 1)
    return max(likeness(a, b, around, down + dy, right + dx) for dy in near for dx in near) >= AROUND


def likeness(a: F32, b: F32, shown: NDArray[np.bool_], dy: int, dx: int, least: float = LEAST_AROUND) -> float:
    """Return the correlation of what is shown of a with b, which lies shifted against it; 0 if that is too little."""
    side = len(a)
    here = slice(max(0, -dy), min(side, side - dy)), slice(max(0, -dx), min(side, side - dx))
    there = slice(max(0, dy), min(side, side + dy)), slice(max(0, dx), min(side, side + dx))
    seen = shown[here]
    if seen.sum() < least * side * side:
        return 0.0
    one, two = _unit(a[here][seen][None]), _unit(b[there][seen][None])
    return float((one * two).sum())


def _unit(pictures: NDArray[np.float32]) -> F32:
    """Return pictures as rows of mean 0 and length 1; one without any structure stays 0 and is like nothing."""
    rows = pictures.reshape(len(pictures), math.prod(pictures.shape[1:]))
    rows = rows - rows.mean(1, keepdims=True, dtype=np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 1e-3, length, np.inf), np.float32)


def _joined(count: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Return the number of each one's group."""
    first = list(range(count))

    def root(i: int) -> int:
        while first[i] != i:
            first[i] = first[first[i]]
            i = first[i]
        return i

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        first[high] = low
    return np.unique([root(i) for i in range(count)], return_inverse=True)[1].astype(np.int64)
