"""Cut boxes out of maps of features, each to one size: every bin the mean of bilinear samples (RoIAlign, 2017).

Laws. As torchvision defines it: sampling points are spread evenly over a bin; one that lies more than a pixel outside
the map counts as zero, one nearer takes its border; a box is at least one pixel of the map wide and high, and is not
shifted by half a pixel. The same box gives the same numbers whatever others are cut with it.

Maps have their channels last, so that a sample is a sum of contiguous rows: beside channels first, as torchvision has
them, no step of the inner loop jumps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["roi_align", "roi_align_into"]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


def roi_align(features: F32, boxes: F32, scale: float, side: int, samples: int = 2) -> F32:
    """Return (N, side, side, C) of boxes (N, 4) x0, y0, x1, y1 from a map (H, W, C) that is `scale` times their size.

    samples is how many points a bin has along each axis.
    """
    if features.ndim != 3 or side < 1:
        raise ValueError(f"roi_align: a map (H, W, C) and at least one bin, not {features.shape} and {side}")
    out = np.empty((len(boxes), side, side, features.shape[2]), np.float32)
    roi_align_into(features, boxes, scale, out, np.arange(len(boxes)), samples)
    return out


def roi_align_into(features: F32, boxes: F32, scale: float, out: F32, places: I64, samples: int = 2) -> None:
    """Cut box n into out[places[n]], of (any, side, side, C): where a network takes it, without a copy."""
    if features.ndim != 3 or boxes.ndim != 2 or boxes.shape[1] != 4 or min(features.shape) < 1:
        raise ValueError(f"roi_align: a map (H, W, C) and boxes (N, 4), not {features.shape} and {boxes.shape}")
    if features.dtype != np.float32 or boxes.dtype != np.float32 or samples < 1:
        raise ValueError("roi_align: float32, and at least one sample")
    side = out.shape[1]
    if out.dtype != np.float32 or out.shape[1:] != (side, side, features.shape[2]) or side < 1:
        raise ValueError(f"roi_align: float32 bins (N, side, side, {features.shape[2]}), not {out.dtype} {out.shape}")
    if places.shape != (len(boxes),) or (len(places) and not 0 <= places.min() <= places.max() < len(out)):
        raise ValueError(f"roi_align: a place in 0 to {len(out) - 1} for each of {len(boxes)} boxes")
    if not np.isfinite(boxes).all():
        raise ValueError("roi_align: a box is not finite")
    _align(np.ascontiguousarray(features), boxes, np.float32(scale), samples, out, places)


@kernel
def _align(features: F32, boxes: F32, scale: np.float32, samples: int, out: F32, places: I64) -> None:
    side = out.shape[1]
    height, width, channels = features.shape
    share = np.float32(1.0) / np.float32(samples * samples)
    one, zero = np.float32(1.0), np.float32(0.0)
    for n in range(len(boxes)):
        left, top = boxes[n, 0] * scale, boxes[n, 1] * scale
        wide = max(boxes[n, 2] * scale - left, one) / np.float32(side)
        tall = max(boxes[n, 3] * scale - top, one) / np.float32(side)
        for row in range(side):
            for col in range(side):
                bin_ = out[places[n], row, col]
                bin_[:] = zero
                for i in range(samples):
                    y = top + np.float32(row) * tall + (np.float32(i) + np.float32(0.5)) * tall / np.float32(samples)
                    if y < -one or y > height:
                        continue
                    y = max(y, zero)
                    y0 = min(int(y), height - 1)
                    y1 = min(y0 + 1, height - 1)
                    down = np.float32(0.0) if y0 == y1 else y - np.float32(y0)
                    for j in range(samples):
                        x = (
                            left
                            + np.float32(col) * wide
                            + (np.float32(j) + np.float32(0.5)) * wide / np.float32(samples)
                        )
                        if x < -one or x > width:
                            continue
                        x = max(x, zero)
                        x0 = min(int(x), width - 1)
                        x1 = min(x0 + 1, width - 1)
                        right = np.float32(0.0) if x0 == x1 else x - np.float32(x0)
                        a = (one - down) * (one - right) * share
                        b = (one - down) * right * share
                        c = down * (one - right) * share
                        d = down * right * share
                        p, q, r, s = features[y0, x0], features[y0, x1], features[y1, x0], features[y1, x1]
                        for k in range(channels):
                            bin_[k] += a * p[k] + b * q[k] + c * r[k] + d * s[k]
