"""A two-stage model's engines against torchvision's own network on the same tiles: boxes, scores, masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pbsbatch.engines.rcnn import Parts, RcnnEngine
from pbsbatch.engines.rcnn_openvino import OpenVINOParts
from pbsbatch.engines.rcnn_torch import network_of, torch_parts
from pbsbatch.models.base import Found
from pbsbatch.models.rcnn import RcnnModel
from pbsbatch.models.rcnn_folder import RcnnFolder
from pbsbatch.testing.engines import tiles
from tests.rcnn.tiny import folder_of

KINDS = ("boxes", "masks")
PARTS = {"openvino": lambda folder: OpenVINOParts(folder, threads=1), "torch": torch_parts}
SIDE = 192


def theirs(folder: RcnnFolder, pixels: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Return what torchvision's model.eval() gives."""
    images = [torch.from_numpy(tile).permute(2, 0, 1).float() / 255 for tile in pixels]
    with torch.inference_mode():
        return [{name: t.numpy() for name, t in one.items()} for one in network_of(folder)(images)]


def pairs(found: Found, wanted: dict[str, np.ndarray]) -> list[int]:
    """Return for each of our cells the one of theirs that lies nearest, of its class; each is taken once."""
    taken = np.zeros(len(wanted["scores"]))
    out = []
    for box, kind, score in zip(found.boxes, found.classes, found.scores, strict=True):
        far = np.abs(wanted["boxes"] - box).max(1) + np.abs(wanted["scores"] - score)
        out.append(int((far + 1e6 * (wanted["labels"] != kind + 1) + taken).argmin()))
        taken[out[-1]] = np.inf
    return out


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("kind", KINDS)
def test_tiles_give_what_torchvision_gives(name: str, kind: str) -> None:
    """Law: the same cells, boxes within 0.1 px, scores within 1e-3, masks' IoU above .99."""
    folder = folder_of(kind)
    pixels = tiles(2, (SIDE, SIDE), seed=3)
    engine, model = RcnnEngine(PARTS[name](folder), folder.facts), RcnnModel(folder)
    raw = engine(pixels)
    engine.close()
    for slot, wanted in enumerate(theirs(folder, pixels)):
        found = model.decode(raw, slot, {})
        assert len(found.scores) == len(wanted["scores"]) > 20
        assert set(found.classes.tolist()) == {0, 1, 2}, "every class must be there to be compared"
        assert (np.diff(found.scores) <= 0).all()
        for i, j in enumerate(pairs(found, wanted)):
            np.testing.assert_allclose(found.boxes[i], wanted["boxes"][j], atol=0.1)
            np.testing.assert_allclose(found.scores[i], wanted["scores"][j], atol=1e-3)
            if kind == "masks":
                _same_mask(found, i, wanted["masks"][j, 0] >= 0.5)


def _same_mask(found: Found, i: int, wanted: np.ndarray) -> None:
    mine = np.zeros((SIDE, SIDE), np.bool_)
    x, y, w, h = found.windows[i].tolist()
    mine[y : y + h, x : x + w] = found.masks[i]
    either = (mine | wanted).sum()
    assert not either or (mine & wanted).sum() / either > 0.99


def test_masks_are_compared_where_there_are_some() -> None:
    """The test above would pass on empty masks alone."""
    folder = folder_of("masks")
    (wanted,) = theirs(folder, tiles(1, (SIDE, SIDE), seed=3))
    filled = (wanted["masks"][:, 0] >= 0.5).sum((1, 2))
    assert (filled > 30).mean() > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_depends_on_its_own_tile_alone(kind: str) -> None:
    """Law 2: alone, in another order, from two lanes: the same bits."""
    folder = folder_of(kind)
    parts: Parts = OpenVINOParts(folder, threads=2)
    engine = RcnnEngine(parts, folder.facts)
    pixels = tiles(3, (128, 160), seed=8)
    whole = engine(pixels)
    turned = engine(pixels[::-1])
    for name, values in whole.items():
        np.testing.assert_array_equal(turned[name][::-1], values)
        np.testing.assert_array_equal(engine(pixels[1:2])[name][0], values[1])
    engine.close()


def test_maps_lie_as_boxes_are_cut_from_them() -> None:
    """Channels last, in one piece: anything else is copied for every part of the boxes, a tenth of a tile's time."""
    folder = folder_of("boxes")
    parts = OpenVINOParts(folder, threads=1)
    first = parts.first(tiles(1, (SIDE, SIDE), seed=3)[0])
    assert isinstance(first.maps, list)
    for values in (*first.maps, *first.objectness, *first.deltas):
        assert values.flags.c_contiguous and values.shape[0] == values.shape[1]
    parts.close()


def test_a_crowded_tile_is_said_once() -> None:
    from dataclasses import replace

    folder = folder_of("boxes")
    few = replace(folder.facts, detections=5)
    engine = RcnnEngine(OpenVINOParts(folder, threads=1), few)
    raw = engine(tiles(2, (SIDE, SIDE), seed=3))
    assert raw["count"].ravel().tolist() == [5, 5]
    assert len(engine.notes) == 1 and "more than the 5 cells" in engine.notes[0]
