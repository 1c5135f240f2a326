"""summary.csv, samples.csv, failures.csv and run.json: what scripts read in the morning.

Law: a value that was not measured is blank, never zero; with an estimated scale every um and mm2
column is blank. Cells that a spreadsheet would run as a formula are quoted safe.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
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
from pbsbatch.run.columns import COLUMNS, SAMPLE_COLUMNS, SECOND_COLUMNS
from pbsbatch.run.csv_text import csv_bytes
from pbsbatch.run.discovery import Discovery
from pbsbatch.run.events import RunFinished, SlideResult
from pbsbatch.run.key import RESULTS_VERSION
from pbsbatch.run.rows import sample_rows, slide_rows

__all__ = ["with_seconds", "write"]


def write(
    config: Config, found: Discovery, spec: ModelSpec, engine: Engine, finished: RunFinished,
    second: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write the run's tables beside its stores, each replaced as a whole."""
    slides = slide_rows(finished.results, config.output, spec.name, engine.name)
    samples = sample_rows(finished.results, spec.name, engine.name)
    failures = [(r.name, "", r.error or "") for r in finished.results if r.status == "failed"]
    failures += [(r.name, str(tile), text) for r in finished.results for tile, text in r.failed_tiles]
    skipped = [{"path": str(s.path), "reason": s.reason} for s in found.skipped]
    with output_errors(config.output):
        more = SECOND_COLUMNS if second is not None and "second_opinion" in second else ()
        write_atomic(config.output / "summary.csv", [_table((*COLUMNS, *more), slides)])
        write_atomic(config.output / "samples.csv", [_table((*SAMPLE_COLUMNS, *more), samples)])
        write_atomic(config.output / "failures.csv", [csv_bytes(("slide", "tile", "error"), failures)])
        facts = _facts(config, spec, engine, finished, skipped) | dict(second or {})
        write_atomic(config.output / "run.json", [_json(facts)])


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> bytes:
    return csv_bytes(columns, ([row.get(name, "") for name in columns] for row in rows))


def with_seconds(result: SlideResult, seconds: float) -> SlideResult:
    """Return the result with its busy seconds replaced."""
    return replace(result, seconds=seconds)


def _facts(
    config: Config, spec: ModelSpec, engine: Engine, finished: RunFinished, skipped: list[dict[str, str]]
) -> dict[str, Any]:
    count = [r.status for r in finished.results].count
    return {
        "pbsbatch": __version__, "results_version": RESULTS_VERSION,
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "stopped": finished.stopped, "seconds": round(finished.seconds, 3), "bound_by": finished.bound_by,
        "stage_busy_seconds": dict(finished.stages),
        "core_share": None if finished.core_share is None else round(finished.core_share, 4),
        "slides": {name: count(name) for name in ("ok", "failed", "pending")} | {"skipped": len(skipped)},
        "skipped": skipped,
        "config": _settings(config),
        "model": asdict(spec),
        "engine": {
            "name": engine.name, "precision": engine.precision, "device": engine.device, "notes": list(engine.notes),
        },
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
