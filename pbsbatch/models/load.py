"""Find a model by name or path."""

from __future__ import annotations

from pathlib import Path

from pbsbatch.errors import ModelError
from pbsbatch.models.base import Model

__all__ = ["BUILT_IN", "load"]

BUILT_IN = ("classical",)
"""The models that come with the package, by name."""


def load(name_or_path: str) -> Model:
    """Return the model of that name. Law: an unknown name or path is a ModelError that lists what exists."""
    if name_or_path == "classical":
        from pbsbatch.models.classical import ClassicalModel

        return ClassicalModel()
    cure = f"Models that exist: {', '.join(sorted(BUILT_IN))}"
    if Path(name_or_path).exists():
        raise ModelError("this file or folder holds no model that can be read", path=name_or_path, cure=cure)
    raise ModelError(f"there is no model {name_or_path!r}", cure=cure)
