"""Train a classifier of cells for the command line, compare classical ones on features, or show augmentations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pbsbatch.cli.train import INTERRUPTED, Wish, config_of, course_of, need, stopped_by_signals
from pbsbatch.errors import UsageError

if TYPE_CHECKING:
    from pbsbatch.train.classifier.settings import Settings

__all__ = ["CellWish", "compare_classifiers", "settings_of", "show_augmentation", "train_classifier"]

SHOWN_CELLS = 10


@dataclass(frozen=True, slots=True)
class CellWish:
    """What the command line asks for beside what every training does."""

    common: Wish
    mpp: float | None = None  # of pictures in class folders
    arch: str | None = None
    preset: str | None = None
    freeze: str | None = None
    augment: tuple[str, ...] = ()
    rename: tuple[str, ...] = ()


def train_classifier(wish: CellWish) -> int:
    """Train a classifier and finish; return the exit code."""
    need("sklearn")
    settings = settings_of(wish)
    from rich.markup import escape

    from pbsbatch.cli.classifier_view import ClassifierView
    from pbsbatch.train.classifier.loop import Event, Judged
    from pbsbatch.train.classifier.train import train
    from pbsbatch.train.finish import MODEL
    from pbsbatch.train.machine import choose_device
    from pbsbatch.train.metrics import METRICS
    from pbsbatch.train.plot import PLOT, plot

    common = wish.common
    device = choose_device(common.device, common.threads)

    def show(event: Event) -> None:
        view.on_event(event)
        if isinstance(event, Judged):
            plot(common.output / METRICS, common.output / PLOT)

    steps = 0 if settings.epochs else settings.steps  # how many an epoch has, the pictures say
    with ClassifierView(steps, settings.minutes) as view, stopped_by_signals() as stopped:
        done = train(
            settings, common.data, common.output, device, resume=common.resume, on_event=show, stop=stopped,
            say=lambda text: view.say(escape(text)),
        )  # fmt: skip
    if done is None:
        view.say("stopped: go on with the same command and --resume")
        return INTERRUPTED
    view.show_end(done, common.output / MODEL, common.output)
    return 0


def compare_classifiers(wish: CellWish, backbone: str, classifiers: tuple[str, ...]) -> int:
    """Judge classical classifiers on a backbone's features; return the exit code."""
    need("sklearn")
    from rich.table import Table

    from pbsbatch.cli.console import console, some
    from pbsbatch.train.classifier.by_features import BACKBONES, compare
    from pbsbatch.train.classifier.pictures import Split, read_all
    from pbsbatch.train.classifier.report import TABLE
    from pbsbatch.train.machine import choose_device

    out = console()
    weights = "" if wish.common.weights is None else str(wish.common.weights.resolve())
    if weights and backbone not in BACKBONES:
        raise UsageError(f"{backbone} is a model, which has its weights", cure="Leave --weights out")
    arch = backbone if backbone in BACKBONES else None
    settings = settings_of(wish, {"weights": weights, **({"arch": arch} if arch else {})})
    choose_device("cpu", wish.common.threads)
    skipped: list[str] = []
    cells, groups = read_all(settings, wish.common.data, lambda path, why: skipped.append(f"{path.name} ({why})"))
    if skipped:
        out.print(f"{some(len(skipped), 'picture')} skipped: {', '.join(skipped[:5])}", markup=False, soft_wrap=True)
    say = lambda text: out.print(text, markup=False, soft_wrap=True)  # noqa: E731
    rows = compare(settings, Split(cells), groups, backbone, classifiers, wish.common.output, say)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("model", "type", "precision", "recall", "f1", "support", "accuracy"):
        table.add_column(title, justify="left" if title in ("model", "type") else "right", no_wrap=True)
    for row in rows:
        figures = ("" if row[k] is None else f"{row[k]:.4f}" for k in ("precision", "recall", "f1"))
        accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.4f}"
        table.add_row(row["model"], row["type"], *figures, f"{row['support']:,}", accuracy)
    out.print(table)
    out.print(f"table, confusion and features in {wish.common.output / TABLE}", markup=False, soft_wrap=True)
    return 0


def show_augmentation(wish: CellWish, picture: Path) -> int:
    """Write a contact sheet of the switches over some of the data's cells; return the exit code."""
    need()
    import numpy as np

    from pbsbatch.cli.console import console
    from pbsbatch.train.classifier.augment_study import ALL, vector_of
    from pbsbatch.train.classifier.look import crops_of
    from pbsbatch.train.classifier.pictures import some_cells
    from pbsbatch.train.classifier.settings import LABORATORIES
    from pbsbatch.train.classifier.sheet import write_sheet

    settings = settings_of(wish)
    vector = ALL if settings.augment == (LABORATORIES,) else vector_of(settings.augment)
    cells = some_cells(settings, wish.common.data, SHOWN_CELLS)
    write_sheet(picture, vector, np.stack(crops_of(settings, cells)), settings.seed)
    console().print(f"{len(vector)} augmentations of {len(cells)} cells: {picture}", markup=False, soft_wrap=True)
    return 0


def settings_of(wish: CellWish, more: dict[str, Any] | None = None) -> Settings:
    """Return a classifier's settings with a preset's, and then what the command line says, put over them."""
    from pbsbatch.train.classifier.presets import preset_of
    from pbsbatch.train.classifier.settings import read_settings

    common = wish.common
    over: dict[str, Any] = preset_of(wish.preset) if wish.preset is not None else {}
    course = course_of(common)
    over |= {**course, "epochs": 0.0} if course else {}
    over |= {name: value for name in ("arch", "freeze") if (value := getattr(wish, name)) is not None}
    if common.config is None and (wish.arch or wish.preset):  # else it would bear the shipped classifier's name
        over["name"] = "-".join(word for word in (wish.arch, wish.preset) if word)
    over |= {"augment": wish.augment} if wish.augment else {}
    over |= {} if common.weights is None else {"weights": str(common.weights.resolve())}
    over |= _pictures(wish) | (more or {})
    with config_of(common, "classifier.toml") as path:
        return read_settings(path, over)


def _pictures(wish: CellWish) -> dict[str, Any]:
    """Return the data set that the command line gives instead of the settings'."""
    if wish.common.format is None:
        if wish.mpp is not None or wish.rename:
            raise UsageError("--mpp and --rename go with --format folder; else the settings give them")
        return {}
    if wish.common.format != "folder":
        raise UsageError(f"--format must be folder, not {wish.common.format!r}")
    if wish.mpp is None:
        raise UsageError("--format folder needs --mpp, the um per pixel of the pictures")
    pairs = [text.partition("=") for text in wish.rename]
    wrong = [text for text, (begins, _, is_a) in zip(wish.rename, pairs, strict=True) if not (begins and is_a)]
    if wrong:
        raise UsageError(f"--rename must be FOLDER=TYPE, not {wrong[0]!r}")
    rename = [{"begins": begins, "is_a": is_a} for begins, _, is_a in pairs]
    name = wish.common.data.resolve().name
    return {"pictures": [{"path": ".", "mpp": wish.mpp, "name": name, "rename": rename}]}
