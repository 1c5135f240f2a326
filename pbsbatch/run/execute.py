"""Run over an archive: discover, claim the output, connect the workers, drive, write the tables.

The result of a run is its output folder: running again resumes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from pbsbatch import engines, models
from pbsbatch.config import Config
from pbsbatch.deadline import parse_until
from pbsbatch.differential import Differential
from pbsbatch.engines.gpus import find_gpus
from pbsbatch.models.carry import packed
from pbsbatch.models.operating import at_operating_point
from pbsbatch.opinion import SecondLook, SecondOpinion
from pbsbatch.run import cluster, summary
from pbsbatch.run.audit import audited
from pbsbatch.run.deidentify import hidden
from pbsbatch.run.discovery import Discovery, discover
from pbsbatch.run.driver import Driver
from pbsbatch.run.events import Event, RunFinished, RunStarted
from pbsbatch.run.fence import Fence
from pbsbatch.run.keyfile import Key, load_key
from pbsbatch.run.log import logged
from pbsbatch.run.output import MARKER, check_ours, claim, host_name, is_deidentified, locked, start_over, sweep
from pbsbatch.run.progress import kept_in_file
from pbsbatch.run.second_look import second_look
from pbsbatch.run.shelf import Shelf
from pbsbatch.run.staging import check_stage, staging
from pbsbatch.run.state import RunState
from pbsbatch.run.stopping import Stopping, stop_signals
from pbsbatch.run.worker import Loaders, Setup
from pbsbatch.slides.base import SlideRef
from pbsbatch.slides.files import slide_files

__all__ = ["execute"]

REAL = Loaders(models.load, engines.load, second_look)


def execute(config: Config, on_event: Callable[[Event], None], *, loaders: Loaders = REAL) -> RunFinished:
    """Run over an archive and return how it ended. Raises UsageError before anything is touched."""
    start = time.perf_counter()
    config = replace(  # a worker may stand in another folder
        config, inputs=tuple(p.absolute() for p in config.inputs), output=config.output.absolute(),
        model=models.anywhere(config.model), classifier=models.anywhere(config.classifier),
        second_opinion=None if config.second_opinion is None else models.anywhere(config.second_opinion),
        stage=None if config.stage is None else config.stage.absolute(),
    )  # fmt: skip
    deadline = None if config.until is None else parse_until(config.until, datetime.now().astimezone())
    model = at_operating_point(loaders.model(config.model), config)
    engine = loaders.engine(model, config.engine)
    engine.close()
    second = loaders.second(config, model, "")
    if second is not None:
        second.close()
    identity = None if second is None else second.identity
    found = discover(config.inputs, output=config.output, mpp=config.mpp)
    key = _key(config)
    check_ours(config.output, config.inputs, fresh=config.fresh, key=key)
    stage_bytes = check_stage(config)
    with locked(config.output, key) as token, contextlib.ExitStack() as stack:
        sweep(config.output)
        claim(config.output, config.inputs, key)
        removed = start_over(config.output) if config.fresh else []
        found, scrubber = hidden(found, key, config.inputs, config.output)
        audit = stack.enter_context(audited(config.output, with_paths=key is None))
        on_event = logged(config.output / "run.log", kept_in_file(config.output / MARKER, on_event, host_name(key)))
        on_event = audit.listening(scrubber.listening(on_event))
        notes = [*engine.notes, *found.warnings]
        if removed:
            notes.append(f"--fresh removed {len(removed)} results of earlier runs")
        fence = Fence(config.output / MARKER / "lock", token)
        gpus = () if engine.device == "cpu" else tuple(gpu.uuid for gpu in find_gpus().found)
        if gpus and config.scheduler is None:
            config = replace(config, workers=config.workers or len(gpus))
        chosen = replace(config, engine=f"{engine.name}:{engine.precision}")  # no worker chooses for itself
        setup = Setup(
            chosen, loaders, fence, digest=model.spec.digest, files=packed(config.model),
            second=identity, second_files=_files_of(config, second),
            one_kind=engine.device == "cpu" or second is not None, gpus=gpus,
        )  # fmt: skip
        with cluster.connect(config, setup) as workers:
            state = _first_state(
                found, config.output, in_order=deadline is not None, may_grow=config.scheduler is not None
            )
            shelf = Shelf(stage_bytes, state.sizes, state.waiting.rank)
            stage = stack.enter_context(staging(config, shelf, found.slides, workers.blind))
            driver = Driver(config, found, workers, state, on_event, Stopping(deadline), stage, audit.note)
            on_event(
                RunStarted(
                    sizes=state.sizes, skipped=len(found.skipped), workers=workers.workers(), engine=engine.name,
                    model=model.spec.name, notes=tuple(notes), kernels=str(workers.kernels_ready()),
                    classifier=second.name if second else None,
                )
            )  # fmt: skip
            with stop_signals(driver.stopping.requests):
                driver.drive()
        finished = scrubber.finished(driver.finish(time.perf_counter() - start))
        sweep(config.output)
        summary.write(config, found, model.spec, engine, finished, identity)
        on_event(finished)
    return finished


def _files_of(config: Config, second: SecondLook | None) -> dict[str, dict[str, bytes]]:
    """Return the files of classifiers that are not shipped, by the setting that names each."""
    if second is None:
        return {}
    named = {"second_opinion": config.second_opinion} if isinstance(second, SecondOpinion) else {}
    if isinstance(second, Differential) or second.first is not None:
        named["classifier"] = config.classifier
    found = {setting: packed(name) for setting, name in named.items() if name is not None}
    return {setting: files for setting, files in found.items() if files is not None}


def _key(config: Config) -> Key | None:
    """Return the key of a run that hides names; one is made only for results that have none yet."""
    if not config.deidentify:
        return None
    return load_key(config.key_file, config.output, create=config.fresh or not is_deidentified(config.output))


def _first_state(found: Discovery, out: Path, *, in_order: bool, may_grow: bool) -> RunState:
    """Return where the run begins: what was published before, what was begun, what waits."""
    sizes = {ref.id: _bytes(ref) for ref in found.slides}
    stored = {ref.id for ref in found.slides if (out / "slides" / f"{ref.id}.zarr" / "zarr.json").is_file()}
    begun = {ref.id for ref in found.slides if (out / "slides" / ".work" / ref.id).is_dir()}
    return RunState.of(sizes, stored=stored, begun=begun, in_order=in_order, may_grow=may_grow)


def _bytes(ref: SlideRef) -> int:
    """Return a slide's size on disk, the measure by which the largest goes first."""
    try:
        return sum(file.stat().st_size for file in slide_files(ref.path))
    except OSError:
        return 0
