"""YOLO: images/<split>/*.jpg and labels/<split>/*.txt, with classes.txt beside them.

A line is `class x y w h`, the centre and size as fractions of the picture. A picture without a label file is
an empty field, as the format has it; label files without a picture are a problem each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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

__all__ = ["read_yolo"]


def read_yolo(data: DataSet, problems: Problems) -> Iterator[Field]:
    """Yield the fields of one split, sorted by name."""
    names = _classes(data.root)
    images = pictures_in(data.root / "images" / data.split)
    folder = data.root / "labels" / data.split
    texts = {path.stem: path for path in sorted(folder.glob("*.txt"))} if folder.is_dir() else {}
    if not texts:
        raise DataError("no label files here", path=folder, cure="Expected one .txt for each picture")
    for stem, image in images.items():
        labels = texts.pop(stem, folder / f"{stem}.txt")
        with problems.field(labels):
            encoded, size = picture(image)
            marked = _lines(labels, names, size) if labels.exists() else []
            yield Field(image, labels, encoded, size, tuple(marked))
    for labels in texts.values():
        with problems.field(labels):
            raise RecordError("labels without a picture", f"Put the picture into images/{data.split} or delete them")


def _classes(root: Path) -> list[str]:
    """Return what the class numbers of label files mean."""
    path = root / "classes.txt"
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"cannot be read: {e}", path=path, cure="Write one class name per line") from e
    if not names:
        raise DataError("no class names", path=path, cure="Write one class name per line")
    return names


def _lines(path: Path, names: list[str], size: tuple[int, int]) -> list[Marked]:
    marked = []
    for i, line in enumerate(read_bytes(path, MAX_TEXT_BYTES).decode("utf-8", "replace").splitlines(), 1):
        if line.strip():
            marked.append(_line(line, f"line {i}", names, size))
    return marked


def _line(line: str, record: str, names: list[str], size: tuple[int, int]) -> Marked:
    words = line.split()
    try:
        kind = int(words[0])
        x, y, w, h = (float(word) for word in words[1:])
    except ValueError as e:
        raise RecordError(f"{line[:60]!r} is not `class x y w h`", "Write five numbers", record) from e
    if not 0 <= kind < len(names):
        raise RecordError(f"class {kind} is not among the {len(names)} of classes.txt", "Add its name there", record)
    if max(abs(x), abs(y), abs(w), abs(h)) > 2.0:
        raise RecordError(f"{line[:60]!r} is not in fractions of the picture", "Divide by its size", record)
    width, height = size
    box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
    return Marked(record, names[kind], box)
