import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pbsbatch.datasets.outlines import outline_of_mask
from pbsbatch.datasets.readers import DataError, DataSet, Problems, fields, read, read_folders, recognise
from pbsbatch.datasets.readers.fields import class_of
from pbsbatch.datasets.readers.problems import RecordError
from pbsbatch.datasets.readers.segmentation import polygon_mask
from pbsbatch.datasets.samples import PLATELET, RAYS, RED, WHITE, encode
from pbsbatch.synth import Scene, TruthWriter
from tests.data import data

PICTURE = encode(np.full((80, 100, 3), 200, np.uint8))
REDS = [(5 + 20 * i, 10, 23 + 20 * i, 28) for i in range(4)]


def voc(tmp_path: Path, objects: str, size: str = "<size><width>100</width><height>80</height></size>") -> Path:
    (tmp_path / "Images").mkdir(exist_ok=True, parents=True)
    (tmp_path / "Annotations").mkdir(exist_ok=True)
    (tmp_path / "Images" / "lab_1.png").write_bytes(PICTURE)
    (tmp_path / "Annotations" / "lab_1.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    return tmp_path


def an_object(box: Any, name: str = "RBC") -> str:
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


def yolo(tmp_path: Path, lines: str, split: str = "train", name: str = "lab_1") -> Path:
    for kind in ("images", "labels"):
        (tmp_path / kind / split).mkdir(parents=True, exist_ok=True)
    (tmp_path / "classes.txt").write_text("WBC\nRBC\nPlatelets\n")
    (tmp_path / "images" / split / f"{name}.png").write_bytes(PICTURE)
    (tmp_path / "labels" / split / f"{name}.txt").write_text(lines)
    return tmp_path


def yolo_line(kind: int, box: Any) -> str:
    x0, y0, x1, y1 = box
    return f"{kind} {(x0 + x1) / 200} {(y0 + y1) / 160} {(x1 - x0) / 100} {(y1 - y0) / 80}\n"


def coco(tmp_path: Path, annotations: list[dict[str, Any]], **image: Any) -> Path:
    tree = {
        "images": [{"id": 7, "file_name": "lab_1.png", "width": 100, "height": 80, **image}],
        "categories": [{"id": 3, "name": "red blood cells"}, {"id": 5, "name": "Leukocyte"}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 3, "iscrowd": 0, **a} for i, a in enumerate(annotations)
        ],
    }
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "images" / "lab_1.png").write_bytes(PICTURE)
    (tmp_path / "train.json").write_text(json.dumps(tree))
    return tmp_path


def xywh(box: Any) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def test_three_formats_tell_the_same_field(tmp_path: Path) -> None:
    roots = {kind: tmp_path / kind for kind in ("voc", "yolo", "coco")}
    for root in roots.values():
        root.mkdir()
    voc(roots["voc"], "".join(map(an_object, REDS)) + an_object((40, 40, 90, 78), "White blood cells"))
    yolo(roots["yolo"], "".join(yolo_line(1, b) for b in REDS) + yolo_line(0, (40, 40, 90, 78)))
    coco(roots["coco"], [{"bbox": xywh(b)} for b in REDS] + [{"bbox": [40, 40, 50, 38], "category_id": 5}])
    for kind, root in roots.items():
        samples, problems = read(DataSet(root, kind, "" if kind == "voc" else "train"))
        (found,) = samples
        assert not problems and found.name == "lab_1" and found.source == "lab" and found.size == (100, 80)
        np.testing.assert_allclose(found.boxes, [*REDS, (40, 40, 90, 78)], atol=1e-4)
        assert found.classes.tolist() == [RED] * 4 + [WHITE]
        assert np.isnan(found.outlines).all() and not len(found.unsure)
        assert found.red_cell_px == pytest.approx(18, abs=1e-4)
        np.testing.assert_array_equal(found.image, 200)


def test_incomplete_labels_teach_no_background(tmp_path: Path) -> None:
    root = voc(tmp_path, "".join(map(an_object, REDS)))
    samples, _ = read(DataSet(root, "voc", source="elsewhere", complete=False))
    assert samples[0].unsure.tolist() == [[0, 0, 100, 80]] and samples[0].source == "elsewhere"


def test_boxes_are_cut_to_the_picture_and_empty_ones_dropped(tmp_path: Path) -> None:
    odd = [(-9, 40, 12, 60), (85, 60, 100.5, 80.5), (50, 50, 50, 50)]
    samples, problems = read(DataSet(voc(tmp_path, "".join(map(an_object, REDS + odd))), "voc"))
    assert samples[0].boxes[4:].tolist() == [[0, 40, 12, 60], [85, 60, 100, 80]]
    assert [(p.record, p.note) for p in problems] == [("object 5", True), ("object 7", True)]
    assert "hangs over" in problems[0].what and "no area" in problems[1].what


