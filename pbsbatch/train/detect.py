"""Run a network over whole fields and keep every cell that it might mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pbsbatch.models.dense import decode
from pbsbatch.models.facts import DetectorFacts
from pbsbatch.nets.detector import DetectorNet
from pbsbatch.train.assign import decode_boxes, places
from pbsbatch.train.batches import normalised
from pbsbatch.train.fields import Loaded
from pbsbatch_kernels.nms import nms

__all__ = ["DOUBT", "LEAST_SCORE", "Cells", "detect", "detect_as_run", "inside", "padded"]

MARGIN_PX, MULTIPLE_PX = 16, 32
"""Around a field there is white, as around a slide."""
LEAST_SCORE = 0.01
"""Of what is kept: the end of a precision-recall curve."""
DOUBT = 1e-7
"""A float32 chance comes no nearer to 1."""


@dataclass(frozen=True, slots=True)
class Cells:
    """What was found in one field, cut at its border as labels are."""

    boxes: NDArray[np.float64]  # (N, 4) x0, y0, x1, y1 in the field's pixels
    classes: NDArray[np.int64]
    logits: NDArray[np.float64]  # how sure


def detect(net: DetectorNet, fields: Sequence[Loaded], *, precision: str, nms_iou: float) -> list[Cells]:
    """Return the cells that the network finds in fields at the working scale: fast, boxes alone."""
    outputs = _outputs(net, fields, precision)
    return [_cells(*out[:2], net.size.stride, field.size, nms_iou) for out, field in zip(outputs, fields, strict=True)]


def detect_as_run(net: DetectorNet, fields: Sequence[Loaded], facts: DetectorFacts) -> list[Cells]:
    """Return the cells that a model with these facts finds, decoded as runs decode them, in fp32."""
    found: list[Cells] = []
    for output, field in zip(_outputs(net, fields, "fp32"), fields, strict=True):
        scores, boxes, outlines = (t[0].cpu().numpy() for t in output)
        cells = decode(scores, boxes, outlines, facts)
        chance = np.clip(cells.scores.astype(np.float64), DOUBT, 1 - DOUBT)
        found.append(inside(cells.boxes, cells.classes, np.log(chance / (1 - chance)), field.size))
    return found


def padded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a field with white around it, its sides multiples of what the network needs."""
    height, width = pixels.shape[:2]
    tall, wide = (math.ceil((n + 2 * MARGIN_PX) / MULTIPLE_PX) * MULTIPLE_PX for n in (height, width))
    out = np.full((tall, wide, 3), 255, np.uint8)
    out[MARGIN_PX : MARGIN_PX + height, MARGIN_PX : MARGIN_PX + width] = pixels
    return out


@torch.inference_mode()
def _outputs(net: DetectorNet, fields: Sequence[Loaded], precision: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the network's output on each field, one by one: no two fields are of one size."""
    device = next(net.parameters()).device
    for field in fields:
        pixels = torch.from_numpy(padded(field.pixels))[None].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            scores, boxes, outlines = net(normalised(pixels))
        yield scores.float(), boxes.float(), outlines.float()


def _cells(scores: Tensor, raw: Tensor, stride: int, size: tuple[int, int], iou: float) -> Cells:
    """Decode one field's output."""
    logits = scores[0].flatten(1).T
    place, kind = (logits > math.log(LEAST_SCORE / (1 - LEAST_SCORE))).nonzero(as_tuple=True)
    rows, columns = scores.shape[2:]
    centres = places(rows, columns, stride, logits.device)[place]
    boxes = decode_boxes(raw[0].flatten(1).T[place], centres, stride).cpu().numpy()
    sure, kinds = logits[place, kind].cpu().numpy(), kind.cpu().numpy()
    kept = nms(boxes, sure, kinds, iou)
    return inside(boxes[kept], kinds[kept], sure[kept], size)


def inside(
    boxes: NDArray[np.float32], classes: NDArray[np.integer], logits: NDArray[np.floating], size: tuple[int, int]
) -> Cells:
    """Take cells from the padded field to the field, without those in the margin."""
    cut = np.clip(boxes.astype(np.float64) - MARGIN_PX, 0, np.array([*size, *size], np.float64))
    seen = (cut[:, 2:] > cut[:, :2]).all(1)
    return Cells(cut[seen], classes[seen].astype(np.int64), logits[seen].astype(np.float64))
