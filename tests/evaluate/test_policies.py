"""What counts is what was said: matching rules, ignored places, borders, incomplete truth; bad input is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.errors import UsageError
from pbsbatch.evaluate.best import best_fits, best_verdicts
from pbsbatch.evaluate.figures import BEST_IOU, figures
from pbsbatch.evaluate.hold import hold
from pbsbatch.evaluate.intervals import intervals
from pbsbatch.evaluate.labels import Labels, labels_from_coco
from pbsbatch.evaluate.names import LEFT_OUT
from pbsbatch.evaluate.together import Policy, compared
from pbsbatch.evaluate.truth import read_truth
from tests.evaluate.test_figures import CLASSES, coco, labelled
from tests.kernels.matching_peer import draw

PAIR = (
    Labels(CLASSES, (replace(labelled("a.tif", [(0, 20, 0, 1), (40, 40, 0, 1), (80, 40, 1, 1)]), size=(100, 100)),)),
    Labels(CLASSES, (labelled("a.tif", [(40, 42, 0, 0.9), (41, 40, 0, 0.8), (10, 70, 0, 0.7), (88, 70, 1, 0.6)]),)),
)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_the_studys_rule_is_each_detections_best_truth(seed: int) -> None:
    case = draw(seed)
    true, found = case.truth(), case.found()
    partner, iou = best_fits(true, found)
    seen = best_verdicts(true, found, case.n_classes, 0.5)
    hits = dict(zip(seen.hits[:, 0].tolist(), seen.hits[:, 1].tolist(), strict=True))
    for d in range(len(found)):
        best = 0.0
        for t in range(len(true)):
            if true.images[t] == found.images[d] and true.classes[t] == found.classes[d] and not true.crowd[t]:
                (x, y, w, h), (u, v, p, q) = found.boxes[d], true.boxes[t]
                inter = max(0, min(x + w, u + p) - max(x, u)) * max(0, min(y + h, v + q) - max(y, v))
                best = max(best, inter / (w * h + p * q - inter) if w * h + p * q > inter else 0.0)
        assert iou[d] == pytest.approx(best)
        assert (partner[d] >= 0) == (best > 0)
        assert (d in hits) == (iou[d] > 0.5 and not true.ignored[partner[d]])
    assert len(seen.hits) + len(seen.spared) + len(seen.false_positives) == len(found)


def test_two_detections_of_one_cell_are_two_hits_by_the_studys_rule_alone() -> None:
    both = compared(*PAIR)
    plain, study = figures(both).rows[0], figures(both, matching=BEST_IOU).rows[0]
    assert (plain.tp, plain.fp, plain.fn) == (1, 2, 1)
    assert (study.tp, study.fp, study.fn, study.true, study.found) == (2, 1, 1, 2, 3)
    assert study.ap50 == plain.ap50  # average precision stays COCO's


def test_ignored_places_borders_and_incomplete_truth() -> None:
    truth, found = PAIR
    rows = figures(compared(truth, found, None, Policy(regions={"a": np.array([[0.0, 60, 30, 90]])}))).rows
    assert (rows[0].fp, rows[0].fn) == (1, 1)  # what lies in the region is not wrong
    rows = figures(compared(truth, found, None, Policy(regions={"a.tif": np.array([[30.0, 30, 60, 60]])}))).rows
    assert (rows[0].true, rows[0].tp, rows[0].fp, rows[0].fn) == (1, 0, 1, 1)  # nor right
    rows = figures(compared(truth, found, None, Policy(border="ignore"))).rows
    assert (rows[0].true, rows[0].fn, rows[0].fp) == (1, 0, 2) and (rows[1].found, rows[1].fn) == (0, 1)
    some = compared(truth, found, None, Policy(incomplete=("RBC",)))
    red, white, total = figures(some).rows
    assert (red.tp, red.fn, red.recall) == (1, 1, 0.5) and np.isnan(
        [red.precision, red.f1, red.ap50, red.count_mae]
    ).all()
    assert (total.true, total.fp) == (white.true, white.fp)
    assert "RBC is incomplete" in " ".join(some.notes)
    assert set(intervals(some, 0.5, 20)["RBC"]) == {"recall"}
    with pytest.raises(UsageError, match=r"--incomplete names the class 'red'.*RBC, WBC"):
        compared(truth, found, None, Policy(incomplete=("red",)))


def test_a_class_can_be_left_out_and_types_that_the_truth_lacks_are_wrong() -> None:
    both = compared(PAIR[0], PAIR[1], {"WBC": LEFT_OUT})
    assert figures(both).rows[1].found == 0
    found = Labels(("RBC", "basophil"), PAIR[1].images)
    both = compared(PAIR[0], found)
    assert both.classes == ("RBC", "WBC", "basophil") and figures(both).rows[2].fp == 1


def test_sizes_are_in_um_and_masks_are_compared(tmp_path: Path) -> None:
    square = [[40, 40, 50, 40, 50, 50, 40, 50]]
    table: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a", "width": 100, "height": 100, "mpp": 0.5}],
        "categories": [{"id": 1, "name": "RBC"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [40, 40, 10, 10], "segmentation": square, "score": 1},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [0, 0, 30, 30], "score": 0.5},
        ],
    }
    (tmp_path / "t.json").write_text(json.dumps(table))
    table["annotations"][0]["segmentation"] = [[40, 40, 45, 40, 45, 50, 40, 50]]
    (tmp_path / "f.json").write_text(json.dumps(table))
    found = figures(hold(tmp_path / "f.json", tmp_path / "t.json"), sizes=(6, 20), masks=True)
    assert [(s.from_um, s.to_um, s.true, s.recall) for s in found.sizes] == [(0.0, 6, 1, 1.0), (6, 20, 1, 1.0)]
    (fit,) = found.masks
    assert (fit.cells, fit.iou, fit.dice) == (1, 0.5, pytest.approx(2 / 3))
    whole = found.reliability[-1]
    assert whole.cells == 2 and whole.error == pytest.approx(0.25)  # 1.0 is right, so is 0.5


def test_the_command_is_pycocotools_to_the_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    cells = [[(*rng.uniform(0, 300, 2), int(rng.integers(0, 2)), 1.0) for _ in range(40)] for _ in range(5)]
    found = [
        [(x + rng.normal(0, 2), y + rng.normal(0, 2), k if rng.random() < 0.9 else 1 - k, round(rng.random(), 1))
         for x, y, k, _ in image for _ in range(int(rng.integers(0, 3)))]
        for image in cells
    ]  # fmt: skip
    truth = coco(tmp_path / "t.json", CLASSES, [labelled(f"{i}", c) for i, c in enumerate(cells)])
    whole = json.loads(
        coco(tmp_path / "f.json", CLASSES, [labelled(f"{i}", c) for i, c in enumerate(found)]).read_text()
    )
    (tmp_path / "r.json").write_text(json.dumps(whole["annotations"]))  # a bare list, as pycocotools takes it
    mine = json.loads(
        CliRunner().invoke(
            app, ["evaluate", str(tmp_path / "r.json"), "--truth", str(truth), "--as", "json"], catch_exceptions=False
        ).output
    )["rows"][-1]  # fmt: skip
    peer = COCO(str(truth))
    asked = COCOeval(peer, peer.loadRes(str(tmp_path / "r.json")), "bbox")
    asked.params.maxDets = [1, 10, 100_000]
    asked.evaluate()
    asked.accumulate()
    precision = asked.eval["precision"][:, :, :, 0, 2]
    capsys.readouterr()
    assert mine["ap"] == float(np.mean(precision[precision > -1]))
    assert mine["ap50"] == float(np.mean(precision[:1][precision[:1] > -1]))


CVAT = """<?xml version="1.0"?><annotations><version>1.1</version>
<image name="f/a.tif" width="100" height="100">
<box label="RBC" xtl="0" ytl="20" xbr="10" ybr="30"/><box label="RBC" xtl="5" ytl="5" xbr="5" ybr="9"/>
<polygon label="WBC" points="80,40;90,40;90,50;80,50"/><ellipse label="WBC" cx="1" cy="1" rx="1" ry="1"/></image>
</annotations>"""


def test_cvat_and_points_are_truth_too(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(CVAT)
    labels = read_truth(tmp_path / "a.xml", "cvat")
    (image,) = labels.images
    assert labels.classes == ("RBC", "WBC") and image.boxes.tolist() == [[0, 20, 10, 30], [80, 40, 90, 50]]
    assert image.masks is not None and [w and int(w.mask.sum()) for w in image.masks(np.array([0, 1]))] == [None, 100]
    assert "2 boxes of the truth were left out: f/a.tif, shape 2: its box has no area" in labels.notes[0]
    for text, said in ((CVAT.replace("1.1", "1.2"), "version 1.1"), ("<!DOCTYPE x>" + CVAT[21:], "document type"),
                       ("<a>", "no file of annotations"), (CVAT.replace("80,40", "80,x"), "no numbers")):  # fmt: skip
        (tmp_path / "b.xml").write_text(text)
        with pytest.raises(UsageError, match=said):
            read_truth(tmp_path / "b.xml", "cvat")
    (tmp_path / "p.csv").write_text("image,x,y,class\na.tif,45,47,RBC\na.tif,95,95,RBC\nb.tif,,,\n")
    both = compared(read_truth(tmp_path / "p.csv", "points"), Labels(CLASSES, (*PAIR[1].images, labelled("b", []))),
                    {"WBC": LEFT_OUT})  # fmt: skip
    red = figures(both, 6.0).rows[0]
    assert (red.tp, red.fp, red.fn) == (1, 2, 1) and np.isnan(red.ap50)
    (tmp_path / "p.csv").write_text("image,x,y\na.tif,one,2\n")
    with pytest.raises(UsageError, match=r"p\.csv: line 2: x is 'one', no number"):
        read_truth(tmp_path / "p.csv", "points")


def test_bad_boxes_are_left_out_and_named_and_bad_lines_refused(tmp_path: Path) -> None:
    voc = tmp_path / "voc"
    for folder in (voc / "Images", voc / "Annotations", tmp_path / "images", tmp_path / "labels"):
        folder.mkdir(parents=True)
    for folder in (voc / "Images", tmp_path / "images"):
        cv2.imwrite(str(folder / "a.png"), np.zeros((60, 80, 3), np.uint8))
    corners = ((1, 1, 20, 20), (5, 5, 5, 9), (100, 5, 120, 9))
    objects = "".join(
        f"<object><name>RBC</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in corners
    )
    (voc / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    labels = read_truth(voc, "voc")
    assert labels.images[0].boxes.tolist() == [[1, 1, 20, 20]]
    assert "2 boxes" in labels.notes[0] and "a.xml, object 2" in labels.notes[0] and "80 x 60 px" in labels.notes[0]
    (tmp_path / "classes.txt").write_text("RBC\n")
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .1\n")
    with pytest.raises(UsageError, match=r"a\.txt, line 1: '0 \.5 \.5 \.1' is not `class x y w h`"):
        read_truth(tmp_path, "yolo")
    with pytest.raises(UsageError, match="--format must be one of coco, voc"):
        read_truth(tmp_path, "csv")
    with pytest.raises(UsageError, match="marks no cell"):
        compared(Labels(CLASSES, (labelled("a.tif", []),)), PAIR[1])


def test_crowds_of_a_coco_file_are_ignored(tmp_path: Path) -> None:
    truth = json.loads(coco(tmp_path / "t.json", CLASSES, PAIR[0].images).read_text())
    truth["annotations"][0] |= {"bbox": [0, 60, 40, 40], "iscrowd": 1}
    (tmp_path / "t.json").write_text(json.dumps(truth))
    both = compared(labels_from_coco(tmp_path / "t.json", scored=False), PAIR[1])
    red = figures(both).rows[0]
    assert (red.true, red.tp, red.fp, red.fn) == (1, 1, 1, 0)


def test_plots_and_the_page_show_the_worst(tmp_path: Path) -> None:
    truth, found = (coco(tmp_path / f"{i}.json", CLASSES, x.images) for i, x in enumerate(PAIR))
    cv2.imwrite(str(tmp_path / "a.tif"), np.full((600, 800, 3), 200, np.uint8))
    page = tmp_path / "p" / "page.html"
    ask = ["evaluate", str(found), "--truth", str(truth), "--plots", str(tmp_path / "plots"), "--page", str(page)]
    said = CliRunner().invoke(app, ask, catch_exceptions=False)
    assert said.exit_code == 0 and "average predictions per truth object" in said.output
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == [
        "calibration.svg", "confusion.svg", "counts.svg", "precision-recall.svg", "scores.svg"
    ]  # fmt: skip
    html = page.read_text()
    assert "The worst images" in html and "data:image/jpeg" in html
    assert html.count("<table>") == html.count('<div class="wide"><table>') > 4  # a narrow window scrolls these alone
    assert "http://" not in html.replace("http://www.w3.org", "") and "<script" not in html
