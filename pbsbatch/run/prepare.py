"""Prepare one slide: open, key, survey, calibrate, cut, and see what of it is on disk already. No Dask in here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from pbsbatch import __version__
from pbsbatch.config import Config, cores_per_worker, parse_scales, worker_count
from pbsbatch.engines.base import Engine
from pbsbatch.engines.memory import memory_of
from pbsbatch.errors import OutputError, PbsbatchError, PlanError, ScaleError
from pbsbatch.models.base import Calibration, Model, Survey
from pbsbatch.models.scale import estimate_mpp
from pbsbatch.models.survey import survey
from pbsbatch.opinion import SecondLook
from pbsbatch.plan import BAND_PX, Needs, Plan, make_plan, work_scale
from pbsbatch.run.content import Content, content_of
from pbsbatch.run.key import key_facts, resume_key, what_changed
from pbsbatch.run.magnification import can_measure, magnifications, measured_mpp
from pbsbatch.run.output import free_bytes
from pbsbatch.slides import open_slide
from pbsbatch.slides.base import Slide, SlideRef
from pbsbatch.slides.origin import NOBODY, Origin
from pbsbatch.store import Store, StoreHeader
from pbsbatch.store import open as open_store

__all__ = ["Prepared", "Workbench", "changed_since", "cut_slide", "prepare_slide", "store_of"]


@dataclass(frozen=True, slots=True)
class Workbench:
    """What a worker keeps between tasks: the loaded model and engine, and where results go."""

    config: Config
    model: Model
    engine: Engine
    second: SecondLook | None  # names white cells
    fence: Callable[[], AbstractContextManager[None]]  # held while something becomes visible; raises OutputError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A slide that is planned: small enough to travel to every worker."""

    ref: SlideRef
    plan: Plan
    calibration: Calibration
    key: str
    facts: Mapping[str, Any]  # that the key is the digest of
    scale_confidence: float | None
    missing: Mapping[int, int]  # strip -> tiles, of the strips that are not on disk yet
    published: bool = False  # under this key: nothing is left to do
    origin: Origin = NOBODY
    hint: str = ""  # how its files looked when their content was digested (content.py)


@dataclass(frozen=True, slots=True)
class Cut:
    """A slide that is open, measured, surveyed and cut."""

    slide: Slide  # carries the um per pixel that the plan uses
    plan: Plan
    seen: Survey
    scale_confidence: float | None  # only of an estimated scale


def cut_slide(
    ref: SlideRef,
    model: Model,
    config: Config,
    engine: Callable[[], Engine] | None = None,
    reach_um: float = 0.0,
    beside_bytes: int = 0,
) -> Cut:
    """Open a slide, find its scale, survey it once and cut it. The caller closes the slide.

    A tile shows whole what lies in its core and is as large as the model's largest cell, or as `reach_um`. Beside the
    model a worker holds so many bytes more.
    The engine is asked for only where um per pixel is unknown and the model can measure it.
    """
    slide: Slide = open_slide(ref.path, id=ref.id, mpp=ref.mpp)
    try:
        mpp, source, confidence = slide.mpp, slide.mpp_source, None
        if mpp is None or source is None:
            mpp, confidence = _estimated(slide, model, engine)
            source = "estimated"
            slide.close()
            slide = open_slide(ref.path, id=ref.id, mpp=mpp)
        spec = model.spec
        seen = survey(slide, work_scale(slide.levels, mpp, spec.work_mpp))
        plan = make_plan(
            slide_id=ref.id, levels=slide.levels, mpp=mpp, mpp_source=source, config=config, foreground=seen.foreground,
            needs=Needs(
                spec.work_mpp, max(spec.max_cell_um, reach_um), spec.context_px, spec.tile_px, spec.step_px,
                spec.lane_bytes_px, beside_bytes,
            ),
            magnifications=_magnifications(slide, mpp, source, model, config, engine),
        )  # fmt: skip
    except PbsbatchError:
        slide.close()
        raise
    return Cut(slide, plan, seen, confidence)


def _magnifications(
    slide: Slide, mpp: float, source: str, model: Model, config: Config, engine: Callable[[], Engine] | None
) -> tuple[float, ...]:
    """Return at how many times the size that mpp says cells are looked for: as asked, else as the image shows.

    An image whose scale is known shows it everywhere.
    """
    asked = parse_scales(config.scales)
    if asked is not None:
        return asked
    if source != "estimated" or engine is None or not can_measure(model):
        return (1.0,)
    return magnifications(slide, model, engine(), mpp)


def _estimated(slide: Slide, model: Model, engine: Callable[[], Engine] | None) -> tuple[float, float]:
    looks = None if engine is None or not can_measure(model) else engine()
    estimate = estimate_mpp(slide) if looks is None else measured_mpp(slide, model, looks)
    if estimate is None:
        raise ScaleError(
            "um per pixel is unknown and no red cells to measure it by were found", path=slide.path,
            cure="Give it with --mpp, or in a slides.csv beside the slide",
        )  # fmt: skip
    return estimate.mpp, estimate.confidence


