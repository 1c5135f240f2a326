"""Law 2 with an exact engine: the same cells, ids and label pixels for any tile size, origin and order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pbsbatch import store
from pbsbatch.config import Config
from pbsbatch.models.taxonomy import ABNORMAL, CALLED, TYPES
from pbsbatch.store import UNTYPED
from pbsbatch.testing.oracle import fake_second_look
from tests.oracle import draw_cells, read_labels, write_oracle_slide
from tests.run.inline import run_one

GRIDS = [
    Config(),
    *(Config(core=core, origin=origin) for core in (256, 512, 1024) for origin in ((0, 0), (37, 101), (200, 3))),
]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return draw_cells(1900, 1500, 1500, seed=3)


@pytest.fixture(scope="module")
def slide(labels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("oracle") / "oracle.tif"
    write_oracle_slide(path, labels)
    return path


@pytest.mark.parametrize("config", GRIDS, ids=lambda c: f"core{c.core}-origin{c.origin}")
def test_an_oracle_finds_exactly_the_truth_on_every_grid(
    config: Config, labels: np.ndarray, slide: Path, tmp_path: Path
) -> None:
    result = run_one(slide, tmp_path, config, backwards=config.origin == (37, 101))
    numbers = np.unique(labels[labels > 0])
    assert sum(result.counts.values()) == len(numbers) > 1000
    assert result.analysed_px == result.roi_px == labels.size
    assert result.store is not None
    found = read_labels(result.store)
    np.testing.assert_array_equal(found > 0, labels > 0)
    pairs = np.unique(np.stack([found[labels > 0], labels[labels > 0]]), axis=1)
    assert pairs.shape[1] == len(numbers)  # one id per cell and one cell per id
    cells = store.open(result.store).cells
    np.testing.assert_array_equal(cells["id"], np.arange(1, len(numbers) + 1))
    np.testing.assert_array_equal(np.bincount(found.ravel())[1:], cells["area_px"])
    order = np.lexsort((cells["x0"], cells["y0"]))
    np.testing.assert_array_equal(order, np.arange(len(order)))


@pytest.mark.parametrize("config", GRIDS[::3], ids=lambda c: f"core{c.core}-origin{c.origin}")
def test_every_white_cell_has_its_own_type_on_every_grid(
    config: Config, labels: np.ndarray, slide: Path, tmp_path: Path
) -> None:
    result = run_one(slide, tmp_path, config, second=fake_second_look(), backwards=config.origin == (37, 101))
    assert result.store is not None
    opened = store.open(result.store)
    cells, white = opened.cells, opened.cells["class"] == 1
    assert opened.types == CALLED and white.sum() > 300
    assert (cells["type"][~white] == UNTYPED).all() and not cells["type_score"][~white].any()
    x = np.floor((cells["x0"] + cells["x1"]) / 2 + 0.5).astype(int)[white]
    y = np.floor((cells["y0"] + cells["y1"]) / 2 + 0.5).astype(int)[white]
    numbers = np.pad(labels, (0, 1))[y, x]
    expected = np.where(numbers == 0, CALLED.index(ABNORMAL), numbers % len(TYPES))
    np.testing.assert_array_equal(cells["type"][white], expected)
    assert len(np.unique(expected)) > len(TYPES) - 1 and (cells["type_score"][white] > 0.99).all()


def test_the_stores_of_two_grids_hold_the_same_bytes_of_cells_and_labels(slide: Path, tmp_path: Path) -> None:
    second = fake_second_look()
    one = run_one(slide, tmp_path / "one", Config(core=256), second=second).store
    two = run_one(slide, tmp_path / "two", Config(core=700, origin=(11, 5)), second=second, backwards=True).store
    assert one is not None
    assert two is not None
    for part in ("cells", "labels"):
        files = sorted(p.relative_to(one) for p in (one / part).rglob("*") if p.is_file())
        assert files == sorted(p.relative_to(two) for p in (two / part).rglob("*") if p.is_file())
        assert len(files) > 5
        for name in files:
            assert (one / name).read_bytes() == (two / name).read_bytes(), name
