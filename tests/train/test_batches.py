"""Batches: gathered as composed, the same from whichever process."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pbsbatch.train.batches import MEAN, STD, Batch, _Gather, batches, normalised
from pbsbatch.train.compose import Canvas, Composer
from pbsbatch.train.fields import loaded
from pbsbatch.train.loss import Targets
from tests.train.tiny import fields

STRIDE = 4
edges = st.tuples(*(st.integers(-5 * 64, 70 * 64),) * 4).map(  # whole 64ths: a box has area, or it has none
    lambda e: (min(e[0], e[2]) / 64, min(e[1], e[3]) / 64, max(e[0], e[2]) / 64, max(e[1], e[3]) / 64)
)


def composer() -> Composer:
    return Composer([loaded(s, 1.0) for s in fields()], np.full(3, 1 / 3), 64, 18.0)


def same(a: Batch, b: Batch) -> bool:
    pairs = [(a.pixels, b.pixels), *((getattr(a.truth, n), getattr(b.truth, n)) for n in Targets.__slots__)]
    return all(torch.equal(x.nan_to_num(-9), y.nan_to_num(-9)) for x, y in pairs)


def test_batch_n_does_not_depend_on_where_the_run_began() -> None:
    whole = list(islice(batches(composer(), 1, 2, STRIDE), 4))
    rest = list(islice(batches(composer(), 1, 2, STRIDE, first=2), 2))
    assert same(whole[2], rest[0]) and same(whole[3], rest[1])
    assert not same(whole[0], whole[1])
    assert not same(whole[0], next(batches(composer(), 2, 2, STRIDE)))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_other_processes_compose_the_same() -> None:
    alone, helped = (islice(batches(composer(), 1, 2, STRIDE, loaders=n), 3) for n in (0, 2))
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


def test_cells_are_gathered_slot_by_slot() -> None:
    canvases = [composer().compose(3, 0, i) for i in range(3)]
    batch = _Gather(STRIDE)(canvases)
    for slot, canvas in enumerate(canvases):
        own = batch.truth.slots == slot
        assert torch.equal(batch.pixels[slot], torch.from_numpy(canvas.image))
        assert torch.equal(batch.truth.boxes[own], torch.from_numpy(canvas.boxes))
        assert batch.truth.classes[own].tolist() == canvas.classes.tolist()
        assert np.array_equal(batch.truth.outlines[own].numpy(), canvas.outlines, equal_nan=True)


@given(st.lists(edges, max_size=5))
def test_a_place_is_unsure_if_an_unsure_box_touches_it(boxes: list[tuple[float, float, float, float]]) -> None:
    none = np.zeros((0, 4), np.float32)
    canvas = Canvas(
        np.zeros((64, 64, 3), np.uint8), none, np.zeros(0, np.uint8), np.zeros((0, 32), np.float32),
        np.array(boxes, np.float32).reshape(-1, 4),
    )  # fmt: skip
    found = _Gather(STRIDE)([canvas]).truth.unsure[0].numpy()
    for y in range(16):
        for x in range(16):
            touched = any(
                x0 < (x + 1) * STRIDE and x1 > x * STRIDE and y0 < (y + 1) * STRIDE and y1 > y * STRIDE
                for x0, y0, x1, y1 in boxes
            )
            assert not touched or found[y, x]  # a box without area may or may not mark the place it lies in
            apart = all(
                x0 >= (x + 1) * STRIDE or x1 <= x * STRIDE or y0 >= (y + 1) * STRIDE or y1 <= y * STRIDE
                for x0, y0, x1, y1 in boxes
            )
            assert not apart or not found[y, x] or any(x0 == x1 or y0 == y1 for x0, y0, x1, y1 in boxes)


def test_pixels_are_normalised_channels_last() -> None:
    x = normalised(torch.full((1, 2, 2, 3), 192, dtype=torch.uint8))
    assert x.shape == (1, 3, 2, 2)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.flatten().tolist() == pytest.approx([(192 - MEAN[0]) / STD[0]] * 12)
