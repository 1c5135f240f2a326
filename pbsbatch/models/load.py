"""Find a model by name or path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pbsbatch.errors import ModelError
from pbsbatch.models.base import Model

if TYPE_CHECKING:
    from pbsbatch.models.classifier import CellClassifier

__all__ = ["SHIPPED", "anywhere", "built_in", "classifiers", "export_folder", "find", "load", "load_classifier"]

SHIPPED = Path(__file__).with_name("shipped")
"""Where the model folders that come with the package stand, each under its name."""


def built_in() -> tuple[str, ...]:
    """Return the names of the detectors that come with the package."""
    return ("classical", *_shipped("detector"))


def classifiers() -> tuple[str, ...]:
    """Return the names of the classifiers of cells that come with the package."""
    return _shipped("classifier")


def _shipped(kind: str) -> tuple[str, ...]:
    from pbsbatch.models.folder import kind_of

    folders = sorted(SHIPPED.iterdir()) if SHIPPED.is_dir() else []
    return tuple(p.name for p in folders if (p / "model.json").exists() and kind_of(p) == kind)


def anywhere(name_or_path: str) -> str:
    """Return the name of a shipped model, or a path that means the same in every folder."""
    if name_or_path in (*built_in(), *classifiers()) or not Path(name_or_path).exists():
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
        from pbsbatch.models.folder import kind_of, read_folder
        from pbsbatch.models.foreign import ForeignModel, read_foreign
        from pbsbatch.models.foreign_facts import FOREIGN
        from pbsbatch.models.rcnn import RcnnModel
        from pbsbatch.models.rcnn_facts import RCNN
        from pbsbatch.models.rcnn_folder import read_rcnn

        kind = kind_of(path)
        if kind == FOREIGN:
            return ForeignModel(read_foreign(path.resolve()))
        if kind == RCNN:
            return RcnnModel(read_rcnn(path.resolve()))
        return DenseModel(read_folder(path.resolve()))
    cure = f"Models that exist: {', '.join(built_in())}; or give a folder with a model.json"
    if path.exists():
        said = "this file or folder holds no model that can be read: there is no model.json in it"
        raise ModelError(said, path=name_or_path, cure=cure)
    raise ModelError(f"there is no model {name_or_path!r}", cure=cure)


def load_classifier(name_or_path: str) -> CellClassifier:
    """Return the classifier of that name, or of that folder, by the same law."""
    from pbsbatch.models.classifier import CellClassifier
    from pbsbatch.models.folder import read_classifier

    path = SHIPPED / name_or_path if name_or_path in classifiers() else Path(name_or_path)
    if (path / "model.json").exists():
        return CellClassifier(read_classifier(path.resolve()))
    cure = f"Classifiers that exist: {', '.join(classifiers()) or 'none'}; or give a folder with a model.json"
    raise ModelError(f"there is no classifier {name_or_path!r}", cure=cure)


def find(name_or_path: str) -> Model | CellClassifier:
    """Return the detector or the classifier of that name, or of that folder."""
    from pbsbatch.models.folder import kind_of

    folder = Path(name_or_path)
    if name_or_path in classifiers() or (
        name_or_path not in built_in() and (folder / "model.json").exists() and kind_of(folder) == "classifier"
    ):
        return load_classifier(name_or_path)
    return load(name_or_path)


def export_folder(name_or_path: str, output: Path) -> tuple[str, ...]:
    """Write a copy of a model's folder, every file checked; return the names of its files."""
    from pbsbatch.models.classifier import CellClassifier
    from pbsbatch.models.dense import DenseModel
    from pbsbatch.models.folder import INT8, MODEL_JSON, ONNX, WEIGHTS, write_classifier, write_folder
    from pbsbatch.models.rcnn import RcnnModel
    from pbsbatch.models.rcnn_folder import copy_rcnn

    model = find(name_or_path)
    if isinstance(model, RcnnModel):
        return (MODEL_JSON, *sorted(copy_rcnn(model.folder, output).files))
    if not isinstance(model, CellClassifier | DenseModel):
        raise ModelError(f"the model {name_or_path!r} has no network that could be exported")
    folder = model.folder
    files = {"onnx": folder.read(ONNX), "weights": folder.read(WEIGHTS)}
    int8 = folder.read(INT8) if INT8 in folder.files else None
    if isinstance(model, CellClassifier):
        write_classifier(output, model.folder.facts, **files, int8=int8)
    else:
        write_folder(output, model.folder.facts, **files, int8=int8)
    return (MODEL_JSON, *sorted(folder.files))
