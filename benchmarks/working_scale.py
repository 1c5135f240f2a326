"""What a finer working scale buys, and what it costs: short trainings of the same length at several scales and sizes.

`python -m benchmarks.working_scale --json` trains each size for a few minutes on the labelled fields at hand, judges
it on the validation fields, and measures how many mm2 per second the CPU engine does at its working scale.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks import record
from pbsbatch.engines.openvino import OpenVINOEngine
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.train.detector import Data, Judged, begin, teach
from pbsbatch.train.fields import load_training, load_validation
from pbsbatch.train.finish import finish
from pbsbatch.train.settings import Network, Settings, read_settings

CONFIG = Path(__file__).resolve().parents[1] / "pbsbatch" / "train" / "configs" / "detector.toml"
SIZES = {
    "0.15-s8": (0.15, Network(stride=8)),
    "0.20-s8": (0.20, Network(stride=8)),
    "0.20-s4": (0.20, Network(stride=4)),
    "0.25-s4": (0.25, Network(stride=4)),
    "0.25-s4-wide": (0.25, Network(channels=(16, 48, 96, 192), head=96, stride=4)),
}
TILE_PX, TILES = 512, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", choices=list(SIZES), help="only this one; repeat for several")
    parser.add_argument("--steps", type=int, default=830)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default prints it too)")
    parser.add_argument("--no-record", action="store_true", help="do not append to benchmarks/results")
    asked = parser.parse_args()
    data = record.data_folder()
    if data is None:
        sys.exit("no labelled fields: set PBSBATCH_DATA to their folder")
    torch.set_num_threads(asked.threads)
    rows = [one(name, asked.steps, data) for name in asked.size or SIZES]
    if not asked.no_record:
        record.append("working_scale", rows)
    record.show({"rows": rows})


def one(name: str, steps: int, data: Path) -> dict[str, Any]:
    """Train one size and judge it."""
    work_mpp, network = SIZES[name]
    shipped = read_settings(CONFIG)
    settings = replace(
        shipped, name=name, work_mpp=work_mpp, network=network, steps=steps, validate_every=steps, ema=0.998,
        synthetic=replace(shipped.synthetic, share=0.0),
    )  # fmt: skip
    fields, weights = load_training(settings, data)
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        out = Path(folder)
        cpu = torch.device("cpu")
        run = begin(settings, out, cpu, resume=False)
        validation = load_validation(settings, data)
        last = None
        for event in teach(run, Data(fields, weights, validation), out):
            last = event.report if isinstance(event, Judged) else last
        seconds = time.perf_counter() - start
        assert last is not None
        finish(settings, out, validation, cpu)
        speed = mm2_per_second(out / "model", settings)
        parameters = sum(p.numel() for p in run.net.parameters())
    row: dict[str, Any] = {
        "work_um_per_px": work_mpp, "red_cell_px": round(RED_CELL_UM / work_mpp, 1), "stride": network.stride,
        "parameters_m": round(parameters / 1e6, 2), "steps": steps, "batch": settings.batch,
        "canvas_px": settings.canvas_px, "ap50": round(last.map50, 4), "ap": round(last.map, 4),
    }  # fmt: skip
    row |= {f"{kind}_ap50": each.ap50 and round(each.ap50, 4) for kind, each in last.classes.items()}
    row |= {f"{kind}_ap": each.ap and round(each.ap, 4) for kind, each in last.classes.items()}
    return row | {"seconds": round(seconds), **speed}


def mm2_per_second(folder: Path, settings: Settings) -> dict[str, float]:
    """Return what the CPU engine does on all cores in each precision it has."""
    from pbsbatch.models.folder import read_folder

    pixels = np.random.default_rng(0).integers(0, 255, (TILES, TILE_PX, TILE_PX, 3), np.uint8)
    out = {}
    for precision in ("fp32", "bf16"):
        engine = OpenVINOEngine(read_folder(folder), precision)
        engine(pixels[:2])
        start = time.perf_counter()
        engine(pixels)
        side_mm = TILE_PX * settings.work_mpp / 1000
        out[f"{precision}_mm2_per_s"] = round(TILES * side_mm**2 / (time.perf_counter() - start), 2)
        engine.close()
    return out


if __name__ == "__main__":
    main()
