"""Pictures for the eye: fields with what a model found in them, and where that is not what the labels say.

`python -m benchmarks.model_pictures` draws smears of every stain and writes docs/smear.jpg, which the model's card
shows. `python -m benchmarks.model_pictures --real FOLDER` writes a sheet for each laboratory of the validation fields
at hand into FOLDER: real pictures stay out of the project. Outlines: red cells green, white cells blue, platelets
orange. A black box is a labelled cell that was not found, a white one is a find that nobody labelled.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from benchmarks.accuracy import HELD_OUT
from pbsbatch.colours import OUTLINES
from pbsbatch.datasets.readers import DataSet, read
from pbsbatch.datasets.samples import Sample, encode
from pbsbatch.evaluate import fields_found, fields_truth, verdicts
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.notebook import Found, detect
from pbsbatch.synth import STAINS, Scene

SHEET = record.ROOT / "docs" / "smear.jpg"
COLUMNS, CELL_PX, GAP_PX = 3, 58, 6
"""Fields side by side, the red cells of each so large, and white between them."""
TILE = (440, 340)
LEAST_PX = 4
"""Of a drawn cell, how much of each side the field must show for it to be labelled."""
BLACK, WHITE = (0, 0, 0), (255, 255, 255)

Image = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smear", help="a model by name or path")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="draw the labelled fields at hand instead")
    parser.add_argument("--fields", type=int, default=9, help="on each sheet")
    asked = parser.parse_args()
    if asked.real is None:
        drawn = [draw(2000 + n, STAINS[n % len(STAINS)]) for n in range(asked.fields)]
        write(SHEET, [picture(sample, asked.model) for sample in drawn])
        return
    if asked.real.resolve().is_relative_to(record.ROOT):
        sys.exit("real pictures stay out of the project: give a folder elsewhere")
    asked.real.mkdir(parents=True, exist_ok=True)
    for title, samples in real(asked.fields):
        write(asked.real / f"{title}.jpg", [picture(sample, asked.model) for sample in samples])


def draw(seed: int, stain: str) -> Sample:
    """Return a drawn field and its labels."""
    width, height = TILE
    scene = Scene(width, height, RED_CELL_UM / CELL_PX, seed, stain=stain, white_per_1000=80)
    cells = scene.cells(0, 0, width, height)
    boxes = np.clip(cells.boxes, 0, [width, height] * 2).astype(np.float32)
    shown = ((boxes[:, 2:] - boxes[:, :2]) >= LEAST_PX).all(1)
    return Sample(
        name=stain, source="drawn", encoded=encode(scene.render(0, 0, width, height)), size=TILE, boxes=boxes[shown],
        classes=cells.classes[shown], outlines=np.full((int(shown.sum()), 32), np.nan, np.float32),
        unsure=np.zeros((0, 4), np.float32), red_cell_px=float(CELL_PX),
    )  # fmt: skip


def real(most: int) -> Iterator[tuple[str, list[Sample]]]:
    """Yield some fields of each laboratory that training never saw, always the same ones."""
    data = record.data_folder()
    if data is None:
        sys.exit("no labelled fields: set PBSBATCH_DATA to their folder")
    val, _ = read(DataSet(data / "txl", "yolo", "val"))
    train, _ = read(DataSet(data / "txl", "yolo", "train"))
    held = set(HELD_OUT.read_text().split())
    groups = {source: [s for s in val if s.source == source] for source in sorted({s.source for s in val})}
    groups["cbc-unseen"] = [s for s in (*val, *train) if s.name in held]
    for title, samples in groups.items():
        order = np.random.default_rng(5).permutation(len(samples))[:most]
        yield title, [samples[i] for i in order]


def picture(sample: Sample, model: str) -> Image:
    """Return a field as large as its sheet shows it, with what was found and what differs from its labels."""
    found = detect(sample.image, mpp=RED_CELL_UM / sample.red_cell_px, model=model, differential=False)
    zoom = CELL_PX / sample.red_cell_px
    size = (round(sample.size[0] * zoom), round(sample.size[1] * zoom))
    out = np.asarray(cv2.resize(found.image, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC))
    labels = cv2.resize(found.labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST).astype(np.int32)
    for number, kind in zip(found.cells["id"], found.cells["class"], strict=True):
        mask = (labels == number).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(out, outlines, -1, OUTLINES[kind], 1, cv2.LINE_AA)
    missed, wrong = differences(sample, found)
    for boxes, colour in ((missed, BLACK), (wrong, WHITE)):
        for x0, y0, x1, y1 in (boxes * zoom).round().astype(int).tolist():
            cv2.rectangle(out, (x0, y0), (x1 - 1, y1 - 1), colour, 1)
    return np.asarray(out, np.uint8)


def differences(sample: Sample, found: Found) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the boxes of labelled cells that were not found, and of finds that are none."""
    cells = found.cells
    boxes = np.stack([cells[name] for name in ("x0", "y0", "x1", "y1")], 1).astype(np.float64)
    seen = verdicts(
        fields_truth([sample.boxes], [sample.classes]), fields_found([boxes], [cells["class"]], [cells["score"]]),
        len(found.classes),
    )  # fmt: skip
    return sample.boxes[seen.missed].astype(np.float64), boxes[seen.false_positives]


def write(path: Path, pictures: Sequence[Image]) -> None:
    """Write pictures as one sheet."""
    rows = [pictures[i : i + COLUMNS] for i in range(0, len(pictures), COLUMNS)]
    wide = max(sum(p.shape[1] for p in row) + GAP_PX * (len(row) - 1) for row in rows)
    out = []
    for row in rows:
        line = np.full((max(p.shape[0] for p in row) + GAP_PX, wide, 3), 255, np.uint8)
        x = 0
        for each in row:
            line[: each.shape[0], x : x + each.shape[1]] = each
            x += each.shape[1] + GAP_PX
        out.append(line)
    cv2.imwrite(str(path), np.concatenate(out)[:-GAP_PX, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 86])
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
