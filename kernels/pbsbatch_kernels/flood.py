"""Part what touches: a watershed of whole-number heights with a queue for each height.

Law: equal to scikit-image's watershed with four neighbours, where no two markers lie equally high: the lowest pixel
goes first, of equals the one that was reached first, a pixel belongs to whoever reaches it first, and water that has
risen over a ridge does not fall behind it. A queue per height instead of a heap: nothing is ever sorted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch_kernels.jit import kernel

__all__ = ["flood"]


@kernel
def flood(height: NDArray[np.int32], seeds: NDArray[np.int32], mask: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return for each pixel of the mask 1 + the seed (y, x) whose water reaches it first, else 0.

    height is 0 or more; seeds off the mask or on an earlier one give nothing.
    """
    rows, cols = height.shape
    deepest = 0
    for y in range(rows):
        for x in range(cols):
            deepest = max(deepest, height[y, x])
    head = np.full(deepest + 1, -1, np.int64)
    tail = np.full(deepest + 1, -1, np.int64)
    behind = np.full(rows * cols, -1, np.int64)
    labels = np.zeros((rows, cols), np.int32)
    for i in range(len(seeds)):
        y, x = seeds[i]
        if mask[y, x] == 0 or labels[y, x] != 0:
            continue
        labels[y, x] = i + 1
        at, level = y * cols + x, height[y, x]
        if head[level] < 0:
            head[level] = at
        else:
            behind[tail[level]] = at
        tail[level] = at
    now = 0
    while now <= deepest:
        at = head[now]
        if at < 0:
            now += 1
            continue
        head[now] = behind[at]
        y, x = at // cols, at % cols
        for k in range(4):
            v = y + (k == 3) - (k == 0)
            u = x + (k == 2) - (k == 1)
            if not (0 <= v < rows and 0 <= u < cols) or mask[v, u] == 0 or labels[v, u] != 0:
                continue
            labels[v, u] = labels[y, x]
            to, level = v * cols + u, max(now, height[v, u])
            if head[level] < 0:
                head[level] = to
            else:
                behind[tail[level]] = to
            tail[level] = to
    return labels