@pytest.mark.parametrize(
    ("objects", "size", "what"),
    [
        (an_object((9, 9, 5, 20)), None, "object 1: box .* ends before it begins"),
        (an_object((200, 9, 250, 20)), None, "outside the picture of 100x80"),
        (an_object((1, 2, "x", 4)), None, "xmax is 'x', no number"),
        (an_object((1, 2, "nan", 4)), None, "are no numbers"),
        (an_object((1, 2, 3, 4), "Cat"), None, "unknown class 'Cat'.*Rename it to one of RBC, WBC, Platelet"),
        ("<object><name>RBC</name></object>", None, "has no bndbox"),
        (
            an_object(REDS[0]),
            "<size><width>50</width><height>80</height></size>",
            "50x80 pixels, the picture has 100x80",
        ),
        ("<object>", None, "is no XML"),
    ],
)
def test_a_bad_voc_record_is_named_with_its_cure(tmp_path: Path, objects: str, size: str | None, what: str) -> None:
    root = voc(tmp_path, objects) if size is None else voc(tmp_path, objects, size)
    with pytest.raises(DataError, match=f"lab_1.xml.*{what}"):
        read(DataSet(root, "voc"))


def test_entities_are_refused_before_they_are_read(tmp_path: Path) -> None:
    root = voc(tmp_path, "")
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>'
    (root / "Annotations" / "lab_1.xml").write_text(bomb)
    with pytest.raises(DataError, match="declares a document type"):
        read(DataSet(root, "voc"))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("1 .5 .5 .1", "is not `class x y w h`"),
        ("1 .5 .5 .1 .1 .1", "is not `class x y w h`"),
        ("RBC .5 .5 .1 .1", "is not `class x y w h`"),
        ("3 .5 .5 .1 .1", "class 3 is not among the 3"),
        ("-1 .5 .5 .1 .1", "class -1 is not among"),
        ("1 50 50 10 10", "not in fractions"),
        ("1 .5 .5 nan .1", "not in fractions|no numbers"),
        ("1 .5 .5 -.1 .1", "ends before it begins"),
    ],
)
def test_a_bad_yolo_line_is_named(tmp_path: Path, line: str, what: str) -> None:
    good = "".join(yolo_line(1, b) for b in REDS)
    with pytest.raises(DataError, match=rf"lab_1.txt, line 5: .*({what})"):
        read(DataSet(yolo(tmp_path, good + line), "yolo", "train"))


def test_bad_records_are_all_told_or_cost_their_field_alone(tmp_path: Path) -> None:
    good = "".join(yolo_line(1, b) for b in REDS)
    yolo(tmp_path, good, name="lab_1")
    yolo(tmp_path, good + "9 .5 .5 .1 .1", name="lab_2")
    yolo(tmp_path, "rubbish", name="lab_3")
    yolo(tmp_path, "", name="lab_4")
    (tmp_path / "images" / "train" / "lab_5.png").write_bytes(b"no picture")
    (tmp_path / "labels" / "train" / "lab_6.txt").write_text(good)
    with pytest.raises(DataError, match=r"4 bad records.*lab_2.*lab_3.*lab_5.*lab_6.*--skip-bad"):
        read(DataSet(tmp_path, "yolo", "train"))
    samples, problems = read(DataSet(tmp_path, "yolo", "train"), skip_bad=True)
    assert [s.name for s in samples] == ["lab_1", "lab_4"] and len(problems) == 4
    assert samples[1].red_cell_px == samples[0].red_cell_px and not len(samples[1].boxes)


