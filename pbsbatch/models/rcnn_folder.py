"""A two-stage detector's folder: model.json, weights.safetensors, and an ONNX graph for each network.

model.onnx turns pixels into maps of features and what the grids propose; box.onnx judges what is cut from the maps;
mask.onnx, where there is one, outlines it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pbsbatch.errors import ModelError
from pbsbatch.models.folder import BOX_ONNX, MASK_ONNX, ONNX, WEIGHTS, Folder, checked, written
from pbsbatch.models.onnx_file import FLOAT, UINT8, Interface
from pbsbatch.models.rcnn_facts import LEVELS, RcnnFacts, rcnn_from_json, rcnn_to_json

__all__ = [
    "BOX_BINS",
    "BOX_OUTPUTS",
    "DELTAS",
    "FEATURE_OUTPUTS",
    "LEVELS_CUT",
    "MAPS",
    "MASK_BINS",
    "MASK_OUTPUTS",
    "OBJECTNESS",
    "RcnnFolder",
    "copy_rcnn",
    "read_rcnn",
    "write_rcnn",
]

LEVELS_CUT = LEVELS - 1
"""Maps that boxes are cut from; the coarsest grid has none of its own."""
MAPS = tuple(f"map{i}" for i in range(LEVELS_CUT))
OBJECTNESS, DELTAS = (tuple(f"{name}{i}" for i in range(LEVELS)) for name in ("objectness", "deltas"))
FEATURE_OUTPUTS = (*MAPS, *OBJECTNESS, *DELTAS)
"""Of model.onnx: maps (batch, rows, columns, channels), channels last throughout."""
BOX_OUTPUTS, MASK_OUTPUTS = ("logits", "moves"), ("masks",)
BOX_BINS, MASK_BINS = 7, 14
"""A box is cut into so many bins along each side."""


@dataclass(frozen=True, slots=True)
class RcnnFolder(Folder):
    """A folder that was checked."""

    facts: RcnnFacts

    @property
    def outputs(self) -> tuple[str, ...]:
        return FEATURE_OUTPUTS

    @property
    def channels_last(self) -> bool:
        return True


def read_rcnn(path: Path) -> RcnnFolder:
    """Read and check a folder: every file, every digest, and the ports of every graph against model.json."""
    graphs = {ONNX: _features_misfit, BOX_ONNX: _box_misfit, MASK_ONNX: _mask_misfit}
    facts, digest, files = checked(path, rcnn_from_json, graphs, frozenset({MASK_ONNX}))
    if facts.masks != (MASK_ONNX in files):
        said = f"masks is {str(facts.masks).lower()}, but {MASK_ONNX} is {'not ' if facts.masks else ''}there"
        raise ModelError(said, path=path, cure="Export the model again")
    return RcnnFolder(path, digest, files, facts)


def write_rcnn(
    path: Path, facts: RcnnFacts, *, features: bytes, box: bytes, mask: bytes | None, weights: bytes
) -> RcnnFolder:
    """Write a folder: it is there whole and readable, or not at all. One that stands there is refused."""
    contents: Mapping[str, bytes] = {ONNX: features, BOX_ONNX: box, WEIGHTS: weights}
    return written(path, rcnn_to_json(facts), read_rcnn, {**contents, **({} if mask is None else {MASK_ONNX: mask})})


def copy_rcnn(folder: RcnnFolder, path: Path) -> RcnnFolder:
    """Write a copy of a folder, every file checked."""
    return written(path, rcnn_to_json(folder.facts), read_rcnn, {name: folder.read(name) for name in folder.files})


def _features_misfit(ports: Interface, facts: RcnnFacts) -> str | None:
    given = [(p.name, p.element, len(p.shape), p.shape[-1:]) for p in ports.inputs]
    if given != [("pixels", UINT8, 4, (3,))]:
        return "its one input must be pixels, uint8 (batch, height, width, 3)"
    last: dict[str, int | None] = dict.fromkeys(MAPS)
    for level, sizes in enumerate(facts.anchors):
        count = len(sizes) * len(facts.ratios)
        last |= {OBJECTNESS[level]: count, DELTAS[level]: 4 * count}
    return _outputs_misfit(ports, last)


def _box_misfit(ports: Interface, facts: RcnnFacts) -> str | None:
    count = len(facts.network_classes) + 1
    wanted = dict(zip(BOX_OUTPUTS, (count, 4 * count), strict=True))
    return _cut_misfit(ports, BOX_BINS) or _outputs_misfit(ports, wanted)


def _mask_misfit(ports: Interface, facts: RcnnFacts) -> str | None:
    if not facts.masks:
        return "model.json says that the model has no masks"
    return _cut_misfit(ports, MASK_BINS) or _outputs_misfit(ports, dict.fromkeys(MASK_OUTPUTS))


def _cut_misfit(ports: Interface, bins: int) -> str | None:
    given = [(p.name, p.element, p.shape[1:3]) for p in ports.inputs if len(p.shape) == 4]
    if given != [("cut", FLOAT, (bins, bins))]:
        return f"its one input must be cut, float32 (boxes, {bins}, {bins}, channels)"
    return None


def _outputs_misfit(ports: Interface, last: Mapping[str, int | None]) -> str | None:
    """Say which output is not there, or has another last side than it should."""
    outputs = {p.name: p for p in ports.outputs}
    for name, wanted in last.items():
        port = outputs.get(name)
        if port is None or port.element != FLOAT or not port.shape or (wanted and port.shape[-1] != wanted):
            found = "there is none" if port is None else f"it has the shape {port.shape}"
            return f"its output {name} must be float32 with a last side of {wanted or 'any length'}; {found}"
    return None
