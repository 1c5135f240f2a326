"""Say in which format a folder is labelled, and which splits it has, by what lies in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pbsbatch.datasets.readers.fields import PICTURES, DataSet
from pbsbatch.datasets.readers.labels import ENDINGS
from pbsbatch.datasets.readers.problems import DataError

__all__ = ["recognise"]

FOLDER = "folder"
"""A folder of class folders, each picture one cell."""


def recognise(root: Path) -> tuple[DataSet, ...]:
    """Return a data set for each split of a folder or file, sorted by split. Law: the first format that fits wins."""
    if not root.exists():
        raise DataError("no such file or folder", path=root, cure="Give the folder that holds the data set")
    if root.is_file():
        return (DataSet(root, "cvat" if root.suffix.lower() == ".xml" else "coco"),)
    for form, splits in (
        ("yolo", _yolo(root)), ("voc", _voc(root)), ("coco", _coco(root)), ("cvat", _cvat(root)),
        ("labels", _labels(root)), (FOLDER, _folder(root)),
    ):  # fmt: skip
        found = tuple(DataSet(root, form, split) for split in sorted(splits))
        if found:
            return found
    raise DataError(
        "no labelled data set is recognised here", path=root,
        cure="Expected classes.txt and labels/ (YOLO), Annotations/*.xml (VOC), a COCO .json, a CVAT .xml, label "
        "images in labels/, or a folder per class",
    )  # fmt: skip


def _yolo(root: Path) -> Iterator[str]:
    labels = root / "labels"
    if (root / "classes.txt").is_file() and labels.is_dir():
        if any(labels.glob("*.txt")):
            yield ""
        yield from (p.name for p in labels.iterdir() if p.is_dir() and any(p.glob("*.txt")))


def _voc(root: Path) -> Iterator[str]:
    if any((root / "Annotations").glob("*.xml")):
        yield ""
    yield from (p.name for p in root.iterdir() if p.is_dir() and any((p / "Annotations").glob("*.xml")))


def _coco(root: Path) -> Iterator[str]:
    for path in root.glob("*.json"):
        try:
            tree = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue  # some other JSON file: what is no data set is passed over
        if isinstance(tree, dict) and all(isinstance(tree.get(k), list) for k in ("images", "annotations")):
            yield path.stem


def _cvat(root: Path) -> Iterator[str]:
    for path in root.glob("*.xml"):
        with path.open("rb") as file:
            if b"<annotations" in file.read(4096):
                yield path.stem


def _labels(root: Path) -> Iterator[str]:
    for folder in (root, *(p for p in root.iterdir() if p.is_dir())):
        drawn = (p for p in (folder / "labels").glob("*/*") if p.suffix.lower() in ENDINGS)
        if (folder / "images").is_dir() and any(drawn):
            yield "" if folder == root else folder.name


def _folder(root: Path) -> Iterator[str]:
    folders = [p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if sum(any(f.suffix.lower() in PICTURES for f in p.iterdir()) for p in folders) >= 2:
        yield ""
