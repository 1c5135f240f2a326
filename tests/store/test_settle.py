from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pbsbatch.detections import NEAR_BORDER, OWNED, Detections
from pbsbatch.store import TILE_FAILED, TILE_OK, Store, StoreHeader, TileRows, open_store
from pbsbatch.testing.stores import KEY, cells_of, digest, draw_smear, labels_of, preview_of


def tiles_of(cores: list[tuple[float, ...]], status: int = TILE_OK) -> TileRows:
    n = len(cores)
    return TileRows.plain(np.array(cores, np.float64), np.full(n, status, np.uint8), np.zeros(n, np.int32))


def views(centres: list[tuple[float, float]], tiles: list[int], flags: list[int]) -> Detections:
    c = np.array(centres, np.float32)
    cells = cells_of(np.concatenate([c - 10, c + 10], axis=1), np.full(len(c), 0.5, np.float32))
    return replace(cells, tiles=np.array(tiles, np.int32), flags=np.array(flags, np.uint8))


def settled(out: Path, *strips: tuple[Detections, TileRows]) -> list[list[float]]:
    """Return the centres of the cells that are kept."""
    header = StoreHeader("s", 200, 200, None, ("cell",), len(strips), 3.0)
    store = Store.begin(out, header, KEY)
    for k, strip in enumerate(strips):
        store.append(k, *strip)
    cells = open_store(store.commit(preview_of(header)).path).cells
    return np.stack([cells["x0"] + 10, cells["y0"] + 10], axis=1).tolist()


LEFT, RIGHT = (0.0, 0.0, 100.0, 200.0), (100.0, 0.0, 200.0, 200.0)
LOST = views([(101, 50), (99, 50)], [0, 1], [NEAR_BORDER, NEAR_BORDER])


def test_a_cell_that_each_tile_gives_to_the_other_is_kept_once(tmp_path: Path) -> None:
    assert len(settled(tmp_path, (LOST, tiles_of([LEFT, RIGHT])))) == 1


def test_a_cell_outside_every_analysed_core_is_nobodys(tmp_path: Path) -> None:
    assert settled(tmp_path / "roi", (LOST, tiles_of([(0, 100, 100, 200), (100, 100, 200, 200)]))) == []
    failed = TileRows.concat([tiles_of([LEFT], TILE_FAILED), tiles_of([RIGHT], TILE_FAILED)])
    assert settled(tmp_path / "failed", (LOST, failed)) == []


def test_a_candidate_whose_owner_saw_nothing_is_dropped(tmp_path: Path) -> None:
    cells = views([(101, 50), (50, 50)], [0, 0], [NEAR_BORDER, OWNED])
    assert settled(tmp_path, (cells, tiles_of([LEFT, RIGHT]))) == [[50, 50]]


def test_a_cell_that_is_neither_owned_nor_near_is_dropped(tmp_path: Path) -> None:
    assert settled(tmp_path, (views([(50, 50)], [0], [0]), tiles_of([LEFT]))) == []


def test_seams_join_across_strips(tmp_path: Path) -> None:
    top = views([(50, 99.8)], [0], [OWNED | NEAR_BORDER]), tiles_of([(0, 0, 200, 100)])
    low = views([(50, 100.2)], [1], [OWNED | NEAR_BORDER]), tiles_of([(0, 100, 200, 200)])
    assert len(settled(tmp_path, top, low)) == 1


def test_ids_run_through_strips_that_interleave(tmp_path: Path) -> None:
    """A large cell of the second strip begins above small ones of the first."""
    first = views([(50, 95), (70, 97)], [0, 0], [OWNED, OWNED])
    second = cells_of(np.array([[100, 60, 160, 160], [20, 101, 40, 121]], np.float32), np.ones(2, np.float32))
    header = StoreHeader("s", 200, 200, None, ("cell",), 2, 3.0)
    store = Store.begin(tmp_path, header, KEY)
    store.append(1, second, TileRows.empty())
    store.append(0, first, TileRows.empty())
    cells = open_store(store.commit(preview_of(header)).path).cells
    assert cells["y0"].tolist() == [60, 85, 87, 101]


def test_coarser_levels_take_the_top_left_pixel(tmp_path: Path) -> None:
    smear = draw_smear(21, 5003, 4500, 3000, tile=500, strip=1500)
    store = Store.begin(tmp_path, smear.header, KEY)
    for k, strip in enumerate(smear.strips):
        store.append(k, *strip)
    path = store.commit(preview_of(smear.header), workers=3).path
    alone = Store.begin(tmp_path / "alone", smear.header, KEY)
    for k, strip in enumerate(smear.strips):
        alone.append(k, *strip)
    assert digest(alone.commit(preview_of(smear.header), workers=1).path) == digest(path)
    full = labels_of(path)
    assert len(np.unique(full)) > 2000
    for level in range(1, 4):
        np.testing.assert_array_equal(labels_of(path, level), full[:: 2**level, :: 2**level])


def test_cells_that_cannot_be_are_refused(tmp_path: Path) -> None:
    header = StoreHeader("s", 200, 200, None, ("cell",), 1, 3.0)
    store = Store.begin(tmp_path, header, KEY)
    good = views([(50, 50)], [0], [OWNED])
    for bad in (
        replace(good, boxes=np.array([[0, 0, np.nan, 1]], np.float32)),
        replace(good, boxes=np.array([[9, 0, 1, 1]], np.float32)),
        replace(good, scores=np.array([np.inf], np.float32)),
        replace(good, classes=np.array([1], np.uint8)),
        replace(good, types=np.array([0], np.uint8)),
        replace(good, type_scores=np.array([np.nan], np.float32)),
        replace(good, windows=np.array([[0, 0, 99, 99]], np.int32)),
    ):
        with pytest.raises(ValueError):
            store.append(0, bad, TileRows.empty())
    with pytest.raises(ValueError, match="strip 1"):
        store.append(1, good, TileRows.empty())
    assert store.finished == frozenset()
