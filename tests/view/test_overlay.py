"""The overlay is the store: every cell once, at its place, in tiles that stay small; counts and filters agree."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.viewer import draw
from pbsbatch.detections import Detections
from pbsbatch.store import UNTYPED, Store, StoredSlide, StoreHeader, TileRows, open_store
from pbsbatch.testing.stores import KEY, cells_of, preview_of
from pbsbatch.view import index as indexes
from pbsbatch.view import overlay
from pbsbatch.view.index import BINS, MOST_CELLS, Index, build, read_rows
from pbsbatch.view.tiles import DEEPEST, SIDE, Place
from tests.outlines import filled, largest_piece
from tests.view.conftest import Results

WHICH = ("here", "gone", "crowded")


def opened(results: Results, which: str) -> tuple[StoredSlide, Index]:
    store = open_store(results.out / "slides" / f"{results.slides[which].id}.zarr")
    return store, build(store)


def places(index: Index, level: int) -> Iterator[Place]:
    rows, columns = index.grid.shape(level)
    for row in range(rows):
        for column in range(columns):
            place = index.grid.tile(level, column, row)
            assert place is not None
            yield place


def near(store: StoredSlide, index: Index, place: Place) -> dict[str, Any]:
    body = overlay.near(store, index, place, read_rows)
    assert len(body) <= overlay.MOST_BYTES == 300_000
    tile: dict[str, Any] = json.loads(body)
    return tile


def ring(tile: dict[str, Any], i: int, place: Place) -> NDArray[np.float64]:
    return np.array(tile["outline"][i]).reshape(-1, 2).cumsum(0) * tile["unit"] + (place.x, place.y)


@pytest.mark.parametrize("which", WHICH)
def test_every_cell_comes_once_with_its_class_type_and_score(results: Results, which: str) -> None:
    store, index = opened(results, which)
    cells = store.cells
    assert index.near == {"here": 2, "gone": 2, "crowded": -2}[which]  # 14,000 cells on 600 px: 2,700 in 256
    for level in range(max(DEEPEST, index.near - 1), index.near + 1):
        tiles = [near(store, index, place) for place in places(index, level)]
        assert all(len(t["id"]) <= MOST_CELLS and t["left_out"] == 0 for t in tiles)
        found = {c: np.concatenate([np.array(t[c], int) for t in tiles]) for c in ("id", "class", "type", "score")}
        order = np.argsort(found["id"])
        np.testing.assert_array_equal(found["id"][order], cells["id"])
        np.testing.assert_array_equal(found["class"][order], cells["class"])
        np.testing.assert_array_equal(found["type"][order], cells["type"])
        np.testing.assert_array_equal(found["score"][order], np.floor(cells["score"] * 100 + 1e-4))


def test_outlines_are_those_of_the_label_image(results: Results) -> None:
    store, index = opened(results, "here")
    labels, cells = results.slides["here"].labels, store.cells
    assert np.isin(cells["id"], labels).all()  # crowded as it is: the smaller lies above
    compared = 0
    for place in places(index, 0):
        tile = near(store, index, place)
        for i, number in enumerate(tile["id"]):
            points = ring(tile, i, place)
            box = np.array([cells[n][number - 1] for n in ("x0", "y0", "x1", "y1")])
            assert i not in tile["boxed"]
            if number % 7 == 0:
                x, y = np.maximum(np.floor(box[:2]).astype(int) - 1, 0)
                mask = (labels[y : int(box[3]) + 2, x : int(box[2]) + 2] == number).astype(np.uint8)
                drawn, solid = np.zeros_like(mask), filled(largest_piece(mask > 0))
                cv2.fillPoly(drawn, [np.floor(points - (x, y)).astype(np.int32)], 1)
                cross = np.ones((3, 3), np.uint8)
                near_border = cv2.dilate(solid, cross) - cv2.erode(solid, cross, borderValue=0)
                assert not ((drawn != solid) & (near_border == 0)).any()
                compared += 1
    assert compared > 60


def test_a_cell_that_others_cover_whole_has_its_box(results: Results) -> None:
    store, index = opened(results, "crowded")
    cells = store.cells
    visible = np.isin(cells["id"], results.slides["crowded"].labels)
    assert 0 < (~visible).sum() < len(visible) // 2
    for place in places(index, index.near):
        tile = near(store, index, place)
        for i, number in enumerate(tile["id"]):
            assert (i in tile["boxed"]) == (not visible[number - 1])
            if not visible[number - 1]:
                points = ring(tile, i, place)
                box = [cells[n][number - 1] for n in ("x0", "y0", "x1", "y1")]
                np.testing.assert_allclose([*points.min(0), *points.max(0)], box, atol=1.01)


def test_a_tile_that_is_too_full_keeps_every_cell_and_its_bound(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, index = opened(results, "here")
    whole = near(store, index, Place(0, 1, 1))
    room = overlay.HEAD_BYTES + 12 * len(whole["id"]) + len(json.dumps(whole["outline"])) // 3
    monkeypatch.setattr(overlay, "MOST_BYTES", room)
    body = overlay.near(store, index, Place(0, 1, 1), read_rows)
    tight = json.loads(body)
    assert len(body) < room and tight["id"] == whole["id"]
    changed = [i for i, (a, b) in enumerate(zip(tight["outline"], whole["outline"], strict=True)) if a != b]
    assert 0 < len(changed) < len(whole["id"]) and set(changed) <= set(tight["boxed"])
    assert min(len(whole["outline"][i]) for i in changed) > 8  # the longest went first


def test_at_the_deepest_level_what_is_left_out_is_told(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    store, index = opened(results, "crowded")
    monkeypatch.setattr(overlay, "MOST_CELLS", 10)
    whole = index.rows(store, Place(DEEPEST, 5, 5), read_rows)
    tile = near(store, index, Place(DEEPEST, 5, 5))
    assert len(tile["id"]) == 10 and tile["left_out"] == len(whole["id"]) - 10 > 0
    assert min(tile["score"]) >= np.sort(np.floor(whole["score"] * 100))[-10] - 1


@pytest.mark.parametrize("which", WHICH)
def test_from_afar_the_picture_is_the_label_image(results: Results, which: str) -> None:
    store, index = opened(results, which)
    labels, cells = results.slides[which].labels, store.cells
    kinds = np.concatenate([[0], cells["class"] + 1])
    for level in range(index.grid.coarsest + 1):
        wanted = kinds[labels[:: 2**level, :: 2**level]]
        for place in places(index, level):
            body = overlay.far(store, index, place)
            assert len(body) <= overlay.MOST_BYTES
            w, h = struct.unpack("<HH", body[:4])
            planes = np.frombuffer(zlib.decompress(body[4:]), np.uint8).reshape(3, h, w)
            x, y = place.column * SIDE, place.row * SIDE
            np.testing.assert_array_equal(planes[0], wanted[y : y + SIDE, x : x + SIDE])
            there = planes[0] > 0
            assert not planes[1:, ~there].any() and set(np.unique(planes[2][there])) <= set(index.bins.tolist())


def test_a_picture_that_packs_badly_takes_every_other_pixel(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    store, index = opened(results, "here")
    whole = overlay.far(store, index, Place(0, 0, 0))
    monkeypatch.setattr(overlay, "MOST_BYTES", len(whole) - 1)
    half = overlay.far(store, index, Place(0, 0, 0))
    assert struct.unpack("<HH", half[:4]) == (256, 256) and len(half) < len(whole)
    assert 3 * 256 * 256 + 200 < 300_000  # what zlib cannot pack it stores: the bound holds for any picture


def test_counts_say_what_any_filter_shows(results: Results) -> None:
    store, index = opened(results, "here")
    cells, sorts = store.cells, len(store.types)
    assert index.counts.sum() == store.info.cells
    for least in (0, 30, 50, 88, 100):
        for kind in range(len(store.classes)):
            for sort in range(sorts + 1):
                chosen = (cells["class"] == kind) & (np.minimum(cells["type"], sorts) == sort)
                wanted = (chosen & (cells["score"] >= np.float32(least / 100))).sum()
                assert index.counts[kind, sort, least:].sum() == wanted
    assert index.counts.shape == (3, 4, BINS)


def test_unsure_cells_come_least_sure_first(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    store, index = opened(results, "here")
    cells = store.cells
    unsure = np.flatnonzero(cells["type"] == store.types.index("unsure"))
    assert index.unsure_total == len(unsure) > 20
    wanted = cells["id"][unsure[np.lexsort((cells["id"][unsure], cells["type_score"][unsure]))]].tolist()
    assert [number for number, _, _ in index.unsure] == wanted
    number, x, y = index.unsure[0]
    assert x == pytest.approx(np.clip((cells["x0"] + cells["x1"])[number - 1] / 2, 0, 1699.5))
    assert y == pytest.approx(np.clip((cells["y0"] + cells["y1"])[number - 1] / 2, 0, 1099.5))
    monkeypatch.setattr(indexes, "MOST_UNSURE", 5)
    assert [n for n, _, _ in build(store).unsure] == wanted[:5] and build(store).unsure_total == len(unsure)


def test_without_types_the_white_cells_of_lowest_score_come_first(results: Results, tmp_path: Path) -> None:
    smear = results.slides["gone"].smear
    header = replace(smear.header, classes=("RBC", "WBC", "Platelet"), types=())
    store = Store.begin(tmp_path, header, KEY)
    for k, (cells, tiles) in enumerate(smear.strips):
        store.append(k, replace(cells, types=np.full(len(cells), UNTYPED, np.uint8)), tiles)
    found = open_store(store.commit(preview_of(header)).path)
    index, table = build(found), found.cells
    white = np.flatnonzero(table["class"] == 1)
    wanted = table["id"][white[np.lexsort((white, table["score"][white]))]].tolist()
    assert [number for number, _, _ in index.unsure] == wanted and index.unsure_total == len(wanted) > 50
    assert index.counts.shape == (3, 1, BINS) and index.counts.sum() == len(table["id"])


def test_a_slide_without_cells_has_empty_tiles(tmp_path: Path) -> None:
    header = StoreHeader("empty", 700, 600, None, ("RBC",), 1, 3.0)
    store = Store.begin(tmp_path, header, KEY)
    store.append(0, Detections.empty(), TileRows.empty())
    found = open_store(store.commit(preview_of(header)).path)
    index = build(found)
    assert index.near == index.grid.coarsest == 1 and index.unsure == ()
    for place in places(index, 0):
        assert near(found, index, place)["id"] == []
        assert zlib.decompress(overlay.far(found, index, place)[4:]).count(0) % 3 == 0
    assert overlay.at(found, 5, 5) is None


def test_pieces_of_the_table_do_not_show(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    store, index = opened(results, "here")
    before = {place: index.rows(store, place, read_rows)["id"].tolist() for place in places(index, 0)}
    monkeypatch.setattr(indexes, "PIECE", 611)
    again = build(store)
    assert {place: again.rows(store, place, read_rows)["id"].tolist() for place in places(again, 0)} == before
    assert (again.near, again.unsure) == (index.near, index.unsure)
    np.testing.assert_array_equal(again.counts, index.counts)


def test_the_numbers_of_a_cell(results: Results) -> None:
    store, _ = opened(results, "here")
    labels = results.slides["here"].labels
    y, x = np.argwhere(labels > 0)[1234].tolist()
    found = overlay.at(store, x, y)
    assert found is not None and found["id"] == labels[y, x] and found == overlay.cell(store, found["id"])
    assert found["area_px"] == store.cells["area_px"][found["id"] - 1] and found["class"] in store.classes
    assert overlay.at(store, -1, 0) is None and overlay.at(store, 1700, 0) is None
    assert overlay.cell(store, 0) is None and overlay.cell(store, store.info.cells + 1) is None


@pytest.mark.parametrize("which", WHICH)
def test_what_is_remembered_of_a_slide_is_three_bytes_a_cell(results: Results, which: str) -> None:
    store, index = opened(results, which)
    per_cell = sum(part.nbytes for part in (index.classes, index.types, index.bins))
    assert per_cell == 3 * (store.info.cells + 1)
    bands, kinds = -(-index.grid.height // indexes.BAND_PX) + 2, len(store.classes) * (len(store.types) + 1)
    assert index.bands.nbytes <= 8 * bands and index.counts.nbytes == 8 * kinds * BINS
    assert len(index.unsure) <= indexes.MOST_UNSURE


def test_a_dense_slide_s_tiles_stay_within_their_bound_at_every_level(tmp_path: Path) -> None:
    """Seven times as crowded as a smear: fifty thousand cells of 24 px on eight megapixels."""
    draw(tmp_path, 50_000, density=6e-3)
    (path,) = (tmp_path / "slides").glob("*.zarr")
    store = open_store(path)
    index = build(store)
    assert store.info.cells == 50_000 and index.near == 0
    far = [overlay.far(store, index, at) for level in range(index.grid.coarsest + 1) for at in places(index, level)]
    tiles = [near(store, index, place) for place in list(places(index, 0))[::9]]  # asserts the bound
    assert max(map(len, far)) <= overlay.MOST_BYTES and max(len(tile["id"]) for tile in tiles) > 1400


def test_a_platelet_on_a_red_cell_is_seen_and_clicked(tmp_path: Path) -> None:
    """However much surer the red cell is."""
    header = StoreHeader("two", 100, 100, None, ("RBC", "Platelet"), 1, 3.0)
    boxes = np.array([[20, 20, 60, 60], [30, 30, 40, 40]], np.float32)
    cells = cells_of(boxes, np.array([0.99, 0.4], np.float32), classes=np.array([0, 1], np.uint8))
    store = Store.begin(tmp_path, header, KEY)
    store.append(0, cells, TileRows.empty())
    found = open_store(store.commit(preview_of(header)).path)
    assert [(overlay.at(found, x, 35) or {})["class"] for x in (25, 29, 30, 39, 40)] == [
        "RBC", "RBC", "Platelet", "Platelet", "RBC",
    ]  # fmt: skip
    tile = near(found, build(found), Place(0, 0, 0))
    assert tile["id"] == [1, 2] and tile["class"] == [0, 1] and tile["boxed"] == []
    np.testing.assert_array_equal(
        [ring(tile, 1, Place(0, 0, 0)).min(0), ring(tile, 1, Place(0, 0, 0)).max(0)], [[30] * 2, [40] * 2]
    )
