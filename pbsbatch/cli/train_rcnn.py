"""Run the training of a two-stage detector for the command line, as cli/train.py does a dense one's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from pbsbatch.cli.console import some
from pbsbatch.cli.train import INTERRUPTED, Wish, config_of, course_of, need, sets_of, stopped_by_signals
from pbsbatch.cli.train_view import DetectorView
from pbsbatch.datasets.samples import names_of
from pbsbatch.disk import make_folder, output_errors
from pbsbatch.models.words import COUNTED
from pbsbatch.train.rcnn.settings import RcnnSettings, read_settings

if TYPE_CHECKING:
    from pbsbatch.models.rcnn_facts import RcnnFacts
    from pbsbatch.train.detector import Data

__all__ = ["train_rcnn"]


class RcnnView(DetectorView):
    """Follow a two-stage detector's training."""

    parts: tuple[str, ...] = ("objectness", "proposal", "label", "box", "mask")


def train_rcnn(wish: Wish, said: Mapping[str, Any]) -> int:
    """Train and finish; return the exit code. said: settings of the command line, None where it says nothing."""
    settings = _settings(wish, said)
    need("torchvision")
    from pbsbatch.datasets.readers.vocabulary import Vocabulary
    from pbsbatch.train.detector import Data
    from pbsbatch.train.fields import load_training, load_validation
    from pbsbatch.train.machine import choose_device
    from pbsbatch.train.rcnn.weights import find_weights, has_masks

    masks = has_masks(settings.arch)
    find_weights(_start(wish), settings.arch, wish.data)  # before fields are read, which takes long
    device = choose_device(wish.device, wish.threads)
    with output_errors(wish.output):
        make_folder(wish.output)
    with RcnnView(settings.steps, settings.minutes) as view:
        view.parts = view.parts if masks else view.parts[:-1]
        view.say("reading fields")
        start = time.monotonic()
        words = Vocabulary(own=True, count_as=settings.count_as)
        fields, weights = load_training(settings, wish.data, words)
        data = Data(fields, weights, load_validation(settings, wish.data, words))
        view.say(
            f"{some(len(fields), 'field')} to learn from, {len(data.validation):,} to be judged by, "
            f"read in {time.monotonic() - start:.0f} s"
        )
        return _taught(wish, settings, data, device, view)


def _taught(wish: Wish, settings: RcnnSettings, data: Data, device: Any, view: RcnnView) -> int:
    from pbsbatch.train.metrics import METRICS, Metrics
    from pbsbatch.train.plot import PLOT, plot
    from pbsbatch.train.rcnn.data import facts_for
    from pbsbatch.train.rcnn.finish import finish
    from pbsbatch.train.rcnn.loop import LOSSES, Judged, teach
    from pbsbatch.train.rcnn.run import begin
    from pbsbatch.train.rcnn.weights import find_weights, has_masks

    facts = facts_for(settings, data.fields, masks=has_masks(settings.arch))
    start = find_weights(_start(wish), settings.arch, wish.data)
    run = begin(settings, facts, len(data.fields), wish.output, device, resume=wish.resume, start=start)
    view.steps = run.steps
    for line in _classes(facts, data):
        view.say(line)
    means = ("total", *LOSSES)
    if run.random:
        view.say(f"not in {start}, and so random: {', '.join(run.random)}")
    metrics = Metrics(wish.output / METRICS, run.step, means, run.epoch_steps)
    with stopped_by_signals() as stopped:
        for event in teach(run, data, wish.output, lambda _: stopped()):
            metrics.on_event(event)
            view.on_event(event)
            if isinstance(event, Judged):
                view.say(f"epoch {event.epoch:,} took {event.epoch_seconds:.0f} s")
                plot(wish.output / METRICS, wish.output / PLOT, means)
    if run.share < 1:
        view.say(f"stopped after step {run.step:,}: go on with the same command and --resume")
        return INTERRUPTED
    view.say("finishing the model")
    view.show_end(finish(settings, wish.output, data.validation, device), wish.output)
    return 0


def _classes(facts: RcnnFacts, data: Data) -> Iterator[str]:
    """Yield what the classes are, how often each occurs, and what it is counted as."""
    names = names_of(data.fields)
    for name in facts.classes:
        cells = sum(int((f.classes == names.index(name)).sum()) for f in data.fields)
        counted = facts.counted(name)
        said = "" if counted == name else f", counted as {counted}"
        if counted not in COUNTED:
            said = ", counted as nothing else: say what it is in \\[count_as] of the settings if it is one of those"
        yield f"class {escape(name)}: {some(cells, 'cell')}{said}"


def _start(wish: Wish) -> str | None:
    return None if wish.weights is None else str(wish.weights)


def _settings(wish: Wish, said: Mapping[str, Any]) -> RcnnSettings:
    """Return the settings with what the command line says put over them."""
    over = {**course_of(wish), **sets_of(wish), **{name: value for name, value in said.items() if value is not None}}
    with config_of(wish, "rcnn.toml") as path:
        return read_settings(path, over)