def prepare_slide(bench: Workbench, ref: SlideRef) -> tuple[Prepared, Slide]:
    """Plan a slide and see what is on disk. The caller closes the slide."""
    content = content_of(ref.path)
    reach, beside = (bench.second.reach_um, bench.second.beside_bytes) if bench.second else (0.0, 0)
    cut = cut_slide(ref, bench.model, bench.config, lambda: bench.engine, reach, beside)
    plan = cut.plan
    try:
        facts = _facts(bench, content.digest, plan.mpp, plan.mpp_source)
        key = resume_key(facts)
        _refuse_over_budget(plan, bench.config, ref, f"{bench.engine.name}:{bench.engine.precision}")
        if bench.config.keep_candidates and plan.coarser:
            raise PlanError(
                "candidates of an image with several magnifications cannot be kept", path=ref.path,
                cure="Leave out --keep-candidates, or say --scales single",
            )  # fmt: skip
        calibration = bench.model.calibrate(cut.seen)
        origin = NOBODY if bench.config.deidentify else cut.slide.origin
        prepared = Prepared(
            ref, plan, calibration, key, facts, cut.scale_confidence, {}, origin=origin, hint=content.hint
        )
        info = Store.committed(bench.config.output, ref.id)
        if info is not None and info.key == key:
            Store.clean(bench.config.output, ref.id)  # strips that a crash just behind the publishing rename left
            return replace(prepared, published=True), cut.slide
        finished = store_of(bench, prepared, held=True).finished  # a held store makes no folder
        missing = {s: sum(1 for _ in plan.strip_tiles(s)) for s in range(plan.strips) if s not in finished}
        return replace(prepared, missing=missing), cut.slide
    except PbsbatchError:
        cut.slide.close()
        raise


def changed_since(bench: Workbench, ref: SlideRef, content: Content) -> str | None:
    """Say what changed since a slide was published, None if nothing did. The slide is not opened.

    Its scale, where nobody gives one, is a matter of its content, and so it is what it was.
    """
    out = bench.config.output
    stored = open_store(out / "slides" / f"{ref.id}.zarr")
    before = stored.attributes.get("depends_on")
    if not isinstance(before, dict):
        return what_changed(before, {})
    mpp, source = (ref.mpp, "given") if ref.mpp is not None else (float(before["mpp"]), before["mpp_source"])
    if ref.mpp is None and source == "given":
        source = "metadata"  # or estimated: either way not what it was
    now = _facts(bench, content.digest, mpp, source)
    if stored.info.key != resume_key(now):
        return what_changed(before, now)
    Store.clean(out, ref.id)
    return None


def _facts(bench: Workbench, content: str, mpp: float, source: str) -> dict[str, Any]:
    return key_facts(
        content=content, mpp=mpp, mpp_source=source, spec=bench.model.spec, engine=bench.engine, config=bench.config,
        second=bench.second,
    )  # fmt: skip


def _refuse_over_budget(plan: Plan, config: Config, ref: SlideRef, engine: str) -> None:
    """Refuse a slide whose projected memory exceeds a given budget, and stop a run whose disk cannot hold it."""
    workers = worker_count(config)
    memory = plan.projected_memory(cores_per_worker(config), memory_of(engine)) * workers
    if config.memory is not None and memory > config.memory:
        raise PlanError(
            f"{workers} workers need {memory / 1e9:.2f} GB of memory for it, the budget is "
            f"{config.memory / 1e9:.2f} GB", path=ref.path, cure="Use fewer --workers or a larger --memory",
        )  # fmt: skip
    free = free_bytes(config.output)
    if plan.projected_disk > free:
        raise OutputError(
            f"the disk is full: a slide needs about {plan.projected_disk / 1e9:.2f} GB, {free / 1e9:.2f} GB are free",
            path=config.output, cure="Free some space and run again: finished work is kept",
        )  # fmt: skip


def store_of(bench: Workbench, prepared: Prepared, *, held: bool = False) -> Store:
    """Open the slide's work folder; its header is the same in every attempt. Held: strips stay in this process."""
    plan, spec = prepared.plan, bench.model.spec
    attributes: dict[str, Any] = {
        "version": __version__, "model": spec.name, "model_version": spec.version, "model_digest": spec.digest,
        "engine": bench.engine.name, "precision": bench.engine.precision, "device": bench.engine.device,
        "content": prepared.facts["content"], "scanner": prepared.origin.scanner, "scanned": prepared.origin.scanned,
        "mpp": plan.mpp, "mpp_source": plan.mpp_source, "scale_confidence": prepared.scale_confidence,
        "plan": plan.facts(), "calibration": dict(prepared.calibration), "depends_on": dict(prepared.facts),
        **(bench.second.identity if bench.second else {}),
    }  # fmt: skip
    header = StoreHeader(
        slide_id=prepared.ref.id, width=plan.width, height=plan.height,
        mpp=None if plan.mpp_source == "estimated" else plan.mpp,
        classes=spec.classes, strips=plan.strips, band_px=BAND_PX * plan.scale,
        types=bench.second.types if bench.second else spec.types, attributes=attributes,
        second_types=bench.second.second_types if bench.second else (),
    )  # fmt: skip
    return Store.begin(bench.config.output, header, prepared.key, held=held)
