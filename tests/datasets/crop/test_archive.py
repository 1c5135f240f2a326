"""The folder that `pbsbatch data crop` writes, and what it does with bad pictures and hostile names."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from pbsbatch.cli.data import app
from pbsbatch.datasets.crop import Frame, Rule, crop_archive
from pbsbatch.errors import OutputError, UsageError
from tests.datasets.test_headers import png


def picture(path: Path, *cells: tuple[int, int, int]) -> None:
    image = np.full((200, 240, 3), 235, np.uint8)
    cv2.circle(image, (30, 170), 18, (205, 150, 160), -1)  # a red cell
    for x, y, r in cells:
        cv2.circle(image, (x, y), r, (95, 60, 140), -1, cv2.LINE_AA)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image[..., ::-1])[1].tobytes())


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "crops.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    picture(root / "field.png", (60, 60, 20), (150, 100, 22), (236, 100, 20))
    picture(root / "basophil" / "a.jpg", (118, 96, 24), (40, 30, 16))
    picture(root / "monocyte" / "a.png", (124, 100, 26))
    picture(root / "monocyte" / "nothing.png")
    return root


def test_crops_lie_under_their_class_with_a_table_of_all_cells(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["crop", str(root), "--output", str(out), "--side", "64", "--cell", "46"])
    assert result.exit_code == 0, result.output
    crops = {"field.cell.png", "field.cell-2.png", "basophil/a.cell.png", "monocyte/a.cell.png"}
    assert files(out) == {*crops, "crops.csv"}
    assert "4 cells from 4 pictures" in result.output and "1 picture without one" in result.output
    assert "1 cell cut by a border" in result.output
    for name in crops:
        crop = cv2.imread(str(out / name))
        dark = np.argwhere(crop[..., 1] < 100)
        assert crop.shape == (64, 64, 3) and np.abs(dark.mean(0) - 31.5).max() < 4, name
    table = rows(out)
    assert {r["crop"] for r in table if r["crop"]} == crops
    assert [r["left_out"] for r in table if not r["crop"]] == ["cut by the picture's border", "no cell"]
    assert all(float(r["x0"]) < float(r["x1"]) for r in table if r["crop"])


def test_a_folder_in_use_is_refused_and_force_replaces_what_was_made_alone(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["crop", str(root), "--output", str(out)]
    assert CliRunner().invoke(app, asked).exit_code == 0
    (out / "mine.png").write_bytes(b"x")
    (root / "basophil" / "a.jpg").unlink()
    assert isinstance(CliRunner().invoke(app, asked).exception, UsageError)
    assert CliRunner().invoke(app, [*asked, "--force"]).exit_code == 0
    assert {"mine.png", "monocyte/a.cell.png"} <= files(out) and "basophil/a.cell.png" not in files(out)


@pytest.mark.parametrize("where", [".", "..", "below"])
def test_the_pictures_own_folder_is_no_output(root: Path, where: str) -> None:
    before = files(root)
    with pytest.raises(UsageError, match="folder of the pictures"):
        crop_archive(root, root / where, Rule(), Frame(), force=True)
    assert files(root) == before


def test_bad_pictures_are_named_counted_and_cost_nothing_else(root: Path, tmp_path: Path) -> None:
    (root / "broken.jpg").write_bytes((root / "basophil" / "a.jpg").read_bytes()[:300])
    (root / "empty.png").write_bytes(b"")
    (root / "text.tif").write_text("no picture")
    (root / "bomb.png").write_bytes(png(60_000, 50_000))
    (root / "folder.png").mkdir()
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(root / "pipe.png")
    tally = crop_archive(root, tmp_path / "out", Rule(cell_px=46.0), Frame(), workers=2)
    assert (tally.pictures, tally.crops, len(tally.problems)) == (11, 4, 7)
    told = " ".join(tally.problems)
    assert "bomb.png: says that it has 3,000 megapixels. Cut it into fields" in told
    assert all(name in told for name in ("broken.jpg", "empty.png", "text.tif", "folder.png", "gone.png", "pipe.png"))
    assert sum(r["left_out"].startswith("is no") for r in rows(tmp_path / "out")) == 6


def test_hostile_names_stay_inside_and_apart(tmp_path: Path) -> None:
    names = ["=cmd()", "a\nb", "x..", "a:b", "a?b", "CON ", "ä" * 110, "-rf", "A_B"]
    for name in names:
        picture(tmp_path / "in" / "k\n;s" / f"{name}.png", (118, 96, 24))
    out = tmp_path / "deep" / "out"
    tally = crop_archive(tmp_path / "in", out, Rule(), Frame(side=40), pick="centre")
    made = files(out) - {"crops.csv"}
    assert tally.crops == len(made) == len({m.lower() for m in made}) == len(names)
    assert files(tmp_path / "deep") == {f"out/{m}" for m in files(out)}
    assert all(m.startswith("k__s/") and m.isprintable() and not m.split("/")[1].startswith((".", "-")) for m in made)
    lines = (out / "crops.csv").read_text().splitlines()
    assert len(lines) == 1 + len(names) and not any(line.startswith(("=", "-")) for line in lines)


def test_a_link_in_the_output_leads_nowhere(root: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    (out / "monocyte").symlink_to(other)
    with pytest.raises(OutputError, match="link leads out"):
        crop_archive(root, out, Rule(), Frame(), force=True)
    assert not files(other)


def test_threads_change_nothing(root: Path, tmp_path: Path) -> None:
    for workers in (1, 3):
        crop_archive(root, tmp_path / str(workers), Rule(), Frame(), workers=workers)
    one, three = tmp_path / "1", tmp_path / "3"
    assert files(one) == files(three)
    assert all((one / name).read_bytes() == (three / name).read_bytes() for name in files(one))


def test_no_cell_anywhere_is_no_success(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    result = CliRunner().invoke(app, ["crop", str(tmp_path / "in"), "--output", str(tmp_path / "out")])
    assert result.exit_code == 1 and "0 cells from 1 picture" in result.output
    empty = tmp_path / "empty"
    empty.mkdir()
    for bad in (empty, tmp_path / "missing"):
        answer = CliRunner().invoke(app, ["crop", str(bad), "--output", str(tmp_path / "o2")])
        assert isinstance(answer.exception, UsageError) and not (tmp_path / "o2").exists()


@pytest.mark.parametrize(
    "wrong", [["--pick", "some"], ["--hue", "200-3"], ["--hue", "12"], ["--side", "-1"], ["--saturation", "0"]]
)
def test_wrong_options_touch_nothing(root: Path, tmp_path: Path, wrong: list[str]) -> None:
    answer = CliRunner().invoke(app, ["crop", str(root), "--output", str(tmp_path / "out"), *wrong])
    assert answer.exit_code != 0 and not (tmp_path / "out").exists()
