"""Draw a tuning: each class over its thresholds, and the goal over the overlap of suppression."""

from __future__ import annotations

from pbsbatch.evaluate.plots import new_figure, saved
from pbsbatch.evaluate.tune import Tuned

__all__ = ["drawn_tuning"]

SAID = {"f1": "F1", "map": "AP50", "count": "mean error of counts"}


def drawn_tuning(tuned: Tuned, form: str) -> bytes:
    """Return the curves as an svg or png file."""
    figure = new_figure(9.6 if tuned.by_nms else 5.4, 4.2)
    axes = figure.subplots(1, 2 if tuned.by_nms else 1, squeeze=False)[0]
    sign = -1 if tuned.goal == "count" else 1
    for name, one in tuned.sweeps.items():
        (line,) = axes[0].step(one.cuts, sign * one.values, where="pre", label=f"{name}  {one.threshold:.3f}")
        axes[0].plot(one.cuts[one.best], sign * one.values[one.best], "o", color=line.get_color())
    axes[0].set(title="Over the score threshold", xlabel="threshold", ylabel=SAID[tuned.goal], xlim=(0, 1))
    axes[0].grid(alpha=0.3)
    axes[0].legend(frameon=False)
    if tuned.by_nms:
        overlaps, values = zip(*tuned.by_nms, strict=True)
        axes[1].plot(overlaps, [sign * v for v in values], ".-")
        axes[1].axvline(tuned.nms_iou, color="#aa3377", linewidth=1, label=f"chosen: {tuned.nms_iou:g}")
        title, what = "Over the overlap of suppression", f"mean {SAID[tuned.goal]} at the best thresholds"
        axes[1].set(title=title, xlabel="nms_iou", ylabel=what)
        axes[1].grid(alpha=0.3)
        axes[1].legend(frameon=False)
    return saved(figure, form)
