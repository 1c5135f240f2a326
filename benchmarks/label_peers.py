"""The same work as other packages do it. Each returns what it made, so that the results can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from benchmarks.label_field import Field
from pbsbatch.store.render import CHUNK, shard_shape

__all__ = ["PROPERTIES", "coco_decode", "coco_encode", "cv2_contours", "cv2_fill", "numpy_paint", "numpy_store",
           "skimage_contours", "skimage_properties"]  # fmt: skip

PROPERTIES = ("area", "bbox", "centroid", "perimeter", "eccentricity", "solidity", "intensity_mean")


def numpy_paint(field: Field, order: NDArray[np.int64], out: NDArray[np.int32]) -> None:
    """Paint the cells one by one through a boolean index: the loop that most projects have."""
    drawn, windows = field.masks(), field.cells.windows.tolist()
    for i in order.tolist():
        x, y, w, h = windows[i]
        out[y : y + h, x : x + w][drawn[i]] = i + 1


def cv2_fill(contours: list[NDArray[np.int32]], order: NDArray[np.int64], out: NDArray[np.int32]) -> None:
    """Fill the cells' contours, which are at hand already. Not exact: a contour has lost holes and lesser pieces."""
    for i in order.tolist():
        cv2.fillPoly(out, [contours[i]], i + 1)


def numpy_store(field: Field, order: NDArray[np.int64], path: Path, levels: int) -> None:
    """Paint into one array and hand it to zarr, with the chunks, shards, codec and levels of a store."""
    picture = np.zeros((field.side, field.side), np.int32)
    numpy_paint(field, order, picture)
    for level in range(levels):
        shards = shard_shape(picture.shape[1], picture.shape[0])
        array = zarr.create_array(
            path / str(level), shape=picture.shape, chunks=(CHUNK, CHUNK), shards=shards, dtype="int32",
            compressors=ZstdCodec(level=1),
        )  # fmt: skip
        array[:] = picture
        picture = picture[::2, ::2]


def skimage_properties(labels: NDArray[np.int32], image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Measure with regionprops_table."""
    from skimage.measure import regionprops_table

    found: dict[str, NDArray[Any]] = regionprops_table(labels, image, properties=PROPERTIES)
    return found


def cv2_contours(field: Field, tolerance: float) -> list[NDArray[np.int32]]:
    """Trace the longest contour of each cell, and thin it. Through pixel centres: half a pixel is missing around."""
    out = []
    for mask, (x, y) in zip(field.masks(), field.cells.windows[:, :2].tolist(), strict=True):
        found, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x, y))
        out.append(cv2.approxPolyDP(max(found, key=len), tolerance, True)[:, 0])
    return out


def skimage_contours(field: Field, tolerance: float) -> list[NDArray[np.float64]]:
    """Trace with marching squares, and thin it."""
    from skimage.measure import approximate_polygon, find_contours

    out = []
    for mask, (x, y) in zip(field.masks(), field.cells.windows[:, :2].tolist(), strict=True):
        contour = max(find_contours(np.pad(mask, 1), 0.5), key=len)[:, ::-1]
        out.append(approximate_polygon(contour + np.array([x - 0.5, y - 0.5]), tolerance)[:-1])
    return out


def coco_encode(field: Field) -> list[dict[str, Any]]:
    """Encode each mask in an image of its own size: pycocotools takes all of an image's pixels, mask by mask."""
    from pycocotools import mask as coco

    columns = {id(shape): np.asfortranarray(shape.view(np.uint8)) for shape in field.shapes}
    return [coco.encode(columns[id(mask)]) for mask in field.masks()]


def coco_decode(texts: list[dict[str, Any]]) -> list[NDArray[np.uint8]]:
    """Decode each mask."""
    from pycocotools import mask as coco

    return [coco.decode(text) for text in texts]
