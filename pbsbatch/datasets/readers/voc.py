"""Pascal VOC: Annotations/*.xml beside Images/ (or JPEGImages/), one file per picture.

Labels come from anywhere, so the parser is a bare one: a file that declares entities or a document type is
refused before it is read, and nothing outside it is opened. A picture without a file is a problem: the format
writes one for an empty field too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from pbsbatch.datasets.readers.fields import (
    MAX_TEXT_BYTES,
    DataSet,
    Field,
    Marked,
    picture,
    pictures_in,
    read_bytes,
)
from pbsbatch.datasets.readers.problems import DataError, Problems, RecordError

__all__ = ["parse", "read_voc"]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(data: DataSet, problems: Problems) -> Iterator[Field]:
    """Yield the fields of one folder, sorted by name."""
    root = data.root / data.split
    folders = [root / name for name in ("Images", "JPEGImages", "images")]
    images = pictures_in(next((folder for folder in folders if folder.is_dir()), folders[0]))
    texts = {path.stem: path for path in sorted((root / "Annotations").glob("*.xml"))}
    if not texts:
        raise DataError("no .xml files here", path=root / "Annotations", cure="Expected one for each picture")
    for stem, image in images.items():
        labels = texts.pop(stem, root / "Annotations" / f"{stem}.xml")
        with problems.field(labels):
            encoded, size = picture(image)
            yield Field(image, labels, encoded, size, tuple(_objects(parse(labels), size)))
    for labels in texts.values():
        with problems.field(labels):
            raise RecordError("labels without a picture", "Put the picture beside the others or delete the labels")


class _NoDoctype(TreeBuilder):
    """A tree that refuses what could name entities or other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise RecordError(f"declares a document type {name!r}", "Take the DOCTYPE out: labels need none")


def parse(path: Path, most: int = MAX_TEXT_BYTES) -> Element:
    """Return the tree of an XML file, so many bytes long at most, that declares nothing and opens nothing."""
    text = read_bytes(path, most)
    parser = XMLParser(target=_NoDoctype())  # noqa: S314  # entities need a document type, which is refused
    try:
        parser.feed(text)
        tree: Element = parser.close()
    except (ParseError, ValueError, LookupError) as e:
        raise RecordError(f"is no XML: {e}", "Write the file again") from e
    return tree


def _objects(tree: Element, size: tuple[int, int]) -> list[Marked]:
    said = tree.find("size")
    if said is not None:
        told = (_number(said, "width", "size"), _number(said, "height", "size"))
        if told != size:
            raise RecordError(
                f"labels are for {told[0]:g}x{told[1]:g} pixels, the picture has {size[0]}x{size[1]}",
                "Find the picture they were drawn on", "size",
            )  # fmt: skip
    return [_object(node, f"object {i}") for i, node in enumerate(tree.iterfind("object"), 1)]


def _object(node: Element, record: str) -> Marked:
    box = node.find("bndbox")
    if box is None:
        raise RecordError("has no bndbox", "Draw its box or delete the object", record)
    x0, y0, x1, y1 = (_number(box, corner, record) for corner in _CORNERS)
    return Marked(record, (node.findtext("name") or "").strip(), (x0, y0, x1, y1))


def _number(node: Element, name: str, record: str) -> float:
    text = node.findtext(name)
    try:
        return float(text or "")
    except ValueError as e:
        raise RecordError(f"{name} is {text!r}, no number", "Write a number", record) from e
