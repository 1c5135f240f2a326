"""Exports of a slide of very many cells, and labels brought back from CVAT: time, size and memory of each.

`python -m benchmarks.exports --json` writes the store of a slide of five million cells (some minutes), then each
format from it, each in a process of its own, so that its peak of memory is its own. Beside it stands what a process
takes that only opens the run: the rest of a peak is the format's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import record
from benchmarks.viewer import draw
from pbsbatch.corrections.bring import bring_back
from pbsbatch.errors import UsageError
from pbsbatch.export import export
from pbsbatch.results import open_run

STREAMED = ("coco", "geojson", "cvat", "json", "csv", "parquet")
HELD = ("anndata",)
"""Its package holds the table whole."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=5_000_000)
    parser.add_argument("--formats", nargs="+", default=["nothing", *STREAMED, *HELD, "import-labels"])
    parser.add_argument("--one", nargs=2, metavar=("OUT", "FORMAT"), help=argparse.SUPPRESS)
    parser.add_argument("--no-record", action="store_true", help="append nothing to benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measured(Path(asked.one[0]), asked.one[1])))
        return
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        draw(out, asked.cells)
        (out / ".pbsbatch").mkdir()
        rows = [_apart(out, which) for which in asked.formats]
    rows = [row | {"cells": asked.cells} for row in rows if row]
    if not asked.no_record:
        record.append("exports", rows)
    record.show({"exports": rows})


def _apart(out: Path, which: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.exports", "--one", str(out), which]
    row: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return row


def measured(out: Path, which: str) -> dict[str, Any]:
    """Do one thing and say what it took; nothing where its package is missing."""
    target, start = out.parent / f"cells.{which}", time.process_time()
    run = open_run(out)
    try:
        if which == "import-labels":
            bring_back(out, out.parent / "cells.cvat", user="benchmark", reason="nothing was changed")
        elif which != "nothing":
            export(run, which, target)
    except UsageError as error:
        if "pip install" in str(error):
            return {}
        raise
    size = target.stat().st_size if target.is_file() else 0
    if which != "cvat":  # what is brought back
        target.unlink(missing_ok=True)
    cpu = round(time.process_time() - start, 2)
    return {"format": which, "cpu_s": cpu, "file_mb": round(size / 1e6, 1), "peak_mb": record.peak_mb()}


if __name__ == "__main__":
    main()
