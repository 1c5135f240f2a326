"""Draw a training: losses and accuracy over steps."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from pbsbatch.disk import output_errors, write_atomic
from pbsbatch.train.metrics import MEANS, read_metrics

__all__ = ["PLOT", "plot"]

PLOT = "training.png"


def plot(metrics: Path, picture: Path, means: tuple[str, ...] = MEANS) -> None:
    """Draw the lines of a metrics file into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_metrics(metrics)
    taught = [r for r in rows if r["kind"] == "taught"]
    judged = [r for r in rows if r["kind"] == "judged"]
    figure = Figure(figsize=(11, 4.2), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    losses, accuracy = figure.subplots(1, 2)
    for name in means:
        if any(r.get(name) for r in taught):  # a network without masks has no loss of them
            losses.plot([r["step"] for r in taught], [r[name] for r in taught], label=name)
    losses.set(title="Loss", xlabel="step", yscale="log")
    (_of_types if judged and "types" in judged[0]["report"] else _accuracy)(accuracy, judged)
    for axes in (losses, accuracy):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    with output_errors(picture):
        write_atomic(picture, [drawn.getvalue()])


def _accuracy(axes: Any, judged: list[dict[str, Any]]) -> None:
    steps = [r["step"] for r in judged]
    reports = [r["report"] for r in judged]
    for name in reports[-1]["classes"] if reports else ():
        if all(r["classes"][name]["ap50"] is None for r in reports):
            continue  # no field shows one
        axes.plot(steps, [r["classes"][name]["ap50"] for r in reports], alpha=0.6, linewidth=1, label=f"AP50 {name}")
    axes.plot(steps, [r["map50"] for r in reports], "k-", marker=".", label="mAP50")
    axes.plot(steps, [r["map"] for r in reports], "k--", marker=".", label="mAP50-95")
    late = [r["map"] for r in reports[len(reports) // 4 :]]  # the first steep rise would hide the rest
    axes.set(title="Validation", xlabel="step", ylim=(max(0.0, min(late, default=0.0) - 0.05), 1))


def _of_types(axes: Any, judged: list[dict[str, Any]]) -> None:
    """Draw a classifier's recall of each type."""
    steps = [r["step"] for r in judged]
    reports = [r["report"] for r in judged]
    for name in reports[-1]["types"]:
        axes.plot(steps, [r["types"][name]["recall"] for r in reports], alpha=0.6, linewidth=1, label=name)
    axes.plot(steps, [r["accuracy"] for r in reports], "k-", marker=".", label="accuracy")
    late = [r["accuracy"] for r in reports[len(reports) // 4 :]]
    axes.set(title="Calibration split: recall", xlabel="step", ylim=(max(0.0, min(late) - 0.15), 1))
