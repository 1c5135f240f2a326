"""Make another project's network take what engines give: RGB bytes (1, side, side, 3), under the name `pixels`."""

from __future__ import annotations

import openvino as ov
from openvino import Layout, Type
from openvino.preprocess import PrePostProcessor

from pbsbatch.models.foreign_facts import ForeignFacts

__all__ = ["adapted"]


def adapted(model: ov.Model, facts: ForeignFacts) -> ov.Model:
    """Return the network with its normalisation in front of it."""
    model.reshape([1, 3, facts.input_px, facts.input_px])
    before = PrePostProcessor(model)
    port = before.input()
    port.tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    port.model().set_layout(Layout("NCHW"))
    steps = port.preprocess().convert_element_type(Type.f32)
    if facts.colours == "BGR":
        steps = steps.reverse_channels()
    steps.mean(list(facts.mean)).scale(list(facts.std))
    made = before.build()
    made.inputs[0].get_tensor().set_names({"pixels"})
    return made
