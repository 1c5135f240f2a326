"""Hold a run's differential and densities against manual counts, sample by sample.

The CSV has a row for each sample: `sample`, and columns named as in summary.csv or samples.csv (pct_neutrophil,
rbc_per_mm2 ...). `n_wbc_diff` says how many cells a percentage was counted on; 200 where it is missing.

Laws. A sample that either side lacks does not count and is named. A percentage agrees where the run's lies within the
95 % limits of the manual count (Clopper-Pearson, Ruemke's table).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import UsageError
from pbsbatch.evaluate.points import rows_of
from pbsbatch.run.binomial import clopper_pearson
from pbsbatch.run.csv_text import plain_cell

__all__ = ["Agreement", "agreements", "passing_bablok"]

COUNTED = 200
"""White cells that a manual differential is counted on where its row does not say."""
SAMPLES, SUMMARY = "samples.csv", "summary.csv"
FEWEST = 3
"""Samples that a regression needs."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one quantity agrees over samples."""

    name: str
    manual: NDArray[np.float64]
    run: NDArray[np.float64]
    bias: float  # mean of run - manual
    low: float  # limits of agreement after Bland and Altman: bias -+ 1.96 standard deviations
    high: float
    slope: float  # of Passing and Bablok; NaN where too few samples differ
    slope_low: float  # 95 % interval
    slope_high: float
    intercept: float
    intercept_low: float
    intercept_high: float
    within: float  # share of samples within Ruemke's limits; NaN for what is no percentage


def agreements(out: Path, reference: Path) -> tuple[tuple[Agreement, ...], tuple[str, ...]]:
    """Return the agreement of each quantity that both sides know, and notes of what does not count."""
    manual = {row["sample"]: row for _, row in rows_of(reference, ("sample",))}
    run, key = _rows(out)
    shared = [name for name in manual if name in run]
    if not shared:
        raise UsageError(
            f"counts and run share no sample: {next(iter(manual))} was counted, {next(iter(run), 'none')} was run",
            path=reference, cure=f"Name samples as the column {key!r} of the run does",
        )  # fmt: skip
    columns = [c for c in next(iter(manual.values())) if c not in ("sample", "n_wbc_diff")]
    unknown = [c for c in columns if c not in next(iter(run.values()))]
    if len(unknown) == len(columns):
        raise UsageError(
            f"no column of it is one of the run's: {', '.join(columns) or 'there is none'}", path=reference,
            cure="Name columns as the run's summary does, for example pct_neutrophil or rbc_per_mm2",
        )  # fmt: skip
    notes = [f"the run knows no {name}" for name in unknown]
    alone = [[n for n in a if n not in b] for a, b in ((manual, run), (run, manual))]
    notes += [
        f"{len(names)} samples of the {what} do not count, first {names[0]}"
        for what, names in zip(("manual counts", "run"), alone, strict=True) if names
    ]  # fmt: skip
    pairs = [(manual[name], run[name]) for name in shared]
    found = (_agreement(name, pairs, reference) for name in columns if name not in unknown)
    return tuple(one for one in found if len(one.run)), tuple(notes)


def _rows(out: Path) -> tuple[dict[str, dict[str, str]], str]:
    """Return the run's rows by sample, else, where no samples were given, by slide."""
    for file, key in ((SAMPLES, "sample"), (SUMMARY, "slide")):
        try:
            with (out / file).open(encoding="utf-8", newline="") as handle:
                rows = [{k: plain_cell(v or "") for k, v in row.items()} for row in csv.DictReader(handle)]
        except OSError:
            continue
        if rows and key in rows[0]:
            return {row[key]: row for row in rows}, key
    raise UsageError("there is no summary of a finished run", path=out, cure="Give a run's --output")


def _agreement(name: str, pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], path: Path) -> Agreement:
    values, counted = [], []
    for manual, run in pairs:
        if manual[name].strip() and run[name].strip():
            try:
                values.append((float(manual[name]), float(run[name])))
                counted.append(int(manual.get("n_wbc_diff") or COUNTED))
                if name.startswith("pct_") and not (0 <= values[-1][0] <= 100 and 0 < counted[-1] <= 10**6):
                    raise ValueError
            except ValueError as error:
                raise UsageError(
                    f"{name} of {manual['sample']} cannot be meant",
                    path=path,
                    cure="Write numbers, percentages 0 to 100",
                ) from error
    a, b = np.array(values, np.float64).reshape(-1, 2).T
    miss = b - a
    spread = 1.96 * float(miss.std(ddof=1)) if len(miss) > 1 else math.nan
    bias = float(miss.mean()) if len(miss) else math.nan
    line = passing_bablok(a, b)
    share = _within(a, b, counted) if name.startswith("pct_") and len(a) else math.nan
    return Agreement(name, a, b, bias, bias - spread, bias + spread, *line, share)


def _within(manual: NDArray[np.float64], run: NDArray[np.float64], counted: Sequence[int]) -> float:
    inside = []
    for true, found, n in zip(manual, run, counted, strict=True):
        low, high = clopper_pearson(round(true * n / 100), n)
        inside.append(100 * low <= found <= 100 * high)
    return float(np.mean(inside))


def passing_bablok(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float, float, float, float]:
    """Return slope, its 95 % interval, intercept and its interval, after Passing and Bablok (1983).

    The slope is the median of the slopes of all pairs, shifted by how many are below -1; pairs of the same point do
    not count, slopes of -1 neither. NaN where fewer than FEWEST samples, or no two, differ.
    """
    n = len(x)
    nothing = (math.nan,) * 6
    if n < FEWEST:
        return nothing
    i, j = np.triu_indices(n, 1)
    dx, dy = x[j] - x[i], y[j] - y[i]
    told = (dx != 0) | (dy != 0)
    with np.errstate(divide="ignore"):
        slopes = np.sort(dy[told] / dx[told])
    slopes = slopes[slopes != -1]
    count, shift = len(slopes), int((slopes < -1).sum())
    if count == 0:
        return nothing
    middle = slopes[[(count - 1) // 2 + shift, count // 2 + shift]] if count // 2 + shift < count else slopes[[-1, -1]]
    slope = float(middle.mean())
    if not math.isfinite(slope):  # the manual counts are all the same
        return nothing
    reach = 1.96 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    first = round((count - reach) / 2)
    low, high = (float(slopes[int(np.clip(k + shift, 0, count - 1))]) for k in (first - 1, count - first))
    at, at_low, at_high = (float(np.median(y - b * x)) if math.isfinite(b) else math.nan for b in (slope, high, low))
    return slope, low, high, at, at_low, at_high
