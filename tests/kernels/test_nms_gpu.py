"""Batched NMS. Run as a program it compares the interpreted Triton kernel with plain torch: see the test."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pbsbatch_kernels
from pbsbatch_kernels.nms import nms

torch = pytest.importorskip("torch")
from pbsbatch_kernels.nms_torch import MOST_BOXES, batched_nms_torch, thresholds  # noqa: E402

torch.set_num_threads(1)  # on busy cores two threads wait for each other far longer than they work
LIMITS = (0.3, 0.5, float(np.nextafter(1 / 3, 1)))


def batch(rng: np.random.Generator, images: int, n: int, halves: bool = True) -> tuple:
    """Return boxes, scores, classes and counts: on a grid of halves IoUs and scores tie; beyond the counts is NaN."""
    corner = rng.uniform(0, 4 * np.sqrt(n) + 1, (images, n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 16, (images, n, 2))], axis=2)
    if halves:
        boxes = np.round(boxes * 2) / 2
    scores = rng.integers(0, 50, (images, n)) / 50
    counts = rng.integers(0, n + 1, images)
    for b, count in enumerate(counts):
        boxes[b, count:], scores[b, count:] = np.nan, np.nan
    classes = rng.integers(0, 3, (images, n))
    kinds = np.where(np.arange(n) < counts[:, None], classes, 99)
    arrays = boxes.astype(np.float32), scores.astype(np.float32), kinds, counts
    return tuple(torch.from_numpy(a) for a in arrays)


def on_cpu(boxes, scores, classes, counts, iou, keep_at_most: int) -> tuple[list[list[int]], list[int]]:
    """Return what the CPU kernel keeps of each image, filled up with -1."""
    rows, many = [], []
    for b, n in enumerate(counts.tolist()):
        found = nms(boxes[b, :n].numpy(), scores[b, :n].numpy(), classes[b, :n].numpy(), iou)[:keep_at_most]
        rows.append([*found.tolist(), *[-1] * (keep_at_most - len(found))])
        many.append(len(found))
    return rows, many


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 120), st.booleans(), st.data())
def test_plain_torch_keeps_what_the_cpu_kernel_keeps(seed: int, images: int, n: int, halves: bool, data) -> None:
    case = batch(np.random.default_rng(seed), images, n, halves)
    keep_at_most = data.draw(st.integers(1, n + 5))
    iou = data.draw(st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1), st.just(LIMITS)))
    given_iou, wanted = (thresholds(iou, "cpu"), np.array(iou)) if isinstance(iou, tuple) else (iou, iou)
    kept, many = batched_nms_torch(*case, given_iou, keep_at_most)
    assert (kept.dtype, many.dtype) == (torch.int64, torch.int32)
    assert (kept.tolist(), many.tolist()) == on_cpu(*case, wanted, keep_at_most)


def test_a_threshold_is_rounded_down_to_float32() -> None:
    assert thresholds([1 / 3, 0.5, 1.0, 0.0, 1e-60], "cpu").tolist() == [
        float(np.nextafter(np.float32(1 / 3), np.float32(0))), 0.5, 1.0, 0.0, 0.0,
    ]  # fmt: skip


def compare(device: str, seeds: range, sizes: list[int]) -> None:
    """Hold the Triton kernel against plain torch."""
    from pbsbatch_kernels.nms_triton import batched_nms_gpu

    for seed in seeds:
        rng = np.random.default_rng(seed)
        n = sizes[seed % len(sizes)]
        case = [a.to(device) for a in batch(rng, int(rng.integers(1, 4)), n, bool(seed % 2))]
        for iou in (0.0, float(rng.random()), thresholds(LIMITS, device)):
            keep_at_most = int(rng.integers(1, n + 9))
            expected, found = (f(*case, iou, keep_at_most) for f in (batched_nms_torch, batched_nms_gpu))
            for one, other in zip(expected, found, strict=True):
                assert one.dtype == other.dtype
                assert one.tolist() == other.tolist(), (seed, n, iou)
    empty = torch.zeros((2, 0, 4), device=device)
    kept, many = batched_nms_gpu(empty, empty[..., 0], empty[..., 0].int(), torch.zeros(2, device=device).int(), 0.5, 3)
    assert (kept.tolist(), many.tolist()) == ([[-1] * 3] * 2, [0, 0])


def test_the_interpreted_triton_kernel_is_plain_torch() -> None:
    pytest.importorskip("triton")
    source = str(Path(pbsbatch_kernels.__file__).parents[1])
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": source}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "equal\n"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_triton_kernel_on_a_gpu_is_plain_torch_and_waits_for_nothing() -> None:
    compare("cuda", range(40), [1, 33, 700, MOST_BOXES])
    from pbsbatch_kernels.nms_triton import batched_nms_gpu

    case = [a.cuda() for a in batch(np.random.default_rng(0), 4, 1000)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        batched_nms_gpu(*case, 0.5, 100)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_compiled_kernel_rounds_as_the_cpu_does() -> None:
    """The kernel is compiled for a GPU that need not be there: no fused or approximate arithmetic, no flushed zeros."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from pbsbatch_kernels.nms_triton import OPTIONS, suppress

    pointers = {"boxes": "fp32", "order": "i64", "kinds": "i32", "counts": "i64", "limits": "fp32", "kept": "i64"}
    signature = {name: f"*{dtype}" for name, dtype in (pointers | {"many": "i32"}).items()}
    signature |= {"limit": "fp32", "n": "i32", "keep_at_most": "i32", "EACH": "constexpr", "BLOCK": "constexpr"}
    signature = {name: signature[name] for name in suppress.arg_names}
    source = ASTSource(suppress, signature, {"EACH": True, "BLOCK": MOST_BOXES})
    code = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=OPTIONS).asm["ptx"]
    assert re.findall(r"\S*(?:fma|\.ftz|\.approx|\.full)\S*", code) == []
    assert set(re.findall(r"div\.\S+", code)) == {"div.rn.f32"}
    assert "st.local" not in code, "the boxes do not fit the registers"


