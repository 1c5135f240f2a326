"""The folder that `pbsbatch data masks` writes, its scores, its sheet, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from pbsbatch.cli.data import app
from pbsbatch.datasets.crop import Rule
from pbsbatch.datasets.weak import Steps, mask_archive
from pbsbatch.errors import UsageError
from tests.datasets.weak.drawn_cells import cells


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weak")
    for folder in ("in/a", "in/b", "truth/a", "truth/b"):
        (root / folder).mkdir(parents=True)
    for number, (image, mask) in enumerate([*cells(300)][:4]):
        kind = "ab"[number % 2]
        cv2.imwrite(str(root / "in" / kind / f"c{number}.png"), image[..., ::-1])
        cv2.imwrite(str(root / "truth" / kind / f"c{number}.png"), mask.astype(np.uint8) * 7)
    return root


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "masks.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("method", ["watershed", "blobs"])
def test_masks_scores_and_steps(data: Path, tmp_path: Path, method: str) -> None:
    out, sheet = tmp_path / "out", tmp_path / "steps.png"
    asked = ["masks", str(data / "in"), "--output", str(out), "--method", method]
    result = CliRunner().invoke(app, [*asked, "--truth", str(data / "truth"), "--steps", str(sheet)])
    assert result.exit_code == 0, result.output
    assert "4 cells in 4 masks of 4 pictures" in result.output and "overlap with the truth (IoU) 0." in result.output
    table = rows(out)
    assert [r["picture"] for r in table] == ["a/c0.png", "a/c2.png", "b/c1.png", "b/c3.png"]
    for row in table:
        mask = cv2.imread(str(out / row["mask"]), cv2.IMREAD_UNCHANGED)
        truth = cv2.imread(str(data / "truth" / row["picture"]), cv2.IMREAD_UNCHANGED) > 0
        assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
        expected = (truth & (mask > 0)).sum() / (truth | (mask > 0)).sum()
        assert float(row["iou"]) == pytest.approx(expected, abs=1e-4)
        assert float(row["share"]) == pytest.approx((mask > 0).mean(), abs=1e-4)
    assert cv2.imread(str(sheet)).shape[0] > 4 * 160
    assert isinstance(CliRunner().invoke(app, asked).exception, UsageError), "it wrote over a folder in use"
    assert CliRunner().invoke(app, [*asked, "--force"]).exit_code == 0


def test_bad_pictures_and_truths_are_named_and_cost_nothing_else(data: Path, tmp_path: Path) -> None:
    root, truth = tmp_path / "in", tmp_path / "truth"
    for folder in (root / "k", truth):
        folder.mkdir(parents=True)
    cell = cv2.imread(str(data / "in" / "a" / "c0.png"))
    for name in ("fine", "small", "none", "colour"):
        cv2.imwrite(str(root / "k" / f"{name}.png"), cell)
    cv2.imwrite(str(root / "k" / "glass.png"), np.full_like(cell, 230))
    (root / "k" / "cut.png").write_bytes((root / "k" / "fine.png").read_bytes()[:200])
    known = cv2.imread(str(data / "truth" / "a" / "c0.png"), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(truth / "fine.labels.tif"), known.astype(np.uint16))
    cv2.imwrite(str(truth / "small.png"), known[:50])
    cv2.imwrite(str(truth / "colour.png"), cell)
    cv2.imwrite(str(truth / "glass.png"), np.zeros_like(known))
    from pbsbatch.datasets.weak import Watershed

    tally = mask_archive(root, tmp_path / "out", Watershed, Rule(), truth=truth)
    assert (tally.pictures, tally.masks, tally.empty, len(tally.scores), len(tally.problems)) == (6, 4, 1, 1, 4)
    told = " ".join(tally.problems)
    assert all(word in told for word in ("cut.png: is no picture", "small.png", "none.png: has no truth", "colour.png"))
    table = {Path(r["picture"]).stem: r for r in rows(tmp_path / "out")}
    assert table["glass"]["left_out"] == "no cell" and not table["glass"]["mask"] and not table["glass"]["iou"]
    assert table["cut"]["left_out"] == "is no picture or is damaged"


def test_more_than_255_cells_take_16_bits(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "x.png"), np.full((20, 20, 3), 200, np.uint8))

    def many(rule: Rule) -> object:
        return lambda image: Steps(np.arange(400, dtype=np.int32).reshape(20, 20), (("picture", image),))

    tally = mask_archive(tmp_path / "in", tmp_path / "out", many, Rule())
    mask = cv2.imread(str(tmp_path / "out" / "x.mask.png"), cv2.IMREAD_UNCHANGED)
    assert tally.cells == 399 and mask.dtype == np.uint16 and mask.max() == 399


@pytest.mark.parametrize(
    "wrong",
    [
        ["--method", "magic"], ["--pick", "x"], ["--method", "gradcam", "--pick", "all"], ["--steps", "IN/steps.png"],
        ["--steps", "steps.jpg"], ["--steps", "/nowhere/steps.png"], ["--cell", "-3"],
    ],
)  # fmt: skip
def test_wrong_options_touch_nothing(data: Path, tmp_path: Path, wrong: list[str]) -> None:
    asked = [w.replace("IN", str(data / "in")) for w in wrong]
    result = CliRunner().invoke(app, ["masks", str(data / "in"), "--output", str(tmp_path / "out"), *asked])
    assert result.exit_code != 0 and not list(tmp_path.iterdir())


def test_no_cell_anywhere_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "x.png"), np.full((80, 80, 3), 230, np.uint8))
    result = CliRunner().invoke(app, ["masks", str(tmp_path / "in"), "--output", str(tmp_path / "out")])
    assert result.exit_code == 1 and "0 cells in 0 masks of 1 picture" in result.output
