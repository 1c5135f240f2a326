"""Classical classifiers on the features of a network that is not taught: cross-validated, with groups kept together.

Laws. No group of one cell or field is on both sides of a fold; each cell is judged once, by a classifier that saw
none of its group. There is no model folder at the end: such classifiers are stored by pickle, which is not read here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pbsbatch.datasets.duplicates import Groups
from pbsbatch.datasets.readers import DataError
from pbsbatch.disk import make_folder, output_errors, write_atomic
from pbsbatch.errors import UsageError
from pbsbatch.models.taxonomy import KINDS, TYPES
from pbsbatch.nets.architectures import build, parameters
from pbsbatch.nets.backbones import OF_TIMM, OF_TORCHVISION, BackboneNet, fill_body
from pbsbatch.train.batches import normalised
from pbsbatch.train.classifier.drawings import confusion_png, map_png
from pbsbatch.train.classifier.look import AT_ONCE, crops_of
from pbsbatch.train.classifier.pictures import Split
from pbsbatch.train.classifier.report import CONFUSION, FEATURES, TABLE, f1_of, write_rows
from pbsbatch.train.classifier.settings import Settings

__all__ = ["BACKBONES", "CLASSIFIERS", "FOLDS", "Judged", "compare", "cross_validated", "features_of"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

BACKBONES = (*OF_TORCHVISION, *OF_TIMM)
CLASSIFIERS = ("svm", "xgboost", "knn", "random-forest")
FOLDS = 5
ALONE = "erythroblast"
"""The type that is told from all others by a classifier of its own, too."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a classifier called each cell that it was not taught on."""

    called: I64
    alone: NDArray[np.bool_] | None  # called ALONE by the classifier of that type; None where there is no such cell
    seconds: float  # of the processor, all folds


def compare(
    settings: Settings, cells: Split, groups: Groups, backbone: str, classifiers: Sequence[str], output: Path,
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Judge classifiers on a backbone's features; write and return the table."""
    for name in classifiers:
        _refuse_missing(name)
    _refuse_tiny(cells.types, groups.of)
    with output_errors(output):
        make_folder(output)
    say(f"features of {len(cells.cells):,} cells by {backbone}")
    start = time.process_time()
    features, weights = features_of(settings, backbone, cells)
    spent = 1e3 * (time.process_time() - start) / len(cells.cells)
    rows: list[dict[str, Any]] = []
    for name in classifiers:
        say(f"{FOLDS} folds of {name}")
        judged = cross_validated(name, features, cells.types, groups.of, settings.seed)
        cost = {"parameters": weights, "train_seconds": round(judged.seconds, 2), "cpu_ms_per_cell": round(spent, 3)}
        rows += _rows(f"{backbone} + {name}", judged, cells.types, cost)
        _write(output / f"{CONFUSION}-{name}.png", confusion_png(_confusion(cells.types, judged.called).tolist()))
    write_rows(output / TABLE, rows)
    _write(output / FEATURES, map_png(features, cells.types))
    return rows


def features_of(settings: Settings, backbone: str, cells: Split) -> tuple[F64, int]:
    """Return the features of cells (N, F) as they are, and how many weights the network has that gave them."""
    if backbone in BACKBONES:
        net = build(backbone, len(KINDS), settings.size)
        assert isinstance(net, BackboneNet)
        if not settings.weights:
            fill_body(net, Path(f"weights of {backbone}"))  # says where they come from
        fill_body(net, Path(settings.weights))
        see: Callable[[torch.Tensor], torch.Tensor] = net.eval().pooled
        mean, std, count = net.mean, net.std, sum(p.numel() for p in net.body.parameters())
        crops = crops_of(settings, cells.cells)
    else:
        own, size, mean, std = _of_model(backbone)
        see, count = own.features, parameters(own)
        crops = crops_of(size(settings), cells.cells)
    batches = (torch.from_numpy(np.stack(crops[at : at + AT_ONCE])) for at in range(0, len(crops), AT_ONCE))
    with torch.no_grad():
        found = [see(normalised(pixels, mean, std)) for pixels in batches]
    return torch.cat(found).double().numpy(), count


def cross_validated(name: str, features: F64, types: I64, groups: I64, seed: int) -> Judged:
    """Return what a classifier calls the cells of each fold, taught on the others."""
    from sklearn.model_selection import StratifiedGroupKFold

    start = time.process_time()
    called = np.zeros(len(types), np.int64)
    is_one = types == TYPES.index(ALONE)
    alone = np.zeros(len(types), np.bool_) if is_one.any() and not is_one.all() else None
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for taught, held in folds.split(features, types, groups):
        called[held] = _fitted(name, features[taught], types[taught], seed)(features[held])
        if alone is not None:
            alone[held] = _fitted(name, features[taught], is_one[taught].astype(np.int64), seed)(features[held]) == 1
    return Judged(called, alone, time.process_time() - start)


def _fitted(name: str, features: F64, labels: I64, seed: int) -> Callable[[F64], I64]:
    """Return a fitted classifier as a function; what it is fitted on is scaled to unit deviation first."""
    present, coded = np.unique(labels, return_inverse=True)
    middle, width = features.mean(0), features.std(0) + 1e-9
    one = _make(name, seed)
    one.fit((features - middle) / width, coded)
    return lambda x: present[np.asarray(one.predict((x - middle) / width), np.int64)]


def _make(name: str, seed: int) -> Any:
    if name == "svm":
        from sklearn.svm import SVC

        return SVC(C=10.0, gamma="scale", random_state=seed)
    if name == "knn":
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(5)
    if name == "random-forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(300, random_state=seed, n_jobs=1)
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=200, max_depth=6, tree_method="hist", random_state=seed, n_jobs=1)


