"""What a training leaves to be read: one table by type, the confusion, and a map of the features it held out.

Law: the table says how the pictures were dealt out, and that it leaks where it does; its last row is of all types.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pbsbatch.disk import output_errors, write_atomic
from pbsbatch.models.taxonomy import TYPES
from pbsbatch.nets.architectures import parameters
from pbsbatch.train.classifier.drawings import confusion_png, map_png
from pbsbatch.train.classifier.finish import Finished
from pbsbatch.train.classifier.judge import Report
from pbsbatch.train.classifier.look import crops_of, look
from pbsbatch.train.classifier.pictures import Split
from pbsbatch.train.classifier.settings import AUGMENTED, GROUPS, Settings

__all__ = ["CONFUSION", "FEATURES", "TABLE", "f1_of", "protocol_of", "rows_of", "write_report", "write_rows"]

TABLE, CONFUSION, FEATURES = "table.csv", "confusion", "features.png"
Rows = list[dict[str, Any]]


def write_report(settings: Settings, output: Path, done: Finished, held: Split, seconds: float) -> None:
    """Write the table, the confusion as CSV and PNG, and the map of features."""
    start = time.process_time()
    _, features = look(done.net, crops_of(settings, held.cells))
    spent = 1e3 * (time.process_time() - start) / len(held.cells)
    cost = {"parameters": parameters(done.net), "train_seconds": round(seconds, 1), "cpu_ms_per_cell": round(spent, 3)}
    write_rows(output / TABLE, rows_of(settings, done.report, cost))
    counts = zip(TYPES, done.report.confusion, strict=True)
    write_rows(output / f"{CONFUSION}.csv", [{"true": t, **dict(zip(TYPES, row, strict=True))} for t, row in counts])
    pictures = {f"{CONFUSION}.png": confusion_png(done.report.confusion), FEATURES: map_png(features, held.types)}
    for name, data in pictures.items():
        with output_errors(output / name):
            write_atomic(output / name, [data])


def rows_of(settings: Settings, report: Report, cost: Mapping[str, Any]) -> Rows:
    """Return the table: a row for each type that is there, one of all."""
    base = {"model": settings.name, "arch": settings.arch, "split": protocol_of(settings)}
    rows = [
        {**base, "type": name, **_figures(row.precision, row.recall), "support": row.cells, **cost}
        for name, row in report.types.items() if row.cells
    ]  # fmt: skip
    means = {key: sum(r[key] or 0.0 for r in rows) / len(rows) for key in ("precision", "recall", "f1")}
    whole = {**means, "support": report.cells, **cost}
    return [{**r, "accuracy": ""} for r in rows] + [{**base, "type": "mean", **whole, "accuracy": report.accuracy}]


def protocol_of(settings: Settings) -> str:
    """Say how the pictures were dealt out, and whether that leaks."""
    shares = "/".join(f"{100 * share:.0f}" for share in settings.shares)
    how = {GROUPS: "groups", AUGMENTED: "LEAKS: augmented before the split"}
    return f"{shares} {how.get(settings.split, 'pictures, may leak: groups are parted')}, seed {settings.split_seed}"


def f1_of(precision: float | None, recall: float | None) -> float | None:
    """Return the harmonic mean; None where there is neither."""
    if precision is None and recall is None:
        return None
    p, r = precision or 0.0, recall or 0.0
    return 2 * p * r / (p + r) if p + r else 0.0


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, floats with six digits, nothing where there is none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else "" if v is None else v for k, v in row.items()})
    with output_errors(path):
        write_atomic(path, [text.getvalue().encode()])


def _figures(precision: float | None, recall: float | None) -> dict[str, float | None]:
    return {"precision": precision, "recall": recall, "f1": f1_of(precision, recall)}
