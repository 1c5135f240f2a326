"""CVAT files and label images become the same cells as COCO's polygons; each bad record is named with its cure."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from pbsbatch.datasets.readers import DataError, DataSet, read, recognise
from pbsbatch.datasets.samples import PLATELET, RED, WHITE, encode

SIZE = (100, 80)
REDS = [(5 + 20 * i, 10, 23 + 20 * i, 28) for i in range(4)]
DISC = [(64.0, 58.0, 12.0, "WBC"), (30.0, 55.0, 5.0, "Platelets")]


def circle(x: float, y: float, r: float) -> str:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    return ";".join(f"{x + r * np.cos(a):.2f},{y + r * np.sin(a):.2f}" for a in angle)


def a_box(box: tuple[float, ...], label: str = "RBC") -> str:
    sides = " ".join(f'{k}="{v}"' for k, v in zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True))
    return f'<box label="{label}" {sides}/>'


def a_polygon(points: str, label: str = "RBC") -> str:
    return f'<polygon label="{label}" points="{points}"><attribute name="cell">3</attribute></polygon>'


GOOD = "".join(map(a_box, REDS)) + "".join(a_polygon(circle(x, y, r), label) for x, y, r, label in DISC)


def cvat(root: Path, shapes: str, image: str = 'name="lab_1.png" width="100" height="80"', more: str = "") -> Path:
    root.mkdir(exist_ok=True)
    for name in ("lab_1.png", "lab_2.png"):
        (root / name).write_bytes(encode(np.full((SIZE[1], SIZE[0], 3), 200, np.uint8)))
    (root / "train.xml").write_text(
        f'<?xml version="1.0"?><annotations><version>1.1</version><image id="0" {image}>{shapes}</image>{more}'
        "</annotations>"
    )
    return root


def label_images(root: Path, split: str = "train", depth: type = np.uint16) -> Path:
    for folder in ("images", "labels/RBC", "labels/WBC", "labels/Platelets"):
        (root / split / folder).mkdir(parents=True)
    for name in ("lab_1", "lab_2"):
        (root / split / "images" / f"{name}.png").write_bytes(encode(np.full((SIZE[1], SIZE[0], 3), 200, np.uint8)))
    red = np.zeros(SIZE[::-1], depth)
    for number, (x0, y0, x1, y1) in enumerate(REDS, 40):
        red[y0:y1, x0:x1] = number
    cv2.imwrite(str(root / split / "labels/RBC/lab_1.png"), red)
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]] + 0.5
    for cx, cy, r, label in DISC:
        drawn = ((x - cx) ** 2 + (y - cy) ** 2 < r * r).astype(depth) * 7
        cv2.imwrite(str(root / split / "labels" / label / "lab_1.png"), drawn)
    return root


def test_both_tell_the_same_field_and_keep_a_field_without_cells(tmp_path: Path) -> None:
    empty = '<image id="1" name="lab_2.png" width="100" height="80"><tag label="seen"/></image>'
    for form, root in (
        ("cvat", cvat(tmp_path / "cvat", GOOD, more=empty)),
        ("labels", label_images(tmp_path / "labels")),
    ):
        samples, problems = read(DataSet(root, form, "train"))
        found, negative = samples
        assert not problems and (found.name, found.source, found.size) == ("lab_1", "lab", SIZE)
        reds, drawn = found.classes == RED, found.classes != RED
        assert sorted(found.classes.tolist()) == [RED] * 4 + [WHITE, PLATELET]
        np.testing.assert_array_equal(found.boxes[reds], REDS)
        order = np.argsort(found.classes[drawn])
        discs = [(x - r, y - r, x + r, y + r) for x, y, r, _ in DISC]
        np.testing.assert_allclose(found.boxes[drawn][order], discs, atol=0.5)
        np.testing.assert_allclose(found.outlines[drawn], 1.0, atol=0.08)
        assert np.isnan(found.outlines[reds]).all() == (form == "cvat"), "a box has no outline, a square has one"
        assert len(negative.boxes) == len(negative.unsure) == 0, "all of it is background"
        assert negative.red_cell_px == found.red_cell_px == 18


def test_a_field_of_a_source_without_red_cells_needs_its_scale_said(tmp_path: Path) -> None:
    more = '<image id="1" name="other_1.png" width="100" height="80"/>'
    root = cvat(tmp_path / "set", GOOD, more=more)
    (root / "lab_2.png").rename(root / "other_1.png")
    with pytest.raises(DataError, match=r"no red cell tells the scale of other.*Give red_cell_px"):
        read(DataSet(root, "cvat", "train"))
    samples, _ = read(DataSet(root, "cvat", "train", red_cell_px=21.0))
    assert [(s.name, len(s.boxes), s.red_cell_px) for s in samples] == [("lab_1", 6, 18), ("other_1", 0, 21)]


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        (a_polygon("1,1;5,5"), r"image 'lab_1.png', shape 1: a polygon needs three corners that are numbers. Draw it"),
        (a_polygon("1,1;5,5;nan,9"), "three corners that are numbers"),
        (a_polygon("1,1;5,x;2,9"), "its points are no numbers"),
        (a_polygon("1,1;5;2,9"), "its points are no numbers"),
        (a_polygon("110,1;120,1;120,9"), "lies outside the picture of 100x80"),
        (a_polygon("1,-50;9,-50;9,-40"), "lies outside the picture of 100x80"),
        (a_polygon("1,1;9,1;9,9", "Cat"), r"unknown class 'Cat'"),
        ('<box label="RBC" xtl="1" ytl="2" xbr="3"/>', "its points are no numbers"),
        (a_box((9, 9, 5, 20)), "ends before it begins"),
        (
            '<ellipse label="RBC" cx="1" cy="1" rx="1" ry="1"/>',
            "shapes of kind 'ellipse' cannot be read. Draw a box or a polygon",
        ),
    ],
)
def test_a_bad_shape_costs_its_field_and_is_named(tmp_path: Path, shape: str, what: str) -> None:
    root = cvat(tmp_path / "set", shape, more=f'<image id="1" name="lab_2.png" width="100" height="80">{GOOD}</image>')
    with pytest.raises(DataError, match=what):
        read(DataSet(root, "cvat", "train"))
    kept, problems = read(DataSet(root, "cvat", "train"), skip_bad=True)
    assert [s.name for s in kept] == ["lab_2"] and len(problems) == 1


def test_a_polygon_over_the_edge_is_cut_with_a_note(tmp_path: Path) -> None:
    samples, problems = read(DataSet(cvat(tmp_path / "set", GOOD + a_polygon("-9,60;9,60;9,78;-9,78")), "cvat"))
    assert samples[0].boxes[-1].tolist() == [0, 60, 9, 78] and "hangs over" in problems[0].what and problems[0].note
    np.testing.assert_allclose(samples[0].outlines[-1, 0], 1.0, atol=0.1)


@pytest.mark.parametrize(
    ("image", "what"),
    [
        ('name="../a.png" width="100" height="80"', "points out of the data set's folder"),
        ('name="/etc/a.png" width="100" height="80"', "points out of the data set's folder"),
        ('name="lab_1.png" width="99" height="80"', "labels are for 99x80 pixels, the picture has 100x80"),
        ('name="gone.png" width="100" height="80"', "cannot be read: No such file"),
        ('name="lab_1.png" width="100"', "an image has no name or no size"),
        ('name="lab_1.png" width="100" height="0"', "cannot be meant"),
    ],
)
def test_a_bad_image_is_named(tmp_path: Path, image: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read(DataSet(cvat(tmp_path / "set", GOOD, image), "cvat", "train"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<annotations><version>1.0</version></annotations>", "version 1.1"),
        ("<annotations><version>1.1</version></annotations>", "holds no image"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "document type"),
        ("<annotations>", "no file of annotations: is no XML"),
    ],
)
def test_what_is_no_cvat_file_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=what):
        read(DataSet(tmp_path / "a.xml", "cvat"))


def test_bad_label_images_are_named(tmp_path: Path) -> None:
    root = label_images(tmp_path / "set")
    labels = root / "train" / "labels"
    cv2.imwrite(str(labels / "WBC/lab_2.png"), np.zeros((9, 9), np.uint8))
    cv2.imwrite(str(labels / "WBC/lab_1.png"), np.zeros((*SIZE[::-1], 3), np.uint8))
    (labels / "RBC/lab_3.png").write_bytes(b"none")
    with pytest.raises(DataError) as told:
        read(DataSet(root, "labels", "train"))
    for said in (
        "WBC/lab_2.png has 9x9 pixels, its picture 100x80", "WBC/lab_1.png has 3 channels of uint8",
        "lab_3.png: labels of RBC without a picture",
    ):  # fmt: skip
        assert said in str(told.value)
    noise = np.random.default_rng(1).integers(0, 60_000, SIZE[::-1]).astype(np.uint16) % 2000
    cv2.imwrite(str(labels / "WBC/lab_1.png"), noise)
    with pytest.raises(DataError, match=r"WBC/lab_1.png has \d,\d+ numbers strewn all over"):
        read(DataSet(root, "labels", "train"))
    huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 100_000, 100_000, 16, 0, 0, 0, 0)
    for damaged in (b"none", b"", huge):
        (labels / "WBC/lab_1.png").write_bytes(damaged)
        with pytest.raises(DataError, match=r"WBC/lab_1.png is no picture or is damaged"):
            read(DataSet(root, "labels", "train"))
    with pytest.raises(DataError, match="no folders of classes here"):
        read(DataSet(root, "labels", "val"))


def test_both_are_recognised(tmp_path: Path) -> None:
    found = recognise(cvat(tmp_path / "cvat", GOOD)) + recognise(label_images(tmp_path / "labels"))
    assert [(d.format, d.split) for d in found] == [("cvat", "train"), ("labels", "train")]
    assert recognise(tmp_path / "cvat" / "train.xml")[0].format == "cvat"
    label_images(tmp_path / "flat", "")
    assert recognise(tmp_path / "flat") == (DataSet(tmp_path / "flat", "labels", ""),)
