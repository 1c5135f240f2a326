"""Pictures of a folder, looked at one by one by several threads, and what may come of a bad one.

Laws. What is written for a picture lies in the output folder, whatever the picture and its folder are called, and no
two share a name. A picture that cannot be used is named, counted and passed over. Results come in the pictures' order,
whichever thread is done first, and few of them are held at once.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pbsbatch.datasets.headers import MOST_PIXELS, claimed_pixels
from pbsbatch.datasets.readers.fields import PICTURES, read_bytes
from pbsbatch.datasets.readers.problems import DataError, Problem, RecordError
from pbsbatch.datasets.samples import decode

__all__ = ["Picture", "each", "file_name", "pictures_below", "pixels_of"]

T = TypeVar("T")

LONGEST_NAME = 96
AHEAD = 3
"""Pictures for each thread that are begun or done before the first of them is asked for."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture file, the class whose folder it lies in, and what its results are called."""

    path: Path
    kind: str  # empty: it lies in no class folder
    name: str  # below the output folder, without a suffix: kind/stem in plain characters

    @property
    def told(self) -> str:
        """Return how a person finds it."""
        return f"{self.path.parent.name}/{self.path.name}" if self.kind else self.path.name


def pictures_below(root: Path) -> list[Picture]:
    """Return the pictures of a folder and of the folders in it, one for each class, sorted.

    Law: names differ also where a file system does not tell capitals from small letters.
    """
    if not root.is_dir():
        raise DataError("no such folder", path=root, cure="Give the folder that holds the pictures")
    found: list[Picture] = []
    taken: set[str] = set()
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    for folder in (root, *folders):
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith(".")):
            kind = "" if folder == root else folder.name
            name = "/".join(file_name(part) for part in (kind, path.stem) if part)
            if name.lower() in taken:
                name += "-" + hashlib.sha256(path.relative_to(root).as_posix().encode(errors="replace")).hexdigest()[:8]
            taken.add(name.lower())
            found.append(Picture(path, kind, name))
    if not found:
        raise DataError(
            "no pictures here", path=root,
            cure=f"Expected files that end in {', '.join(PICTURES)}, or a folder of them for each class",
        )  # fmt: skip
    return found


def file_name(text: str) -> str:
    """Return a text as a file may be called: letters, digits, space, . _ - and + alone, and no dot in front."""
    plain = "".join(c if c.isalnum() or c in " ._-+" else "_" for c in text).strip(" ").lstrip(".-")
    return plain[:LONGEST_NAME].rstrip(" .") or "_"


def pixels_of(picture: Picture) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) RGB. Law: what is no regular file is not opened: a pipe would wait for ever."""
    if not picture.path.is_file():
        raise RecordError("is no file", "Take it out")
    encoded = read_bytes(picture.path)
    claimed = claimed_pixels(encoded) or 0
    if claimed > MOST_PIXELS:
        raise RecordError(f"says that it has {claimed / 1e6:,.0f} megapixels", "Cut it into fields")
    pixels = decode(encoded)
    if pixels is None:
        raise RecordError("is no picture or is damaged", "Copy it again or take it out")
    return pixels


def each(
    pictures: Sequence[Picture], work: Callable[[Picture], T], workers: int = 1
) -> Iterator[tuple[Picture, T | Problem]]:
    """Yield every picture with what work made of it, or with the problem that it is."""

    def tried(picture: Picture) -> T | Problem:
        try:
            return work(picture)
        except RecordError as error:
            return Problem(Path(picture.told), error.record, error.what, error.cure)

    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="picture") as pool:
        begun: deque[tuple[Picture, Future[T | Problem]]] = deque()
        try:
            for picture in pictures:
                begun.append((picture, pool.submit(tried, picture)))
                if len(begun) > AHEAD * max(1, workers):
                    first, future = begun.popleft()
                    yield first, future.result()
            while begun:
                first, future = begun.popleft()
                yield first, future.result()
        finally:
            for _, future in begun:
                future.cancel()