def test_boxes_on_the_cpu_are_refused_by_the_gpu_kernel() -> None:
    pytest.importorskip("triton")
    from pbsbatch_kernels.nms_triton import batched_nms_gpu

    with pytest.raises(ValueError, match="batched_nms_torch"):
        batched_nms_gpu(*batch(np.random.default_rng(0), 1, 5), 0.5, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.zeros(2, 5, 3)}, "must be"),
        ({1: torch.zeros(2, 4)}, "must be"),
        ({2: torch.zeros(2, 4, dtype=torch.int64)}, "must be"),
        ({3: torch.zeros(3, dtype=torch.int64)}, "counts for 2 images"),
        ({0: torch.zeros(2, 5, 4, dtype=torch.float64)}, "float32"),
        ({1: torch.zeros(2, 5, dtype=torch.float16)}, "float32"),
        ({2: torch.zeros(2, 5)}, "integers"),
        ({3: torch.zeros(2)}, "integers"),
        ({3: torch.zeros(2, dtype=torch.int64, device="meta")}, "one device"),
        ({4: 1.1}, "threshold"),
        ({4: float("nan")}, "threshold"),
        ({4: torch.zeros(2, dtype=torch.float64)}, "thresholds"),
        ({5: 0}, "at least one"),
        ({0: torch.zeros(2, 4097, 4), 1: torch.zeros(2, 4097), 2: torch.zeros(2, 4097).int()}, "at most 4096"),
    ],
)
def test_bad_input_is_refused(change: dict, message: str) -> None:
    case = dict(enumerate([*batch(np.random.default_rng(0), 2, 5), 0.5, 3])) | change
    with pytest.raises(ValueError, match=message):
        batched_nms_torch(*case.values())


if __name__ == "__main__":
    compare("cpu", range(12), [1, 2, 7, 33, 64, 90])
    print("equal")