def _refuse_missing(name: str) -> None:
    if name not in CLASSIFIERS:
        raise UsageError(f"no classifier is called {name!r}", cure=f"There are {', '.join(CLASSIFIERS)}")
    package = "xgboost" if name == "xgboost" else "sklearn"
    if find_spec(package) is None:
        raise UsageError(f"{name} needs {package}", cure='Install it with: pip install "pbsbatch[train]"')


def _refuse_tiny(types: I64, groups: I64) -> None:
    """Refuse a type that cannot be in every fold."""
    few = {TYPES[t]: len(np.unique(groups[types == t])) for t in np.unique(types)}
    few = {name: count for name, count in few.items() if count < FOLDS}
    if few:
        said = ", ".join(f"{count} of {name}" for name, count in few.items())
        raise DataError(
            f"too few pictures for {FOLDS} folds: {said} that are of different cells and fields",
            cure=f"Give {FOLDS} at least of each type",
        )  # fmt: skip


def _of_model(name: str) -> tuple[Any, Callable[[Settings], Settings], Any, Any]:
    """Return the network of a classifier's model, the settings that cut crops for it, and how pixels are normalised."""
    from pbsbatch.engines.torch import served
    from pbsbatch.models.load import load_classifier

    folder = load_classifier(name).folder
    facts = folder.facts
    net = served(folder).net.net
    return net, lambda s: replace(s, crop_px=facts.crop_px, crop_mpp=facts.crop_mpp), facts.mean, facts.std


def _rows(model: str, judged: Judged, types: I64, cost: Mapping[str, Any]) -> list[dict[str, Any]]:
    confusion = _confusion(types, judged.called)
    named, true = confusion.sum(0), confusion.sum(1)
    rows = [_row(model, TYPES[t], confusion[t, t], named[t], true[t], cost) for t in np.flatnonzero(true)]
    if judged.alone is not None:
        is_one = types == TYPES.index(ALONE)
        right = int((judged.alone & is_one).sum())
        rows.append(_row(model, f"{ALONE} against the rest", right, judged.alone.sum(), is_one.sum(), cost))
    accuracy = float(confusion.trace() / confusion.sum())
    return [*rows, {**_row(model, "all", confusion.trace(), len(types), len(types), cost), "accuracy": accuracy}]


def _row(model: str, kind: str, right: Any, named: Any, true: Any, cost: Mapping[str, Any]) -> dict[str, Any]:
    precision, recall = (float(right / whole) if whole else None for whole in (named, true))
    figures = {"precision": precision, "recall": recall, "f1": f1_of(precision, recall), "support": int(true)}
    return {"model": model, "split": f"{FOLDS} folds of groups", "type": kind, **figures, **cost, "accuracy": None}


def _confusion(types: I64, called: I64) -> I64:
    out = np.zeros((len(TYPES), len(TYPES)), np.int64)
    np.add.at(out, (types, called), 1)
    return out


def _write(path: Path, data: bytes) -> None:
    with output_errors(path):
        write_atomic(path, [data])
