"""What tuning promises a run with its config gives, seams and all; every cut of a sweep equals a match at it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from pbsbatch import evaluate as ev
from pbsbatch.cli import app
from pbsbatch.config import Config, resolve
from pbsbatch.engines.base import Engine
from pbsbatch.errors import StoreError, UsageError
from pbsbatch.evaluate.figures import figures
from pbsbatch.evaluate.hold import hold
from pbsbatch.evaluate.labels import labels_from_run
from pbsbatch.evaluate.offered import offered
from pbsbatch.evaluate.sweep import sweep
from pbsbatch.evaluate.together import Compared
from pbsbatch.models.base import Model, Raw
from pbsbatch.models.dense import DenseModel
from pbsbatch.models.facts import DetectorFacts
from pbsbatch.models.folder import RAYS, ModelFolder
from pbsbatch.models.operating import at_operating_point, least_scores
from pbsbatch.results import open_run
from pbsbatch.run.key import key_facts
from pbsbatch.testing.oracle import FakeOracleModel
from pbsbatch_kernels import matching
from tests.evaluate.test_figures import coco, labelled
from tests.kernels.matching_peer import draw
from tests.run.inline import run_one

CLASSES = ("RBC", "WBC", "Platelet")
FACTS = DetectorFacts(
    name="fake", version="1", classes=CLASSES, work_mpp=0.25, max_cell_um=12.0, context_px=0, stride=4,
    channels=(8, 8, 8, 8), head_channels=8, blocks=(1, 1, 1), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
    thresholds=(0.9, 0.9, 0.9), calibration=((1.0, 0.0), (0.9, 0.1), (1.1, -0.1)), nms_iou=0.9, cross_iou=0.9,
    licence="CC0-1.0",
)  # fmt: skip
MODEL = DenseModel(ModelFolder(Path("fake"), "0" * 64, {}, FACTS))
SIZE = (700, 560)


class FakeEngine:
    """Read off each place's pixel (class, side, chance) what a network would have said there; other colours: none."""

    name, precision, lanes, device = "fake", "exact", 2, "cpu"

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        seen = pixels[:, 2::4, 2::4].astype(np.float32)
        kinds = np.arange(3, dtype=np.float32)[None, :, None, None]
        scores = np.where(seen[:, None, ..., 0] == kinds, (seen[:, None, ..., 2] - 128) / 20, -9).astype(np.float32)
        boxes = np.zeros((len(seen), 4, *seen.shape[1:3]), np.float32)
        boxes[:, 2:] = np.log(np.maximum(seen[:, None, ..., 1], 1) / 4)
        return {"scores": scores, "boxes": boxes, "outlines": np.zeros((len(seen), RAYS, *seen.shape[1:3]), np.float32)}

    def close(self) -> None:
        """Hold nothing."""


