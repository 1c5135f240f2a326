"""summary.csv, failures.csv and run.json: what scripts read in the morning.

Law: a value that was not measured is blank, never zero; with an estimated scale every um and mm2
column is blank. Cells that a spreadsheet would run as a formula are quoted safe.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pbsbatch import __version__
from pbsbatch.config import Config
from pbsbatch.disk import output_errors, write_atomic
from pbsbatch.engines.base import Engine
from pbsbatch.engines.processor import processor_class
from pbsbatch.models.base import ModelSpec
from pbsbatch.run.csv_text import csv_bytes
from pbsbatch.run.discovery import Discovery
from pbsbatch.run.events import RunFinished, SlideResult
from pbsbatch.run.key import RESULTS_VERSION

__all__ = ["COLUMNS", "row_of", "with_seconds", "write"]

TYPES = ("neutrophil", "eosinophil", "basophil", "lymphocyte", "monocyte", "immature_granulocyte")
COLUMNS = (
    "slide", "sample", "status", "error", "qc_status", "qc_reasons", "width_px", "height_px", "mpp", "mpp_source",
    "roi_mm2", "analysed_mm2", "analysed_fraction", "monolayer_mm2", "n_rbc", "n_wbc", "n_platelet", "n_nrbc",
    "rbc_per_mm2", "wbc_per_mm2", "platelet_per_mm2", "n_wbc_diff",
    *(f"{prefix}_{name}{suffix}" for name in TYPES for prefix, suffix in
      (("n", ""), ("pct", ""), ("pct", "_lo"), ("pct", "_hi"))),
    "pct_unsure", "diff_status", "nrbc_per_100_wbc", "rbc_diameter_um", "rbc_diameter_cv_pct",
    "model", "engine", "version", "seconds", "mpix_per_s", "store",
)  # fmt: skip
COUNT_COLUMNS = {"RBC": "n_rbc", "WBC": "n_wbc", "Platelet": "n_platelet", "NRBC": "n_nrbc"}


def write(
    config: Config, found: Discovery, spec: ModelSpec, engine: Engine, finished: RunFinished,
    second: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Write the run's tables beside its stores, each replaced as a whole."""
    rows = [row_of(result, config, spec, engine.name) for result in finished.results]
    failures = [(r.name, "", r.error or "") for r in finished.results if r.status == "failed"]
    failures += [(r.name, str(tile), text) for r in finished.results for tile, text in r.failed_tiles]
    skipped = [{"path": str(s.path), "reason": s.reason} for s in found.skipped]
    with output_errors(config.output):
        write_atomic(config.output / "summary.csv", [csv_bytes(COLUMNS, ([row[c] for c in COLUMNS] for row in rows))])
        write_atomic(config.output / "failures.csv", [csv_bytes(("slide", "tile", "error"), failures)])
        facts = _facts(config, spec, engine, finished, skipped) | dict(second or {})
        write_atomic(config.output / "run.json", [_json(facts)])


def row_of(result: SlideResult, config: Config, spec: ModelSpec, engine: str) -> dict[str, str]:
    """Return one row of summary.csv as text, blank where nothing is known."""
    row = dict.fromkeys(COLUMNS, "")
    row |= {
        "slide": result.name, "sample": result.sample, "status": result.status, "error": result.error or "",
        "width_px": _text(result.width_px), "height_px": _text(result.height_px), "mpp": _text(result.mpp, 6),
        "mpp_source": result.mpp_source or "", "model": spec.name, "engine": engine, "version": __version__,
    }  # fmt: skip
    if result.mpp_source == "estimated":
        row["mpp"] = ""
    for name, count in result.counts.items():
        row[COUNT_COLUMNS.get(name, f"n_{name.lower()}")] = str(count)
    if result.roi_px is not None and result.analysed_px is not None:
        row["analysed_fraction"] = _text(result.analysed_px / result.roi_px if result.roi_px else 1.0, 6)
        if result.mpp is not None and result.mpp_source != "estimated":
            mm2 = (result.mpp / 1000) ** 2
            row["roi_mm2"] = _text(result.roi_px * mm2, 6)
            row["analysed_mm2"] = _text(result.analysed_px * mm2, 6)
    row["seconds"] = _text(result.seconds, 3)
    if result.seconds and result.computed_mpix is not None:
        row["mpix_per_s"] = _text(result.computed_mpix / result.seconds, 3)
    if result.store is not None:
        row["store"] = os.path.relpath(result.store, config.output)
    return row


def with_seconds(result: SlideResult, seconds: float) -> SlideResult:
    """Return the result with its busy seconds replaced."""
    return replace(result, seconds=seconds)


def _text(value: float | None, digits: int = 0) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}".rstrip("0").rstrip(".")


def _facts(
    config: Config, spec: ModelSpec, engine: Engine, finished: RunFinished, skipped: list[dict[str, str]]
) -> dict[str, Any]:
    count = [r.status for r in finished.results].count
    return {
        "pbsbatch": __version__, "results_version": RESULTS_VERSION,
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "stopped": finished.stopped, "seconds": round(finished.seconds, 3), "bound_by": finished.bound_by,
        "stage_busy_seconds": dict(finished.stages),
        "slides": {name: count(name) for name in ("ok", "failed", "pending")} | {"skipped": len(skipped)},
        "skipped": skipped,
        "config": _settings(config),
        "model": asdict(spec), "engine": {"name": engine.name, "precision": engine.precision, "device": engine.device},
        "machine": {
            "platform": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count(),
            "processor": processor_class(),
        },
        "packages": _versions(),
    }  # fmt: skip


def _settings(config: Config) -> dict[str, object]:
    """Return a run's settings; of one that hides names those alone that hold no text."""
    settings = {name: _plain(value) for name, value in asdict(config).items()}
    if not config.deidentify:
        return settings
    return {name: value for name, value in settings.items() if isinstance(value, int | float | None)}


def _versions() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name in ("numpy", "numba", "opencv-python-headless", "pyvips", "openslide-python", "zarr", "dask"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _plain(value: object) -> object:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _json(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2, default=str) + "\n").encode()
