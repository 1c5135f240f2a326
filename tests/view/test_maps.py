"""The smear map is the store's blocks: each figure in its place, null where nothing was measured."""

from __future__ import annotations

import numpy as np

from pbsbatch.quality import figures_of
from pbsbatch.quality.zones import ZONES, zones_of
from pbsbatch.store import SUMS, UNTYPED, BlockRows
from pbsbatch.view.maps import FIGURES, TypesSeen, smear_map


def test_every_figure_lies_where_its_block_does() -> None:
    rng = np.random.default_rng(0)
    at = np.array([(2, 5), (3, 5), (2, 6), (5, 6), (5, 7)], np.int32)  # column 4 has no block
    box = np.stack([at[:, 0] * 100, at[:, 1] * 100, at[:, 0] * 100 + 100, at[:, 1] * 100 + 90], axis=1).astype(float)
    sums = rng.integers(50, 100, (5, len(SUMS)))
    sums[:, SUMS.index("failed")] = (0, 0, 0, 0, 1)
    sums[3, SUMS.index("red")] = 0
    blocks = BlockRows(at, box, np.full(5, 9000.0), sums.astype(np.int64))
    found = smear_map(blocks)
    assert found["columns"] == [[200, 300], [300, 400], None, [500, 600]]
    assert found["rows"] == [[500, 590], [600, 690], [700, 790]]
    figures = {f["name"]: f for f in found["figures"]}
    places = (at[:, 1] - 5) * 4 + at[:, 0] - 2
    for name, values in figures_of(blocks.sums, blocks.area).items():
        if name in FIGURES:
            told = figures[FIGURES[name][0]]["values"]
            assert [i for i, v in enumerate(told) if v is not None] == places[np.isfinite(values)].tolist()
            np.testing.assert_allclose(
                [told[p] for p in places[np.isfinite(values)]], values[np.isfinite(values)], 1e-3
            )
    assert figures["overlap"]["values"][places[3]] is None  # no red cell: no share of them
    assert [figures["zones"]["values"][p] for p in places] == zones_of(blocks).tolist()
    assert figures["zones"]["names"] == ZONES
    assert [figures["unread"]["values"][p] for p in places] == [None, None, None, None, 1.0]


def test_types_count_in_the_block_that_holds_their_centre() -> None:
    at = np.array([(2, 5), (3, 5), (2, 6), (5, 6)], np.int32)
    box = np.stack([at[:, 0] * 100, at[:, 1] * 100, at[:, 0] * 100 + 100, at[:, 1] * 100 + 90], axis=1).astype(float)
    blocks = BlockRows(at, box, np.full(4, 9000.0), np.ones((4, len(SUMS)), np.int64))
    seen = TypesSeen(blocks, 2)
    types = np.array([0, 1, 1, 1, 0, UNTYPED, 1, 0], np.uint8)
    x = np.array([200, 299.5, 250, 300, 599, 250, 450, 199], np.float64)  # the last two lie in no block
    y = np.array([500, 589, 550, 500, 650, 550, 550, 500], np.float64)
    seen.add(types, x, y)
    seen.add(types[:1], x[:1], np.array([595.0]))  # between two rows of blocks
    assert seen.counts.tolist() == [[[1, 0, 0, 0], [0, 0, 0, 1]], [[2, 1, 0, 0], [0, 0, 0, 0]]]
    (figure,) = [
        f for f in smear_map(blocks, seen.counts, {"a": "#000000", "b": "#ffffff"})["figures"] if f["name"] == "type"
    ]
    assert figure["values"] == [1, 1, None, None, None, None, None, 0] and figure["counts"] == [2, 3]
    assert (figure["names"], figure["colours"]) == (["a", "b"], ["#000000", "#ffffff"])
    assert "type" not in {f["name"] for f in smear_map(blocks, np.zeros_like(seen.counts), {})["figures"]}


def test_a_slide_without_blocks_has_no_map() -> None:
    none = TypesSeen(BlockRows.empty(), 3)
    none.add(np.zeros(1, np.uint8), np.zeros(1), np.zeros(1))
    assert none.counts.shape == (3, 0, 0)
    assert smear_map(BlockRows.empty(), none.counts) == {"columns": [], "rows": [], "figures": []}
