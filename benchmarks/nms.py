"""Time exact NMS against torchvision's, both on one thread: the processor time that it took.

Run `python -m benchmarks.nms --json`. Sparse boxes are a smear's red cells found up to twice; a tile has
100 to 4000 of them. In `dense` all boxes overlap: by much, and few stay, or by less than asked, and all do.
In `chain` each box
overlaps the next. torchvision compares all with all and is asked up to 1e5 boxes. Where it is not
installed its columns say absent. Every result of torchvision's is compared with ours before it counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import numpy as np

from benchmarks import record
from pbsbatch_kernels.nms import nms

SPARSE = (100, 300, 1000, 4000, 10_000, 100_000, 1_000_000)
MOST_OF_PEER = 100_000
SECONDS = 0.3  # of repeats per figure

Boxes = tuple[np.ndarray, np.ndarray]


def sparse(n: int, rng: np.random.Generator) -> Boxes:
    """Draw boxes of 20 to 40 px, half of them a second view of another, crowded as in a smear."""
    centre = rng.uniform(0, 25 * np.sqrt(n), ((n + 1) // 2, 2))
    centre = np.concatenate([centre, centre[: n // 2] + rng.normal(0, 2, (n // 2, 2))])
    half = rng.uniform(10, 20, (n, 2))
    return np.concatenate([centre - half, centre + half], axis=1), rng.random(n)


def dense(n: int, rng: np.random.Generator) -> Boxes:
    """Draw boxes that all overlap one another with an IoU of 0.64 and more."""
    return np.concatenate([rng.uniform(0, 10, (n, 2)), rng.uniform(90, 100, (n, 2))], axis=1), rng.random(n)


def chain(n: int, rng: np.random.Generator) -> Boxes:
    """Draw a row of boxes, each overlapping the next, best first."""
    x = np.arange(n) * 4.0
    return np.stack([x, x * 0, x + 10, x * 0 + 10], axis=1) + rng.uniform(0, 1), -x


def cases() -> Iterator[tuple[str, float, Boxes]]:
    """Yield what is timed: a name, a threshold, boxes and scores."""
    for n in SPARSE:
        yield "sparse", 0.5, sparse(n, np.random.default_rng(n))
    for iou in (0.5, 0.9, 0.999):
        yield "dense", iou, dense(10_000, np.random.default_rng(1))
    yield "chain", 0.4, chain(10_000, np.random.default_rng(2))


def milliseconds(call: Callable[[], object]) -> list[float]:
    """Return the 20th, 50th and 80th percentile of repeated calls, after one that does not count."""
    call()
    spent: list[float] = []
    while len(spent) < 3 or (sum(spent) < SECONDS and len(spent) < 2000):
        start = time.thread_time()
        call()
        spent.append(time.thread_time() - start)
    return [round(1e3 * float(p), 4) for p in np.percentile(spent, [20, 50, 80])]


def measure() -> Iterator[dict[str, object]]:
    """Yield one row per case and dtype."""
    peer, kept_by_peer, version = None, None, "absent"
    if find_spec("torchvision") is not None:
        import torch
        import torchvision

        torch.set_num_threads(1)
        peer, version = torchvision.ops.nms, f"{torchvision.__version__} torch {torch.__version__}"
    for name, iou, (boxes, scores) in cases():
        for dtype in (np.float32, np.float64):
            b, s, c = boxes.astype(dtype), scores.astype(dtype), np.zeros(len(scores), np.int64)
            kept = nms(b, s, c, iou)
            row = {"case": name, "n": len(s), "iou": iou, "dtype": np.dtype(dtype).name, "kept": len(kept)}
            p20, p50, p80 = milliseconds(partial(nms, b, s, c, iou))
            row |= {"cpu_ms_p20": p20, "cpu_ms_p50": p50, "cpu_ms_p80": p80, "torchvision": version}
            row |= {"torchvision_cpu_ms_p50": "", "times_faster": ""}
            if peer is not None and len(s) <= MOST_OF_PEER:
                tensors = torch.from_numpy(b), torch.from_numpy(s)
                start = time.thread_time()
                kept_by_peer = peer(*tensors, iou).numpy()
                once = time.thread_time() - start
                if not np.array_equal(kept, kept_by_peer):
                    raise SystemExit(f"torchvision keeps other boxes: {row}")
                theirs = once * 1e3 if once > SECONDS else milliseconds(partial(peer, *tensors, iou))[1]
                row |= {"torchvision_cpu_ms_p50": round(theirs, 4), "times_faster": round(theirs / p50, 2)}
            yield row


def main() -> None:
    """Run, keep and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.parse_args()
    found = list(measure())
    record.append("nms", found)
    record.show({"benchmark": "nms", "rows": found})


if __name__ == "__main__":
    main()
