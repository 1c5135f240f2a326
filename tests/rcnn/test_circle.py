"""A two-stage model over real workers, its cells corrected in CVAT, and taught on them again."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch

from pbsbatch.config import Config
from pbsbatch.export import export
from pbsbatch.models.load import load
from pbsbatch.results import Run, open_run
from pbsbatch.run.execute import execute
from tests.rcnn.tiny import FACTS, folder_of
from tests.run.inline import run_one
from tests.train.test_command import models
from tests.train.tiny import fields

KEPT = 12
SETTINGS = """
arch = "fasterrcnn-tiny"
work_mpp = 0.4
input_px = 128
canvas_px = 64
batch = 2
epochs = 1
epoch_steps = 2
loaders = 0

[[data]]
path = "corrected"
format = "cvat"
red_cell_px = 18.0

[[validation]]
path = "corrected"
format = "cvat"
red_cell_px = 18.0
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the folder of a random network over a drawn field by Dask's workers, without a second look."""
    root = tmp_path_factory.mktemp("circle")
    (root / "in").mkdir()
    cv2.imwrite(str(root / "in" / "field.png"), fields()[0].image[..., ::-1])
    config = Config(
        inputs=(root / "in",), output=root / "out", model=str(folder_of("boxes").path), mpp=0.4, workers=1,
        differential=False,
    )  # fmt: skip
    finished = execute(config, lambda _: None)
    assert [(r.status, r.error) for r in finished.results] == [("ok", None)]
    return open_run(root / "out")


def test_workers_find_what_one_process_finds(run: Run, tmp_path: Path) -> None:
    (slide,) = run
    assert slide.store.info.cells > KEPT and slide.store.classes == FACTS.classes
    from pbsbatch.engines.load import load as load_engine

    model = load(str(folder_of("boxes").path))
    engine = load_engine(model, "openvino", threads=1)
    config = Config(mpp=0.4, differential=False)
    alone = run_one(run.path.parent / "in" / "field.png", tmp_path, config, model, engine, slide.id)
    engine.close()
    assert alone.counts == {name: int(slide.row[f"n_{name.lower()}"]) for name in FACTS.classes}


def test_the_studys_json(run: Run, tmp_path: Path) -> None:
    export(run, "json", tmp_path / "cells.json")
    (image,) = json.loads((tmp_path / "cells.json").read_text())["data"].values()
    assert (image["filename"], image["height"], image["width"]) == ("field.png", 128, 128)
    assert len(image["masks"]) == run[0].store.info.cells
    for mask in image["masks"]:
        assert set(mask) == {"class_name", "score", "bounding_box", "vertices"} and mask["class_name"] in FACTS.classes
        x, y = np.array(mask["vertices"]).T
        box = mask["bounding_box"]
        assert set(box) == {"x1", "x2", "y1", "y2"} and len(x) >= 3
        assert box["x1"] - 1 <= x.min() < x.max() <= box["x2"] + 1
        assert box["y1"] - 1 <= y.min() < y.max() <= box["y2"] + 1


def test_corrected_labels_are_learnt(run: Run, tmp_path: Path) -> None:
    """Predictions out, a person's corrections in: taken away, renamed by a word of their own, and taught again."""
    corrected = tmp_path / "corrected"
    corrected.mkdir()
    export(run, "cvat", corrected / "cells.xml")
    cv2.imwrite(str(corrected / "field.png"), fields()[0].image[..., ::-1])
    tree = ElementTree.parse(corrected / "cells.xml")
    (image,) = tree.iter("image")
    for polygon in list(image)[KEPT:]:
        image.remove(polygon)
    names = [polygon.get("label", "") for polygon in image]
    image[0].set("label", "Teardrop")
    tree.write(corrected / "cells.xml")
    (tmp_path / "tiny.toml").write_text(SETTINGS)
    torch.set_num_threads(1)
    said = models(
        "train", "detector", "--arch", "fasterrcnn-tiny", "--data", tmp_path, "--config", tmp_path / "tiny.toml",
        "--weights", folder_of("boxes").path, "-o", tmp_path / "out", "--device", "cpu",
    )  # fmt: skip
    assert "class Teardrop: 1 cell, counted as nothing else: say what it is in [count_as]" in " ".join(said.split())
    kept = names[1:]
    for name in sorted(set(kept)):
        assert f"class {name}: {kept.count(name)} cell" in said
    again = load(str(tmp_path / "out" / "model"))
    assert set(again.spec.classes) == {"Teardrop", *kept}
    assert json.loads((tmp_path / "out/model/model.json").read_text())["anchors"] == [list(a) for a in FACTS.anchors]
