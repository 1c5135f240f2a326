"""Carry a model to machines that do not see its folder: its files as bytes, and back.

Law: what arrives is what was read; names are plain, so that nothing is written outside the new folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pbsbatch.disk import make_folder, write_atomic
from pbsbatch.errors import ModelError
from pbsbatch.models.load import built_in, classifiers

__all__ = ["packed", "unpack"]

MOST_BYTES = 1 << 29


def packed(name_or_path: str) -> dict[str, bytes] | None:
    """Return the files of a model's folder by name; None for a model that every installation has."""
    folder = Path(name_or_path)
    if name_or_path in (*built_in(), *classifiers()) or not (folder / "model.json").is_file():
        return None
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    if sum(p.stat().st_size for p in files) > MOST_BYTES:
        raise ModelError(f"the folder holds more than {MOST_BYTES >> 20} MB", path=folder, cure="Leave the model alone")
    return {p.name: p.read_bytes() for p in files}


def unpack(files: Mapping[str, bytes], below: Path, digest: str) -> Path:
    """Write a model's files into a folder of its own and return it."""
    folder = below / f"model-{digest[:16]}"
    make_folder(folder)
    for name, data in files.items():
        if Path(name).name != name or name in ("", ".", ".."):
            raise ModelError(f"a model's file cannot be called {name!r}")
        write_atomic(folder / name, [data])
    return folder
