"""Folders of classes: one folder for each, with pictures of one cell, as a classifier is taught by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pbsbatch.datasets.readers.fields import PICTURES
from pbsbatch.datasets.readers.problems import DataError

__all__ = ["CellPicture", "read_folders"]


@dataclass(frozen=True, slots=True)
class CellPicture:
    """One cell's picture and the name of its class."""

    path: Path
    kind: str


def read_folders(root: Path, rename: Mapping[str, str] | None = None) -> list[CellPicture]:
    """Return the pictures below a folder of class folders, sorted by class and name.

    `rename` maps a folder's name, or a folder and the beginning of a file's name ("neutrophil/BNE"), to another
    class; the longest that fits counts. Hidden folders and files that are no pictures are passed over.
    """
    if not root.is_dir():
        raise DataError("no such folder", path=root, cure="Give the folder that holds one folder for each class")
    found: list[CellPicture] = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
        if not files:
            raise DataError("a class folder without pictures", path=folder, cure="Fill it or take it away")
        found.extend(CellPicture(path, _kind(path, rename or {})) for path in files)
    if len({cell.kind for cell in found}) < 2:
        raise DataError("fewer than two classes", path=root, cure="Give the folder that holds one folder for each")
    return found


def _kind(path: Path, rename: Mapping[str, str]) -> str:
    name = f"{path.parent.name}/{path.name}"
    fits = [key for key in rename if name.startswith(key if "/" in key else f"{key}/")]
    return rename[max(fits, key=len)] if fits else path.parent.name
