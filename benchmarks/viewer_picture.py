"""Make the README's picture of the viewer: drawn smears, a run on them, and `pbsbatch view` in a browser.

Run `python -m benchmarks.viewer_picture`; it needs Chromium and writes docs/viewer.jpg.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from benchmarks.record import ROOT
from pbsbatch.results import open_run
from pbsbatch.testing.browser import browse
from pbsbatch.view.server import listen
from pbsbatch.view.site import Site

SIZE = (1280, 760)
READY = "document.getElementById('shown') && document.getElementById('map').dataset.waiting === '0'"
DRAWN = (("smears", "1", "8192x3072", "slide", "8"), ("fields", "2", "1600x1200", "field", "40"))


def main() -> None:
    with TemporaryDirectory() as folder:
        out = _run(Path(folder))
        slide = open_run(out)[0]
        at = f"slide={slide.id}&x=4000&y=1500&zoom=0"
        with listen(Site(out), None) as server, browse(Path(folder) / "profile") as page:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            page.go(f"{server.url}#{at}", *SIZE)
            page.wait(READY)
            page.wait("[...document.querySelectorAll('img')].every(image => image.complete)")
            page.press("n")
            page.wait("!document.getElementById('cell').hidden")
            page.wait(READY)
            time.sleep(2)  # tiles fade in
            shot = cv2.imdecode(np.frombuffer(page.picture(), np.uint8), cv2.IMREAD_COLOR)
            server.shutdown()
    target = ROOT / "docs" / "viewer.jpg"
    cv2.imwrite(str(target), shot, [cv2.IMWRITE_JPEG_QUALITY, 80])
    print(target.relative_to(ROOT), f"{target.stat().st_size:,} bytes")


def _run(folder: Path) -> Path:
    for name, slides, size, profile, white in DRAWN:
        pbsbatch(
            "data", "synth", "--output", str(folder / "archive" / name), "--slides", slides, "--size", size,
            "--mpp", "0.25", "--seed", "11", "--profile", profile, "--white-per-1000", white, "--no-outlines",
        )  # fmt: skip
    pbsbatch("run", "--input", str(folder / "archive" / "smears"), "--input", str(folder / "archive" / "fields"),
              "--output", str(folder / "results"), "--quiet")  # fmt: skip
    return folder / "results"


def pbsbatch(*arguments: str, check: bool = True) -> None:
    """Run a command of this project."""
    subprocess.run([sys.executable, "-m", "pbsbatch", *arguments], check=check)


if __name__ == "__main__":
    main()
