"""How far the measured scale is off: labelled fields whose red cells say it, and a run that is told nothing.

`python -m benchmarks.scale_error --json` lets the detector measure um per pixel in the fields of TXL val and in CBC
fields that training never saw, and holds it against the median diameter of their labelled red cells, taken for 7.2 um
as the detector takes them. A field cut from a smear of larger cells is off by that, whoever measures it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.accuracy import cbc_unseen
from pbsbatch import engines, models
from pbsbatch.config import Config
from pbsbatch.datasets.readers import DataSet, read
from pbsbatch.datasets.samples import Sample
from pbsbatch.engines.base import Engine
from pbsbatch.errors import ScaleError
from pbsbatch.models.base import Model
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.run.prepare import cut_slide
from pbsbatch.slides.base import SlideRef


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smear")
    parser.add_argument("--fields", type=int, default=0, help="at most so many of each laboratory (0: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    asked = parser.parse_args()
    data = record.data_folder()
    if data is None:
        raise SystemExit("no labelled fields: set PBSBATCH_DATA to their folder")
    model = models.load(asked.model)
    engine = engines.load(model)
    val, _ = read(DataSet(data / "txl", "yolo", "val"))
    sets = {f"txl-val-{name}": [s for s in val if s.source == name] for name in sorted({s.source for s in val})}
    sets["cbc-unseen"] = cbc_unseen(data)
    rows = [judge(model, engine, title, fields[: asked.fields or None]) for title, fields in sets.items()]
    engine.close()
    if not asked.no_record:
        record.append("scale_error", rows)
    record.show({"rows": rows})


def judge(model: Model, engine: Engine, title: str, fields: Sequence[Sample]) -> dict[str, Any]:
    """Return one row: measured over known um per pixel, less one, in percent."""
    pairs = [(measured(model, engine, s), RED_CELL_UM / s.red_cell_px) for s in fields]
    off = np.array([100 * (m / known - 1) for m, known in pairs if m is not None])
    return {
        "model": model.spec.name, "version": model.spec.version, "set": title, "fields": len(fields),
        "refused": sum(m is None for m, _ in pairs), "off_median_pct": round(float(np.median(off)), 2),
        "off_abs_median_pct": round(float(np.median(np.abs(off))), 2),
        "off_abs_p90_pct": round(float(np.percentile(np.abs(off), 90)), 2),
        "off_abs_most_pct": round(float(np.abs(off).max()), 2),
    }  # fmt: skip


def measured(model: Model, engine: Engine, sample: Sample) -> float | None:
    """Return the um per pixel that a run takes a field to have; None where it refuses."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "field.png"
        path.write_bytes(sample.encoded)
        try:
            cut = cut_slide(SlideRef("field", path, sample.name, sample.name, None), model, Config(), lambda: engine)
        except ScaleError:
            return None
        cut.slide.close()
        return cut.plan.mpp


if __name__ == "__main__":
    main()
