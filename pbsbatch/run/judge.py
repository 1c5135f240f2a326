"""Whether a slide's numbers can be used as they stand: pass, review or fail, and the reasons. Pure.

Law: a verdict depends on results alone, on those of other slides only through medians of the whole run: an order of
slides or a resume changes nothing. Every limit is in rules.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pbsbatch import rules
from pbsbatch.run.events import SlideResult
from pbsbatch.run.tally import Tally, is_field, tally_of

__all__ = ["REASONS", "Verdict", "verdict_of_sample", "verdicts"]

REASONS = (
    "no_monolayer", "out_of_focus", "too_thick", "too_few_wbc", "unsure_high", "plt_clumps", "stain_outlier",
    "scale_conflict", "scale_estimated", "resolution_low", "tiles_failed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person should know of a row before using it."""

    status: str  # pass, review, fail; blank where there is nothing to judge
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, review: Iterable[str], fail: Iterable[str] = ()) -> Verdict:
        """Return the verdict that reasons lead to."""
        failing = set(fail)
        found = failing | set(review)
        return cls("fail" if failing else "review" if found else "pass", tuple(r for r in REASONS if r in found))


def verdicts(results: Sequence[SlideResult]) -> dict[str, Verdict]:
    """Return the verdict on each slide of a run by its id."""
    beside = _conflicts(results)
    for slide_id in _stain_outliers(results):
        beside[slide_id].add("stain_outlier")
    return {r.slide_id: _verdict(r, beside[r.slide_id]) for r in results}


def verdict_of_sample(tally: Tally, slides: Sequence[Verdict], *, alone: bool) -> Verdict:
    """Return the verdict on slides put together: their reasons, but counts are judged as they are together.

    A sample fails where all its slides do; one bad field of many is for a person to look at. A slide that nobody put
    together with others is judged as the slide that it is.
    """
    if alone:
        return slides[0]
    judged = [v for v in slides if v.status]
    found = {r for v in judged for r in v.reasons} - {"too_few_wbc", "unsure_high"}
    failing = found & {"no_monolayer", "out_of_focus"} if all(v.status == "fail" for v in judged) else set()
    return Verdict.of(found | _too_few(tally), failing)


def _verdict(result: SlideResult, beside: set[str]) -> Verdict:
    tally, m = tally_of(result), result.measures
    if tally is None or m is None or result.mpp is None:
        return Verdict("")
    review = set(beside)
    review |= {"tiles_failed"} if result.failed_tiles else set()
    review |= {"scale_estimated"} if result.mpp_source == "estimated" else set()
    review |= {"resolution_low"} if result.mpp > rules.LOWEST_MPP else set()
    review |= {"plt_clumps"} if _clumped(tally, m.clumped) else set()
    review |= set() if is_field(result) else _too_few(tally)
    zones_review, fail = _zones(m.zones_px, (result.mpp / 1000) ** 2, is_field(result))
    return Verdict.of(review | zones_review, fail)


def _zones(px: Mapping[str, float], mm2: float, field: bool) -> tuple[set[str], set[str]]:
    """Return what the zones give a person to look at, and what makes densities worthless."""
    smear = sum(px[name] for name in ("thick", "monolayer", "feather", "blurred"))
    review, fail = set[str](), set[str]()
    lacks = review if px["monolayer"] else fail
    if not px["monolayer"] or (not field and px["monolayer"] * mm2 < rules.LEAST_MONOLAYER_MM2):
        lacks |= {"no_monolayer", "too_thick"} if px["thick"] > smear / 2 else {"no_monolayer"}
    if px["blurred"] > rules.BLURRED_FAIL * smear:
        fail.add("out_of_focus")
    elif px["blurred"] > rules.BLURRED_REVIEW * smear:
        review.add("out_of_focus")
    return review, fail


def _too_few(tally: Tally) -> set[str]:
    """Judge the number of white cells, and how many of them are sure."""
    n = tally.n_diff if tally.n_diff is not None else tally.seen.wbc
    found = {"too_few_wbc"} if n is not None and n < rules.DIFF_LIMITED else set()
    if tally.n_diff and tally.n_diff >= rules.LEAST_FOR_UNSURE and tally.unsure > rules.UNSURE_HIGH * tally.n_diff:
        found.add("unsure_high")
    return found


def _clumped(tally: Tally, clumped: int) -> bool:
    return clumped >= rules.LEAST_CLUMPED and clumped > rules.CLUMPED * (tally.seen.platelet or 0)


def _conflicts(results: Sequence[SlideResult]) -> defaultdict[str, set[str]]:
    """Find slides whose red cells have a size that speaks against their scale: no person's, or unlike its folder's."""
    sizes: dict[Path, dict[str, float]] = defaultdict(dict)
    for r in results:
        tally = tally_of(r)
        if tally is not None and tally.diameter_um is not None:
            sizes[r.path.parent][r.slide_id] = tally.diameter_um[0]
    found: defaultdict[str, set[str]] = defaultdict(set)
    for folder in sizes.values():
        middle = median(folder.values()) if len(folder) >= rules.LEAST_SLIDES else None
        for slide_id, size in folder.items():
            low, high = rules.RED_CELL_UM_RANGE
            unlike = middle is not None and abs(size / middle - 1) > rules.SCALE_SHIFT
            if not low <= size <= high or unlike:
                found[slide_id].add("scale_conflict")
    return found


def _stain_outliers(results: Sequence[SlideResult]) -> set[str]:
    """Find slides whose glass or red cells have another colour than those of their folder."""
    colours: dict[Path, dict[str, tuple[float, ...]]] = defaultdict(dict)
    for r in results:
        m = r.measures
        if m is not None and m.glass_od is not None and m.red_od is not None:
            colours[r.path.parent][r.slide_id] = (*m.glass_od, *m.red_od)
    found: set[str] = set()
    for folder in colours.values():
        if len(folder) < rules.LEAST_SLIDES:
            continue
        for channel in range(6):
            values = {slide_id: colour[channel] for slide_id, colour in folder.items()}
            middle = median(values.values())
            spread = max(rules.LEAST_SPREAD_OD, 1.4826 * median(abs(v - middle) for v in values.values()))
            found |= {i for i, v in values.items() if abs(v - middle) > rules.STAIN_SPREADS * spread}
    return found
