"""The resume key: what a slide's results depend on. Two equal keys mean equal results."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from pbsbatch.config import RESULT_FIELDS, Config
from pbsbatch.engines.base import Engine
from pbsbatch.engines.processor import place_of
from pbsbatch.models.base import ModelSpec
from pbsbatch.slides.files import slide_files

__all__ = ["RESULTS_VERSION", "content_digest", "resume_key"]

RESULTS_VERSION = 4
"""Raised when the code changes what it finds; committed results of an older version are redone."""
SAMPLE_BYTES = 1 << 16
SAMPLES = 16


def resume_key(*, content: str, mpp: float, mpp_source: str, spec: ModelSpec, engine: Engine, config: Config) -> str:
    """Return the hex digest that names a slide's results."""
    facts = {
        "content": content, "mpp": repr(mpp), "mpp_source": mpp_source, "model": spec.digest, "engine": engine.name,
        "precision": engine.precision, "processor": place_of(engine), "results_version": RESULTS_VERSION,
        "config": {name: getattr(config, name) for name in RESULT_FIELDS},
    }  # fmt: skip
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


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
