"""Colours that stand beside each other are told apart by colour-blind people, and the viewer's are the report's."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from pbsbatch.colours import CLASS_COLOURS, OUTLINES, TYPE_COLOURS, ZONE_COLOURS, colours_of

SEEN = {
    "by most": np.eye(3),
    "without red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "without green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "without blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""What is left of linear RGB (Machado, Oliveira and Fernandes, 2009, severity 1)."""
APART = 12.0
"""In CIE L*a*b*; 2.3 is just noticed side by side."""


def linear(colour: str) -> NDArray[np.float64]:
    plain = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(plain <= 0.04045, plain / 12.92, ((plain + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


SETS = {
    "red cells and types": TYPE_COLOURS | {"RBC": CLASS_COLOURS["RBC"]},
    "classes": CLASS_COLOURS,
    "parts of a smear": ZONE_COLOURS,
    "outlines": {str(i): "#%02x%02x%02x" % colour for i, colour in enumerate(OUTLINES[:3])},  # noqa: UP031
}


@pytest.mark.parametrize("which", SETS)
@pytest.mark.parametrize("eyes", SEEN)
def test_no_two_look_alike(which: str, eyes: str) -> None:
    seen = {name: lab(np.array(SEEN[eyes]) @ linear(colour)) for name, colour in SETS[which].items()}
    near = {pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in itertools.combinations(seen, 2)}
    pair = min(near, key=lambda p: near[p])
    assert near[pair] >= APART, (pair, near[pair])


def test_names_without_a_colour_get_one_each() -> None:
    known: Mapping[str, str] = {"a": "#111111"}
    assert colours_of(["x", "a", "y"], known)[1] == "#111111"
    assert len(set(colours_of(["x", "a", "y"], known))) == 3
