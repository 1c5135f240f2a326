"""Make the README's picture: a drawn field, left as it is, right with the cells that a run found in it.

Run `python -m benchmarks.readme_picture`; it writes docs/field.jpg.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from benchmarks.record import ROOT
from pbsbatch import store
from pbsbatch.colours import OUTLINES
from pbsbatch.synth import Scene, write_field

COLOURS = tuple(colour[::-1] for colour in OUTLINES)  # BGR of red cells, white cells, platelets


def main() -> None:
    scene = Scene(1100, 620, mpp=0.17, seed=21, stain="cream", white_per_1000=60)
    with TemporaryDirectory() as folder:
        field, out = Path(folder) / "field.png", Path(folder) / "out"
        write_field(scene, field)
        command = [sys.executable, "-m", "pbsbatch", "run", "--input", str(field), "--output", str(out), "--quiet"]
        subprocess.run(command, check=True)
        drawn = cv2.imread(str(field))
        found = store.open(next((out / "slides").glob("*.zarr")))
        labels = found.labels(0).read(0, 0, scene.width, scene.height)
        picture = drawn.copy()
        for number, kind in zip(found.cells["id"], found.cells["class"], strict=True):
            mask = (labels == number).astype(np.uint8)
            outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, outlines, -1, COLOURS[kind], 2, cv2.LINE_AA)
    half = scene.width // 2
    picture[:, :half] = drawn[:, :half]
    picture[:, half - 1 : half + 1] = 255
    target = ROOT / "docs" / "field.jpg"
    target.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(target), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(target.relative_to(ROOT), found.info.counts)


if __name__ == "__main__":
    main()
