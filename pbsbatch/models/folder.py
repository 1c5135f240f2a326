"""A model is a folder: model.json, model.onnx, weights.safetensors, and model.int8.onnx where there is one.

Laws. Every file stands in model.json with its sha256 and is read whole, at most once checked and never trusted: no
pickle, no path out of the folder, no tensor in another file, no size that was not bounded first. A folder that does
not fit is a ModelError that names the file and the cure. What write_folder writes, read_folder reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pbsbatch.disk import make_folder, output_errors, remove_tree, sync_files, unique, write_atomic
from pbsbatch.errors import ModelError
from pbsbatch.models.classifier_facts import (
    CLASSIFIER_OUTPUTS,
    ClassifierFacts,
    classifier_from_json,
    classifier_misfit,
    classifier_to_json,
)
from pbsbatch.models.facts import DetectorFacts, facts_from_json, facts_to_json
from pbsbatch.models.onnx_file import FLOAT, UINT8, Interface, OnnxError, interface

__all__ = [
    "BOX_ONNX",
    "INT8",
    "MASK_ONNX",
    "MODEL_JSON",
    "ONNX",
    "OUTPUTS",
    "RAYS",
    "WEIGHTS",
    "ClassifierFolder",
    "Folder",
    "ModelFolder",
    "bytes_of",
    "checked",
    "kind_of",
    "read_classifier",
    "read_folder",
    "table_of",
    "write_classifier",
    "write_folder",
    "written",
]

MODEL_JSON, ONNX, WEIGHTS, INT8 = "model.json", "model.onnx", "weights.safetensors", "model.int8.onnx"
BOX_ONNX, MASK_ONNX = "box.onnx", "mask.onnx"
"""The second stage's graphs of a two-stage detector."""
OUTPUTS = ("scores", "boxes", "outlines")
"""What a detector returns, in this order."""
RAYS = 32
"""Directions of an outline."""
FORMAT = 1
"""Of model.json; raised when an old reader would misread a new folder."""
MOST_BYTES = {MODEL_JSON: 1 << 20, **dict.fromkeys((ONNX, WEIGHTS, INT8, BOX_ONNX, MASK_ONNX), 1 << 28)}
AGAIN = "Copy the folder again from where it came"

F = TypeVar("F")
G = TypeVar("G", bound="Folder")
Misfit = Callable[[Interface, F], str | None]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that was checked. Picklable."""

    path: Path
    digest: str  # of all that model.json says, and so of every file
    files: Mapping[str, str]  # name -> sha256

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of what its network returns, in order."""
        raise NotImplementedError

    @property
    def channels_last(self) -> bool:
        """Say whether its network's graph gives (batch, rows, columns, channels) itself."""
        return False

    def read(self, name: str) -> bytes:
        """Return a file's bytes. Law: they are those that model.json names."""
        data = bytes_of(self.path, name)
        if hashlib.sha256(data).hexdigest() != self.files[name]:
            raise ModelError(
                "its bytes are not those that model.json names: it is damaged or was changed",
                path=self.path / name, cure=AGAIN,
            )  # fmt: skip
        return data


@dataclass(frozen=True, slots=True)
class ModelFolder(Folder):
    """A detector."""

    facts: DetectorFacts

    @property
    def outputs(self) -> tuple[str, ...]:
        return OUTPUTS


@dataclass(frozen=True, slots=True)
class ClassifierFolder(Folder):
    """A classifier of cells."""

    facts: ClassifierFacts

    @property
    def outputs(self) -> tuple[str, ...]:
        return CLASSIFIER_OUTPUTS


def kind_of(path: Path) -> str:
    """Return what a folder's model.json says that it is: "detector", "classifier" or what cannot be read here."""
    return str(table_of(path).get("kind"))


def read_folder(path: Path) -> ModelFolder:
    """Read and check a detector's folder: every file, every digest, and the ONNX ports against model.json."""
    if kind_of(path) == "classifier":
        _refuse(path / MODEL_JSON, "it is a classifier of cells, not a detector", "Give it with --classifier")
    facts, digest, files = checked(path, facts_from_json, {ONNX: _misfit, INT8: _misfit}, frozenset({INT8}))
    return ModelFolder(path, digest, files, facts)


def read_classifier(path: Path) -> ClassifierFolder:
    """Read and check a classifier's folder likewise."""
    if kind_of(path) == "detector":
        _refuse(path / MODEL_JSON, "it is a detector, not a classifier of cells", "Give it with --model")
    graphs = {ONNX: classifier_misfit, INT8: classifier_misfit}
    facts, digest, files = checked(path, classifier_from_json, graphs, frozenset({INT8}))
    return ClassifierFolder(path, digest, files, facts)


