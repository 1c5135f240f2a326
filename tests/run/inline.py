"""Run slides through the worker's functions in this process, without Dask."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

from pbsbatch.config import Config
from pbsbatch.engines.base import Engine
from pbsbatch.models.base import Model
from pbsbatch.opinion import SecondLook
from pbsbatch.run.events import SlideResult
from pbsbatch.run.here import do_slide
from pbsbatch.run.prepare import Workbench
from pbsbatch.slides.base import SlideRef
from pbsbatch.testing.oracle import FakeOracleEngine, FakeOracleModel


def run_one(
    slide: Path, out: Path, config: Config | None = None, model: Model | None = None, engine: Engine | None = None,
    slide_id: str = "s-00000000", backwards: bool = False, second: SecondLook | None = None,
) -> SlideResult:  # fmt: skip
    """Prepare, process strip by strip, and commit one slide."""
    settings = config or Config()
    bench = Workbench(
        Config(**{name: getattr(settings, name) for name in Config.__slots__} | {"output": out}),
        model or FakeOracleModel(), engine or FakeOracleEngine(), second, fence=nullcontext,
    )  # fmt: skip
    order = partial(sorted, reverse=backwards)
    return do_slide(bench, SlideRef(slide_id, slide, slide.name, slide_id), order)
