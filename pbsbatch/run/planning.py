"""Plan a whole archive without running it: what `pbsbatch plan` shows, and what refuses a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from pbsbatch import engines, models
from pbsbatch.config import Config, cores_per_worker, worker_count
from pbsbatch.engines.base import Engine
from pbsbatch.engines.memory import memory_of
from pbsbatch.errors import PlanError, SlideError, one_line
from pbsbatch.models.base import Model
from pbsbatch.models.operating import at_operating_point
from pbsbatch.run.discovery import discover
from pbsbatch.run.output import free_bytes
from pbsbatch.run.prepare import cut_slide
from pbsbatch.run.second_look import room
from pbsbatch.slides.base import SlideRef

__all__ = ["ArchivePlan", "PlannedSlide", "plan_archive"]


@dataclass(frozen=True, slots=True)
class PlannedSlide:
    """One row of the plan; error says why the slide cannot run."""

    slide_id: str
    name: str
    error: str | None = None
    width_px: int = 0
    height_px: int = 0
    mpp: float = 0.0
    mpp_source: str = ""
    tiles: int = 0
    strips: int = 0
    roi_mm2: float = 0.0
    core_share: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ArchivePlan:
    """The plan of a run. Law: with refusals, a run would stop before its first tile."""

    slides: tuple[PlannedSlide, ...]
    skipped: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    workers: int
    tiles: int
    memory_bytes: int
    memory_budget: int
    disk_bytes: int
    disk_free: int
    refusals: tuple[str, ...]


@dataclass(slots=True)
class _Once:
    """An engine that is loaded when a slide first asks for it: most archives say their scale."""

    load: Callable[[], Engine]
    engine: Engine | None = None
    lock: Lock = field(default_factory=Lock)

    def __call__(self) -> Engine:
        with self.lock:
            self.engine = self.engine or self.load()
            return self.engine

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()


def plan_archive(config: Config, *, load_model: Callable[[str], Model] = models.load) -> ArchivePlan:
    """Open, survey and cut every slide, and hold the sums against the budgets."""
    model = at_operating_point(load_model(config.model), config)
    taken = room(config, model)
    engine = _Once(lambda: engines.load(model, config.engine))
    found = discover(config.inputs, output=config.output, mpp=config.mpp)
    workers = worker_count(config)
    with ThreadPoolExecutor(workers) as pool:
        rows = tuple(pool.map(lambda ref: _row(ref, model, config, engine, taken), found.slides))
    engine.close()
    memory = workers * max((row.memory_bytes for row in rows), default=0)
    disk, free = sum(row.disk_bytes for row in rows), free_bytes(config.output)
    budget = memory_budget(config)
    refusals = []
    if rows and all(row.error for row in rows):
        refusals.append("no slide can be processed")
    if memory > budget:
        refusals.append(
            f"{workers} workers need {memory / 1e9:.2f} GB of memory, the budget is {budget / 1e9:.2f} GB: "
            f"use --workers {max(1, budget * workers // memory)} or a larger --memory"
        )
    if disk > free:
        refusals.append(f"results need about {disk / 1e9:.2f} GB, {free / 1e9:.2f} GB are free at {config.output}")
    return ArchivePlan(
        slides=rows, skipped=tuple((str(s.path), s.reason) for s in found.skipped), warnings=found.warnings,
        workers=workers, tiles=sum(row.tiles for row in rows), memory_bytes=memory, memory_budget=budget,
        disk_bytes=disk, disk_free=free, refusals=tuple(refusals),
    )  # fmt: skip


def memory_budget(config: Config) -> int:
    """Return the bytes a run may use: what was given, else what the machine has available now."""
    if config.memory is not None:
        return config.memory
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _row(
    ref: SlideRef, model: Model, config: Config, engine: Callable[[], Engine], taken: tuple[float, int]
) -> PlannedSlide:
    try:
        cut = cut_slide(ref, model, config, engine, *taken)
    except (SlideError, PlanError) as error:
        return PlannedSlide(ref.id, ref.name, error=one_line(error.what))
    cut.slide.close()
    plan = cut.plan
    return PlannedSlide(
        slide_id=ref.id, name=ref.name, width_px=plan.width, height_px=plan.height, mpp=plan.mpp,
        mpp_source=plan.mpp_source, tiles=plan.tiles, strips=plan.strips,
        roi_mm2=plan.roi_level0_px * (plan.mpp / 1000) ** 2, core_share=plan.core_share,
        memory_bytes=plan.projected_memory(cores_per_worker(config), memory_of(config.engine)),
        disk_bytes=plan.projected_disk,
    )  # fmt: skip
