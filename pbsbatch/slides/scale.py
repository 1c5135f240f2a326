"""What tells um per pixel, and how far to trust it. Pure.

Trust falls in this order: a given value, the scanner's own field, a resolution tag, the objective's power. A resolution
tag counts only between 0.05 and 2 um per pixel: every default that software writes unasked (72 to 600 dpi, JFIF 1:1,
1 px per mm) lies far outside, while a true 0.25 um is 40,000 px per cm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike

from pbsbatch.errors import ScaleError, UsageError
from pbsbatch.slides.base import MppSource

__all__ = ["Scale", "ScaleFacts", "from_length", "resolve"]

UM_PER_INCH, UM_PER_CM, UM_PER_MM = 25_400.0, 10_000.0, 1_000.0
TAG_RANGE = (0.05, 2.0)
SCANNER_RANGE = (0.01, 100.0)
BY_OBJECTIVE = {100: 0.1, 60: 0.15, 63: 0.15, 50: 0.2, 40: 0.25, 20: 0.5, 10: 1.0}
UM_PER_UNIT = {
    "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "pm": 1e-6,
    "Å": 1e-4, "A": 1e-4, "angstrom": 1e-4, "in": UM_PER_INCH, "inch": UM_PER_INCH,
    "meter": 1e6, "centimeter": 1e4, "millimeter": 1e3, "micrometer": 1.0, "micron": 1.0, "nanometer": 1e-3,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScaleFacts:
    """What a file says about its scale, as (x, y) um per level-0 pixel."""

    scanner: tuple[float, float] | None = None  # a field that means it: Aperio MPP, OME PhysicalSize, openslide.mpp-x
    tag: tuple[float, float] | None = None  # a resolution tag with a real unit: TIFF, JFIF, pHYs
    objective: float | None = None  # the objective's power


@dataclass(frozen=True, slots=True)
class Scale:
    """um per level-0 pixel, who says so, and what a person should know about it."""

    mpp: float | None = None
    source: MppSource | None = None
    notes: tuple[str, ...] = ()


def from_length(value: str | float | None, unit: str = "µm") -> float | None:
    """Return a length in um, or None where it is no positive length or its unit is not one."""
    try:
        um = float(str(value)) * UM_PER_UNIT[unit.strip()]
    except (KeyError, ValueError):
        return None
    return um if math.isfinite(um) and um > 0 else None


def resolve(facts: ScaleFacts, given: float | None, path: str | PathLike[str]) -> Scale:
    """Return the most trusted scale of a file; a given value wins over everything, a resolution tag over little."""
    if given is not None:
        if not (math.isfinite(given) and SCANNER_RANGE[0] <= given <= SCANNER_RANGE[1]):
            raise UsageError(f"{given} um per pixel is no scale", path=path, cure="Give one between 0.01 and 100")
        return Scale(given, "given")
    notes: list[str] = []
    for pair, (low, high), name in ((facts.scanner, SCANNER_RANGE, "scanner's"), (facts.tag, TAG_RANGE, "tagged")):
        if pair is None:
            continue
        if all(math.isfinite(v) and low <= v <= high for v in pair):
            mpp, note = _one(pair, path)
            return Scale(mpp, "metadata", (*notes, *note))
        if name == "scanner's":
            notes.append(f"the scanner's scale of {pair[0]:g} x {pair[1]:g} um per pixel is absurd and not used")
    power = BY_OBJECTIVE.get(round(facts.objective)) if facts.objective and math.isfinite(facts.objective) else None
    if power is not None:
        said = f"{power:g} um per pixel is the usual scale of the {facts.objective:g}x objective that the file names"
        return Scale(power, "metadata", (*notes, said))
    return Scale(None, None, tuple(notes))


def _one(pair: tuple[float, float], path: str | PathLike[str]) -> tuple[float, tuple[str, ...]]:
    """Return the mean of two scales that agree within 10 %, with a note beyond 1 %."""
    x, y = pair
    mean, apart = (x + y) / 2, abs(x - y) / min(x, y)
    said = f"{x:g} um per pixel in x and {y:g} in y"
    if apart > 0.1:
        raise ScaleError(f"its pixels are not square: {said}", path=path, cure="Give the scale with --mpp")
    return (mean, (f"{said}: the mean {mean:g} is used",)) if apart > 0.01 else (mean if x != y else x, ())