def checked(
    path: Path, facts_of: Callable[[Mapping[str, Any], Path], F], graphs: Mapping[str, Misfit[F]],
    optional: frozenset[str],
) -> tuple[F, str, dict[str, str]]:  # fmt: skip
    """Read and check a folder of any kind; return facts, digest, files. graphs says of each ONNX file what must fit."""
    table = table_of(path)
    files, said = table.pop("files", None), table.pop("digest", None)
    if table.pop("format", None) != FORMAT:
        _refuse(path / MODEL_JSON, f"its format is not {FORMAT}", "It was written for another version of pbsbatch")
    allowed = {WEIGHTS, *graphs}
    if not isinstance(files, dict) or not allowed - optional <= set(files) <= allowed:
        named = f"files must name {' and '.join(sorted(allowed - optional))}"
        _refuse(path / MODEL_JSON, f"{named}, may name {' and '.join(sorted(optional))}, and nothing else")
    facts = facts_of(table, path / MODEL_JSON)
    digest = _digest({**table, "files": files})
    if said != digest:
        _refuse(
            path / MODEL_JSON, "it was changed after it was written: its digest does not match",
            f"{AGAIN}; if the change is meant, set digest to {digest}",
        )  # fmt: skip
    folder = Folder(path, digest, files)
    folder.read(WEIGHTS)
    for name, misfit in graphs.items():
        if name in files:
            _check_onnx(path / name, folder.read(name), lambda ports, misfit=misfit: misfit(ports, facts))  # type: ignore[misc]
    return facts, digest, files


def write_folder(
    path: Path, facts: DetectorFacts, *, onnx: bytes, weights: bytes, int8: bytes | None = None
) -> ModelFolder:
    """Write a detector's folder: it is there whole and readable, or not at all. One that stands there is refused."""
    return written(path, facts_to_json(facts), read_folder, _contents(onnx, weights, int8))


def write_classifier(
    path: Path, facts: ClassifierFacts, *, onnx: bytes, weights: bytes, int8: bytes | None = None
) -> ClassifierFolder:
    """Write a classifier's folder likewise."""
    return written(path, classifier_to_json(facts), read_classifier, _contents(onnx, weights, int8))


def _contents(onnx: bytes, weights: bytes, int8: bytes | None) -> dict[str, bytes]:
    return {ONNX: onnx, WEIGHTS: weights} | ({} if int8 is None else {INT8: int8})


def written(path: Path, facts: Mapping[str, Any], read: Callable[[Path], G], contents: Mapping[str, bytes]) -> G:
    """Write a folder of any kind: whole, and as `read` accepts it, or not at all."""
    if path.exists():
        raise ModelError("something stands there already", path=path, cure="Choose another name, or remove it")
    files = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    try:
        table = json.loads(json.dumps(facts, allow_nan=False))  # tuples as lists, as they will be read
    except (ValueError, TypeError) as error:
        raise ModelError(f"its facts cannot be written as JSON: {error}", path=path) from error
    table["files"] = files
    told = {"format": FORMAT, **table, "digest": _digest(table)}
    work = path.with_name(unique(f".tmp-{path.name}"))
    try:
        with output_errors(path):
            make_folder(work)
            for name, data in {**contents, MODEL_JSON: json.dumps(told, indent=1).encode()}.items():
                write_atomic(work / name, [data])
            made = read(work)
            sync_files(work)
            work.rename(path)
    finally:
        remove_tree(work)
    return replace(made, path=path)


def table_of(path: Path) -> dict[str, Any]:
    """Return what model.json holds."""
    try:
        table = json.loads(bytes_of(path, MODEL_JSON), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"not valid JSON: {error}", path=path / MODEL_JSON, cure=AGAIN) from error
    if not isinstance(table, dict):
        _refuse(path / MODEL_JSON, "it must be a table")
    return table


def bytes_of(path: Path, name: str) -> bytes:
    """Read a file of the folder; not through a link that leads out of it, and not more than it may hold."""
    file, most = path / name, MOST_BYTES[name]
    try:
        if file.resolve().parent != path.resolve():
            _refuse(file, "it is a link that leads out of the model's folder", "Put the file itself there")
        with file.open("rb") as handle:
            data = handle.read(most + 1)
    except OSError as error:
        raise ModelError(f"cannot read it ({error.strerror})", path=file, cure=AGAIN) from error
    if len(data) > most:
        _refuse(file, f"it is larger than {most >> 20} MB")
    return data


def _check_onnx(file: Path, data: bytes, misfit: Callable[[Interface], str | None]) -> None:
    """Hold a graph's ports against model.json."""
    try:
        ports = interface(data)
    except OnnxError as error:
        raise ModelError(str(error), path=file, cure="Export the model again into one ONNX file") from error
    wrong = misfit(ports)
    if wrong is not None:
        _refuse(file, wrong, "Export the model again, or mend model.json")


def _misfit(ports: Interface, facts: DetectorFacts) -> str | None:
    """Say what of a detector's ports does not fit, None where all does."""
    given = [(p.name, p.element, len(p.shape), p.shape[-1:]) for p in ports.inputs]
    if given != [("pixels", UINT8, 4, (3,))]:
        return "its one input must be pixels, uint8 (batch, height, width, 3)"
    outputs = {p.name: p for p in ports.outputs}
    for name, channels in zip(OUTPUTS, (len(facts.classes), 4, RAYS), strict=True):
        port = outputs.get(name)
        if port is None or port.element != FLOAT or len(port.shape) != 4 or port.shape[1] != channels:
            found = "there is none" if port is None else f"it has the shape {port.shape}"
            return f"its output {name} must be float32 (batch, {channels}, rows, columns); {found}"
    return None


def _digest(table: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _refuse(path: Path, what: str, cure: str = AGAIN) -> NoReturn:
    raise ModelError(what, path=path, cure=cure)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
