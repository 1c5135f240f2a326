"""One finished run over oracle slides, whose every cell is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pbsbatch.config import Config
from pbsbatch.results import Run, open_run
from pbsbatch.run import cluster
from pbsbatch.run.execute import execute
from pbsbatch.testing.oracle import load_fake_engine, load_fake_oracle
from tests.oracle import draw_cells, write_oracle_slide

NAMES = ("a<b>&.tif", "=b.tif")
Truth = dict[str, NDArray[np.int32]]


@pytest.fixture(scope="package")
def truth() -> Truth:
    return {name: draw_cells(700 + 500 * n, 1300, 60, seed=n) for n, name in enumerate(NAMES)}


@pytest.fixture(scope="package")
def run(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder: Path = tmp_path_factory.mktemp("export")
    for name, labels in truth.items():
        (folder / "slides").mkdir(exist_ok=True)
        write_oracle_slide(folder / "slides" / name, labels)
    config = Config(inputs=(folder / "slides",), output=folder / "out", workers=1)
    finished = execute(config, lambda event: None, loaders=cluster.Loaders(load_fake_oracle, load_fake_engine))
    assert [r.status for r in finished.results] == ["ok", "ok"]
    return open_run(folder / "out")
