"""How well white cells are named: on held-out pictures against their labels, and on other laboratories' fields.

`python -m benchmarks.white_cells --json [--classifier NAME|PATH] [--sheets DIR]` asks every engine and precision of
this machine about the pictures that training held out (accuracy, calibration, false calls at clinical prevalence) and
about the labelled white cells of TXL fields by laboratory, whose types nobody labelled: how many come out unsure, and
as what the others are called. --sheets writes contact sheets of those, by laboratory and type, for the eye: real
pictures stay out of the project. Cells that a field's border cuts are left out.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from pbsbatch import models
from pbsbatch.datasets.readers import DataSet, read
from pbsbatch.datasets.samples import WHITE
from pbsbatch.differential import window
from pbsbatch.engines.load import load_classifier as load_engine
from pbsbatch.errors import EngineError
from pbsbatch.models.classifier import CellClassifier
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.models.taxonomy import ABNORMAL, CALLED, UNSURE, chances_of
from pbsbatch.train.classifier.crops import plain
from pbsbatch.train.classifier.judge import judge
from pbsbatch.train.classifier.pictures import Split, load
from pbsbatch.train.classifier.settings import read_settings
from pbsbatch.train.fields import loaded

ENGINES = (("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"), ("torch", "fp32"))
PER_SHEET, COLUMNS, SHOWN_PX = 96, 12, 96
Image = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", default="differential")
    parser.add_argument("--sheets", type=Path, help="write contact sheets into this folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    asked = parser.parse_args()
    data = record.data_folder()
    if data is None:
        raise SystemExit("no data sets beside the repository: set PBSBATCH_DATA to their folder")
    classifier = models.load_classifier(asked.classifier)
    held, fields = held_out(data), dict(of_fields(classifier, data))
    rows = [row for name, precision in ENGINES for row in rows_of(classifier, name, precision, held, fields)]
    if asked.sheets is not None:
        write_sheets(classifier, fields, asked.sheets)
    if not asked.no_record:
        record.append("white_cells", rows)
    record.show({"rows": rows})


def held_out(data: Path) -> Split:
    """Return the pictures that the shipped training held out."""
    with resources.as_file(resources.files("pbsbatch.train") / "configs") as folder:
        return load(read_settings(folder / "classifier.toml"), data)[0]["hold-out"]


def of_fields(classifier: CellClassifier, data: Path, side: int = 0) -> Iterator[tuple[str, Image]]:
    """Yield each laboratory's white cells as a run would cut them, or in the middle of pictures of another side."""
    facts = classifier.folder.facts
    side = side or facts.crop_px
    found: dict[str, list[Image]] = {}
    for split in ("train", "val"):
        for sample in read(DataSet(data / "txl", "yolo", split))[0]:
            field = loaded(sample, RED_CELL_UM / facts.crop_mpp / sample.red_cell_px)
            height, width = field.pixels.shape[:2]
            for x0, y0, x1, y1 in field.boxes[field.classes == WHITE]:
                if min(x0, y0, width - x1, height - y1) >= 1:
                    x, y = (int(np.floor((a + b - side) / 2 + 0.5)) for a, b in ((x0, x1), (y0, y1)))
                    crop = np.ascontiguousarray(window(field.pixels, x, y, side))
                    found.setdefault(sample.name.split("_")[0], []).append(crop)
    yield from ((laboratory, np.stack(crops)) for laboratory, crops in sorted(found.items()))


def rows_of(
    classifier: CellClassifier, name: str, precision: str, held: Split, fields: dict[str, Image]
) -> Iterator[dict[str, Any]]:
    """Yield what one engine says of every set."""
    facts = classifier.folder.facts
    base = {"classifier": facts.name, "version": facts.version, "engine": name, "precision": precision}
    try:
        engine = load_engine(classifier, name, precision=precision, threads=1)
    except EngineError:
        return
    crops = np.stack([plain(cell, facts.crop_px, facts.crop_mpp) for cell in held.cells])
    for title, pixels in {"pictures held out": crops, **fields}.items():
        engine(pixels[:8])
        start = time.process_time()
        raw = engine(pixels)
        spent = 1e3 * (time.process_time() - start) / len(pixels)
        called, _ = classifier.names(raw)
        row: dict[str, Any] = dict.fromkeys(
            ("accuracy", "balanced_accuracy", "calibration_error", "wrong_per_100", "right_of_sure"), ""
        )
        if title == "pictures held out":
            report = judge(chances_of(np.asarray(raw["logits"], np.float64)), held.types)
            row |= {k: round(v, 4) for k, v in asdict(report).items() if k in row}
            sure = called < CALLED.index(UNSURE)
            row["right_of_sure"] = round(float((called == held.types)[sure].mean()), 4)
        counts = Counter(CALLED[i] for i in called.tolist())
        yield {
            **base, "cells_of": title, "cells": len(pixels), **row,
            "unsure": round((counts[UNSURE] + counts[ABNORMAL]) / len(pixels), 4),
            "abnormal": round(counts[ABNORMAL] / len(pixels), 4),
            "called": " ".join(f"{name}:{counts[name]}" for name in CALLED if counts[name]),
            "cpu_ms_per_cell": round(spent, 3),
        }  # fmt: skip
    engine.close()


def write_sheets(classifier: CellClassifier, fields: dict[str, Image], folder: Path) -> None:
    """Write a sheet for each laboratory and word that cells are called by."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = load_engine(classifier, "openvino", precision="fp32", threads=1)
    for laboratory, crops in fields.items():
        called, chances = classifier.names(engine(crops))
        for index, word in enumerate(CALLED):
            chosen = np.flatnonzero(called == index)
            if len(chosen):
                order = chosen[np.argsort(chances[chosen], kind="stable")]  # the doubtful ones first
                shown = order[np.linspace(0, len(order) - 1, min(PER_SHEET, len(order))).astype(int)]
                cv2.imwrite(str(folder / f"{laboratory}-{word}.png"), sheet(crops[shown])[..., ::-1])
    engine.close()


def sheet(crops: Image) -> Image:
    """Return crops side by side."""
    rows = -(-len(crops) // COLUMNS)
    out = np.full((rows * SHOWN_PX, COLUMNS * SHOWN_PX, 3), 255, np.uint8)
    for n, crop in enumerate(crops):
        y, x = divmod(n, COLUMNS)
        small = cv2.resize(crop, (SHOWN_PX - 2, SHOWN_PX - 2), interpolation=cv2.INTER_AREA)
        out[y * SHOWN_PX : (y + 1) * SHOWN_PX - 2, x * SHOWN_PX : (x + 1) * SHOWN_PX - 2] = small
    return out


if __name__ == "__main__":
    main()
