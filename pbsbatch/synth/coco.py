"""A COCO file written annotation by annotation. Law: it appears under its name when complete; only images are held."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["CocoWriter"]


class CocoWriter:
    """A data set being written, to be used as a context."""

    def __init__(self, path: Path, description: str, categories: Sequence[Mapping[str, Any]]) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._file = self._part.open("w", encoding="utf-8")
        self.images: list[Mapping[str, Any]] = []
        self.count = 0
        head = {"info": {"description": description}, "categories": list(categories)}
        self._file.write(json.dumps(head)[:-1] + ', "annotations": [')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self._file.write('\n], "images": ' + json.dumps(self.images) + "}\n")
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink()

    def annotate(self, annotation: Mapping[str, Any]) -> None:
        """Write one annotation; it gets the next id."""
        self.count += 1
        comma = ",\n" if self.count > 1 else "\n"
        self._file.write(comma + json.dumps({"id": self.count, **annotation}))
