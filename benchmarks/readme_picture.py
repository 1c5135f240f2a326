"""Make the README's picture: a drawn field, left as it is, right with the cells that a run found in it, as
`pbsbatch draw` draws them.

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
from pbsbatch.geometry import Box
from pbsbatch.report.drawing import draw
from pbsbatch.results import open_run
from pbsbatch.synth import Scene, write_field


def main() -> None:
    scene = Scene(1100, 620, mpp=0.17, seed=21, stain="cream", white_per_1000=60)
    half = scene.width // 2
    with TemporaryDirectory() as folder:
        field, out = Path(folder) / "field.png", Path(folder) / "out"
        write_field(scene, field)
        command = [sys.executable, "-m", "pbsbatch", "run", "--input", str(field), "--output", str(out), "--quiet"]
        subprocess.run(command, check=True)
        found = draw(open_run(out)[0], Box(half, 0, scene.width - half, scene.height), field)
        left = cv2.imread(str(field))[:, :half]
    picture = np.concatenate([left, found.pixels[..., ::-1]], axis=1)
    picture[:, half - 1 : half + 1] = 255
    target = ROOT / "docs" / "field.jpg"
    target.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(target), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(target.relative_to(ROOT), dict(found.counts))


if __name__ == "__main__":
    main()
