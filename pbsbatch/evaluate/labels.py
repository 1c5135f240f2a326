"""What is held against what: the cells of images, true ones or found ones, from a run or a COCO file.

Laws. Nothing is dropped silently: what a file holds and cannot be meant is named, or refused. Pixels and masks stay
where they are until somebody asks for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import UsageError
from pbsbatch.evaluate.shapes import Masks, masks_of_labels, masks_of_segmentations
from pbsbatch.results import Run, RunSlide, originals

__all__ = ["Labelled", "Labels", "labels_from_coco", "labels_from_run"]

MOST_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Labelled:
    """The cells of one image, true ones or found ones."""

    name: str
    boxes: NDArray[np.float64]  # (N, 4) x0, y0, x1, y1 in px; a point has no size
    classes: NDArray[np.int64]  # (N,) index into Labels.classes
    scores: NDArray[np.float64] | None = None  # of found ones
    size: tuple[int, int] | None = None  # width, height
    mpp: float | None = None  # um per px
    crowds: NDArray[np.float64] | None = None  # (K, 4) where cells were not told apart
    crowd_classes: NDArray[np.int64] | None = None  # (K,) of them
    masks: Masks | None = None
    picture: Path | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """Images with their cells."""

    classes: tuple[str, ...]
    images: tuple[Labelled, ...]
    notes: tuple[str, ...] = ()  # what was left out of them
    points: bool = False  # cells have a place and no size


def labels_from_run(run: Run, *, types: bool = False) -> Labels:
    """Return what a run found. Slides are read one by one.

    With types a cell's type is its class, where it has one; a class that no cell is left of is none of them then, for
    truth that names types need not know what they are types of.
    """
    names = dict.fromkeys(name for slide in run for name in slide.store.classes)
    if types:
        names |= dict.fromkeys(name for slide in run for name in slide.store.types)
    classes = tuple(names)
    pictures = _pictures(run)
    images = tuple(_of_slide(slide, classes, pictures.get(slide.id), types=types) for slide in run)
    return _with_cells(Labels(classes, images)) if types else Labels(classes, images)


def _with_cells(labels: Labels) -> Labels:
    """Return labels without the classes that no cell has."""
    used = np.zeros(len(labels.classes), np.bool_)
    for image in labels.images:
        used[image.classes] = True
    number = np.cumsum(used) - 1
    classes = tuple(name for name, there in zip(labels.classes, used.tolist(), strict=True) if there)
    return replace(labels, classes=classes, images=tuple(replace(i, classes=number[i.classes]) for i in labels.images))


def _pictures(run: Run) -> Mapping[str, Path]:
    try:
        return originals(run)
    except UsageError:
        return {}  # the figures need no pixels


def _of_slide(slide: RunSlide, classes: Sequence[str], picture: Path | None, *, types: bool) -> Labelled:
    store = slide.store
    rows = store.rows(0, store.info.cells)
    which = np.array([classes.index(name) for name in store.classes], np.int64)[rows["class"]]
    if types and store.types:
        called = np.array([classes.index(name) for name in store.types], np.int64)
        typed = np.flatnonzero(rows["type"] < len(called))
        which[typed] = called[rows["type"][typed]]
    boxes = np.stack([rows[n] for n in ("x0", "y0", "x1", "y1")], 1).astype(np.float64)
    about = store.attributes["store"]
    return Labelled(
        slide.name, boxes, which, rows["score"].astype(np.float64), size=(about["width_px"], about["height_px"]),
        mpp=slide.mpp, masks=masks_of_labels(store, rows["id"], boxes), picture=picture,
    )  # fmt: skip


def labels_from_coco(path: Path, *, scored: bool, images_of: Path | None = None) -> Labels:
    """Return the cells of a COCO data set, whose pictures are not needed; `scored` asks for a score of each.

    A bare list of results speaks of the images and categories of the data set `images_of`. Law: images and categories
    count in the order of their ids, as in pycocotools.
    """
    table = _json(path)
    if isinstance(table, list):
        if images_of is None:
            cure = "Hold it against its data set, as --format coco, or give images and categories with it"
            raise UsageError("it is no COCO data set but a bare list", path=path, cure=cure)
        whole = _json(images_of)
        table = {**(whole if isinstance(whole, dict) else {}), "annotations": table}
    if not isinstance(table, dict):
        raise UsageError("it is no COCO data set", path=path, cure="Give images, annotations and categories")
    try:
        order = sorted(table["categories"], key=lambda c: c["id"])
        place = {c["id"]: i for i, c in enumerate(order)}
        rows: dict[Any, list[Mapping[str, Any]]] = {image["id"]: [] for image in table["images"]}
        for a in table["annotations"]:
            rows[a["image_id"]].append(a)
        images = sorted(table["images"], key=lambda image: image["id"])
        return Labels(
            tuple(str(c["name"]) for c in order),
            tuple(_labelled(image, rows[image["id"]], place, path, scored=scored) for image in images),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else f"it is no COCO data set ({error})"
        raise UsageError(what, path=path, cure="Give a COCO data set: images, annotations, categories") from error


def _labelled(
    image: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], place: Mapping[Any, int], path: Path, *, scored: bool
) -> Labelled:
    name = str(image["file_name"])
    cells = [a for a in rows if not a.get("iscrowd", 0)]
    crowds = [a for a in rows if a.get("iscrowd", 0)]
    scores = np.array([float(a["score"]) for a in cells], np.float64) if scored else None
    boxes, crowd_boxes = (_corners([a["bbox"] for a in part], name) for part in (cells, crowds))
    if scores is not None and not np.isfinite(scores).all():
        raise ValueError(f"{name}: a score is not a number")
    kinds, crowd_kinds = (np.array([place[a["category_id"]] for a in part], np.int64) for part in (cells, crowds))
    size = (int(image["width"]), int(image["height"])) if "width" in image and "height" in image else None
    drawn = [a.get("segmentation") for a in cells]
    return Labelled(
        name, boxes, kinds, scores, size=size, mpp=_mpp(image), crowds=crowd_boxes, crowd_classes=crowd_kinds,
        masks=masks_of_segmentations(drawn, boxes, size), picture=_picture(path.parent, name),
    )  # fmt: skip


def _mpp(image: Mapping[str, Any]) -> float | None:
    mpp = image.get("mpp")
    return float(mpp) if isinstance(mpp, int | float) and 0 < mpp < 100 else None


def _picture(folder: Path, name: str) -> Path | None:
    """Return an image's file if it lies below the folder of its data set."""
    inside = Path(name)
    if inside.is_absolute() or ".." in inside.parts:
        return None
    return next((p for p in (folder / inside, folder / "images" / inside) if p.is_file()), None)


def _corners(boxes: Sequence[Sequence[float]], name: str) -> NDArray[np.float64]:
    out = np.array(boxes, np.float64).reshape(-1, 4)
    if not np.isfinite(out).all():
        raise ValueError(f"{name}: a box is not a number")
    if (out[:, 2:] < 0).any():
        raise ValueError(f"{name}: a box has a negative size")
    out[:, 2:] += out[:, :2]
    return out


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"it is larger than {MOST_BYTES >> 30} GB", path=path)
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read it ({error.strerror})", path=path) from error
    except ValueError as error:
        raise UsageError(f"not valid JSON: {error}", path=path) from error
