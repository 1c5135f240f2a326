"""Level an int8 network: where cells are, its boxes are on average those of the network it was made from.

Law: one number is added for each channel of the boxes, measured on the tiles that int8 was calibrated on; nothing that
is computed grows. Post-training quantisation corrects each layer's mean over all places, most of which are background;
where cells are, the shipped network said boxes too large by .4 and .9 percent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from pbsbatch.engines.openvino import the_core
from pbsbatch.nets.export import checked_model

__all__ = ["ENOUGH", "levelled", "said", "shifted"]

F32 = NDArray[np.float32]
LEVELLED = "boxes"
ENOUGH = 1000
"""Places that speak of cells; fewer tell nothing of the next field, and the network stays as it is."""


def levelled(int8: bytes, whole: bytes, tiles: Sequence[NDArray[np.uint8]]) -> bytes:
    """Return the int8 network of a detector with its boxes levelled to those of the float network."""
    apart: list[F32] = []
    for (scores, boxes), (_, rounded) in zip(said(whole, tiles), said(int8, tiles), strict=True):
        cells = scores.max(0) > 0  # logits: the network takes it for a cell
        apart.append((boxes - rounded)[:, cells])
    known = np.concatenate(apart, axis=1)
    return shifted(int8, LEVELLED, known.mean(1)) if known.shape[1] >= ENOUGH else int8


def said(network: bytes, tiles: Sequence[NDArray[np.uint8]]) -> Iterator[tuple[F32, F32]]:
    """Yield what a network says of each tile: scores and boxes."""
    core = the_core()
    compiled = core.compile_model(core.read_model(network), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for tile in tiles:
        out = compiled(np.ascontiguousarray(tile)[None])
        yield np.array(out["scores"][0]), np.array(out[LEVELLED][0])


def shifted(network: bytes, output: str, shift: F32) -> bytes:
    """Return the network with a shift added to what its last convolution adds to an output, channel by channel."""
    model = onnx.load_from_string(network)
    (last,) = (node for node in model.graph.node if output in node.output)
    (bias,) = (each for each in model.graph.initializer if each.name == last.input[2])
    values = (numpy_helper.to_array(bias) + shift).astype(np.float32)
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    return checked_model(model)
