"""The studies' augmentations: the same bytes whatever the batch, no switch heard by another, and each does its own."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pbsbatch.errors import UsageError
from pbsbatch.train.classifier.augment_study import ADAPTATION, ALL, SMALL, apply, vector_of
from pbsbatch.train.classifier.backgrounds import cell_mask, on_normal, on_stained
from pbsbatch.train.classifier.sheet import write_sheet
from tests.train.classifier.tiny import NUCLEUS, picture

Crops = NDArray[np.uint8]


@pytest.fixture(scope="module")
def crops() -> Crops:
    return np.stack([picture(kind, i) for i in range(3) for kind in NUCLEUS])


def test_there_are_eight_and_eleven() -> None:
    assert (len(SMALL), len(ADAPTATION)) == (8, 11) and len(set(ALL)) == 19
    assert vector_of(["small"]) == SMALL and vector_of(["blur", "adaptation"]) == ADAPTATION
    assert vector_of(["zoom-out", "shear"]) == ("shear", "zoom-out")  # their order is that of ALL
    with pytest.raises(UsageError, match=r"no augmentation is called 'sheer'.*There are small, adaptation, rotation"):
        vector_of(["sheer"])


@settings(max_examples=12, deadline=None)
@given(st.sets(st.sampled_from(ALL)), st.integers(0, 2**31), st.integers(1, 11))
def test_the_batch_does_not_matter(crops: Crops, vector: set[str], seed: int, cut: int) -> None:
    whole = apply(vector, crops, seed)
    parts = [apply(vector, crops[:cut], seed), apply(vector, crops[cut:], seed, cut)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert whole.shape == crops.shape and whole.dtype == np.uint8


def test_no_switch_hears_of_another(crops: Crops) -> None:
    one = apply(["flips"], crops, 3)
    both = apply(["flips", "brightness"], crops, 3)
    np.testing.assert_array_equal(both, apply(["brightness"], one, 3))


def test_nothing_on_changes_nothing_and_each_switch_something(crops: Crops) -> None:
    np.testing.assert_array_equal(apply([], crops, 1), crops)
    many = np.concatenate([crops] * 4)
    same = [name for name in ALL if np.array_equal(apply([name], many, 1), many)]
    assert same == ["rescale"]  # that one is the network's normalisation
    assert not np.array_equal(apply(ALL, crops, 1), apply(ALL, crops, 2))


def test_the_published_rates_hold(crops: Crops) -> None:
    many = np.repeat(crops[:1], 1200, 0)
    share = {
        name: (apply([name], many, 5) != many).any((1, 2, 3)).mean()
        for name in ("flips", "cooler", "warmer", "blur", "rotations")
    }
    wanted = {"flips": 2 / 3, "cooler": 1 / 6, "warmer": 1 / 6, "blur": 3 / 4, "rotations": 3 / 4}
    assert share == pytest.approx(wanted, abs=0.045)
    flipped = {c.tobytes() for c in apply(["flips"], many, 5)}
    assert flipped == {np.ascontiguousarray(c).tobytes() for c in (many[0], many[0][:, ::-1], many[0][::-1])}
    cool = apply(["cooler"], many, 5)[(apply(["cooler"], many, 5) != many).any((1, 2, 3))].astype(float)
    assert (cool[..., 0].mean() < many[..., 0].mean()) and (cool[..., 2].mean() > many[..., 2].mean())


def test_zooming_out_keeps_the_cell_between_half_and_whole(crops: Crops) -> None:
    nucleus = (crops[1] == NUCLEUS["lymphocyte"]).mean()
    assert nucleus < 0.2
    many = np.repeat(crops[1:2], 200, 0)
    dark = (many[..., 1] < 80).sum((1, 2)) / (crops[1][..., 1] < 80).sum()
    assert dark == pytest.approx(1)
    sizes = (apply(["zoom-out"], many, 9)[..., 1] < 80).sum((1, 2)) / (crops[1][..., 1] < 80).sum()
    assert 0.2 < sizes.min() < 0.4 and 0.85 < sizes.max() <= 1.02


def test_a_background_spares_the_cell(crops: Crops) -> None:
    for crop in crops:
        mask = cell_mask(crop)
        assert mask[24, 24] and 0.05 < mask.mean() < 0.8
        for put in (on_normal, on_stained):
            made = put(crop, np.random.default_rng(1))
            np.testing.assert_array_equal(made[mask], crop[mask])
            assert (made[~mask] != crop[~mask]).any(1).mean() > 0.5
    blank = np.full((40, 40, 3), 200, np.uint8)
    assert cell_mask(blank)[20, 20] and not cell_mask(blank)[0, 0]
    assert on_stained(blank, np.random.default_rng(1)).shape == blank.shape


def test_what_is_no_batch_of_crops_is_refused() -> None:
    with pytest.raises(ValueError, match=r"uint8 \(N, H, W, 3\)"):
        apply(["flips"], np.zeros((4, 4, 3), np.uint8), 1)


def test_a_sheet_has_a_row_for_each_and_one_for_all(crops: Crops, tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.png", ["flips", "blur"], crops[:3], 1)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None and sheet.shape[0] == 4 * 100
    write_sheet(tmp_path / "one.png", ["blur"], crops[:3], 1)
    assert cv2.imread(str(tmp_path / "one.png")).shape[0] == 2 * 100  # type: ignore[union-attr]
