"""What the working scale and the width buy and cost, and what a laboratory that taught nothing costs.

Laws. All networks of a study had the same budget, and began from random weights: figures rank them, and are not what
training can reach. A row is of a training that ended. The threshold at which a laboratory's cells are counted is chosen
on the fields of the others, whichever taught.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.accuracy import figure
from benchmarks.studies.short import Shelf, Short, short_settings
from pbsbatch.datasets.samples import CLASSES, RED
from pbsbatch.engines.gate import probe_tiles
from pbsbatch.engines.openvino import OpenVINOEngine, precisions_here
from pbsbatch.models.folder import read_folder
from pbsbatch.models.scale import RED_CELL_UM
from pbsbatch.train.finish import finish
from pbsbatch.train.judge import Report, count_error, judge

__all__ = ["laboratories", "scales"]

Rows = list[dict[str, Any]]
DRAWN = "drawn smears alone"


def scales(settings: Mapping[str, Any], data: Path, _: str) -> Rows:
    """Return a row for each working scale and width whose training has ended."""
    ended: list[tuple[str, Short]] = []
    with ExitStack() as stack:
        shelf = _shelf(settings, data, stack)
        for mpp in settings["scales"]:
            for width, network in settings["widths"].items():
                short = shelf.taught(short_settings(settings["course"], {"work_mpp": mpp, "network": network}))
                ended += [] if short is None else [(width, short)]
        speeds = _speeds(dict(ended), settings["speed"])
    return [_point(width, short, speeds[width]) for width, short in ended]


def laboratories(settings: Mapping[str, Any], data: Path, _: str) -> Rows:
    """Return rows for each laboratory: taught with all of them, with all others, and on drawn smears alone."""
    sources = settings["sources"]
    with ExitStack() as stack:
        shelf = _shelf(settings, data, stack)
        whole = short_settings(settings["course"], {})
        taught = {"all laboratories": shelf.taught(whole)}
        taught |= {f"all but {source}": shelf.taught(whole, source) for source in sources}
        drawn = {"data": [], "synthetic": settings["drawn"] | {"share": 1.0}}
        taught[DRAWN] = shelf.taught(short_settings(settings["course"], drawn))
    ended = {name: short for name, short in taught.items() if short is not None}
    rows = [
        _tested(name, short, source)
        for source in sources for name, short in ended.items()
        if name in ("all laboratories", f"all but {source}", DRAWN)
    ]  # fmt: skip
    return rows + [_tested(name, short, "") for name, short in ended.items() if "but" not in name]


def _shelf(settings: Mapping[str, Any], data: Path, stack: ExitStack) -> Shelf:
    """Return the shelf in the output folder, or one that does not outlive this run."""
    folder = settings.get("output") or Path(stack.enter_context(TemporaryDirectory(prefix="pbsbatch-study-")))
    return Shelf(folder, data, time.monotonic() + 60 * (settings.get("minutes") or float("inf")))


def _point(width: str, short: Short, speed: Mapping[str, float]) -> dict[str, Any]:
    report = judge(short.fields, short.found)
    mpp = short.settings.work_mpp
    area = {f"{name}_mm2_per_cpu_s": round(mpx * mpp**2, 3) for name, mpx in speed.items()}
    return {
        "work_um_per_px": mpp, "red_cell_px": round(RED_CELL_UM / mpp, 1), "width": width,
        "parameters_m": round(sum(p.numel() for p in short.net.parameters()) / 1e6, 3), **_budget(short),
        **_figures(report), "red_count_error": _figure(report.classes["RBC"].count_error),
        **{f"{name}_mpx_per_cpu_s": round(mpx, 2) for name, mpx in speed.items()}, **area,
    }  # fmt: skip


def _tested(taught: str, short: Short, source: str) -> dict[str, Any]:
    """Return the row of one laboratory's fields, or of all."""
    fields, found = short.of(source) if source else (short.fields, short.found)
    cut = judge(*short.of(source, others=True)).classes["RBC"].threshold
    off = None if cut is None else count_error(fields, found, RED, cut)
    about = {"tested": source or "all", "fields": len(fields), "taught": taught, **_budget(short)}
    return about | _figures(judge(fields, found)) | {"red_count_error": _figure(off)}


def _budget(short: Short) -> dict[str, Any]:
    asked = short.settings
    return {
        "steps": asked.steps, "batch": asked.batch, "canvas_px": asked.canvas_px,
        "training_cpu_min": round(short.cpu_minutes, 2),
    }  # fmt: skip


def _figures(report: Report) -> dict[str, Any]:
    each = {f"{name}_ap50": _figure(report.classes[name].ap50) for name in CLASSES}
    return {"map50": figure(report.map50), "map": figure(report.map), **each}


def _speeds(shorts: Mapping[str, Short], asked: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return for each width and precision the megapixels of a CPU second, best of rounds that take turns."""
    tiles = probe_tiles(asked["tiles"], (asked["tile_px"],) * 2, 0.25)
    best: dict[str, dict[str, float]] = {width: {} for width in shorts}
    with ExitStack() as stack:
        engines = list(_engines(shorts, tiles, stack))
        for _ in range(asked["rounds"] + 1):  # the first one compiles
            for width, precision, engine in engines:
                start = time.process_time()
                engine(tiles)
                rate = tiles[..., 0].size / 1e6 / (time.process_time() - start)
                best[width][precision] = max(rate, best[width].get(precision, 0.0))
    return best


def _engines(shorts: Mapping[str, Short], tiles: Any, stack: ExitStack) -> Iterator[tuple[str, str, OpenVINOEngine]]:
    """Yield an engine of one thread for each width and precision of this processor; the scale is nothing to them."""
    for width, short in shorts.items():
        with redirect_stdout(sys.stderr):  # nncf draws bars there
            made = finish(short.settings, short.folder, short.fields[:8], torch.device("cpu"), tiles)
        model = read_folder(made.folder)
        for precision in precisions_here(model):
            engine = OpenVINOEngine(model, precision, threads=1)
            stack.callback(engine.close)
            yield width, precision, engine


def _figure(value: float | None) -> float | str:
    return "" if value is None else figure(value)
