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

LINE = "#aa3377"


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
            axes.axhline(value, color=LINE, linestyle=style, linewidth=1)
            beside = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "center", "fontsize": 9}
            axes.annotate(_signed(value), (1.02, value), annotation_clip=False, **beside)
    axes.set(title=f"{one.name}: Bland and Altman", xlabel="mean of both", ylabel="run − manual")
    axes.grid(alpha=0.3)


def _passing_bablok(axes: Any, one: Agreement) -> None:
    low, high = float(min(one.manual.min(), one.run.min())), float(max(one.manual.max(), one.run.max()))
    ends = np.array([low, high])
    axes.plot(ends, ends, color="0.6", linewidth=1, label="the same on both sides")
    axes.scatter(one.manual, one.run, s=18, alpha=0.7, color="#4477aa")
    if math.isfinite(one.slope):
        sign = "+" if one.intercept >= 0 else "−"
        said = f"run = {one.slope:.2f} manual {sign} {abs(one.intercept):.2f}"
        axes.plot(ends, one.slope * ends + one.intercept, color=LINE, linewidth=1, label=said)
        if math.isfinite(one.slope_low) and math.isfinite(one.slope_high):
            x = np.linspace(low, high, 50)
            lines = one.slope_low * x + one.intercept_high, one.slope_high * x + one.intercept_low
            axes.fill_between(x, *lines, color=LINE, alpha=0.12, linewidth=0, label="95 % of slope and intercept")
    room = max(0.05 * (high - low), 1e-9)
    limits = (low - room, high + room)
    axes.set(title=f"{one.name}: Passing and Bablok", xlabel="manual", ylabel="run", xlim=limits, ylim=limits)
    axes.set_aspect("equal")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.grid(alpha=0.3)


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
