"""What a classifier's model.json says, as one frozen value, by the laws of models.facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pbsbatch.models.facts import Reader
from pbsbatch.models.onnx_file import FLOAT, UINT8, Interface
from pbsbatch.models.taxonomy import KINDS

__all__ = [
    "ARCHITECTURES",
    "CLASSIFIER_HEAD",
    "CLASSIFIER_OUTPUTS",
    "ClassifierFacts",
    "classifier_from_json",
    "classifier_misfit",
    "classifier_to_json",
]

SMALL = "small"
ARCHITECTURES = (
    SMALL, "crp-2", "crp-3", "crp-4", "crp-2-fc", "crp-3-fc", "crp-4-fc", "microcell", "resnet50", "resnet101",
    "vgg16", "inception_v3", "xception", "inception_resnet_v2", "nasnetalarge",
)  # fmt: skip
"""What nets.architectures builds: the shipped network, stacks of small studies, bodies of torchvision, of timm."""
CLASSIFIER_HEAD = {"name": "cell-kinds", "version": 1}
CLASSIFIER_OUTPUTS = ("logits", "strangeness")
"""What a network returns: a logit for each kind, whose softmax is calibrated, and how unlike the taught cells it is."""


@dataclass(frozen=True, slots=True)
class ClassifierFacts:
    """All that is known of a classifier."""

    name: str
    version: str
    kinds: tuple[str, ...]  # what logits are of: taxonomy.KINDS
    crop_mpp: float  # um per pixel of a crop
    crop_px: int  # its side
    channels: tuple[int, int, int, int]  # at strides 2, 4, 8, 16
    blocks: tuple[int, int, int]  # at strides 4, 8, 16
    mean: tuple[float, float, float]  # of RGB bytes
    std: tuple[float, float, float]
    sure_from: float  # chance of a type from which on a cell is named by it; above 1, none is
    strange_from: float  # strangeness above which a cell is unlike all that was taught
    licence: str
    training_data: tuple[tuple[str, str], ...] = ()  # (name, licence)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    arch: str = SMALL  # channels and blocks are of this one alone


def classifier_to_json(facts: ClassifierFacts) -> dict[str, Any]:
    """Return the facts as model.json holds them: of the shipped network's kind, as readers that know no other want."""
    table = asdict(facts)
    if facts.arch == SMALL:
        del table["arch"]
    return {"kind": "classifier", "head": dict(CLASSIFIER_HEAD), **table}


def classifier_from_json(table: Mapping[str, Any], path: Path) -> ClassifierFacts:
    """Return the facts that a model.json holds. Law: what is missing, unknown or out of bounds is named."""
    read = Reader(table, path)
    read.head("classifier", CLASSIFIER_HEAD, ClassifierFacts)
    kinds = read.each("kinds", None, read.text)
    read.expect(kinds == KINDS, "kinds", f"must be {', '.join(KINDS)}")
    crop_px = read.whole("crop_px", read.get("crop_px"), 16, 1024)
    read.expect(crop_px % 16 == 0, "crop_px", "must be a multiple of 16")
    arch = read.text("arch", table.get("arch", SMALL))
    read.expect(arch in ARCHITECTURES, "arch", f"must be one of {', '.join(ARCHITECTURES)}")
    return ClassifierFacts(
        name=read.text("name", read.get("name")),
        version=read.text("version", read.get("version")),
        kinds=kinds,
        crop_mpp=read.number("crop_mpp", read.get("crop_mpp"), 0.05, 1.0),
        crop_px=crop_px,
        channels=read.each("channels", 4, lambda n, v: read.whole(n, v, 1, 1024)),
        blocks=read.each("blocks", 3, lambda n, v: read.whole(n, v, 0, 64)),
        mean=read.each("mean", 3, lambda n, v: read.number(n, v, 0.0, 255.0)),
        std=read.each("std", 3, lambda n, v: read.number(n, v, 1.0, 255.0)),
        sure_from=read.number("sure_from", read.get("sure_from"), 0.0, 1.01),
        strange_from=read.number("strange_from", read.get("strange_from"), 0.0, 1e6),
        licence=read.text("licence", read.get("licence")),
        training_data=read.each("training_data", None, read.pair),
        metrics=dict(read.mapping("metrics")),
        arch=arch,
    )


def classifier_misfit(ports: Interface, facts: ClassifierFacts) -> str | None:
    """Say what of a graph's ports does not fit, None where all does."""
    side = facts.crop_px
    given = [(p.name, p.element, len(p.shape), p.shape[1:]) for p in ports.inputs]
    if given != [("pixels", UINT8, 4, (side, side, 3))]:
        return f"its one input must be pixels, uint8 (batch, {side}, {side}, 3)"
    outputs = {p.name: p for p in ports.outputs}
    for name, rest in zip(CLASSIFIER_OUTPUTS, ((len(facts.kinds),), ()), strict=True):
        port = outputs.get(name)
        if port is None or port.element != FLOAT or len(port.shape) != 1 + len(rest) or port.shape[1:] != rest:
            found = "there is none" if port is None else f"it has the shape {port.shape}"
            return f"its output {name} must be float32 (batch{''.join(f', {n}' for n in rest)}); {found}"
    return None
