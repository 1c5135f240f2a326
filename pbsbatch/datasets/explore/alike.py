"""Pictures of a data set that are one, and fields of two splits that show the same part of a smear, shifted.

Laws. A pair is told once. Shifts are proposed by phase correlation of small pictures and believed only where what both
show agrees pixel by pixel; pairs within one split are no leak and are not looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.duplicates import likeness, same_pictures

__all__ = ["overlapping_across", "same_pictures"]

F32 = NDArray[np.float32]
Image = NDArray[np.uint8]

SIDE = 34
"""Side of the pictures whose shift is looked for."""
TOGETHER = 256
PEAK = 0.18
"""Height of a phase correlation that is worth a look: measured, one in eighty pairs of fields that share nothing is
higher, and all views of one field that share two thirds of it."""
SOFT, MOST = 6.0, 12.0
"""Pictures are compared without what is wider than this, and cut off at so many grey levels: two fields with a dark
nucleus in their middle are alike (r .81) and agree no further (.39)."""
WORTH, AGREE = 0.25, 0.6
"""Correlation of what two overlapping fields share before the shift is known to a pixel, and after; measured on views
of one field: .66 and more."""
SHARED = 0.2
"""Share of a field that an overlap must have to be seen."""


def overlapping_across(thumbs: Sequence[Image], splits: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of pictures from different splits that overlap by a shift; thumbs are square and of one size."""
    grey = np.stack([cv2.cvtColor(t, cv2.COLOR_RGB2GRAY) for t in thumbs]).astype(np.float32) if thumbs else None
    if grey is None or len(set(splits)) < 2:
        return []
    spectra, relief = np.stack([_spectrum(g) for g in grey]), [_relief(g) for g in grey]
    factor = grey.shape[1] / SIDE
    out = []
    for i, j, dy, dx in _proposed(spectra, np.unique(list(splits), return_inverse=True)[1]):
        if _agree(relief[i], relief[j], round(dy * factor), round(dx * factor)):
            out.append((i, j))
    return out


def _spectrum(grey: F32) -> NDArray[np.complex64]:
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small = small - cv2.GaussianBlur(small, (0, 0), 4.0)
    window = np.hanning(SIDE + 2)[1:-1]
    spectrum = np.fft.rfft2(small * (window[:, None] * window) ** 0.5, (2 * SIDE, 2 * SIDE))
    return np.asarray(spectrum / np.maximum(np.abs(spectrum), 1e-6), np.complex64)


def _relief(grey: F32) -> F32:
    return np.asarray(np.clip(grey - cv2.GaussianBlur(grey, (0, 0), SOFT), -MOST, MOST), np.float32)


def _proposed(spectra: NDArray[np.complex64], split: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
    """Yield pairs i < j of different splits, and by how much the second lies shifted against the first."""
    for i in range(len(spectra)):
        others = i + 1 + np.flatnonzero(split[i + 1 :] != split[i])
        for start in range(0, len(others), TOGETHER):
            chosen = others[start : start + TOGETHER]
            peaks = np.fft.irfft2(spectra[i].conj() * spectra[chosen], (2 * SIDE, 2 * SIDE))
            flat = peaks.reshape(len(chosen), -1)
            where = flat.argmax(1)
            for k in np.flatnonzero(flat.max(1) >= PEAK):
                dy, dx = divmod(int(where[k]), 2 * SIDE)
                yield i, int(chosen[k]), (dy + SIDE) % (2 * SIDE) - SIDE, (dx + SIDE) % (2 * SIDE) - SIDE


def _agree(a: F32, b: F32, dy: int, dx: int) -> bool:
    """Say whether two pictures agree where the second lies shifted against the first, give or take two pixels."""
    shown = np.ones_like(a, np.bool_)
    if likeness(a, b, shown, dy, dx, SHARED) < WORTH:
        return False
    near = (-2, -1, 0, 1, 2)
    return max(likeness(a, b, shown, dy + v, dx + u, SHARED) for v in near for u in near) >= AGREE