def test_a_source_without_a_scale_is_refused_unless_it_is_given(tmp_path: Path) -> None:
    root = yolo(tmp_path, yolo_line(0, (10, 10, 50, 50)))
    with pytest.raises(DataError, match=r"tells the scale of lab.*Give red_cell_px"):
        read(DataSet(root, "yolo", "train"))
    assert read(DataSet(root, "yolo", "train", red_cell_px=25.0))[0][0].red_cell_px == 25.0


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("yolo", "classes.txt.*cannot be read"),
        ("voc", "no such folder"),
        ("coco", "0 .json files"),
        ("csv", "unknown format"),
    ],
)
def test_an_empty_folder_says_what_was_expected(tmp_path: Path, kind: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read(DataSet(tmp_path, kind))


@pytest.mark.parametrize(
    ("annotation", "image", "what"),
    [
        ({"bbox": [1, 2, 3]}, {}, "annotation 0: bbox is not"),
        ({"bbox": [1, 2, 3, 4], "category_id": 9}, {}, "category 9 is not in the file"),
        ({"bbox": [1, 2, 3, 4], "image_id": 9}, {}, "belongs to no image"),
        ({"bbox": [1, 2, 3, 4]}, {"file_name": "../lab_1.png"}, "points out of the data set"),
        ({"bbox": [1, 2, 3, 4]}, {"file_name": "gone.png"}, "cannot be read: No such file"),
        ({"bbox": [1, 2, 3, 4]}, {"width": 90}, "90x80 pixels, lab_1.png has 100x80"),
        ({"bbox": [1, 2, 3, 4], "segmentation": [[1, 2, 3, 4]]}, {}, "three corners"),
        ({"bbox": [1, 2, 3, 4], "segmentation": 5}, {}, "no list of x, y lists"),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [9, 9], "counts": [81]}}, {}, r"run lengths are for \[9, 9\]"),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [80, 100], "counts": [1]}}, {}, "run lengths cannot be read"),
        (
            {"bbox": [1, 2, 3, 4], "segmentation": {"size": [80, 100], "counts": "\t\t"}},
            {},
            "run lengths cannot be read",
        ),
        ({"bbox": [1, 2, 3, 4], "segmentation": {"size": [80, 100], "counts": [-1, 8001]}}, {}, "cannot be read"),
    ],
)
def test_a_bad_coco_record_is_named(
    tmp_path: Path, annotation: dict[str, Any], image: dict[str, Any], what: str
) -> None:
    with pytest.raises(DataError, match=what):
        read(DataSet(coco(tmp_path, [annotation], **image), "coco", "train"))


def test_polygons_and_run_lengths_become_the_same_outline(tmp_path: Path) -> None:
    y, x = np.mgrid[0:80, 0:100] + 0.5
    mask = ((x - 50) / 22) ** 2 + ((y - 40) / 15) ** 2 < 1
    box = [28, 25, 44, 30]
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    polygon = np.stack([50 + 22 * np.cos(angle), 40 + 15 * np.sin(angle)], 1).ravel().tolist()
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = np.flatnonzero(np.diff(np.concatenate([[0], mask.T.ravel(), [0]])))
    runs = np.diff(np.concatenate([[0], counts, [8000]])).tolist()
    ways = [
        [polygon],
        {"size": [80, 100], "counts": packed["counts"].decode()},
        {"size": [80, 100], "counts": [int(r) for r in runs if r] if not mask[0, 0] else runs},
        [],
    ]
    annotations = [{"bbox": box, "segmentation": way} for way in ways] + [{"bbox": xywh(b)} for b in REDS]
    crowd = {"bbox": [60, 60, 20, 10], "iscrowd": 1, "segmentation": {"size": [80, 100], "counts": [8000]}}
    samples, _ = read(DataSet(coco(tmp_path, [*annotations, crowd]), "coco", "train"))
    found = samples[0].outlines
    assert len(found) == 8 and np.isnan(found[3:]).all()
    np.testing.assert_allclose(found[:3], 1.0, atol=0.05)
    np.testing.assert_array_equal(found[1], found[2])
    np.testing.assert_allclose(found[0], found[1], atol=0.03)
    assert samples[0].unsure.tolist() == [[60, 60, 80, 70]]


def test_drawn_truth_is_read_with_its_outlines(tmp_path: Path) -> None:
    scene = Scene(300, 240, mpp=0.2, seed=4)
    (tmp_path / "field_1.png").write_bytes(encode(scene.render(0, 0, 300, 240)))
    with TruthWriter(tmp_path / "truth.json") as truth:
        truth.add(scene, "field_1.png")
    samples, problems = read(DataSet(tmp_path, "coco"))
    cells = scene.cells(0, 0, 300, 240)
    order = np.lexsort((cells.ids, cells.boxes[:, 0], cells.boxes[:, 1]))
    assert not problems
    np.testing.assert_array_equal(samples[0].boxes, cells.boxes[order])
    np.testing.assert_array_equal(samples[0].classes, cells.classes[order])
    for row, i in enumerate(order):
        mask = cells.mask(i)
        exact = outline_of_mask(mask, np.array([0, 0, *mask.shape[::-1]], np.float32))
        np.testing.assert_allclose(samples[0].outlines[row], exact, atol=1e-5)


