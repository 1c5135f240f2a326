"""Candidates on disk: what the cells of a slide were chosen from, beside the results.

    OUT/.pbsbatch/candidates/<slide id>/<key>/strip-00012.npy

Laws. A strip's candidates are there before its cells are, so that a published slide has all of them; they are part of
the key, so that a slide published without them is done again. Read without pickle, within bounds, or refused.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.disk import make_folder, output_errors, remove_tree, write_atomic
from pbsbatch.errors import StoreError
from pbsbatch.models.candidates import CANDIDATE, OffersCandidates
from pbsbatch.run.output import MARKER
from pbsbatch.run.prepare import Prepared, Workbench

__all__ = ["CANDIDATES", "KeptCandidates", "keep_of", "read_candidates"]

CANDIDATES = "candidates"
"""Below MARKER."""
LIMITS = "limits.json"
KEY_CHARS = 16


@dataclass(frozen=True, slots=True)
class KeptCandidates:
    """Where the candidates of one slide go."""

    folder: Path
    limits: Mapping[str, float]  # by which the model chose

    def append(self, strip: int, candidates: NDArray[Any]) -> None:
        """Write a strip's candidates, wholly or not at all; the same strip gives the same bytes."""
        file = io.BytesIO()
        np.save(file, candidates, allow_pickle=False)
        with output_errors(self.folder):
            make_folder(self.folder)
            write_atomic(self.folder / LIMITS, [json.dumps(dict(self.limits)).encode()])
            write_atomic(self.folder / f"strip-{strip:05d}.npy", [file.getvalue()])


def keep_of(bench: Workbench, prepared: Prepared) -> KeptCandidates | None:
    """Return where a slide's candidates go, None where they are not kept; those of other keys are removed."""
    if not bench.config.keep_candidates:
        return None
    home = _home(bench.config.output, prepared.ref.id)
    mine = home / prepared.key[:KEY_CHARS]
    if home.is_dir():
        for other in home.iterdir():
            if other != mine:
                remove_tree(other)
    assert isinstance(bench.model, OffersCandidates)  # a run over any other model is refused before it starts
    nms_iou, cross_iou = bench.model.limits
    return KeptCandidates(mine, {"nms_iou": nms_iou, "cross_iou": cross_iou})


def read_candidates(
    out: Path, slide_id: str, key: str, attributes: Mapping[str, Any]
) -> tuple[NDArray[Any], Mapping[str, float]] | None:
    """Return a published slide's candidates in the order of its tiles, and the limits; None where it was made without.

    Raises StoreError where some are missing or damaged.
    """
    depends = attributes.get("depends_on") or {}
    if not (depends.get("config") or {}).get("keep_candidates"):
        return None
    folder, parts = _home(out, slide_id) / key[:KEY_CHARS], []
    cure = "Run again with --keep-candidates --fresh"
    for strip in range(int(attributes["plan"]["strips"])):
        path = folder / f"strip-{strip:05d}.npy"
        try:
            part = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(f"candidates are missing or damaged: {error}", path=path, cure=cure) from error
        if part.ndim != 1 or part.dtype != CANDIDATE:
            raise StoreError("these are no candidates", path=path, cure=cure)
        parts.append(part)
    try:
        told = json.loads((folder / LIMITS).read_bytes()) if parts else {"nms_iou": 1.0, "cross_iou": 1.0}
        limits = {name: float(told[name]) for name in ("nms_iou", "cross_iou")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError("the limits of candidates are missing or damaged", path=folder / LIMITS, cure=cure) from error
    return np.concatenate([np.zeros(0, CANDIDATE), *parts]), limits


def _home(out: Path, slide_id: str) -> Path:
    return out / MARKER / CANDIDATES / slide_id
