"""How a run agrees with manual counts, as a table and as plots after Bland and Altman, and Passing and Bablok."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pbsbatch.evaluate.plots import Drawn, new_figure, saved
from pbsbatch.evaluate.reference import Agreement
from pbsbatch.evaluate.tables import Table

__all__ = ["agreement_table", "drawn_agreement"]


def agreement_table(found: Sequence[Agreement]) -> Table:
    """Return a row for each quantity."""
    heads = (
        "", "samples", "bias", "agreement from", "to", "slope", "from", "to", "intercept", "from", "to",
        "within Ruemke's limits",
    )  # fmt: skip
    keys = (
        "name", "samples", "bias", "low", "high", "slope", "slope_low", "slope_high", "intercept", "intercept_low",
        "intercept_high", "within",
    )  # fmt: skip
    rows = tuple(
        (one.name, len(one.run), *(getattr(one, key) for key in keys[2:])) for one in found
    )  # fmt: skip
    title = "The run against manual counts: bias after Bland and Altman, line after Passing and Bablok"
    return Table("reference", title, heads, keys, rows)


def drawn_agreement(found: Sequence[Agreement], form: str) -> Drawn:
    """Return two plots for each quantity: differences over means, and the run over the manual count."""
    out: Drawn = {}
    for one in found:
        figure = new_figure(9.4, 4.2)
        differences, line = figure.subplots(1, 2)
        _bland_altman(differences, one)
        _passing_bablok(line, one)
        out[one.name] = saved(figure, form)
    return out


def _bland_altman(axes: Any, one: Agreement) -> None:
    axes.scatter((one.manual + one.run) / 2, one.run - one.manual, s=18, alpha=0.7, color="#4477aa")
    for value, style in ((one.bias, "-"), (one.low, "--"), (one.high, "--")):
        if math.isfinite(value):
            axes.axhline(value, color="#aa3377", linestyle=style, linewidth=1)
            axes.annotate(f"{value:.2f}", (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    axes.set(title=f"{one.name}: Bland and Altman", xlabel="mean of both", ylabel="run - manual")
    axes.grid(alpha=0.3)


def _passing_bablok(axes: Any, one: Agreement) -> None:
    low, high = float(min(one.manual.min(), one.run.min())), float(max(one.manual.max(), one.run.max()))
    ends = np.array([low, high])
    axes.plot(ends, ends, color="0.6", linewidth=1)
    axes.scatter(one.manual, one.run, s=18, alpha=0.7, color="#4477aa")
    if math.isfinite(one.slope):
        said = f"{one.slope:.2f} x {one.intercept:+.2f}"
        axes.plot(ends, one.slope * ends + one.intercept, color="#aa3377", linewidth=1, label=said)
        axes.legend(frameon=False)
    axes.set(title=f"{one.name}: Passing and Bablok", xlabel="manual", ylabel="run")
    axes.grid(alpha=0.3)
