"""Run slides through the worker's functions in this process, without Dask."""

from __future__ import annotations

from pathlib import Path

from pbsbatch.config import Config
from pbsbatch.engines.base import Engine
from pbsbatch.models.base import Model
from pbsbatch.run.events import SlideResult
from pbsbatch.run.tasks import Workbench, commit_slide, prepare_slide, process_strips
from pbsbatch.slides.base import SlideRef
from pbsbatch.testing.oracle import FakeOracleEngine, FakeOracleModel


def run_one(
    slide: Path, out: Path, config: Config | None = None, model: Model | None = None, engine: Engine | None = None,
    slide_id: str = "s-00000000", backwards: bool = False,
) -> SlideResult:  # fmt: skip
    """Prepare, process strip by strip, and commit one slide."""
    settings = config or Config()
    bench = Workbench(
        Config(**{name: getattr(settings, name) for name in Config.__slots__} | {"output": out}),
        model or FakeOracleModel(), engine or FakeOracleEngine(), fence=lambda: None,
    )  # fmt: skip
    prepared = prepare_slide(bench, SlideRef(slide_id, slide, slide.name, slide_id), lambda _: None)
    if prepared.done is not None:
        return prepared.done
    order = sorted(prepared.missing, reverse=backwards)
    done = [strip for one in order for strip in process_strips(bench, prepared, (one,), lambda _: None)[0]]
    return commit_slide(bench, prepared, done)[0]
