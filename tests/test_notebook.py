"""One image in a notebook gives what a run gives, and draws itself; the README's example runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import pbsbatch
from pbsbatch import models
from pbsbatch.config import Config
from pbsbatch.errors import ModelError, SlideError, UsageError
from pbsbatch.results import open_run
from pbsbatch.run.execute import execute
from pbsbatch.synth.archive import ArchiveSpec, draw_archive

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a drawn field and the results of a real run over it."""
    folder: Path = tmp_path_factory.mktemp("notebook")
    draw_archive(ArchiveSpec(
        output=folder / "in", slides=1, width=640, height=480, mpp=0.25, seed=3, format="png", profile="field",
        white_per_1000=40, labels=False, outlines=False, broken=False, force=False, workers=1,
    ))  # fmt: skip
    (folder / "in" / "truth.json").unlink()
    next((folder / "in").glob("*.png")).rename(folder / "in" / "field.png")
    (folder / "field.png").write_bytes((folder / "in" / "field.png").read_bytes())
    finished = execute(Config(inputs=(folder / "in",), output=folder / "results", workers=1, mpp=0.25), lambda _: None)
    assert [r.status for r in finished.results] == ["ok"]
    return folder


def field(here: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(here / "field.png"))[..., ::-1], np.uint8)


def test_an_image_gives_what_a_run_of_it_gives(here: Path) -> None:
    found = pbsbatch.detect(field(here), mpp=0.25)
    (slide,) = open_run(here / "results")
    assert found.classes == slide.store.classes and found.types == slide.store.types
    assert len(found) == len(slide.cells["id"]) > 100
    for name, column in slide.cells.items():
        np.testing.assert_array_equal(found.cells[name], column, err_msg=name)
    np.testing.assert_array_equal(found.labels, slide.store.labels(0).read(0, 0, 640, 480))
    assert found.counts == dict(slide.store.info.counts) and (found.mpp, found.mpp_source) == (0.25, "given")
    assert sum(found.type_counts.values()) == (found.cells["type"] < len(found.types)).sum()
    assert f"{found.counts['RBC']} RBC" in repr(found) and "640 x 480 px at 0.25 um (given)" in repr(found)


def test_it_draws_itself(here: Path) -> None:
    found = pbsbatch.detect(field(here)[:200, :300], mpp=0.25, model="classical", engine="opencv", differential=False)
    picture = cv2.imdecode(np.frombuffer(found._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(picture[..., ::-1], found.drawn)
    assert found.drawn.shape == found.image.shape and (found.drawn != found.image).any()
    assert found.types == () and found.type_counts == {}


def test_the_scale_is_measured_where_nobody_tells_it(here: Path) -> None:
    found = pbsbatch.detect(field(here), model="classical", engine="opencv", differential=False)
    assert found.mpp_source == "estimated" and found.mpp == pytest.approx(0.25, rel=0.1)
    with pytest.raises(SlideError, match=r"no red cells.*--mpp"):
        pbsbatch.detect(np.full((300, 300, 3), 230, np.uint8), model="classical", engine="opencv")


@pytest.mark.parametrize(("image", "why"), [
    ("field.png", "an array, not a path"), (np.zeros((5, 5)), r"float64 \(5, 5\)"),
    (np.zeros((5, 5, 4), np.uint8), "alpha"), (np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\)"),
    (np.broadcast_to(np.uint8(0), (9000, 9000, 3)), "81 MP is more than 64 MP"),
])  # fmt: skip
def test_what_is_no_image_is_said(image: object, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        pbsbatch.detect(image)


def test_what_a_run_refuses_is_refused() -> None:
    image = np.zeros((5, 5, 3), np.uint8)
    with pytest.raises(UsageError, match="um per pixel"):
        pbsbatch.detect(image, mpp=99)
    with pytest.raises(ModelError):
        models.load("nobody")
    with pytest.raises(ModelError):
        pbsbatch.detect(image, model="nobody")


def test_the_example_of_the_readme_runs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (example,) = (block for block in blocks if "open_run" in block)
    monkeypatch.chdir(here)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    found, run = names["found"], names["run"]
    assert len(found) > 100 and len(run) == 1  # type: ignore[arg-type]
