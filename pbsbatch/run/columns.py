"""The columns of summary.csv and samples.csv, and how a tally becomes their text.

Law: a value that was not measured is blank, never zero; with an estimated scale every um and mm2 column is blank;
a field is no sample: it has counts and no percentages.
"""

from __future__ import annotations

from pbsbatch import rules
from pbsbatch.models.taxonomy import IN_DIFFERENTIAL
from pbsbatch.run.binomial import clopper_pearson
from pbsbatch.run.tally import Tally

__all__ = ["COLUMNS", "SAMPLE_COLUMNS", "SECOND_COLUMNS", "measured", "text"]

COLUMNS = (
    "slide", "sample", "status", "error", "qc_status", "qc_reasons", "width_px", "height_px", "mpp", "mpp_source",
    "roi_mm2", "analysed_mm2", "analysed_fraction", "monolayer_mm2", "n_rbc", "n_wbc", "n_platelet", "n_nrbc",
    "rbc_per_mm2", "wbc_per_mm2", "platelet_per_mm2", "n_wbc_diff",
    *(f"{prefix}_{name}{suffix}" for name in IN_DIFFERENTIAL for prefix, suffix in
      (("n", ""), ("pct", ""), ("pct", "_lo"), ("pct", "_hi"))),
    "pct_unsure", "diff_status", "nrbc_per_100_wbc", "rbc_diameter_um", "rbc_diameter_cv_pct",
    "model", "engine", "version", "seconds", "mpix_per_s", "store",
)  # fmt: skip
SAMPLE_COLUMNS = tuple("slides" if name == "slide" else name for name in COLUMNS)
"""The same table for each sample: a number of slides instead of a slide's name."""
SECOND_COLUMNS = ("n_second_opinion", "n_disagree", "n_low_margin")
"""Behind all others, of runs that asked for a second opinion: cells asked of, and those flagged."""


def measured(tally: Tally, *, alone: bool) -> dict[str, str]:
    """Return the columns that were measured. alone: a row of its own, not of a sample that was put together."""
    planned, analysed = tally.roi_share
    diameter = tally.diameter_um
    row = {
        "roi_mm2": text(tally.roi_mm2, 6), "analysed_mm2": text(tally.analysed_mm2, 6),
        "analysed_fraction": text(analysed / planned if planned else 1.0, 6),
        "monolayer_mm2": text(tally.monolayer_mm2, 6),
        "n_rbc": text(tally.seen.rbc), "n_wbc": text(tally.seen.wbc), "n_platelet": text(tally.seen.platelet),
        "n_nrbc": text(tally.seen.nrbc),
        "rbc_per_mm2": text(tally.per_mm2(tally.framed.rbc), 2),
        "wbc_per_mm2": text(tally.per_mm2(tally.framed.wbc), 3),
        "platelet_per_mm2": text(tally.per_mm2(tally.framed.platelet), 2),
        "rbc_diameter_um": text(diameter and diameter[0], 3),
        "rbc_diameter_cv_pct": text(diameter and 100 * diameter[1], 2),
    }  # fmt: skip
    seconds = {} if tally.second is None else dict(zip(SECOND_COLUMNS, map(text, tally.second), strict=True))
    return row | _differential(tally, shares=not (alone and tally.fields_only)) | seconds


def _differential(tally: Tally, *, shares: bool) -> dict[str, str]:
    """Return the differential; of a field the counts alone."""
    n, types = tally.n_diff, tally.types
    if n is None or types is None:
        return {}
    row = {"n_wbc_diff": str(n)} | {f"n_{name}": str(types[name]) for name in IN_DIFFERENTIAL}
    if not shares:
        return row
    row["diff_status"] = diff_status(n)
    if n:
        for name in IN_DIFFERENTIAL:
            low, high = clopper_pearson(types[name], n)
            row[f"pct_{name}"] = text(100 * types[name] / n, 2)
            row[f"pct_{name}_lo"], row[f"pct_{name}_hi"] = text(100 * low, 2), text(100 * high, 2)
        row["pct_unsure"] = text(100 * tally.unsure / n, 2)
    if tally.seen.nrbc is not None and tally.seen.wbc:
        row["nrbc_per_100_wbc"] = text(100 * tally.seen.nrbc / tally.seen.wbc, 2)
    return row


def diff_status(n: int) -> str:
    """Return how far a differential of n cells can be trusted."""
    return "ok" if n >= rules.DIFF_OK else "limited" if n >= rules.DIFF_LIMITED else "insufficient"


def text(value: float | None, digits: int = 0) -> str:
    """Return a number without trailing zeros, blank where there is none."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    plain = f"{value:.{digits}f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
