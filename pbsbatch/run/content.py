"""What a slide holds, as its resume key sees it: a digest of samples, and a hint by which they need not be read again.

Law: the digest decides, and copying or touching a slide does not change it. The hint (size, time and inode of each
file) only spares the reading, and only where the files had come to rest when they were read.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from pbsbatch.run.slide_digest import hint_of
from pbsbatch.slides.files import slide_files

__all__ = ["Content", "content_digest", "content_of"]

SAMPLE_BYTES = 1 << 16
SAMPLES = 16
REST_SECONDS = 3.0
"""Two writings so close may carry the same time: FAT counts in twos, some network file systems in seconds."""


@dataclass(frozen=True, slots=True)
class Content:
    """The digest of a slide's content, and what its files looked like then; an empty hint is none."""

    digest: str
    hint: str


def content_of(path: Path, known: Content | None = None) -> Content:
    """Return what a slide holds; it is not read where its files look as they did when it was known. Raises OSError."""
    files = slide_files(path)
    before = hint_of(files)
    if known is not None and known.hint == before:
        return known
    youngest = max((file.stat().st_mtime for file in files), default=0.0)
    digest = content_digest(path)
    rests = time.time() - youngest > REST_SECONDS and hint_of(slide_files(path)) == before
    return Content(digest, before if rests else "")


def content_digest(path: Path) -> str:
    """Digest a slide's size, head, tail and evenly sampled blocks; of several files each with its name.

    Modification time plays no part: copying changes it.
    """
    digest = hashlib.sha256()
    for file in slide_files(path):
        name = "" if file == path else os.fspath(file.relative_to(path.parent))
        size = file.stat().st_size
        digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
        with file.open("rb") as handle:
            for offset in _offsets(size):
                handle.seek(offset)
                digest.update(handle.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _offsets(size: int) -> list[int]:
    """Return where to sample: head, tail and evenly between; everything if the file is small."""
    if size <= SAMPLES * SAMPLE_BYTES:
        return list(range(0, size, SAMPLE_BYTES))
    return [(size - SAMPLE_BYTES) * i // (SAMPLES - 1) for i in range(SAMPLES)]
