"""Draw an evaluation: precision over recall, confusion, scores, counts. Nothing here is on a run's path.

Law: what is drawn is what the tables hold; a plot that would show nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np

from pbsbatch.errors import UsageError
from pbsbatch.evaluate.figures import Figures
from pbsbatch.evaluate.pr import pr_curve
from pbsbatch.evaluate.together import Compared
from pbsbatch.evaluate.verdicts import Verdicts, verdicts

__all__ = ["Drawn", "drawn", "new_figure", "saved"]

Drawn = dict[str, bytes]
"""name of a plot -> its file"""
MOST_COLUMNS = 4


def drawn(both: Compared, found: Figures, form: str) -> Drawn:
    """Return the plots of an evaluation as svg or png files."""
    seen = verdicts(both.true, both.found, len(both.classes), found.iou, measure=both.measure)
    plots: dict[str, Callable[[], Any]] = {
        "precision-recall": lambda: _curves(both, found, seen), "confusion": lambda: _confusion(found),
        "scores": lambda: _scores(both, seen), "counts": lambda: _counts(both, seen),
        "calibration": lambda: _reliability(found),
    }  # fmt: skip
    made = ((name, plot()) for name, plot in plots.items())
    return {name: saved(figure, form) for name, figure in made if figure is not None}


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure. Raises UsageError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("plots need matplotlib", cure="Run: pip install 'pbsbatch[report]'") from error
    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def saved(figure: Any, form: str) -> bytes:
    """Return a figure as a file; the same figure gives the same bytes."""
    import matplotlib as mpl

    out = BytesIO()
    dated = {"Date": None} if form == "svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "pbsbatch"}):
        figure.savefig(out, format=form, metadata=dated)
    return out.getvalue()


def _curves(both: Compared, found: Figures, seen: Verdicts) -> Any:
    figure = new_figure(5.6, 4.6)
    axes = figure.subplots()
    for k, (name, row) in enumerate(zip(both.classes, found.rows, strict=False)):
        recall, precision, _ = pr_curve(seen, k)
        if len(recall):
            ap = "" if row.ap50 != row.ap50 else f"  AP50 {row.ap50:.3f}"
            axes.plot(np.append(0, recall), np.append(precision[0], precision), label=f"{name}{ap}")
    if not axes.lines:
        return None
    what = f"an IoU of {found.iou:g}" if not both.points else f"{found.iou:g} px"
    axes.set(
        title=f"Precision over recall at {what}", xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02)
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower left")
    return figure


def _confusion(found: Figures) -> Any:
    names = found.names
    counts = found.confusion.astype(np.float64)
    sums = counts.sum(1, keepdims=True)
    shares = np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    shares[-1] = 0  # what is found where nothing is has no share of true cells
    side = 1.6 + 0.75 * len(counts)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        if counts[row, column]:
            text = f"{share:.3f}\n" * (row < len(names)) + f"{int(counts[row, column]):,}"
            axes.text(
                column, row, text, ha="center", va="center", fontsize=8, color="white" if share > 0.55 else "black"
            )
    places = range(len(counts))
    axes.set_xticks(places, [*names, "missed"], rotation=40, ha="right")
    axes.set_yticks(places, [*names, "nothing there"])
    axes.set(title="Share of the true cells, and how many", xlabel="found", ylabel="true")
    return figure


def _grid(count: int, width: float, height: float) -> tuple[Any, list[Any]]:
    columns = min(count, MOST_COLUMNS)
    rows = -(-count // columns)
    figure = new_figure(width * columns, height * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for empty in axes[count:]:
        empty.set_axis_off()
    return figure, axes


def _scores(both: Compared, seen: Verdicts) -> Any:
    kinds = [k for k in range(len(both.classes)) if (seen.found_classes == k).any()]
    if not kinds:
        return None
    figure, axes = _grid(len(kinds), 3.6, 3.0)
    for k, ax in zip(kinds, axes, strict=False):
        parts = [seen.scores[rows[seen.found_classes[rows] == k]] for rows in (seen.hits[:, 0], seen.false_positives)]
        low = min((float(p.min()) for p in parts if len(p)), default=0.0)
        ax.hist(parts, bins=np.linspace(min(low, 0.99), 1, 31), histtype="stepfilled", alpha=0.6,
                label=["right", "wrong"], color=["#4477aa", "#ee6677"])  # fmt: skip
        ax.set(title=both.classes[k], xlabel="score", yscale="log", ylim=(0.5, None))
        ax.yaxis.set_major_formatter("{x:,.0f}")
        ax.yaxis.set_minor_formatter("")
        ax.legend(frameon=False, fontsize=8, loc="upper left")
    axes[0].set_ylabel("cells")
    return figure


def _counts(both: Compared, seen: Verdicts) -> Any:
    n, k = len(both.images), len(both.classes)
    counts = np.zeros((2, n, k), np.int64)
    true = ~both.true.ignored
    np.add.at(counts[0], (both.true.images[true], both.true.classes[true]), 1)
    judged = np.concatenate([seen.hits[:, 0], seen.false_positives])
    np.add.at(counts[1], (both.found.images[judged], both.found.classes[judged]), 1)
    kinds = [c for c in range(k) if counts[:, :, c].any()]
    figure, axes = _grid(len(kinds), 3.2, 3.2)
    for c, ax in zip(kinds, axes, strict=False):
        most = float(counts[:, :, c].max()) * 1.05 + 1
        ax.plot([0, most], [0, most], color="0.6", linewidth=1)
        ax.scatter(counts[0, :, c], counts[1, :, c], s=12, alpha=0.6, color="#4477aa")
        ax.set(title=both.classes[c], xlabel="true", xlim=(0, most), ylim=(0, most), aspect="equal")
    axes[0].set_ylabel("found")
    return figure


def _reliability(found: Figures) -> Any:
    if not found.reliability:
        return None
    figure = new_figure(5.0, 4.6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for one in found.reliability:
        style = "k.--" if one is found.reliability[-1] else ".-"
        axes.plot(
            [b.score for b in one.bins], [b.right for b in one.bins], style, label=f"{one.name}  error {one.error:.3f}"
        )
    axes.set(
        title="Whether scores mean what they say",
        xlabel="mean score",
        ylabel="share right",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure
