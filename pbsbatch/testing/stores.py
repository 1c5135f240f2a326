"""Conformance of a store: draw slides whose truth is known, and hold any implementation to the store's laws.

class TestMyStore(StoreTests):
    def begin(self, out, header, key):
        return MyStore.begin(out, header, key)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pbsbatch.detections import NEAR_BORDER, OWNED, UNTYPED, Detections, unasked, untyped
from pbsbatch.errors import StoreError
from pbsbatch.store import (
    SECOND_COLUMNS,
    SUMS,
    TILE_FAILED,
    BlockRows,
    Preview,
    Store,
    StoreHeader,
    TileRows,
    open_store,
)
from pbsbatch_kernels import masks

__all__ = ["KEY", "Smear", "StoreTests", "cells_of", "digest", "draw_smear", "labels_of", "preview_of", "truth_labels"]

KEY = hashlib.sha256(b"pbsbatch").hexdigest()


@dataclass(frozen=True)
class Smear:
    """A slide with known cells, cut into tiles and strips as a faultless engine would see it."""

    header: StoreHeader
    truth: Detections  # in the order of their ids
    strips: tuple[tuple[Detections, TileRows], ...]


def cells_of(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    shapes: Iterable[NDArray[np.bool_]] | None = None,
    classes: NDArray[np.uint8] | None = None,
) -> Detections:
    """Return owned cells of tile 0 whose masks fill their boxes' windows, or are the shapes given."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    n = len(boxes)
    low, high = np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])
    windows = np.concatenate([low, high - low], axis=1).astype(np.int32)
    drawn = [np.ones((h, w), np.bool_) for _, _, w, h in windows.tolist()] if shapes is None else list(shapes)
    bits, offsets = masks.pack(drawn)
    return Detections(
        boxes=boxes, scores=np.asarray(scores, np.float32), windows=windows, offsets=offsets, bits=bits,
        classes=np.zeros(n, np.uint8) if classes is None else np.asarray(classes, np.uint8),
        tiles=np.zeros(n, np.int32), flags=np.full(n, OWNED, np.uint8), **untyped(n),
    )  # fmt: skip