def smear(folder: Path) -> tuple[Path, Path]:
    """Write a slide on which each cell is seen from several places and some places see what is not there; and truth."""
    rng = np.random.default_rng(3)
    width, height = SIZE
    pixels = np.full((height, width, 3), 236, np.uint8)
    marks, true = [], []
    for y in range(30, height - 30, 34):
        for x in range(30, width - 30, 34):
            side, kind = int(rng.integers(20, 30)), int(rng.integers(0, 3))
            at = (x + int(rng.integers(-2, 3)), y + int(rng.integers(-2, 3)))
            pixels[at[1] - 12 : at[1] + 12, at[0] - 12 : at[0] + 12] = (190, 120, 150)
            real = rng.random() < 0.8
            if real:
                true.append((at[0] - side / 2, at[1] - side / 2, kind, side))
            for dx, dy in rng.permutation([(i, j) for i in (-4, 0, 4) for j in (-4, 0, 4)])[: rng.integers(2, 6)]:
                other = kind if rng.random() < 0.85 else int(rng.integers(0, 3))
                chance = rng.normal(175 if real and other == kind else 140, 22)
                place = ((at[0] + dx) // 4 * 4 + 2, (at[1] + dy) // 4 * 4 + 2)
                marks.append((*place, other, side + int(rng.integers(-5, 6)), int(np.clip(chance, 90, 250))))
    for x, y, kind, side, chance in marks:
        pixels[y, x] = (kind, side, chance)
    folder.mkdir()
    tifffile.imwrite(
        folder / "s.tif", pixels, photometric="rgb", compression="deflate", tile=(256, 256),
        resolution=(40_000, 40_000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    cells = [[(x, y, kind, 1.0) for x, y, kind, _ in true]]
    image = labelled("s-00000000", cells[0], [side for *_, side in true])
    return folder / "s.tif", coco(folder / "truth.json", CLASSES, [image])


def run(slide: Path, out: Path, config: Config, core: int | None = None) -> None:
    settings_ = replace(config, scales="single", core=core, differential=False)
    model = at_operating_point(MODEL, settings_)
    engine: Engine = FakeEngine()
    result = run_one(slide, out, settings_, model, engine)
    assert result.status == "ok", result.error


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("tune")
    slide, truth = smear(folder / "in")
    run(slide, folder / "out", Config(keep_candidates=True), core=128)
    return slide, truth, folder / "out"


def cells(out: Path) -> dict[str, NDArray[np.generic]]:
    return dict(open_run(out)[0].cells)


def test_keeping_candidates_changes_no_cell(kept: tuple[Path, Path, Path], tmp_path: Path) -> None:
    slide, _, out = kept
    run(slide, tmp_path / "plain", Config(), core=128)
    assert not (tmp_path / "plain" / ".pbsbatch" / "candidates").exists()
    for name, column in cells(tmp_path / "plain").items():
        np.testing.assert_array_equal(column, cells(out)[name])


def test_candidates_give_the_cells_that_the_run_has_and_those_of_other_settings(
    kept: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    slide, _, out = kept
    offer = offered(open_run(out))
    assert offer is not None and (offer.nms_iou, offer.cross_iou) == (0.9, 0.9)
    other = {"RBC": 0.55, "WBC": 0.3, "Platelet": 0.71}
    run(slide, tmp_path / "other", Config(thresholds=tuple(sorted(other.items())), nms_iou=0.35), core=128)
    for where, thresholds, nms_iou in ((out, dict.fromkeys(CLASSES, 0.9), 0.9), (tmp_path / "other", other, 0.35)):
        found = labels_from_run(open_run(where)).images[0]
        told = offer.labels(thresholds, nms_iou).images[0]
        assert len(found.boxes) > 50
        np.testing.assert_array_equal(told.boxes, found.boxes)
        np.testing.assert_array_equal(told.classes, found.classes)
        np.testing.assert_array_equal(told.scores, found.scores)


@pytest.mark.parametrize(("goal", "figure"), [("f1", "f1"), ("map", "ap50"), ("count", "count_mae")])
def test_a_tuned_run_gives_what_was_promised(
    kept: tuple[Path, Path, Path], tmp_path: Path, goal: str, figure: str
) -> None:
    slide, truth, out = kept
    config, plot = tmp_path / "tuned.toml", tmp_path / "curve.svg"
    ask = ["tune", str(out), "--truth", str(truth), "--for", goal, "--output", str(config), "--plot", str(plot)]
    said = CliRunner().invoke(app, ask, catch_exceptions=False)
    assert said.exit_code == 0 and "nms_iou" in said.output and plot.read_bytes().startswith(b"<?xml")
    run(slide, tmp_path / "tuned", resolve({}, config), core=128)
    before, after = (figures(hold(o, truth)).rows for o in (out, tmp_path / "tuned"))
    promised = config.read_text().split(" before, ")[1].split(" after")[0].split()[-1]
    assert f"{getattr(after[-1], figure):.4f}" == promised
    gain = sum(getattr(a, figure) - getattr(b, figure) for a, b in zip(after[:-1], before[:-1], strict=True))
    assert (gain < 0) if goal == "count" else (gain > 0.3)  # the run began far from its best
    again = CliRunner().invoke(app, ask)
    assert isinstance(again.exception, UsageError) and "--force" in str(again.exception)


def test_without_candidates_thresholds_can_only_rise(kept: tuple[Path, Path, Path], tmp_path: Path) -> None:
    slide, truth, _ = kept
    run(slide, tmp_path / "loose", Config(thresholds=tuple((c, 0.2) for c in sorted(CLASSES)), nms_iou=0.3))
    config = tmp_path / "t.toml"
    said = CliRunner().invoke(app, ["tune", str(tmp_path / "loose"), "--truth", str(truth), "-o", str(config)])
    assert "kept no candidates" in said.output and "nms_iou" not in config.read_text()
    tuned = resolve({"nms_iou": 0.3}, config)
    assert all(value >= 0.2 for _, value in tuned.thresholds)
    run(slide, tmp_path / "tuned", tuned)
    after = figures(hold(tmp_path / "tuned", truth)).rows[-1]
    assert f"F1 {after.f1:.4f} after" in config.read_text()


def test_damaged_candidates_are_named(kept: tuple[Path, Path, Path], tmp_path: Path) -> None:
    slide, _, _ = kept
    run(slide, tmp_path / "out", Config(keep_candidates=True))
    file = next((tmp_path / "out").rglob("strip-*.npy"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(StoreError, match=r"missing or damaged.*--keep-candidates --fresh"):
        offered(open_run(tmp_path / "out"))
    np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(StoreError, match="missing or damaged"):
        offered(open_run(tmp_path / "out"))


def test_models_and_images_that_keep_no_candidates_are_refused(kept: tuple[Path, Path, Path], tmp_path: Path) -> None:
    fake: Model = FakeOracleModel()
    with pytest.raises(UsageError, match="keeps no candidates"):
        at_operating_point(fake, Config(keep_candidates=True))
    with pytest.raises(UsageError, match="takes no nms_iou"):
        at_operating_point(fake, Config(nms_iou=0.4))
    assert at_operating_point(fake, Config(thresholds=(("RBC", 0.7),))) is fake
    np.testing.assert_array_equal(
        least_scores(fake, Config(thresholds=(("RBC", 0.7),), score_threshold=0.5)), np.float32([0.7, 0.5, 0.5])
    )
    with pytest.raises(UsageError, match=r"thresholds name the class 'RBCs'.*RBC, WBC"):
        at_operating_point(MODEL, Config(thresholds=(("RBCs", 0.7),)))
    mixed = Config(keep_candidates=True, scales="0.5,1")
    result = run_one(kept[0], tmp_path / "out", mixed, MODEL, FakeEngine())
    assert result.status == "failed" and "several magnifications" in str(result.error)


def test_settings_that_are_not_used_leave_the_key_as_it_was() -> None:
    def facts(config: Config) -> object:
        return key_facts(
            content="c", mpp=0.25, mpp_source="given", spec=MODEL.spec, engine=FakeEngine(), config=config
        )["config"]  # fmt: skip

    assert set(facts(Config())) == {  # type: ignore[call-overload]
        "scales", "score_threshold", "core", "halo", "origin", "max_failed_tiles"
    }  # fmt: skip
    assert facts(Config(nms_iou=0.5)) != facts(Config()) != facts(Config(keep_candidates=True))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_every_cut_of_a_sweep_is_a_match_of_what_is_above_it(seed: int) -> None:
    case = draw(seed)
    true = matching.truth(case.true_images, case.true_classes, case.true_boxes)
    both = Compared(
        tuple(map(str, range(case.n_classes))), tuple(map(str, range(case.n_images))), true, case.found(), ()
    )
    seen = ev.verdicts(both.true, both.found, case.n_classes)
    for k in range(case.n_classes):
        curves = {goal: sweep(both, seen, k, goal) for goal in ("f1", "map", "count")}
        if curves["f1"] is None:
            continue
        for i, cut in list(enumerate(curves["f1"].cuts))[:: max(1, len(curves["f1"].cuts) // 5)]:
            above = replace(both, found=matching.take(both.found, np.flatnonzero(both.found.scores >= cut)))
            row = figures(above).rows[k]
            assert curves["f1"].values[i] == pytest.approx(row.f1)
            assert curves["map"] is not None and curves["map"].values[i] == pytest.approx(row.ap50, abs=1e-9)
            assert curves["count"] is not None and -curves["count"].values[i] == pytest.approx(row.count_mae)
