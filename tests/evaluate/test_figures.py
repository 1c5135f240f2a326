"""Truth and results are brought together by name and counted right; every form of the table holds the same figures."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.cli.evaluate import rich_table
from pbsbatch.errors import UsageError
from pbsbatch.evaluate import detection_ap
from pbsbatch.evaluate.figures import ALL, figures
from pbsbatch.evaluate.intervals import intervals
from pbsbatch.evaluate.labels import Labelled, Labels, labels_from_coco
from pbsbatch.evaluate.page import html_table
from pbsbatch.evaluate.render import FORMATS, render, table_text
from pbsbatch.evaluate.tables import Table, tables
from pbsbatch.evaluate.together import compared

CLASSES = ("RBC", "WBC")


def labelled(name: str, cells: list[tuple[float, float, int, float]], sides: list[float] | float = 10) -> Labelled:
    """Return an image with square cells at x, y of a class with a score."""
    table = np.array(cells, np.float64).reshape(-1, 4)
    far = table[:, :2] + np.broadcast_to(sides, len(table))[:, None]
    boxes = np.concatenate([table[:, :2], far], axis=1)
    return Labelled(name, boxes, table[:, 2].astype(np.int64), table[:, 3])


image = labelled


TRUTH = Labels(CLASSES, (
    image("a.tif", [(0, 0, 0, 1), (50, 0, 0, 1), (100, 0, 1, 1)]), image("b.tif", [(0, 0, 0, 1), (50, 0, 0, 1)]),
    image("alone.tif", [(0, 0, 0, 1)]),
))  # fmt: skip
FOUND = Labels(("wbc", "rbcs"), (
    image("in/b.tif", [(1, 0, 1, 0.9), (200, 0, 1, 0.3)]),
    image("a.tif", [(0, 1, 1, 0.8), (50, 0, 1, 0.7), (100, 0, 1, 0.6)]),
    image("c.tif", []),
))  # fmt: skip


def test_counts_rates_and_counting_errors() -> None:
    found = figures(compared(TRUTH, FOUND), 0.5)
    red, white, total = found.rows
    assert (red.true, red.found, red.tp, red.fp, red.fn) == (4, 5, 3, 2, 1)
    assert (white.true, white.found, white.tp, white.fn) == (1, 0, 0, 1) and np.isnan(white.precision)
    assert red.precision == 0.6 and red.recall == 0.75 and red.f1 == pytest.approx(2 / 3)
    assert red.accuracy == 0.5 and red.found_per_true == 1.25
    assert (red.count_mae, red.count_mape, red.count_bias) == (0.5, 25.0, 0.5)  # 3 for 2, and 2 for 2
    assert (total.name, total.true, total.tp) == (ALL, 5, 3)
    assert found.confusion.tolist() == [[3, 0, 1], [1, 0, 0], [1, 0, 0]]  # the white cell was taken for a red one
    assert [n.split(" without")[0] for n in found.notes] == ["1 image of the truth", "1 image of the results"]


def test_average_precision_is_cocos_and_the_trapezoids() -> None:
    both = compared(TRUTH, FOUND)
    red = figures(both).rows[0]
    pairs = [(TRUTH.images[0], FOUND.images[1]), (TRUTH.images[1], FOUND.images[0])]
    ap = detection_ap(
        [t.boxes for t, _ in pairs], [t.classes for t, _ in pairs], [f.boxes for _, f in pairs],
        [1 - f.classes for _, f in pairs], [f.scores for _, f in pairs], 2,
    )  # fmt: skip
    assert red.ap50 == ap.ap50_per_class[0] and red.ap == pytest.approx(ap.ap_per_class[0])
    # by falling score: hit .9, hit .8, hit .7, miss .6, miss .3 of four
    assert red.ap50_trapezoid == pytest.approx(0.75)


def test_intervals_hold_the_figure_and_shrink_with_images() -> None:
    few = compared(TRUTH, FOUND)
    many = compared(
        Labels(CLASSES, tuple(Labelled(f"{i}-{t.name}", t.boxes, t.classes) for i in range(40) for t in TRUTH.images)),
        Labels(FOUND.classes, tuple(
            Labelled(f"{i}-{f.name.removeprefix('in/')}", f.boxes, f.classes, f.scores)
            for i in range(40) for f in FOUND.images
        )),
    )  # fmt: skip
    assert figures(many).rows[0].f1 == pytest.approx(figures(few).rows[0].f1)
    wide, narrow = (intervals(b, 0.5, 400)["RBC"]["f1"] for b in (few, many))
    assert wide[0] < narrow[0] < figures(many).rows[0].f1 < narrow[1] < wide[1]
    assert repr(intervals(few, 0.5, 50)) == repr(intervals(few, 0.5, 50))  # NaN is not itself


def test_intervals_stand_in_tables_of_whole_classes_alone() -> None:
    """Those of a class are not those of its cells of one size."""
    scaled = Labels(TRUTH.classes, tuple(replace(image, mpp=0.5) for image in TRUTH.images))
    found = figures(compared(scaled, FOUND), sizes=(3.0, 9.0))
    ranges = {"RBC": dict.fromkeys(("recall", "ap50", "count_mae"), (0.111, 0.222))}
    with_intervals = {table.key for table in tables(found) if "0.111 to 0.222" in html_table(table, ranges)}
    assert with_intervals == {"classes", "counts"}
    shown = {table.key: rich_table(table, ranges) for table in tables(found)}
    told = {key for key, one in shown.items() if any("0.111" in str(c) for col in one.columns for c in col.cells)}
    assert told == with_intervals and {"sizes", "confusion"} <= set(shown)


def test_what_does_not_go_together_is_refused_with_what_was_meant() -> None:
    with pytest.raises(UsageError, match=r"no class 'R B C'.*--map R B C=RBC"):
        compared(TRUTH, Labels(("R B C",), FOUND.images))
    mapped = compared(TRUTH, Labels(("x", "y"), FOUND.images), {"x": "WBC", "y": "RBC"})
    assert figures(mapped).table() == figures(compared(TRUTH, FOUND)).table()
    with pytest.raises(UsageError, match=r"--map names the class 'cell'.*RBC, WBC"):
        compared(TRUTH, FOUND, {"wbc": "cell"})
    with pytest.raises(UsageError, match=r"share no image: z\.tif was found, a\.tif is true"):
        compared(TRUTH, Labels(CLASSES, (image("z.tif", []),)))
    with pytest.raises(UsageError, match=r"no class 'RBC', it has wbcs, red cell\. .*--map RBC='?red cell"):
        compared(replace(TRUTH, classes=("wbcs", "red cell")), Labels(("RBC",), FOUND.images))
    nobody = replace(TRUTH, classes=(), images=tuple(image(i.name, []) for i in TRUTH.images))
    with pytest.raises(UsageError, match="the truth marks no cell in these images"):
        compared(nobody, FOUND)
    with pytest.raises(UsageError, match=r"share no image: .* was found, nothing is true"):
        compared(replace(TRUTH, classes=(), images=()), FOUND)
    twice = Labels(CLASSES, (image("1/a.tif", []), image("2/a.tif", []), image("b.tif", [])))
    assert compared(TRUTH, twice).images == ("b.tif",)  # a.tif may be either: it goes with none


def coco(path: Path, classes: tuple[str, ...], images: list[Labelled] | tuple[Labelled, ...]) -> Path:
    """Write images as a COCO data set with scores."""
    entries = [{"id": i, "file_name": im.name, "width": 800, "height": 600} for i, im in enumerate(images, 1)]
    annotations = [
        {"image_id": i, "category_id": 5 + int(c), "bbox": [*b[:2].tolist(), *(b[2:] - b[:2]).tolist()], "score": s}
        for i, im in enumerate(images, 1) for b, c, s in zip(im.boxes, im.classes, im.scores, strict=True)
    ]  # fmt: skip
    annotations = [{"id": n, "area": 1.0, "iscrowd": 0, **a} for n, a in enumerate(annotations, 1)]
    categories = [{"id": 5 + i, "name": name} for i, name in enumerate(classes)]
    path.write_text(json.dumps({"images": entries, "annotations": annotations, "categories": categories}))
    return path


def test_every_form_of_the_table_holds_the_same_figures(tmp_path: Path) -> None:
    truth, found = (coco(tmp_path / f"{n}.json", x.classes, x.images) for n, x in (("t", TRUTH), ("f", FOUND)))
    expected = figures(compared(TRUTH, FOUND), sizes=(3, 5, 9, 13), masks=True)
    ask = ["evaluate", str(found), "--truth", str(truth)]
    table = json.loads(CliRunner().invoke(app, [*ask, "--as", "json"], catch_exceptions=False).output)
    assert table == json.loads(json.dumps(expected.table()))
    rows = list(csv.DictReader(io.StringIO(CliRunner().invoke(app, [*ask, "--as", "csv"]).output)))
    assert [r["f1"] for r in rows] == [f"{r.f1:.4f}" for r in expected.rows]
    for form in FORMATS:
        said = CliRunner().invoke(app, [*ask, "--as", form, "--output", str(tmp_path / form)])
        assert said.exit_code == 0 and (tmp_path / form).read_text() == render(expected, form)
        assert "0.6667" in render(expected, form) or form == "json"
    shown = CliRunner().invoke(app, ask, catch_exceptions=False).output
    assert "0.6667" in shown and "95 % intervals" in shown and "alone.tif" in shown


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    for text, words in (
        ("{", "not valid JSON"), ("[]", "no COCO data set"),
        ('{"images": [], "annotations": []}', "lacks 'categories'"),
        ('{"images": [{"id": 1, "file_name": "a"}], "categories": [{"id": 1, "name": "x"}], "annotations": '
         '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": NaN}]}', "not a number"),
    ):  # fmt: skip
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(UsageError, match=words) as caught:
            labels_from_coco(tmp_path / "x.json", scored=True)
        assert "x.json" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="--as must be one of rich, json"):
        CliRunner().invoke(app, ["evaluate", "x", "--truth", "y", "--as", "xml"], catch_exceptions=False)


def test_every_sign_of_a_name_stands_in_latex_and_markdown_as_itself() -> None:
    table = Table("classes", "Cells", ("", "bias", "a_b %"), ("name", "bias", "right"), (("a|b\\{c}~^<&$#", -1.5, 7),))
    latex = table_text(table, "latex").splitlines()
    assert latex[3] == r" & bias & a\_b \% \\ \hline"
    name = r"a\textbar{}b\textbackslash{}\{c\}\textasciitilde{}\textasciicircum{}\textless{}\&\$\#"
    assert latex[4] == name + r" & $-1.50$ & 7 \\"
    assert latex[1] == r"\begin{tabular}{lrr}" and latex[2] == latex[-2] == r"\hline"
    assert table_text(table, "markdown").splitlines()[4] == "| a\\|b\\{c}~^<&$# | -1.50 | 7 |"
    share = Table("confusion-share", "Shares", ("true", "bias"), ("true", "bias"), (("a", 0.12345),))
    assert table_text(share, "csv") == "true,bias\na,0.1235\n"  # a class called as a column of another table
