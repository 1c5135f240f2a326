"""A rounded network whose boxes lean is levelled to the network that it was made from, and changes in nothing else."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx

from pbsbatch.nets.export import export_onnx
from pbsbatch.testing.engines import tiles
from pbsbatch.train.level import ENOUGH, levelled, said, shifted
from tests.engines.tiny import FACTS, tiny_int8, tiny_net

SURE, LEAN = np.full(3, 4, np.float32), np.array([0.1, -0.2, 0.05, 0.3], np.float32)


@cache
def whole() -> bytes:
    """Return a network that takes many places for cells."""
    return shifted(export_onnx(tiny_net(), FACTS.mean, FACTS.std, half=False), "scores", SURE)


@cache
def leaning() -> bytes:
    return shifted(shifted(tiny_int8(), "scores", SURE), "boxes", LEAN)


def test_boxes_lean_no_more_where_cells_are() -> None:
    shown = tiles(12, (64, 96), seed=7)
    made = levelled(leaning(), whole(), shown)

    def off(network: bytes) -> np.ndarray:
        pairs = zip(said(whole(), shown), said(network, shown), strict=True)
        each = np.concatenate([(a - b)[:, scores.max(0) > 0] for (scores, a), (_, b) in pairs], axis=1)
        assert each.shape[1] >= ENOUGH
        return np.asarray(each.mean(1))

    np.testing.assert_allclose(off(leaning()), off(shifted(leaning(), "boxes", -LEAN)) - LEAN, atol=1e-4)
    np.testing.assert_allclose(off(made), 0, atol=1e-4)
    before, after = (onnx.load_from_string(data) for data in (leaning(), made))
    changed = [a.name for a, b in zip(before.graph.initializer, after.graph.initializer, strict=True) if a != b]
    assert changed == ["net_boxes.bias"] and before.graph.node == after.graph.node


def test_a_few_places_tell_nothing() -> None:
    assert levelled(leaning(), whole(), tiles(1, (64, 96), seed=7)) == leaning()
