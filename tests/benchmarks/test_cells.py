"""The benchmarks of cropping and of weak masks, small: they run, and their rows say what they are read for."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("skimage")

from benchmarks import crop, eleven_layers, weak_masks
from pbsbatch.train.classifier.gradcam import layers_of


def test_cropping_is_measured_beside_the_plain_way() -> None:
    drawn = crop.sets(1)[0]
    rows = crop.measure(drawn)
    assert [r["part"] for r in rows] == ["find", "files"] and all(r["n"] == 1 for r in rows)
    assert rows[0]["cells"] == rows[0]["cells_plain"] == rows[0]["same"] >= 2
    assert rows[0]["iou_median"] > 0.7
    assert list(rows[0]) == list(rows[1])


def test_weak_masks_are_scored_and_drawn(tmp_path: Path) -> None:
    drawn = list(weak_masks.cells(weak_masks.SEEDS[:1]))[:3]
    rows = weak_masks.measure(drawn, tmp_path / "steps.png")
    by_method = {r["method"]: r for r in reversed(rows)}
    assert set(by_method) == {"otsu", "watershed", "blobs", "gradcam"} and all(r["cells"] == 3 for r in rows)
    assert by_method["watershed"]["iou_mean"] > by_method["otsu"]["iou_mean"]
    assert len(list(tmp_path.glob("steps-*.png"))) == len(rows)


def test_the_studys_network_is_taught_and_has_its_layers() -> None:
    looker, right = eleven_layers.taught(3, range(3000, 3001), range(3016, 3017))
    assert 0 <= right <= 1
    assert layers_of(looker, "3, 4, 7") == ("stacks.2", "stacks.3", "stacks.6")
