"""AnnData and SpatialData are read back by their own packages and hold every cell; without them the cure is said."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from pbsbatch.errors import UsageError
from pbsbatch.export import export
from pbsbatch.results import Run
from tests.export.conftest import NAMES

pytestmark = pytest.mark.filterwarnings("ignore")  # these packages' own, of each other


def test_anndata_holds_every_cell_with_its_measures(run: Run, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata", reason="anndata is not installed")
    done = export(run, "anndata", tmp_path / "cells.h5ad")
    table = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert done.cells == table.n_obs == sum(slide.store.info.cells for slide in run)
    assert set(table.obs["slide"]) == set(NAMES) and table.obs["type"].isna().all()
    for slide in run:
        mine, cells = table[table.obs["slide"] == slide.name], slide.cells
        assert mine.obs_names[0] == f"{slide.id}-1"
        np.testing.assert_array_equal(mine.obs["cell"], cells["id"])
        assert mine.obs["class"].tolist() == [slide.store.classes[i] for i in cells["class"]]
        np.testing.assert_allclose(mine.obsm["spatial"][:, 0], (cells["x0"] + cells["x1"]) / 2)
        np.testing.assert_allclose(mine[:, "area_um2"].X[:, 0], cells["area_px"] / 16)  # 0.25 um per pixel
        np.testing.assert_allclose(mine[:, "score"].X[:, 0], cells["score"])
        assert np.isnan(mine[:, "type_score"].X).all()


def test_the_frame_names_classes_and_types(run: Run) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame, cells = run[0].frame(), run[0].cells
    assert frame.index.tolist() == cells["id"].tolist()
    assert frame["class"].tolist() == [run[0].store.classes[i] for i in cells["class"]]
    assert frame["type"].isna().all() and (frame["x0"] == cells["x0"]).all()


def test_spatialdata_holds_label_images_and_the_table_that_annotates_them(run: Run, tmp_path: Path) -> None:
    spatialdata = pytest.importorskip("spatialdata", reason="spatialdata is not installed")
    done = export(run, "spatialdata", tmp_path / "cells.zarr")
    data = spatialdata.read_zarr(tmp_path / "cells.zarr")
    assert done.cells == data["cells"].n_obs
    for slide in run:
        region = str(data["cells"].obs.loc[f"{slide.id}-1", "region"])
        found, level = np.asarray(data[region]), slide.store.labels(0)
        np.testing.assert_array_equal(found, level.read(0, 0, level.width, level.height))
        scale = spatialdata.transformations.get_transformation(data[region], "um").to_affine_matrix(("x",), ("x",))
        assert scale[0, 0] == 0.25


@pytest.mark.parametrize("name", ["anndata", "spatialdata"])
def test_without_the_package_the_cure_is_said_and_nothing_is_left(
    run: Run, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with warnings.catch_warnings(), pytest.raises(UsageError, match=rf"needs {name}.*pip install {name}"):
        export(run, name, tmp_path / "cells")
    assert list(tmp_path.iterdir()) == []


def test_without_pandas_a_frame_says_the_cure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        run[0].frame()
