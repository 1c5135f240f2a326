"""Make the README's picture of the report: drawn smears, one of them cut off, a run on them, and its first page.

Run `python -m benchmarks.report_picture`; it needs Chromium and writes docs/report.jpg.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from benchmarks.record import ROOT
from benchmarks.viewer_picture import pbsbatch
from pbsbatch.testing.browser import browse

SIZE = (1560, 1200)
SHOWN = (1200, 923)


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        pbsbatch(
            "data", "synth", "--output", str(folder / "archive"), "--slides", "7", "--size", "2560x2304", "--seed", "5",
            "--profile", "field", "--white-per-1000", "40", "--no-outlines", "--broken",
        )  # fmt: skip
        run = ("run", "--input", str(folder / "archive"), "--output", str(folder / "results"), "--quiet")
        pbsbatch(*run, check=False)  # one slide fails, as it should
        with browse(folder / "profile") as page:
            page.go((folder / "results" / "report.html").as_uri(), *SIZE)
            page.wait("document.readyState === 'complete' && document.querySelectorAll('svg').length > 3")
            shot = cv2.imdecode(np.frombuffer(page.picture(), np.uint8), cv2.IMREAD_COLOR)
    target = ROOT / "docs" / "report.jpg"
    shot = cv2.resize(shot, SHOWN, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(target), shot, [cv2.IMWRITE_JPEG_QUALITY, 80])
    print(target.relative_to(ROOT), f"{target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
