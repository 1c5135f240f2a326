"""Weak masks from blobs: where three kinds of blob detector agree that something round lies, weighted by its size.

The picture is blurred, its edges (Sobel) are added to its darkness, and blobs are sought at several sizes by the
Laplacian of Gaussians, their difference, and the determinant of the Hessian. Each blob adds its disc to its kind's
layer of confidence; the layers' mean is cut at a threshold and eroded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from pbsbatch.datasets.crop.stained import Rule, disc
from pbsbatch.datasets.weak.steps import Image, Plane, Steps, chosen, enlarged, filled, nothing, reduced

__all__ = ["Blobs", "confidence", "responses"]

NEXT = 1.3
"""Ratio of the two Gaussians whose difference is taken."""


@dataclass(frozen=True, slots=True)
class Blobs:
    """The method's settings, chosen on drawn cells; lengths are shares of a white cell's diameter."""

    rule: Rule
    across: int = 24  # pixels of the grid across a cell, at least
    blur: float = 0.03
    edges: float = 1.0  # weight of the edges beside the darkness
    sizes: tuple[float, ...] = (0.12, 0.18, 0.26, 0.34, 0.44)  # standard deviations of the Gaussians
    faint: float = 0.2  # blobs below this share of the strongest are none
    by_size: float = 2.0  # a blob counts by its size to this power
    threshold: float = 0.1  # of the highest confidence
    erode: float = 0.05

    def __call__(self, image: Image) -> Steps:
        """Return what came of a picture."""
        view = reduced(image, self.rule, self.across)
        if view is None:
            return nothing(image)
        cell = view.cell
        dark, edges = self._planes(view.pixels, cell)
        sigmas = [max(0.8, size * cell) for size in self.sizes]
        found = responses(np.asarray(dark + self.edges * edges, np.float32), sigmas)
        layers = [(kind, confidence(stack, sigmas, self.faint, self.by_size)) for kind, stack in found.items()]
        mean = np.stack([layer for _, layer in layers]).mean(0, dtype=np.float32)
        sure = np.asarray(cv2.GaussianBlur(mean, (0, 0), max(0.3, 0.05 * cell)), np.float32)
        cut = ((sure >= self.threshold * sure.max()) & (sure > 0)).astype(np.uint8)
        mask = filled(np.asarray(cv2.erode(cut, disc(self.erode * cell)), np.uint8), cell)
        pieces = np.asarray(cv2.connectedComponents(mask, connectivity=4)[1], np.int32)
        labels = chosen(pieces, view, self.rule)
        stages = (
            ("confidence", sure), ("eroded", mask), ("mask", labels),
        )  # fmt: skip
        first = ("picture", view.pixels), ("darkness", dark), ("edges", edges)
        return Steps(enlarged(labels, view.size), (*first, *layers, *stages))

    def _planes(self, pixels: Image, cell: float) -> tuple[Plane, Plane]:
        """Return darkness and edges, each from 0 to 1."""
        dark = 1 - pixels[..., 1].astype(np.float32) / 255
        soft = _full(np.asarray(cv2.GaussianBlur(dark, (0, 0), max(0.3, self.blur * cell)), np.float32))
        right, down = (cv2.Sobel(soft, cv2.CV_32F, *d, ksize=3) for d in ((1, 0), (0, 1)))
        return soft, _full(np.asarray(np.hypot(right, down), np.float32))


def _full(plane: Plane) -> Plane:
    """Return a plane from its glass, which most of a picture is at least as dark as, at 0 to its highest at 1."""
    low = float(np.percentile(plane, 5))
    return np.asarray(np.clip((plane - low) / max(1e-6, float(plane.max()) - low), 0, 1), np.float32)


def responses(plane: Plane, sigmas: list[float]) -> dict[str, list[Plane]]:
    """Return how much each pixel is the middle of a bright blob of each size, by three detectors, of any scale."""
    soft = [cv2.GaussianBlur(plane, (0, 0), s) for s in sigmas]
    softer = [cv2.GaussianBlur(plane, (0, 0), NEXT * s) for s in sigmas]
    found: dict[str, list[Plane]] = {"LoG": [], "DoG": [], "DoH": []}
    for sigma, one, other in zip(sigmas, soft, softer, strict=True):
        xx, yy, xy = (cv2.Sobel(one, cv2.CV_32F, *d, ksize=3) / 4 for d in ((2, 0), (0, 2), (1, 1)))
        kinds = (
            -(sigma**2) * cv2.Laplacian(one, cv2.CV_32F, ksize=1), one - other,
            np.where(xx + yy < 0, sigma**4 * (xx * yy - xy * xy), 0),
        )  # fmt: skip
        for stack, response in zip(found.values(), kinds, strict=True):
            stack.append(np.maximum(response, 0).astype(np.float32))
    return found


def confidence(stack: list[Plane], sigmas: list[float], faint: float, by_size: float) -> Plane:
    """Return the layer of one detector, at most 1: the discs of its blobs, by strength and size."""
    top = max(float(response.max()) for response in stack)
    layer = np.zeros(stack[0].shape, np.float32)
    if top <= 0:
        return layer
    around = [cv2.dilate(response, np.ones((3, 3), np.uint8)) for response in stack]
    for i, response in enumerate(stack):
        peak = (response >= around[i]) & (response >= faint * top)
        peak &= response > around[i - 1] if i else True
        peak &= response >= around[i + 1] if i + 1 < len(stack) else True
        round_ = np.zeros(layer.shape, np.uint8)
        for y, x in np.argwhere(peak).tolist():
            round_[:] = 0
            cv2.circle(round_, (x, y), max(1, round(math.sqrt(2) * sigmas[i])), 1, -1)
            layer += round_ * np.float32(response[y, x] / top * (sigmas[i] / max(sigmas)) ** by_size)
    return layer / max(1e-6, float(layer.max()))
