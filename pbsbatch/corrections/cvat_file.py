"""Read CVAT for images 1.1 from a file that may be damaged or hostile.

Laws. A document type, and with it every entity, is refused before anything of it is used; nothing is fetched. Memory
is bounded by the shapes, of which a few numbers are kept: their points are read again where they are wanted. Every
count, number and text has a bound. No text of the file becomes a path.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import UsageError, one_line
from pbsbatch.export.cvat import ATTRIBUTES, NO_TYPE, Mark, digest_of
from pbsbatch.ledger import Label

__all__ = ["AnnotatedImage", "AnnotationFile"]

MOST_BYTES = 8 << 30
MOST_SHAPES = 20_000_000
MOST_POINTS = 20_000
MOST_TEXT = 1000
MOST_LABELS = 1000
MOST_DEPTH = 32
MOST_TOKEN = 4 << 20
"""Bytes of one tag: 20,000 points and what stands beside them take less than 1 MB."""
PIECE = 1 << 18
FAR = 1.0
"""A shape may lie so far outside of its image, in the image's sides: what people drag over a border."""
SHAPES, OTHER_SHAPES = ("polygon", "box"), ("polyline", "points", "ellipse", "cuboid", "mask", "skeleton", "tag")
CURE = "Export it from CVAT as 'CVAT for images 1.1'"


@dataclass
class AnnotatedImage:
    """The shapes of one image, as columns."""

    name: str
    width: int
    height: int
    cells: array[int] = field(default_factory=lambda: array("q"))  # 0: it has no number
    labels: array[int] = field(default_factory=lambda: array("i"))  # in `AnnotationFile.labels`
    digests: array[int] = field(default_factory=lambda: array("Q"))  # of outlines
    marks: array[int] = field(default_factory=lambda: array("i"))  # what it was, in `labels`; -1: not known
    same: array[int] = field(default_factory=lambda: array("b"))  # 1: the outline is as it was written
    entries: int = 0  # of the ledger when the file was written, as far as marks tell
    other: int = 0  # shapes of kinds that are no outlines


@dataclass
class _Shape:
    """One shape while it is read."""

    label: str
    points: NDArray[np.float64]
    said: dict[str, str] = field(default_factory=dict)


