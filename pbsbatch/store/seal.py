"""The seal of a store: OUT/seals/<id>.sha256, the sha256 of each of its files in the form that sha256sum -c reads.

Law: whoever publishes a store seals it, and whoever keeps a published one looks whether its seal fits: a crash
between the two, or a store of an older version, is made good the next time. Equal keys give equal bytes, and one seal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pbsbatch.disk import file_sha256, make_folder, output_errors, write_atomic

__all__ = ["FOLDER", "files_below", "read_seal", "seal", "seal_path"]

FOLDER = "seals"
"""Not inside the store: a reader of Zarr would stumble over a file that is no array."""
ROOT = "zarr.json"
"""It holds the key and the counts: where it is the same, the store is."""


def seal_path(out: Path, slide_id: str) -> Path:
    """Return where the seal of a slide's store lies."""
    return out / FOLDER / f"{slide_id}.sha256"


def seal(out: Path, slide_id: str) -> None:
    """Write the seal of a published store unless one that fits is there. Paths in it are relative to OUT."""
    store, path = out / "slides" / f"{slide_id}.zarr", seal_path(out, slide_id)
    if not (store / ROOT).is_file() or read_seal(path).get(ROOT) == file_sha256(store / ROOT):
        return
    lines = [f"{file_sha256(f'{store}/{name}')}  slides/{store.name}/{name}\n" for name in files_below(store)]
    with output_errors(path):
        make_folder(path.parent)
        write_atomic(path, ["".join(lines).encode()])


def read_seal(path: Path) -> Mapping[str, str]:
    """Return each file's digest by its path in the store; nothing where there is no seal that can be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return {}
    parts = (line.partition("  ") for line in lines)
    return {name.split("/", 2)[-1]: digest for digest, _, name in parts}


def files_below(folder: Path) -> list[str]:
    """Return the paths of all files in a folder, relative and in order; links are files, never followed."""
    found: list[str] = []
    waiting = [""]
    for below in waiting:
        with os.scandir(f"{folder}/{below}") as entries:
            for entry in entries:
                into = waiting if entry.is_dir(follow_symlinks=False) else found
                into.append(f"{below}{entry.name}" + "/" * (into is waiting))
    return sorted(found)
