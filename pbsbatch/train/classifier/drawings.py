"""Draw what a classifier confuses, and where the features of cells lie: t-SNE after the main components.

Law: the same numbers give the same picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbsbatch.models.taxonomy import TYPES

__all__ = ["confusion_png", "map_png", "placed"]

MOST_CELLS, COMPONENTS, PERPLEXITY, SEED = 1000, 50, 30.0, 1


def confusion_png(confusion: Sequence[Sequence[int]]) -> bytes:
    """Draw a confusion matrix, each row as shares of its cells."""
    counts = np.asarray(confusion, np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = _axes(7.2, 6.4)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour, fontsize=8)
    names = [name.replace("_", " ") for name in TYPES]
    axes.set_xticks(range(len(TYPES)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(TYPES)), names)
    axes.set(xlabel="called", ylabel="true", title="Held-out cells")
    return _png(figure)


def map_png(features: NDArray[np.float64], types: NDArray[np.int64]) -> bytes:
    """Draw where cells lie by their features, by type."""
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(features))[:MOST_CELLS])
    at = placed(features[chosen])
    figure, axes = _axes(7.2, 5.6)
    for t in np.unique(types[chosen]):
        here = types[chosen] == t
        axes.scatter(at[here, 0], at[here, 1], s=9, alpha=0.8, label=TYPES[t].replace("_", " "))
    axes.set(title=f"Features of {len(chosen):,} held-out cells (t-SNE)", xticks=[], yticks=[])
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return _png(figure)


def placed(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a place (N, 2) for each row of features (N, F): t-SNE of their main components."""
    from sklearn.manifold import TSNE

    middle = features - features.mean(0)
    left, sizes, _ = np.linalg.svd(middle, full_matrices=False)
    main = left[:, :COMPONENTS] * sizes[:COMPONENTS]
    if len(main) < 4 or not sizes.max(initial=0.0) > 0:
        return np.pad(main, ((0, 0), (0, 2)))[:, :2]  # too few, or all alike: t-SNE has nothing to arrange
    perplexity = min(PERPLEXITY, (len(main) - 1) / 3)
    made = TSNE(2, perplexity=perplexity, init="random", random_state=SEED, n_jobs=1).fit_transform(main)
    return np.asarray(made, np.float64)


def _axes(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _png(figure: Any) -> bytes:
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()