class AnnotationFile:
    """A file of annotations. Raises UsageError where it is none, or one that cannot be meant."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images: list[AnnotatedImage] = []
        self.labels: list[Label] = []
        self._places: dict[Label, int] = {}
        self.shapes = 0
        digest, size = hashlib.sha256(), 0
        with self._opened() as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
                size += len(piece)
                if size > MOST_BYTES:
                    raise self.refused(f"larger than {MOST_BYTES >> 30} GB", "Export fewer slides at a time")
        self.sha256 = digest.hexdigest()
        self._read(self._note)

    def outlines(self, wanted: Mapping[int, set[int]]) -> dict[tuple[int, int], NDArray[np.float64]]:
        """Return the outlines of some shapes, by the places of image and shape: the file is read again."""
        found: dict[tuple[int, int], NDArray[np.float64]] = {}

        def take(image: int, shape: int, one: _Shape) -> None:
            if shape in wanted.get(image, ()):
                found[image, shape] = one.points

        self._read(take)
        return found

    def _note(self, image: int, shape: int, one: _Shape) -> None:
        """Keep a few numbers of a shape."""
        into = self.images[image]
        kind = one.said.get("type", "")
        mark = Mark.parsed(one.said.get("exported", ""))
        digest = digest_of(one.points)
        number = one.said.get("cell", "")
        into.cells.append(int(number) if number.isdecimal() and len(number) < 10 else 0)
        into.labels.append(self._place(Label(one.label, "" if kind == NO_TYPE else kind)))
        into.digests.append(int(digest, 16))
        into.marks.append(-1 if mark is None else self._place(mark.label))
        into.same.append(mark is None or mark.outline == digest)
        into.entries = max(into.entries, 0 if mark is None else mark.entries)
        self.shapes += 1
        if self.shapes > MOST_SHAPES:
            raise self.refused(f"more than {MOST_SHAPES:,} shapes", "Export fewer slides at a time")

    def _place(self, label: Label) -> int:
        if label not in self._places:
            if len(self.labels) >= MOST_LABELS:
                raise self.refused(f"more than {MOST_LABELS} labels")
            self._places[label] = len(self.labels)
            self.labels.append(label)
        return self._places[label]

    def _opened(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise UsageError(f"cannot be read ({error.strerror})", path=self.path, cure="Check the path") from error

    def refused(self, what: str, cure: str = CURE) -> UsageError:
        """Return the error that says what is wrong with the file."""
        return UsageError(f"not a file of annotations that is taken: {what}", path=self.path, cure=cure)

    def _read(self, on_shape: Callable[[int, int, _Shape], None]) -> None:
        reading = _Reading(self, on_shape)
        with self._opened() as file:
            try:
                self._parse(reading.parser, file)
            except expat.ExpatError as error:
                raise self.refused(f"its XML is damaged ({error})") from error
        if not reading.version:
            raise self.refused("it says no version")

    def _parse(self, parser: expat.XMLParserType, file: BinaryIO) -> None:
        fed = 0
        while piece := file.read(PIECE):
            parser.Parse(piece, False)
            fed += len(piece)
            if fed - parser.CurrentByteIndex > MOST_TOKEN:
                raise self.refused("a tag without an end")
        parser.Parse(b"", True)


class _Reading:
    """One pass over the file."""

    def __init__(self, owner: AnnotationFile, on_shape: Callable[[int, int, _Shape], None]) -> None:
        self.owner, self.on_shape = owner, on_shape
        self.again = bool(owner.images)
        self.above: list[str] = []
        self.image, self.shapes = -1, 0
        self.shape: _Shape | None = None
        self.attribute, self.text, self.version = "", "", ""
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _doctype(self, *_: object) -> None:
        raise self.owner.refused("it declares a document type, which annotations have no use for")

    def _start(self, name: str, said: dict[str, str]) -> None:
        self.above.append(name)
        self.text = ""
        if len(self.above) > MOST_DEPTH or (len(self.above) == 1 and name != "annotations"):
            raise self.owner.refused("its elements are not those of CVAT")
        if name == "track":
            raise self.owner.refused("it holds tracks, as of a video")
        if self.above[1:] == ["image"]:
            self._image(said)
        elif self.above[1:-1] == ["image"] and name in SHAPES:
            self.shape = _Shape(self._short(said.get("label", "").strip()), self._points(name, said))
        elif self.above[1:-1] == ["image"] and name in OTHER_SHAPES:
            self.owner.images[self.image].other += not self.again
        elif name == "attribute" and self.shape is not None:
            self.attribute = said.get("name", "")

    def _end(self, name: str) -> None:
        self.above.pop()
        if name == "version" and self.above == ["annotations"]:
            self.version = self.text.strip()
            if self.version != "1.1":
                raise self.owner.refused(f"its version is {one_line(self.version)[:20]!r}, not 1.1")
        elif name == "attribute" and self.shape is not None:
            if self.attribute in ATTRIBUTES:
                self.shape.said[self.attribute] = self._short(self.text.strip())
        elif self.shape is not None and self.above[1:] == ["image"]:
            if not self.shape.label:
                raise self.owner.refused("a shape has no label")
            self.on_shape(self.image, self.shapes, self.shape)
            self.shape, self.shapes = None, self.shapes + 1

    def _characters(self, text: str) -> None:
        if len(self.text) <= 2 * MOST_TEXT:  # what is longer is refused where it is wanted
            self.text += text

    def _short(self, text: str) -> str:
        if len(text) > MOST_TEXT or text != one_line(text):
            raise self.owner.refused("a text is too long, or holds control characters")
        return text

    def _image(self, said: dict[str, str]) -> None:
        self.image, self.shapes = self.image + 1, 0
        if self.again:
            if self.image >= len(self.owner.images):
                raise self.owner.refused("it changed while it was read", "Import it again")
            return
        sides = [int(v) if v.isdecimal() and len(v) < 8 else 0 for v in (said.get(n, "") for n in ("width", "height"))]
        name = said.get("name", "")
        if not name or min(sides) < 1 or len(name) > 4096:
            raise self.owner.refused("an image without a name or a size")
        self.owner.images.append(AnnotatedImage(name, sides[0], sides[1]))

    def _points(self, kind: str, said: dict[str, str]) -> NDArray[np.float64]:
        """Return the corners of a shape, each a pair of numbers that lie near the image."""
        image = self.owner.images[self.image]
        try:
            if kind == "box":
                x0, y0, x1, y1 = (float(said[side]) for side in ("xtl", "ytl", "xbr", "ybr"))
                points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
            else:
                text = said["points"]
                if text.count(";") >= MOST_POINTS:
                    raise self.owner.refused(f"a polygon of more than {MOST_POINTS:,} points")
                points = np.array([[float(v) for v in pair.split(",")] for pair in text.split(";")], np.float64)
        except (KeyError, ValueError) as error:
            raise self.owner.refused(f"the points of a {kind} are no numbers") from error
        sides = np.array([image.width, image.height])
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise self.owner.refused(f"a {kind} of {len(points)} points")
        if not ((points >= -FAR * sides) & (points <= (1 + FAR) * sides)).all():  # nor is NaN near it
            raise self.owner.refused(f"a {kind} lies beyond its image {one_line(image.name)[:80]!r}")
        return points
