"""Resample and pack: megapixels per second on one core beside OpenCV and libvips in the same run.

`python -m benchmarks.resample --json` prints one JSON object and adds a row per case to results/resample.csv. The image
is noise, 4096 px a side; megapixels are of the source for images and of the level-0 result for masks. largest_step is
the largest difference to OpenCV's pixels: ours are exact means in 11-bit weights. A peer that is not installed is
named as absent.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from pbsbatch_kernels.packing import pack_scaled
from pbsbatch_kernels.resample import area_taps, resample, shrink_whole

SIDE = 4096
RATIOS = (1.3, 2.0, 2.7, 4.0, 9.4)
CELLS, CELL_PX = 2000, 30
REPEATS = 7

Image = NDArray[np.uint8]


def seconds(call: Callable[[], Any]) -> float:
    """Return the middle of several runs, the first, which may compile, left out."""
    call()
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def ours(source: Image, ratio: float) -> Callable[[], Image]:
    n = int(SIDE / ratio)
    out = np.empty((n, n, 3), np.uint8)
    if ratio == int(ratio):
        cut = np.ascontiguousarray(source[: n * int(ratio), : n * int(ratio)])

        def shrink() -> Image:
            shrink_whole(cut, int(ratio), out)
            return out

        return shrink
    starts, weights = np.zeros(n, np.int32), np.zeros((n, int(ratio) + 2), np.int32)
    area_taps(ratio, 0, n, 0, starts, weights)

    def weigh() -> Image:
        resample(source, starts, weights, starts, weights, out)
        return out

    return weigh


def opencv(source: Image, ratio: float) -> Callable[[], Image]:
    n = int(SIDE / ratio)
    edge = round(n * ratio)
    return lambda: cv2.resize(source[:edge, :edge], (n, n), interpolation=cv2.INTER_AREA)


def libvips(source: Image, ratio: float) -> Callable[[], Image] | str:
    """Return libvips' box filter, `shrink` for whole numbers and `resize` with a linear kernel otherwise."""
    os.environ["VIPS_CONCURRENCY"] = "1"
    try:
        import pyvips
    except ImportError:
        return "absent"
    pyvips.cache_set_max(0)
    image = pyvips.Image.new_from_array(source)
    if ratio == int(ratio):
        return lambda: image.shrink(ratio, ratio).numpy()
    return lambda: image.resize(1 / ratio, kernel="linear").numpy()


def images() -> list[dict[str, Any]]:
    source = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    rows = []
    for ratio in RATIOS:
        mine, other, third = ours(source, ratio), opencv(source, ratio), libvips(source, ratio)
        step = np.abs(mine().astype(np.int16) - other()).max() if ratio == int(ratio) else None
        rows.append(row(f"shrink by {ratio:g}", SIDE**2, mine, {"opencv": other, "libvips": third}, step))
    return rows


def masks() -> list[dict[str, Any]]:
    """Pack masks to level 0: beside OpenCV's nearest neighbour and numpy's packbits, one mask at a time."""
    rng = np.random.default_rng(2)
    shapes = [cv2.circle(np.zeros((CELL_PX,) * 2, np.uint8), (15, 15), 14, 1, -1).view(np.bool_)] * CELLS
    windows = np.hstack([rng.integers(0, 4000, (CELLS, 2)), np.full((CELLS, 2), CELL_PX)])
    rows = []
    for scale in (1.0, 2.0):
        size = int(CELL_PX * scale)

        def mine(scale: float = scale) -> Any:
            return pack_scaled(shapes, windows, scale, 10_000, 10_000)

        def other(size: int = size) -> Any:
            nearest = cv2.INTER_NEAREST
            return [np.packbits(cv2.resize(s.view(np.uint8), (size, size), interpolation=nearest)) for s in shapes]

        rows.append(row(f"pack masks at {scale:g}", CELLS * size**2, mine, {"opencv": other, "libvips": ""}, None))
    return rows


def row(
    case: str, pixels: int, mine: Callable[[], Any], peers: dict[str, Callable[[], Any] | str], step: Any
) -> dict[str, Any]:
    """Return one row; a word in place of a peer's function stands in its column."""
    speeds = {n: p if isinstance(p, str) else round(pixels / 1e6 / seconds(p), 1) for n, p in peers.items()}
    return {
        "case": case, "mpix_per_s": round(pixels / 1e6 / seconds(mine), 1),
        **{f"{name}_mpix_per_s": speed for name, speed in speeds.items()},
        "largest_step": "" if step is None else int(step),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.parse_args()
    cv2.setNumThreads(1)
    rows = images() + masks()
    record.append("resample", rows)
    record.show({"machine": record.machine(), "rows": rows})


if __name__ == "__main__":
    main()
