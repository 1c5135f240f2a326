"""Find a model by name or path."""

from __future__ import annotations

from pathlib import Path

from pbsbatch.errors import ModelError
from pbsbatch.models.base import Model

__all__ = ["SHIPPED", "anywhere", "built_in", "load"]

SHIPPED = Path(__file__).with_name("shipped")
"""Where the model folders that come with the package stand, each under its name."""


def built_in() -> tuple[str, ...]:
    """Return the names of the models that come with the package."""
    folders = SHIPPED.iterdir() if SHIPPED.is_dir() else iter(())
    return ("classical", *sorted(p.name for p in folders if (p / "model.json").exists()))


def anywhere(name_or_path: str) -> str:
    """Return the name of a shipped model, or a path that means the same in every folder."""
    if name_or_path in built_in() or not Path(name_or_path).exists():
        return name_or_path
    return str(Path(name_or_path).absolute())


def load(name_or_path: str) -> Model:
    """Return the model of that name, or of that folder. Law: an unknown one is a ModelError that lists what exists."""
    if name_or_path == "classical":
        from pbsbatch.models.classical import ClassicalModel

        return ClassicalModel()
    path = SHIPPED / name_or_path if name_or_path in built_in() else Path(name_or_path)
    if (path / "model.json").exists():
        from pbsbatch.models.dense import DenseModel
        from pbsbatch.models.folder import read_folder

        return DenseModel(read_folder(path.resolve()))
    cure = f"Models that exist: {', '.join(built_in())}; or give a folder with a model.json"
    if path.exists():
        raise ModelError("this file or folder holds no model that can be read", path=name_or_path, cure=cure)
    raise ModelError(f"there is no model {name_or_path!r}", cure=cure)