def draw_smear(
    seed: int, width: int, height: int, cells: int, tile: int = 100, strip: int = 200, band: float = 3.0
) -> Smear:
    """Draw a crowded slide: round cells that overlap, reach beyond the slide, and lie across every border."""
    rng = np.random.default_rng(seed)
    side = rng.integers(6, 31, cells)
    centre = rng.uniform((0, 0), (width, height), (cells, 2))
    on_border = rng.random(cells) < 0.3
    centre[on_border] = np.round(centre[on_border] / tile) * tile + rng.uniform(-band, band, (on_border.sum(), 2))
    centre = np.clip(centre, 0, (width - 0.01, height - 0.01)).astype(np.float32)
    boxes = np.concatenate([centre - side[:, None] / 2, centre + side[:, None] / 2], axis=1).astype(np.float32)
    shapes = [_disk(box) for box in boxes]
    scores = rng.integers(1, 9, cells) / np.float32(8)  # ties on purpose
    drawn = _typed(cells_of(boxes, scores, shapes, rng.integers(0, 3, cells).astype(np.uint8)))
    b = drawn.boxes
    truth = drawn.take(np.lexsort((-drawn.scores, drawn.classes, b[:, 2], b[:, 3], b[:, 0], b[:, 1])))
    strips = tuple(_strip(truth, k, width, height, tile, strip, band) for k in range(-(-height // strip)))
    classes, types = ("rbc", "wbc", "platelet"), ("lobed", "round", "unsure")
    header = StoreHeader(f"smear-{seed}", width, height, 0.25, classes, len(strips), band, types)
    return Smear(header, truth, strips)


def _typed(cells: Detections) -> Detections:
    """Return the cells with a type for each one of the class 1."""
    n = len(cells)
    white = cells.classes == 1
    types = np.where(white, np.arange(n) % 3, UNTYPED).astype(np.uint8)
    return replace(cells, types=types, type_scores=np.where(white, np.arange(n) % 7 / 8, 0).astype(np.float32))


def _asked(cells: Detections) -> Detections:
    """Return the cells with a second opinion that depends on each one's box alone."""
    second = unasked(len(cells))
    code = (cells.boxes[:, 0] * 64).astype(np.int64)
    second["second_type"], second["second_score"] = code % 2, code % 5 / 8
    second["second_flags"] = code % 4
    return replace(cells, second=second)


def _disk(box: NDArray[np.float32]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = (float(v) for v in box)
    left, top, right, bottom = int(np.floor(x0)), int(np.floor(y0)), int(np.ceil(x1)), int(np.ceil(y1))
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    inside: NDArray[np.bool_] = (x - (x0 + x1) / 2) ** 2 + (y - (y0 + y1) / 2) ** 2 <= ((x1 - x0) / 2) ** 2
    return inside


def _strip(
    truth: Detections, k: int, width: int, height: int, tile: int, strip: int, band: float
) -> tuple[Detections, TileRows]:
    """Return what the tiles of strip k see: cells they own, and others whose centre is within their band."""
    x, y = truth.centres.T
    parts, cores, owned = [], [], []
    for top in range(k * strip, min((k + 1) * strip, height), tile):
        for left in range(0, width, tile):
            right, bottom = left + tile, min(top + tile, (k + 1) * strip)
            inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
            out = np.maximum(np.maximum(left - x, x - right), np.maximum(top - y, y - bottom))  # < 0 inside
            rows = np.flatnonzero(inside | (np.abs(out) <= band))
            seen = truth.take(rows)
            flags = inside[rows] * OWNED + (np.abs(out[rows]) <= band) * NEAR_BORDER
            number = (top // tile) * (-(-width // tile)) + left // tile + 1000 * k
            parts.append(replace(seen, tiles=np.full(len(rows), number, np.int32), flags=flags.astype(np.uint8)))
            cores.append((left, top, right, bottom))
            owned.append(inside.sum())
    n = len(cores)
    box = np.array(cores, np.float64)
    blocks = BlockRows(  # four tiles make a block
        at=(box[:, :2] // (2 * tile)).astype(np.int32), box=box, area=(box[:, 2:] - box[:, :2]).prod(axis=1),
        sums=np.arange(n * len(SUMS), dtype=np.int64).reshape(n, -1),
    )  # fmt: skip
    tiles = TileRows.plain(box, np.zeros(n, np.uint8), np.array(owned, np.int32))
    return Detections.concat(parts), replace(tiles, blocks=blocks)


def truth_labels(truth: Detections, width: int, height: int) -> NDArray[np.int32]:
    """Paint cells, numbered 1..N in their order, pixel by pixel: the smaller wins, the higher score, the lower id."""
    out = np.zeros((height, width), np.int32)
    areas = [int(truth.mask(i).sum()) for i in range(len(truth))]
    for i in sorted(range(len(truth)), key=lambda i: (-areas[i], truth.scores[i], -i)):
        x, y = int(truth.windows[i, 0]), int(truth.windows[i, 1])
        ys, xs = np.nonzero(truth.mask(i))
        ys, xs = ys + y, xs + x
        seen = (ys >= 0) & (ys < height) & (xs >= 0) & (xs < width)
        out[ys[seen], xs[seen]] = i + 1
    return out


def preview_of(header: StoreHeader) -> Preview:
    """Return a preview that depends on the header alone."""
    down = max(1.0, max(header.width, header.height) / 128)
    shape = (max(1, round(header.height / down)), max(1, round(header.width / down)), 3)
    return Preview((np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape), down)


def labels_of(path: Path, level: int = 0) -> NDArray[np.int32]:
    """Return a whole level of a published store's labels."""
    labels = open_store(path).labels(level)
    return labels.read(0, 0, labels.width, labels.height)


def digest(path: Path) -> str:
    """Return a digest of every file's place and bytes below a folder."""
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if not p.is_dir()):
        total.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return total.hexdigest()


class StoreTests:
    """The laws of a store. Override `begin`."""

    def begin(self, out: Path, header: StoreHeader, key: str) -> Store:
        raise NotImplementedError

    def commit(self, out: Path, smear: Smear, order: Iterable[int] | None = None, key: str = KEY) -> Path:
        store = self.begin(out, smear.header, key)
        for k in range(smear.header.strips) if order is None else order:
            store.append(k, *smear.strips[k])
        return store.commit(preview_of(smear.header)).path

    def test_cells_and_labels_are_the_truth(self, tmp_path: Path) -> None:
        smear = draw_smear(1, 1100, 700, 900)
        path = self.commit(tmp_path, smear)
        cells = open_store(path).cells
        np.testing.assert_array_equal(cells["id"], np.arange(1, len(smear.truth) + 1))
        table = np.stack([cells[n] for n in ("x0", "y0", "x1", "y1")], axis=1)
        np.testing.assert_array_equal(table, smear.truth.boxes)
        np.testing.assert_array_equal(cells["class"], smear.truth.classes)
        np.testing.assert_array_equal(cells["score"], smear.truth.scores)
        np.testing.assert_array_equal(cells["type"], smear.truth.types)
        np.testing.assert_array_equal(cells["type_score"], smear.truth.type_scores)
        assert set(cells["type"].tolist()) == {0, 1, 2, UNTYPED}
        assert open_store(path).types == smear.header.types
        np.testing.assert_array_equal(cells["area_px"], [smear.truth.mask(i).sum() for i in range(len(smear.truth))])
        np.testing.assert_array_equal(labels_of(path), truth_labels(smear.truth, 1100, 700))

    def test_a_second_opinion_stays_with_its_cell(self, tmp_path: Path) -> None:
        plain = draw_smear(14, 700, 600, 400)
        header = replace(plain.header, slide_id="asked", second_types=("round", "lobed"))
        strips = [(_asked(cells) if k != 1 else cells, tiles) for k, (cells, tiles) in enumerate(plain.strips)]
        smear = Smear(header, plain.truth, tuple(strips))
        path, before = self.commit(tmp_path / "a", smear), open_store(self.commit(tmp_path / "b", plain))
        cells = open_store(path).cells
        assert open_store(path).second_types == ("round", "lobed") and before.second_types == ()
        assert set(cells) - set(before.cells) == set(SECOND_COLUMNS)
        for name, column in before.cells.items():
            np.testing.assert_array_equal(cells[name], column)
        y = (cells["y0"].astype(np.float64) + cells["y1"]) / 2
        inside = (y < 197) | (y > 403)  # the strip in the middle, its views across its borders too, was not asked
        wanted = _asked(smear.truth).second
        assert wanted is not None
        for name in SECOND_COLUMNS:
            np.testing.assert_array_equal(cells[name][inside], wanted[name][inside])
        middle = (y > 203) & (y < 397)
        assert middle.any() and (cells["second_type"][middle] == UNTYPED).all()
        assert digest(path) == digest(self.commit(tmp_path / "c", smear, [2, 0, 1]))

    def test_counts_and_areas_are_told(self, tmp_path: Path) -> None:
        smear = draw_smear(2, 500, 400, 120)
        cells, tiles = smear.strips[1]
        status = tiles.status.copy()
        status[0] = TILE_FAILED
        store = self.begin(tmp_path, smear.header, KEY)
        store.append(0, *smear.strips[0])
        store.append(1, cells, replace(tiles, status=status))
        done = store.commit(preview_of(smear.header))
        assert sum(done.counts.values()) == done.cells == len(open_store(done.path).cells["id"])
        assert list(done.counts) == list(smear.header.classes)
        assert (done.tiles_ok, done.tiles_failed) == (19, 1)
        assert (done.area_ok_px, done.area_failed_px) == (190_000.0, 10_000.0)
        assert done.analysed_fraction == 0.95
        info = Store.committed(tmp_path, smear.header.slide_id)
        assert info is not None
        assert (info.key, info.counts, info.cells) == (KEY, done.counts, done.cells)

    def test_tiles_and_whole_blocks_are_kept(self, tmp_path: Path) -> None:
        smear = draw_smear(12, 700, 500, 300)
        stored = open_store(self.commit(tmp_path, smear)).tiles
        given = TileRows.concat([tiles for _, tiles in smear.strips])
        for name, column in given.by_column().items():
            np.testing.assert_array_equal(stored.by_column()[name], column)
        blocks = given.blocks.merged()
        assert len(blocks) < len(given.blocks)
        for name in ("at", "box", "area", "sums"):
            np.testing.assert_array_equal(getattr(stored.blocks, name), getattr(blocks, name))

    def test_what_is_measured_stands_in_the_attributes(self, tmp_path: Path) -> None:
        smear = draw_smear(13, 500, 700, 400)

        def measure(cells: Iterable[Mapping[str, NDArray[Any]]], tiles: TileRows) -> Mapping[str, Any]:
            y0 = np.concatenate([chunk["y0"] for chunk in cells])
            assert (np.diff(y0) >= 0).all()
            return {"cells": len(y0), "tiles": len(tiles), "blocks": len(tiles.blocks), "nothing": None}

        store = self.begin(tmp_path, smear.header, KEY)
        for k, strip in enumerate(smear.strips):
            store.append(k, *strip)
        store.commit(preview_of(smear.header), measure=measure)
        info = Store.committed(tmp_path, smear.header.slide_id)
        assert info is not None
        assert info.measures == {"cells": len(smear.truth), "tiles": 35, "blocks": 12, "nothing": None}

    def test_order_of_strips_does_not_matter(self, tmp_path: Path) -> None:
        smear = draw_smear(3, 900, 1100, 1500)
        paths = [
            self.commit(tmp_path / str(i), smear, order)
            for i, order in enumerate(([0, 1, 2, 3, 4, 5], [4, 1, 5, 0, 3, 2]))
        ]
        assert digest(paths[0]) == digest(paths[1])

    def test_order_of_cells_and_tiles_does_not_matter(self, tmp_path: Path) -> None:
        smear = draw_smear(4, 600, 500, 500)
        rng = np.random.default_rng(0)
        mixed = tuple((cells.take(rng.permutation(len(cells))), _mixed(tiles, rng)) for cells, tiles in smear.strips)
        one, two = self.commit(tmp_path / "a", smear), self.commit(tmp_path / "b", replace(smear, strips=mixed))
        assert digest(one) == digest(two)

    def test_nothing_is_visible_before_the_commit(self, tmp_path: Path) -> None:
        smear = draw_smear(5, 300, 300, 50)
        store = self.begin(tmp_path, smear.header, KEY)
        store.append(1, *smear.strips[1])
        assert Store.committed(tmp_path, smear.header.slide_id) is None
        assert not (tmp_path / "slides" / f"{smear.header.slide_id}.zarr").exists()

    def test_missing_strips_refuse(self, tmp_path: Path) -> None:
        smear = draw_smear(5, 300, 500, 50)
        store = self.begin(tmp_path, smear.header, KEY)
        store.append(1, *smear.strips[1])
        with pytest.raises(StoreError, match=r"2 of 3 strips are missing \(0, 2\)"):
            store.commit(preview_of(smear.header))
        assert store.finished == {1}

    def test_append_and_commit_are_idempotent(self, tmp_path: Path) -> None:
        smear = draw_smear(6, 400, 400, 100)
        once = self.commit(tmp_path / "a", smear)
        twice = self.commit(tmp_path / "b", smear, [0, 1, 0, 1, 1])
        assert digest(once) == digest(twice)
        before = digest(twice)
        again = self.begin(tmp_path / "b", smear.header, KEY)
        assert again.finished == {0, 1}
        again.append(0, *smear.strips[0])
        assert again.commit(preview_of(smear.header)).path == twice
        assert digest(twice) == before

    def test_a_new_process_goes_on(self, tmp_path: Path) -> None:
        smear = draw_smear(7, 400, 600, 150)
        for k in (2, 0):
            self.begin(tmp_path, smear.header, KEY).append(k, *smear.strips[k])
        store = self.begin(tmp_path, smear.header, KEY)
        assert store.finished == {0, 2}
        store.append(1, *smear.strips[1])
        resumed = store.commit(preview_of(smear.header)).path
        assert digest(resumed) == digest(self.commit(tmp_path / "whole", smear))

    def test_no_stray_files_stay(self, tmp_path: Path) -> None:
        smear = draw_smear(8, 300, 300, 60)
        path = self.commit(tmp_path, smear)
        assert list((tmp_path / "slides").iterdir()) == [path]

    def test_another_key_replaces_the_store(self, tmp_path: Path) -> None:
        smear, other = draw_smear(9, 300, 300, 60), KEY[::-1]
        self.begin(tmp_path, smear.header, KEY).append(0, *smear.strips[0])
        store = self.begin(tmp_path, smear.header, other)
        assert store.stale == (KEY[:16],)
        assert store.finished == frozenset()
        path = self.commit(tmp_path, smear, key=other)
        assert list((tmp_path / "slides").iterdir()) == [path]
        self.commit(tmp_path, smear)
        info = Store.committed(tmp_path, smear.header.slide_id)
        assert info is not None
        assert info.key == KEY
        assert list((tmp_path / "slides").iterdir()) == [path]

    def test_a_fence_refuses(self, tmp_path: Path) -> None:
        smear = draw_smear(10, 300, 300, 60)

        def fence() -> AbstractContextManager[None]:
            raise StoreError("the driver is gone")

        store = self.begin(tmp_path, smear.header, KEY)
        for k, strip in enumerate(smear.strips):
            store.append(k, *strip)
        with pytest.raises(StoreError, match="the driver is gone"):
            store.commit(preview_of(smear.header), fence=fence)
        assert Store.committed(tmp_path, smear.header.slide_id) is None
        assert store.finished == {0, 1}
        assert store.commit(preview_of(smear.header)).cells == len(smear.truth)

    def test_a_pixel_goes_to_the_smaller_cell_then_to_the_score_then_to_the_lower_id(self, tmp_path: Path) -> None:
        header = StoreHeader("ties", 40, 10, None, ("cell",), 1, 3.0)
        boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [12, 1, 20, 9]], np.float32)
        cells = cells_of(boxes, np.array([0.5, 0.9, 0.9, 0.2], np.float32))
        store = self.begin(tmp_path, header, KEY)
        store.append(0, cells, TileRows.empty())
        rows = labels_of(store.commit(preview_of(header)).path)
        np.testing.assert_array_equal(rows[0], [1] * 5 + [2] * 10 + [3] * 5 + [0] * 20)
        np.testing.assert_array_equal(rows[5], [1] * 5 + [2] * 7 + [4] * 8 + [0] * 20)

    @pytest.mark.parametrize("strips", [0, 1, 3])
    def test_a_slide_without_cells(self, tmp_path: Path, strips: int) -> None:
        header = StoreHeader("empty", 3000, 2000, None, ("cell",), strips, 3.0)
        store = self.begin(tmp_path, header, KEY)
        for k in range(strips):
            store.append(k, Detections.empty(), TileRows.empty())
        done = store.commit(preview_of(header))
        assert (done.cells, dict(done.counts), done.analysed_fraction) == (0, {"cell": 0}, 0.0)
        slide = open_store(done.path)
        assert all(len(column) == 0 for column in slide.cells.values())
        assert not labels_of(done.path).any()
        assert len(slide.tiles) == 0

    def test_a_slide_of_one_pixel(self, tmp_path: Path) -> None:
        header = StoreHeader("dot", 1, 1, 0.5, ("cell",), 1, 3.0)
        cells = cells_of(np.array([[-9, -9, 9, 9]], np.float32), np.ones(1, np.float32))
        store = self.begin(tmp_path, header, KEY)
        store.append(0, cells, TileRows.empty())
        path = store.commit(preview_of(header)).path
        np.testing.assert_array_equal(labels_of(path), [[1]])
        assert open_store(path).cells["area_px"].tolist() == [18 * 18]

    def test_a_damaged_strip_is_not_finished(self, tmp_path: Path) -> None:
        smear = draw_smear(11, 300, 500, 200)
        clean = digest(self.commit(tmp_path / "clean", smear))
        for n, harm in enumerate(_HARMS):
            out = tmp_path / str(n)
            store = self.begin(out, smear.header, KEY)
            for k, strip in enumerate(smear.strips):
                store.append(k, *strip)
            (file,) = [p for p in (out / "slides" / ".work").rglob("*00001*") if p.is_file()]
            file.write_bytes(harm(file.read_bytes()))
            fresh = self.begin(out, smear.header, KEY)
            assert fresh.finished == {0, 2}, n
            assert len(fresh.damaged) == 1
            with pytest.raises(StoreError, match=r"1 of 3 strips are missing \(1\).*damaged"):
                fresh.commit(preview_of(smear.header))
            fresh.append(1, *smear.strips[1])
            assert digest(fresh.commit(preview_of(smear.header)).path) == clean


def _mixed(tiles: TileRows, rng: np.random.Generator) -> TileRows:
    return tiles.take(rng.permutation(len(tiles)))


def _flip(at: float) -> Callable[[bytes], bytes]:
    def harm(data: bytes) -> bytes:
        i = min(len(data) - 1, int(at * len(data)))
        return data[:i] + bytes([data[i] ^ 64]) + data[i + 1 :]

    return harm


_HARMS: tuple[Callable[[bytes], bytes], ...] = (
    lambda d: b"", lambda d: d[:7], lambda d: d[: len(d) // 2], lambda d: d[:-1], lambda d: d + b"x",
    _flip(0), _flip(0.01), _flip(0.3), _flip(0.7), _flip(1.0),
)  # fmt: skip
