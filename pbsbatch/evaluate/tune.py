"""Find the thresholds, and the suppression, at which a run would do best on labelled truth.

Laws. Nothing is run again: thresholds come from an exact sweep over matched scores, overlaps from the candidates that a
run kept. What is promised is evaluated at the settings that are written, cell by cell as a run chooses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pbsbatch.evaluate.figures import Figures, figures
from pbsbatch.evaluate.labels import Labels
from pbsbatch.evaluate.offered import Offered
from pbsbatch.evaluate.sweep import Sweep, sweep
from pbsbatch.evaluate.together import Compared
from pbsbatch.evaluate.verdicts import verdicts
from pbsbatch.models.candidates import FLOOR

__all__ = ["NMS_IOUS", "Tuned", "config_text", "tune"]

NMS_IOUS = tuple(np.round(np.arange(0.1, 0.96, 0.05), 2).tolist())
ROUNDS = 2
"""Classes suppress each other, so that one's best threshold may move when another's does: each is sought so often."""
Hold = Callable[[Labels], Compared]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found."""

    goal: str
    iou: float
    thresholds: Mapping[str, float]  # by the model's class, of those with truth
    nms_iou: float | None  # None: the run kept no candidates
    sweeps: Mapping[str, Sweep]  # by the truth's class, at the chosen suppression
    by_nms: tuple[tuple[float, float], ...]  # overlap, and the goal's mean over classes at the best thresholds
    before: Figures  # of the run as it is
    promised: Figures  # of a run with these settings
    notes: tuple[str, ...] = field(default=())


def tune(found: Labels, hold: Hold, goal: str, iou: float = 0.5, offer: Offered | None = None) -> Tuned:
    """Tune on a run's results alone, or on the candidates that it kept. `hold` brings results together with truth."""
    before = figures(hold(found), iou)
    if offer is None:
        return _on_results(found, hold, goal, iou, before)
    tried = {v: _sweeps(hold(offer.labels({}, v, FLOOR)), goal, iou) for v in sorted({*NMS_IOUS, offer.nms_iou})}
    values = {nms_iou: _worth(sweeps) for nms_iou, sweeps in tried.items()}
    nms_iou = max(values, key=lambda v: (values[v], -abs(v - offer.nms_iou)))
    sweeps, found_as = tried[nms_iou], hold(offer.labels({}, nms_iou, FLOOR)).found_as
    for _ in range(ROUNDS):
        for name in list(sweeps):
            others = _thresholds({k: v for k, v in sweeps.items() if k != name}, found_as)
            again = _sweeps(hold(offer.labels(others, nms_iou, FLOOR)), goal, iou).get(name)
            sweeps = sweeps if again is None else {**sweeps, name: again}
    thresholds = _thresholds(sweeps, found_as)
    promised = figures(hold(offer.labels(thresholds, nms_iou, FLOOR)), iou)
    return Tuned(goal, iou, thresholds, nms_iou, sweeps, tuple(sorted(values.items())), before, promised)


def _on_results(found: Labels, hold: Hold, goal: str, iou: float, before: Figures) -> Tuned:
    both = hold(found)
    sweeps = _sweeps(both, goal, iou)
    thresholds = _thresholds(sweeps, both.found_as)
    promised = figures(hold(_above(found, thresholds)), iou)
    note = "the run kept no candidates: thresholds can only rise, and its suppression stays (--keep-candidates)"
    return Tuned(goal, iou, thresholds, None, sweeps, (), before, promised, (note,))


def _above(found: Labels, thresholds: Mapping[str, float]) -> Labels:
    """Return what is at or above the thresholds."""
    least = np.array([thresholds.get(name, 0.0) for name in found.classes], np.float64)
    images = []
    for image in found.images:
        scores = np.ones(len(image.classes)) if image.scores is None else image.scores
        rows = np.flatnonzero(scores >= least[image.classes])
        images.append(replace(
            image, boxes=image.boxes[rows], classes=image.classes[rows], scores=scores[rows], masks=None
        ))  # fmt: skip
    return replace(found, images=tuple(images))


def _sweeps(both: Compared, goal: str, iou: float) -> dict[str, Sweep]:
    seen = verdicts(both.true, both.found, len(both.classes), iou)
    found = {name: sweep(both, seen, k, goal) for k, name in enumerate(both.classes)}
    return {name: one for name, one in found.items() if one is not None}


def _thresholds(sweeps: Mapping[str, Sweep], found_as: Mapping[str, str]) -> dict[str, float]:
    """Return the thresholds by the model's own names of classes."""
    return {name: sweeps[true].threshold for name, true in found_as.items() if true in sweeps}


def _worth(sweeps: Mapping[str, Sweep]) -> float:
    """Return the mean over classes of the best that thresholds can do."""
    best = [float(one.values[one.best]) for one in sweeps.values()]
    return float(np.mean(best)) if best else -np.inf


def config_text(tuned: Tuned, model: str | None, about: str) -> str:
    """Return a config file for `run --config`."""
    was, now = (_said(f, tuned.goal) for f in (tuned.before, tuned.promised))
    lines = [
        f"# Made by `pbsbatch tune` for {tuned.goal} at an IoU of {tuned.iou:g}{about}: {was} before, {now} after."
    ]
    if model is not None:
        lines.append(f"model = {json.dumps(model)}")
    if tuned.nms_iou is not None:
        lines.append(f"nms_iou = {tuned.nms_iou!r}")
    lines.append("\n[thresholds]")
    lines += [f"{json.dumps(name)} = {value!r}" for name, value in tuned.thresholds.items()]
    return "\n".join(lines) + "\n"


def _said(found: Figures, goal: str) -> str:
    row = found.rows[-1]
    value = {"f1": row.f1, "map": row.ap50, "count": row.count_mae}[goal]
    return f"{'F1' if goal == 'f1' else 'mAP50' if goal == 'map' else 'count MAE'} {value:.4f}"