def test_a_polygon_holds_the_pixels_whose_centres_it_holds() -> None:
    square = np.array([[1.4, 1.6], [4.4, 1.6], [4.4, 3.6], [1.4, 3.6]])
    wanted = np.zeros((5, 6), bool)
    wanted[2:4, 1:4] = True
    np.testing.assert_array_equal(polygon_mask(square, (5, 6)), wanted)
    np.testing.assert_array_equal(polygon_mask(square[::-1], (5, 6)), wanted)
    np.testing.assert_array_equal(polygon_mask(square - 100, (5, 6)), False)
    np.testing.assert_array_equal(polygon_mask((square - 3) * 100, (5, 6)), True)


@pytest.mark.parametrize(
    ("word", "kind"),
    [("RBC", RED), ("Red_Blood-Cells", RED), ("erythrocytes", RED), ("wbc", WHITE), ("Leukocyte", WHITE),
     ("Platelets", PLATELET), ("PLT", PLATELET), (" Thrombocyte ", PLATELET)],
)  # fmt: skip
def test_classes_are_known_by_many_names(word: str, kind: int) -> None:
    assert class_of(word) == kind


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(RecordError, match="unknown class ''"):
        class_of("")


def test_folders_are_classes(tmp_path: Path) -> None:
    for name in (
        "basophil/BA_1.jpg",
        "neutrophil/BNE_1.jpg",
        "neutrophil/SNE_1.png",
        ".hidden/x.jpg",
        "neutrophil/a.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    found = read_folders(tmp_path, {"neutrophil": "segmented", "neutrophil/BNE": "band"})
    assert [(c.path.name, c.kind) for c in found] == [
        ("BA_1.jpg", "basophil"), ("BNE_1.jpg", "band"), ("SNE_1.png", "segmented"),
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="without pictures"):
        read_folders(tmp_path)
    with pytest.raises(DataError, match="fewer than two classes"):
        read_folders(tmp_path / "neutrophil")
    with pytest.raises(DataError, match="no such folder"):
        read_folders(tmp_path / "gone")


def test_a_field_keeps_every_mark_under_its_own_word(tmp_path: Path) -> None:
    odd = an_object((50, 50, 50, 50)) + an_object((200, 9, 250, 20), "Cat")
    problems = Problems()
    (field,) = fields(DataSet(voc(tmp_path, an_object(REDS[0]) + odd), "voc"), problems)
    assert [(c.name, c.record) for c in field.cells] == [("RBC", "object 1"), ("RBC", "object 2"), ("Cat", "object 3")]
    assert field.name == "lab_1" and field.size == (100, 80) and not problems.found


def test_formats_are_recognised_with_their_splits(tmp_path: Path) -> None:
    roots = {kind: tmp_path / kind for kind in ("voc", "yolo", "coco", "folder")}
    for root in roots.values():
        root.mkdir()
    voc(roots["voc"] / "Training", an_object(REDS[0]))
    for split in ("val", "train"):
        yolo(roots["yolo"], yolo_line(1, REDS[0]), split=split)
    coco(roots["coco"], [{"bbox": [1, 2, 3, 4]}])
    (roots["coco"] / "other.json").write_text("[]")
    for kind in ("a", "b"):
        (roots["folder"] / kind).mkdir()
        (roots["folder"] / kind / "1.jpg").write_bytes(b"")
    found = {kind: [(d.format, d.split) for d in recognise(root)] for kind, root in roots.items()}
    assert found == {
        "voc": [("voc", "Training")], "yolo": [("yolo", "train"), ("yolo", "val")], "coco": [("coco", "train")],
        "folder": [("folder", "")],
    }  # fmt: skip
    assert recognise(roots["coco"] / "train.json")[0].format == "coco"
    with pytest.raises(DataError, match=r"no labelled data set.*Expected"):
        recognise(roots["folder"] / "a")
    with pytest.raises(DataError, match="no such file or folder"):
        recognise(tmp_path / "gone")


def test_the_public_fields_can_be_read() -> None:
    train, problems = read(DataSet(data("txl"), "yolo", "val"))
    assert len(train) == 157 and not problems and {s.source for s in train} == {"bccd", "pbc", "raabin"}
    assert all(s.outlines.shape == (len(s.boxes), RAYS) for s in train)
    fields, notes = read(DataSet(data("cbc/Training"), "voc", source="cbc", complete=False))
    assert len(fields) == 300 and [n.path.stem for n in notes] == ["BloodImage_00338"] and notes[0].note
    assert all(s.red_cell_px > 50 for s in fields)
