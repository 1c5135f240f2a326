"""Which files a slide is made of: its digest, its copy and its size are theirs.

Law: the file that is opened comes first, the others follow by path; every file lies in or below the folder
that holds the slide, so that their places beside each other can be kept in a copy.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pbsbatch.slides import dicom

__all__ = ["slide_files", "vms_parts"]

TEXT = 1 << 20


def slide_files(path: Path) -> tuple[Path, ...]:
    """Return the files of a slide: of a folder all, of an MRXS its folder too, of VMS and DICOM those beside it."""
    if path.is_dir():
        return tuple(_below(path))
    suffix = path.suffix.lower()
    others: list[Path] = []
    if suffix == ".mrxs":
        others = _below(path.with_suffix(""))
    elif suffix in (".vms", ".vmu"):
        others = [path.with_name(name) for name in vms_parts(path) if path.with_name(name).is_file()]
    elif suffix == ".dcm":
        status = path.parent.stat()
        others = [f for f in _series(path.parent, status.st_mtime_ns, dicom.series_uid(path) or "") if f != path]
    return (path, *sorted(others))


def vms_parts(path: Path) -> set[str]:
    """Return the names of the files that a VMS lists, all beside it; one of them is the macro image."""
    try:
        with path.open("rb") as file:
            lines = file.read(TEXT).decode("utf-8", "replace").splitlines()
    except OSError:
        return set()
    values = (value.strip() for line in lines for _, _, value in [line.partition("=")])
    return {value for value in values if value and value not in (".", "..") and "/" not in value and "\0" not in value}


def _below(folder: Path) -> list[Path]:
    return sorted(Path(at, name) for at, _, names in os.walk(folder) for name in names if Path(at, name).is_file())


@lru_cache(maxsize=64)
def _series(folder: Path, changed: int, uid: str) -> tuple[Path, ...]:
    """Return the files of a DICOM series; a folder is read once until it changes."""
    return tuple(f for f in folder.iterdir() if uid and f.suffix.lower() == ".dcm" and _uid(f) == uid)


def _uid(path: Path) -> str | None:
    try:
        return dicom.series_uid(path)
    except OSError:
        return None
