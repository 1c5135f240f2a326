"""What a worker does for one slide: prepare it, process strips of it, commit it. No Dask in here.

Each function takes a Workbench, looks at the store before it works, and returns a small value. A
function may run twice, on two workers, at any time: strips are appended atomically and stores are
published by one rename, so the second run changes nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pbsbatch import __version__
from pbsbatch.config import Config
from pbsbatch.engines.base import Engine
from pbsbatch.errors import OutputError, PbsbatchError, PlanError, ScaleError, UnreadableSlideError
from pbsbatch.models.base import Calibration, Model, Survey
from pbsbatch.models.scale import estimate_mpp
from pbsbatch.models.survey import survey
from pbsbatch.pipeline import Failed, Job, StripDone, Timings, process
from pbsbatch.plan import BAND_PX, PREVIEW_PX, Needs, Plan, make_plan, work_scale
from pbsbatch.run.events import SlideResult
from pbsbatch.run.key import content_digest, resume_key
from pbsbatch.run.output import free_bytes
from pbsbatch.slides import open_slide
from pbsbatch.slides.base import Slide, SlideRef
from pbsbatch.store import TILE_FAILED, CommittedInfo, Preview, Store, StoreHeader, TileRows

__all__ = ["Prepared", "Workbench", "commit_slide", "cut_slide", "prepare_slide", "process_strips"]


@dataclass(frozen=True, slots=True)
class Workbench:
    """What a worker keeps between tasks: the loaded model and engine, and where results go."""

    config: Config
    model: Model
    engine: Engine
    fence: Callable[[], None]  # raises OutputError once another run owns the output folder


@dataclass(frozen=True, slots=True)
class Prepared:
    """A slide that is planned: small enough to travel to every worker."""

    ref: SlideRef
    plan: Plan
    calibration: Calibration
    key: str
    content: str
    scale_confidence: float | None
    missing: Mapping[int, int]  # strip -> tiles, of the strips that are not on disk yet
    seconds: float
    done: SlideResult | None = None  # set when nothing is left to do
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """A slide that is open, measured, surveyed and cut."""

    slide: Slide  # carries the um per pixel that the plan uses
    plan: Plan
    seen: Survey
    scale_confidence: float | None  # only of an estimated scale


def cut_slide(ref: SlideRef, model: Model, config: Config) -> Cut:
    """Open a slide, find its scale, survey it once and cut it. The caller closes the slide."""
    slide: Slide = open_slide(ref.path, id=ref.id, mpp=ref.mpp)
    try:
        mpp, source, confidence = slide.mpp, slide.mpp_source, None
        if mpp is None or source is None:
            mpp, confidence = _estimated(slide)
            source = "estimated"
            slide.close()
            slide = open_slide(ref.path, id=ref.id, mpp=mpp)
        spec = model.spec
        seen = survey(slide, work_scale(slide.levels, mpp, spec.work_mpp))
        plan = make_plan(
            slide_id=ref.id, levels=slide.levels, mpp=mpp, mpp_source=source, config=config, foreground=seen.foreground,
            needs=Needs(spec.work_mpp, spec.max_cell_um, spec.context_px),
        )  # fmt: skip
    except PbsbatchError:
        slide.close()
        raise
    return Cut(slide, plan, seen, confidence)


def _estimated(slide: Slide) -> tuple[float, float]:
    estimate = estimate_mpp(slide)
    if estimate is None:
        raise ScaleError(
            "um per pixel is unknown and no red cells to measure it by were found", path=slide.path,
            cure="Give it with --mpp, or in a slides.csv beside the slide",
        )  # fmt: skip
    return estimate.mpp, estimate.confidence


def prepare_slide(bench: Workbench, ref: SlideRef, report: Callable[[StripDone], None]) -> Prepared:
    """Plan a slide and see what is already on disk; a slide of one strip is processed and committed at once."""
    start = time.perf_counter()
    content = content_digest(ref.path)
    cut = cut_slide(ref, bench.model, bench.config)
    plan, slide = cut.plan, cut.slide
    try:
        key = resume_key(
            content=content, mpp=plan.mpp, mpp_source=plan.mpp_source, spec=bench.model.spec,
            engine=bench.engine, config=bench.config,
        )  # fmt: skip
        calibration = bench.model.calibrate(cut.seen)
        _refuse_over_budget(plan, bench.config, ref)
        prepared = Prepared(ref, plan, calibration, key, content, cut.scale_confidence, {}, 0.0)
        published = Store.committed(bench.config.output, ref.id)
        if published is not None and published.key == key:
            Store.clean(bench.config.output, ref.id)  # strips that a crash just behind the publishing rename left
            failed = _failed_tiles(plan, _store(bench, prepared).tiles(), [])
            return replace(prepared, done=replace(_result(prepared, published, failed, 0.0), resumed=True))
        finished = _store(bench, prepared).finished
        missing = {s: sum(1 for _ in plan.strip_tiles(s)) for s in range(plan.strips) if s not in finished}
        prepared = replace(prepared, missing=missing, seconds=time.perf_counter() - start)
        if plan.strips > 1:
            return prepared
        timings = Timings()
        strips = _process(bench, prepared, slide, tuple(missing), timings, report)
        result = _commit(bench, prepared, slide, strips, start, timings)
        return replace(prepared, done=result, stages=asdict(timings))
    finally:
        slide.close()


def _refuse_over_budget(plan: Plan, config: Config, ref: SlideRef) -> None:
    """Refuse a slide whose projected memory exceeds a given budget, and stop a run whose disk cannot hold it."""
    workers = config.workers or os.cpu_count() or 1
    if config.memory is not None and plan.projected_memory * workers > config.memory:
        raise PlanError(
            f"{workers} workers need {plan.projected_memory * workers / 1e9:.2f} GB of memory for it, the budget is "
            f"{config.memory / 1e9:.2f} GB", path=ref.path, cure="Use fewer --workers or a larger --memory",
        )  # fmt: skip
    free = free_bytes(config.output)
    if plan.projected_disk > free:
        raise OutputError(
            f"the disk is full: a slide needs about {plan.projected_disk / 1e9:.2f} GB, {free / 1e9:.2f} GB are free",
            path=config.output, cure="Free some space and run again: finished work is kept",
        )  # fmt: skip


def process_strips(
    bench: Workbench, prepared: Prepared, strips: tuple[int, ...], report: Callable[[StripDone], None]
) -> tuple[list[StripDone], Timings]:
    """Compute and append strips of a slide, those that another attempt appended meanwhile left out."""
    timings = Timings()
    finished = _store(bench, prepared).finished
    wanted = tuple(s for s in strips if s not in finished)
    slide = open_slide(prepared.ref.path, id=prepared.ref.id, mpp=prepared.plan.mpp)
    try:
        return _process(bench, prepared, slide, wanted, timings, report), timings
    finally:
        slide.close()


def commit_slide(bench: Workbench, prepared: Prepared, strips: list[StripDone]) -> tuple[SlideResult, Timings]:
    """Settle and publish a slide whose strips are all on disk."""
    start, timings = time.perf_counter(), Timings()
    slide = open_slide(prepared.ref.path, id=prepared.ref.id, mpp=prepared.plan.mpp)
    try:
        return _commit(bench, prepared, slide, strips, start, timings), timings
    finally:
        slide.close()


def _process(
    bench: Workbench, prepared: Prepared, slide: Slide, strips: tuple[int, ...], timings: Timings,
    report: Callable[[StripDone], None],
) -> list[StripDone]:  # fmt: skip
    job = Job(slide, prepared.plan, prepared.calibration, strips, _store(bench, prepared))
    threshold = bench.config.score_threshold or 0.0
    done: list[StripDone] = []
    for outcome in process([job], bench.model, bench.engine, score_threshold=threshold, timings=timings):
        if isinstance(outcome, Failed):
            raise outcome.error
        report(outcome)
        done.append(outcome)
    return done


def _commit(
    bench: Workbench, prepared: Prepared, slide: Slide, strips: list[StripDone], start: float, timings: Timings
) -> SlideResult:
    """Refuse a slide with too many unreadable tiles, else settle, render and publish it."""
    store = _store(bench, prepared)
    failed = _failed_tiles(prepared.plan, store.tiles(), strips)
    tiles = prepared.plan.tiles
    if tiles and len(failed) / tiles > bench.config.max_failed_tiles:
        raise UnreadableSlideError(
            f"{len(failed)} of {tiles} tiles could not be read; the first: {failed[0][1]}", path=prepared.ref.path,
            cure="Copy the slide again from its source, or raise max_failed_tiles in a config file",
        )  # fmt: skip
    settle = time.perf_counter()
    image, downsample = slide.thumbnail(PREVIEW_PX)
    committed = store.commit(Preview(image, downsample), fence=bench.fence)
    timings.settle += time.perf_counter() - settle
    return _result(prepared, committed, failed, time.perf_counter() - start)


def _failed_tiles(plan: Plan, rows: TileRows, strips: list[StripDone]) -> list[tuple[int, str]]:
    """Return every unreadable tile, also those of strips that an earlier attempt appended."""
    known = {tile: text for strip in strips for tile, text in strip.failed_tiles}
    failed = {tuple(core) for core in rows.core[rows.status == TILE_FAILED].tolist()}
    if not failed:
        return []
    tiles = (tile for strip in range(plan.strips) for tile in plan.strip_tiles(strip))
    indices = [tile.index for tile in tiles if plan.core_level0(tile) in failed]
    return [(index, known.get(index, "could not be read when an earlier run tried")) for index in indices]


def _result(prepared: Prepared, committed: CommittedInfo, failed: list[tuple[int, str]], seconds: float) -> SlideResult:
    """Gather a row of the summary. An estimated scale is reported, and gives no um or mm2 anywhere."""
    ref, plan = prepared.ref, prepared.plan
    height, width = plan.tile_shape
    return SlideResult(
        slide_id=ref.id, name=ref.name, path=ref.path, sample=ref.sample, status="ok", width_px=plan.width,
        height_px=plan.height, mpp=plan.mpp, mpp_source=plan.mpp_source, scale_confidence=prepared.scale_confidence,
        roi_px=plan.roi_level0_px, analysed_px=committed.area_ok_px, counts=committed.counts,
        failed_tiles=tuple(failed), seconds=seconds, computed_mpix=plan.tiles * height * width / 1e6,
        store=committed.path,
    )  # fmt: skip


def _store(bench: Workbench, prepared: Prepared) -> Store:
    """Open the slide's work folder; its header is the same in every attempt."""
    plan, spec = prepared.plan, bench.model.spec
    attributes: dict[str, Any] = {
        "version": __version__, "model": spec.name, "model_version": spec.version, "model_digest": spec.digest,
        "engine": bench.engine.name, "precision": bench.engine.precision, "device": bench.engine.device,
        "content": prepared.content,
        "mpp": plan.mpp, "mpp_source": plan.mpp_source, "plan": plan.facts(),
        "calibration": dict(prepared.calibration),
    }  # fmt: skip
    header = StoreHeader(
        slide_id=prepared.ref.id, width=plan.width, height=plan.height,
        mpp=None if plan.mpp_source == "estimated" else plan.mpp,
        classes=spec.classes, strips=plan.strips, band_px=BAND_PX * plan.scale,
        attributes=attributes,
    )  # fmt: skip
    return Store.begin(bench.config.output, header, prepared.key)
