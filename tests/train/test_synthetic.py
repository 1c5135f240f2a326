import numpy as np
import pytest

from pbsbatch.datasets.outlines import fill
from pbsbatch.datasets.samples import CLASSES, RED, Sample
from pbsbatch.train.synthetic import SynthRanges, synthetic_sample, synthetic_samples


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return list(synthetic_samples(6, 5, (320, 256), 40.0))


def test_a_sample_is_what_it_is_whatever_count_is_asked_for(samples: list[Sample]) -> None:
    again = synthetic_sample(3, 5, (320, 256), 40.0)
    assert again.encoded == samples[3].encoded and again.name == samples[3].name
    np.testing.assert_array_equal(again.boxes, samples[3].boxes)
    np.testing.assert_array_equal(again.outlines, samples[3].outlines)
    assert len({s.encoded for s in samples}) == len({s.name for s in samples}) == len(samples)
    assert synthetic_sample(3, 6, (320, 256), 40.0).encoded != again.encoded


def test_fields_hold_all_classes_within_their_bounds(samples: list[Sample]) -> None:
    assert {int(c) for s in samples for c in s.classes} == set(range(len(CLASSES)))
    for s in samples:
        assert s.image.shape == (256, 320, 3) and s.size == (320, 256)
        for boxes in (s.boxes, s.unsure):
            assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= s.size).all()
        assert (s.boxes[:, 2:] - s.boxes[:, :2]).min() >= 4
        assert np.isfinite(s.outlines).all(1).mean() > 0.95
        assert s.outlines[np.isfinite(s.outlines)].min() > 0.05 and np.nanmax(s.outlines) < 1.45


def test_red_cells_have_about_the_size_asked_for_and_vary(samples: list[Sample]) -> None:
    sizes = np.array([s.red_cell_px for s in samples])
    assert ((sizes > 28) & (sizes < 58)).all() and sizes.std() > 1.0


def test_cells_lie_where_the_boxes_say() -> None:
    clear = SynthRanges(overlap=(0, 0), rouleaux=(0, 0), debris_per_1000=(0, 0), noise=(0, 0), focus_um=(0.1, 0.1),
        density_per_mm2=(5000, 5000))  # fmt: skip
    s = synthetic_sample(0, 1, 384, 40.0, clear)
    dark = 255.0 - s.image[..., 1]
    inside, unsure = np.zeros((384, 384), bool), np.zeros((384, 384), bool)
    for box, outline in zip(s.boxes, s.outlines, strict=True):
        inside |= fill(box, outline, inside.shape)
    for x0, y0, x1, y1 in s.unsure.astype(int):
        unsure[y0:y1, x0:x1] = True
    glass, cell = np.median(dark[~inside & ~unsure]), np.median(dark[inside])
    threshold = glass + 0.4 * (cell - glass)
    wrong = ((dark > threshold) != inside) & ~unsure
    assert cell - glass > 15
    assert wrong[~inside].mean() < 0.01
    assert wrong[inside].mean() < 0.35  # pale centres


def test_cells_that_the_border_cuts_have_the_box_of_what_is_left() -> None:
    found = list(synthetic_samples(4, 2, 200, 60.0))
    at_border = [(b, s) for s in found for b in s.boxes if b.min() == 0 or b.max() == 200]
    assert len(at_border) > 8
    assert any(len(s.unsure) for s in found)
    slivers = np.concatenate([s.unsure for s in found])
    assert ((slivers[:, :2] == 0).any(1) | (slivers[:, 2:] == 200).any(1)).all()


def test_a_field_without_red_cells_still_tells_its_scale() -> None:
    bare = SynthRanges(density_per_mm2=(0, 0), zoom=(1.0, 1.0))
    s = synthetic_sample(0, 1, 64, 40.0, bare)
    assert (s.classes == RED).sum() == 0 and s.red_cell_px == pytest.approx(40.0)


@pytest.mark.parametrize(("index", "size", "red"), [(-1, 64, 40.0), (0, 8, 40.0), (0, 64, 1.0), (0, 64, float("nan"))])
def test_nonsense_is_refused(index: int, size: int, red: float) -> None:
    with pytest.raises(ValueError, match="cannot draw"):
        synthetic_sample(index, 0, size, red)
