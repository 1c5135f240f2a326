"""What tells um per pixel, as a table."""

from __future__ import annotations

import math

import pytest

from pbsbatch.errors import ScaleError, UsageError
from pbsbatch.slides.scale import ScaleFacts, from_length, resolve


def dpi(value: float) -> tuple[float, float]:
    return 25_400 / value, 25_400 / value


@pytest.mark.parametrize(
    ("facts", "given", "mpp", "source", "notes"),
    [
        (ScaleFacts(), None, None, None, 0),
        (ScaleFacts(scanner=(0.25, 0.25), tag=(0.5, 0.5), objective=20), None, 0.25, "metadata", 0),
        (ScaleFacts(scanner=(0.25, 0.25)), 0.5, 0.5, "given", 0),
        (ScaleFacts(scanner=(0.2500, 0.2501)), None, 0.25005, "metadata", 0),
        (ScaleFacts(scanner=(0.25, 0.26)), None, 0.255, "metadata", 1),
        (ScaleFacts(scanner=(0.0, 0.0), tag=(0.25, 0.25)), None, 0.25, "metadata", 1),
        (ScaleFacts(scanner=(math.nan, 0.2)), None, None, None, 1),
        (ScaleFacts(scanner=(1000.0, 1000.0)), None, None, None, 1),
        (ScaleFacts(tag=(0.25, 0.25)), None, 0.25, "metadata", 0),  # 40,000 px per cm is a real one
        (ScaleFacts(tag=dpi(101_600)), None, 0.25, "metadata", 0),
        (ScaleFacts(tag=dpi(72)), None, None, None, 0),
        (ScaleFacts(tag=dpi(96)), None, None, None, 0),
        (ScaleFacts(tag=dpi(150)), None, None, None, 0),
        (ScaleFacts(tag=dpi(300)), None, None, None, 0),
        (ScaleFacts(tag=dpi(600)), None, None, None, 0),
        (ScaleFacts(tag=(1000.0, 1000.0)), None, None, None, 0),  # libvips' default, 1 px per mm
        (ScaleFacts(tag=dpi(72), objective=100), None, 0.1, "metadata", 1),
        (ScaleFacts(objective=40), None, 0.25, "metadata", 1),
        (ScaleFacts(objective=20), None, 0.5, "metadata", 1),
        (ScaleFacts(objective=7), None, None, None, 0),
        (ScaleFacts(objective=math.nan), None, None, None, 0),
        (ScaleFacts(scanner=(0.2, 0.4)), 0.3, 0.3, "given", 0),
    ],
)
def test_resolve(facts: ScaleFacts, given: float | None, mpp: float | None, source: str | None, notes: int) -> None:
    scale = resolve(facts, given, "a.svs")
    assert scale.mpp == (mpp if mpp is None else pytest.approx(mpp))
    assert (scale.source, len(scale.notes)) == (source, notes)


def test_pixels_that_are_not_square_need_a_given_scale() -> None:
    with pytest.raises(ScaleError, match=r"a\.svs.*--mpp"):
        resolve(ScaleFacts(scanner=(0.2, 0.4)), None, "a.svs")


@pytest.mark.parametrize("given", [0, -1, math.nan, math.inf, 1e-5, 1e4])
def test_a_given_scale_must_be_one(given: float) -> None:
    with pytest.raises(UsageError, match="no scale"):
        resolve(ScaleFacts(), given, "a.svs")


@pytest.mark.parametrize(
    ("value", "unit", "um"),
    [("0.25", "µm", 0.25), ("0.25", "μm", 0.25), (250, "nm", 0.25), ("2.5e-4", "mm", 0.25), ("1", "pixel", None),
     ("x", "µm", None), ("-1", "µm", None), ("inf", "µm", None), (None, "µm", None), ("0.25", "reference frame", None)],
)  # fmt: skip
def test_from_length(value: str | float | None, unit: str, um: float | None) -> None:
    found = from_length(value, unit)
    assert found == (um if um is None else pytest.approx(um))
