"""The one pass over an image counts what the planes of density and stain show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.classical_colour import add_colours, colour_planes


def slow(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    planes = colour_planes(pixels)
    code = planes["green"].astype(np.int64) * 256 + planes["stain"]
    joint = np.bincount(code.ravel(), minlength=65536).reshape(256, 256)
    return joint, np.stack([np.bincount(pixels[..., k].ravel(), minlength=256) for k in range(3)])


def test_it_counts_what_the_planes_show_and_goes_on_counting() -> None:
    rng = np.random.default_rng(3)
    images = [
        rng.integers(0, 256, (61, 47, 3), np.uint8),  # all densities, and stains beyond both ends
        rng.normal((210, 180, 200), 20, (40, 90, 3)).clip(0, 255).astype(np.uint8),
    ]
    joint, colours = np.zeros((256, 256), np.int64), np.zeros((3, 256), np.int64)
    for image in images:
        add_colours(image, joint, colours)
    expected = [slow(image) for image in images]
    assert np.array_equal(joint, sum(one[0] for one in expected))
    assert np.array_equal(colours, sum(one[1] for one in expected))
    assert joint[:, 0].sum() and joint[:, 255].sum()


def test_a_view_of_an_image_is_counted_as_its_copy() -> None:
    image = np.random.default_rng(4).integers(0, 256, (30, 30, 3), np.uint8)
    view = image[3:20, 5:29:2]
    found = np.zeros((256, 256), np.int64), np.zeros((3, 256), np.int64)
    add_colours(view, *found)
    assert np.array_equal(found[0], slow(view.copy())[0]) and np.array_equal(found[1], slow(view.copy())[1])
