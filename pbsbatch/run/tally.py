"""What was counted in one slide, or in the slides of one sample together: the numbers behind a row of the summary.

Laws. A nucleated red cell is no white cell and a cell named a platelet is a platelet, whatever class found it. Nothing
that was not measured becomes a zero. Only numbers of a known scale have a unit, and a sample has one where all of its
slides do. Tallies are pooled by adding, so that a share of pooled cells is never a mean of shares.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from pbsbatch import rules
from pbsbatch.models.taxonomy import ABNORMAL, ERYTHROBLAST, IN_DIFFERENTIAL, UNSURE
from pbsbatch.models.words import type_of_word
from pbsbatch.quality import Measures
from pbsbatch.run.events import SlideResult

__all__ = ["Cells", "Tally", "is_field", "pooled", "seen", "tally_of"]

PLATELET = "platelet"
RBC, WBC, PLT, NRBC = "RBC", "WBC", "Platelet", "NRBC"


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of each kind; None where the run had nothing that tells them."""

    rbc: int | None
    wbc: int | None
    platelet: int | None
    nrbc: int | None

    @classmethod
    def of(cls, counts: Mapping[str, Mapping[str, int]], nucleated: bool) -> Cells:
        """Return what cells counted by class and type are; nucleated: types tell red cells among the white ones."""
        total = {name: sum(by_type.values()) for name, by_type in counts.items()}
        white = counts.get(WBC, {})
        red, stray = white.get(ERYTHROBLAST, 0), white.get(PLATELET, 0)
        return cls(
            rbc=total.get(RBC), wbc=total[WBC] - red - stray if WBC in total else None,
            platelet=total[PLT] + stray if PLT in total else None,
            nrbc=total.get(NRBC, 0) + red if NRBC in total or (nucleated and WBC in total) else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts, areas and sizes of one slide or of several. px are level-0 pixels, mm2 None without a known scale."""

    slides: int
    seen: Cells
    framed: Cells
    frame_mm2: float | None
    monolayer_mm2: float | None
    roi_mm2: float | None
    analysed_mm2: float | None
    roi_share: tuple[float, float]  # what was planned and what was analysed, in one unit
    types: Mapping[str, int] | None  # white cells by type, for the differential; None where none were given
    red: tuple[int, float, float] | None  # red cells measured, sums of their diameters in um and of the squares
    fields_only: bool  # no slide of it is large enough to be a sample by itself
    second: tuple[int, int, int] | None = None  # cells that a second opinion was asked of, disagreements, low margins

    @property
    def n_diff(self) -> int | None:
        """Return the denominator of the differential."""
        return None if self.types is None else sum(self.types.values())

    @property
    def unsure(self) -> int:
        """Return how many cells of the differential have no sure type."""
        return (self.types or {}).get(UNSURE, 0)

    @property
    def diameter_um(self) -> tuple[float, float] | None:
        """Return mean and coefficient of variation of the red cells' diameters; None where too few were measured."""
        if self.red is None or self.red[0] < rules.LEAST_RED_CELLS:
            return None
        n, total, squares = self.red
        mean = total / n
        return mean, math.sqrt(max(0.0, (squares - n * mean**2) / (n - 1))) / mean

    def per_mm2(self, count: int | None) -> float | None:
        """Return a density in the monolayer."""
        return None if count is None or not self.frame_mm2 else count / self.frame_mm2


def tally_of(result: SlideResult) -> Tally | None:
    """Return what a slide came to; None where nothing was committed."""
    m = result.measures
    if m is None or result.roi_px is None or result.analysed_px is None or result.mpp is None:
        return None
    known = result.mpp_source != "estimated"
    mm2 = (result.mpp / 1000) ** 2
    roi, analysed = result.roi_px * mm2, result.analysed_px * mm2
    return Tally(
        slides=1, seen=Cells.of(m.seen, m.typed and m.nucleated), framed=Cells.of(m.framed, m.typed and m.nucleated),
        frame_mm2=m.frame_px * mm2 if known else None,
        monolayer_mm2=m.zones_px["monolayer"] * mm2 if known else None,
        roi_mm2=roi if known else None, analysed_mm2=analysed if known else None, roi_share=(roi, analysed),
        types=_differential(m), red=(m.red_n, m.red_sum * result.mpp, m.red_sum2 * result.mpp**2) if known else None,
        fields_only=is_field(result),
        second=None if m.second is None else (m.second["asked"], m.second["disagree"], m.second["low_margin"]),
    )  # fmt: skip


def seen(result: SlideResult) -> Mapping[str, int | None]:
    """Return every cell of a slide by its class, white cells that are none counted where they belong."""
    tally = tally_of(result)
    if tally is None:
        return result.counts
    cells = {RBC: tally.seen.rbc, WBC: tally.seen.wbc, PLT: tally.seen.platelet, NRBC: tally.seen.nrbc}
    return {**result.counts, **cells}


def is_field(result: SlideResult) -> bool:
    """Say whether a slide is a microscope's field rather than a smear: too small to hold a differential."""
    if result.mpp is None or result.width_px is None or result.height_px is None:
        return False
    return result.width_px * result.height_px * (result.mpp / 1000) ** 2 <= rules.FIELD_MM2


def _differential(m: Measures) -> Mapping[str, int] | None:
    """Return white cells by type, kinds with theirs: unlike anything taught is unsure; what is none of them is out."""
    if not m.typed or WBC not in m.seen:
        return None
    white = m.seen[WBC]
    found = {name: sum(n for word, n in white.items() if type_of_word(word) == name) for name in IN_DIFFERENTIAL}
    return found | {UNSURE: white.get(UNSURE, 0) + white.get(ABNORMAL, 0)}


def pooled(tallies: Sequence[Tally]) -> Tally:
    """Return the tally of all their cells together."""
    typed = [t.types for t in tallies]
    types = None if None in typed else {k: sum((t or {}).get(k, 0) for t in typed) for k in (*IN_DIFFERENTIAL, UNSURE)}
    reds = [t.red for t in tallies]
    return Tally(
        slides=sum(t.slides for t in tallies), seen=_cells(t.seen for t in tallies),
        framed=_cells(t.framed for t in tallies), frame_mm2=_sum(t.frame_mm2 for t in tallies),
        monolayer_mm2=_sum(t.monolayer_mm2 for t in tallies), roi_mm2=_sum(t.roi_mm2 for t in tallies),
        analysed_mm2=_sum(t.analysed_mm2 for t in tallies),
        roi_share=(sum(t.roi_share[0] for t in tallies), sum(t.roi_share[1] for t in tallies)),
        types=types, red=None if None in reds else _red(r for r in reds if r is not None),
        fields_only=all(t.fields_only for t in tallies), second=_seconds([t.second for t in tallies]),
    )  # fmt: skip


def _seconds(parts: Sequence[tuple[int, int, int] | None]) -> tuple[int, int, int] | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    asked, disagree, low = (sum(values) for values in zip(*known, strict=True))
    return asked, disagree, low


def _cells(cells: Iterable[Cells]) -> Cells:
    them = list(cells)
    totals = {f.name: _sum(getattr(c, f.name) for c in them) for f in fields(Cells)}
    return Cells(**{name: None if total is None else int(total) for name, total in totals.items()})


def _sum(values: Iterable[float | None]) -> float | None:
    """Return a sum, None where one of them is not known."""
    known = list(values)
    return None if None in known else sum(v for v in known if v is not None)


def _red(parts: Iterable[tuple[int, float, float]]) -> tuple[int, float, float]:
    n, total, squares = zip(*parts, strict=True)
    return sum(n), sum(total), sum(squares)
