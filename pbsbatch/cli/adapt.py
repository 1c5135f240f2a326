"""`pbsbatch models adapt`: a classifier made fit for another laboratory."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pbsbatch.train.adapt.adapt import Outcome, Source
    from pbsbatch.train.adapt.labels import Names

__all__ = ["adapt_model"]

SHOWN = 20


def adapt_model(
    target: Annotated[
        Path,
        typer.Option(
            help="The results of a run, whose white cells are taken; or a folder of pictures, a cell in each."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model's folder to write; it must not exist.")],
    *,
    model: Annotated[str, typer.Option(help="A shipped classifier or the folder of your own.")] = "differential",
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV of a few labelled cells: slide,cell,label of a run; crop,label of a folder."),
    ] = None,
    names: Annotated[
        Path | None, typer.Option("--map", help="CSV of NAME,TYPE: what labels mean; - for a name that is no type.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="self-training, plain-self-training, stain, statistics, alignment, or adversarial."),
    ] = "self-training",
    source: Annotated[
        Path | None,
        typer.Option(help="Pictures that the classifier was taught on, as for `models train classifier --data`."),
    ] = None,
    source_mpp: Annotated[
        float | None,
        typer.Option(min=0.02, max=2.0, help="µm per pixel of --source, where it is one folder of class folders."),
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(min=0.02, max=2.0, help="µm per pixel of a folder of pictures. \\[default: that of crops]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn by chance.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training in each of two rounds.")] = 150,
    threads: Annotated[int, typer.Option(min=0, help="Threads of the network. 0: one per core but one.")] = 0,
) -> None:
    """Adapt a classifier of white cells to your own slides, without labels or with a few.

    A classifier that was taught in one laboratory fails in the next. This takes the white cells of a run on your
    slides, lets the classifier teach itself on them, and writes a model's folder for `pbsbatch run --classifier`.
    What people corrected in that run (`pbsbatch data import-labels`) is taken as labels.

    What is written is held against where it comes from: by held-out cells of --source if given, else by how far the
    two agree on your cells in the colours of the source; it says which.

    Examples:

      pbsbatch models adapt --target results --output our-types

      pbsbatch models adapt --target results --labels few.csv --output our-types

      pbsbatch run --input archive/ --classifier our-types
    """
    from rich.markup import escape

    from pbsbatch.cli.console import console, some
    from pbsbatch.cli.train import need
    from pbsbatch.models.load import load_classifier

    need()
    from pbsbatch.train.adapt.adapt import adapt
    from pbsbatch.train.adapt.labels import read_labels, read_mapping
    from pbsbatch.train.adapt.target import read_target
    from pbsbatch.train.machine import choose_device

    choose_device("cpu", threads)
    folder = load_classifier(model).folder
    known = read_mapping(names)
    said = {} if labels is None else read_labels(labels, known)
    show = console()
    cells = read_target(target, folder.facts, known, said, mpp=mpp, seed=seed)
    show.print(f"{some(len(cells.cells), 'cell')} of {escape(str(target))}", soft_wrap=True)
    skipped: list[str] = []
    home = None if source is None else _source(source, source_mpp, known, skipped)
    done = adapt(
        folder, cells, output, method=method, source=home, seed=seed, steps=steps,
        say=lambda text: show.print(f"[dim]{escape(text)}[/]", soft_wrap=True),
    )  # fmt: skip
    done = replace(done, left_out=(*done.left_out, *skipped))
    for line in _told(done):
        show.print(line, soft_wrap=True)
    show.print(f"[bold]model[/] {escape(str(output))}; use it by `pbsbatch run --classifier {escape(str(output))}`")


def _source(root: Path, mpp: float | None, names: Names, skipped: list[str]) -> Source:
    """Return the source's cells, split as training splits them; what cannot be read is appended to `skipped`."""
    from pbsbatch.errors import one_line
    from pbsbatch.models.mapping import LEFT_OUT
    from pbsbatch.train.adapt.adapt import Source
    from pbsbatch.train.classifier.pictures import load
    from pbsbatch.train.classifier.settings import read_settings

    called = [{"begins": name, "is_a": wanted} for name, wanted in names.mapping.items() if wanted != LEFT_OUT]
    over = {} if mpp is None else {"pictures": [{"path": ".", "mpp": mpp, "rename": called}]}
    with resources.as_file(resources.files("pbsbatch.train") / "configs") as configs:
        settings = read_settings(configs / "classifier.toml", over)
        parts, _ = load(settings, root, lambda path, why: skipped.append(one_line(f"{path}: {why}")))
    return Source(parts["train"], parts["hold-out"])


def _told(done: Outcome) -> list[str]:
    """Return what a person is told at the end."""
    from rich.markup import escape

    from pbsbatch.cli.console import some

    lines = [f"[yellow]left out:[/] {escape(reason)}" for reason in done.left_out[:SHOWN]]
    if len(done.left_out) > SHOWN:
        lines.append(f"[yellow]left out:[/] {len(done.left_out) - SHOWN:,} more")
    lines += [f"[yellow]note:[/] {escape(note)}" for note in done.notes]
    colours = "in the colours of the source" if done.glasses.was is not None else "in their own colours"
    lines.append(
        f"known best {colours}, {done.glasses.zoom:g} times as large; taught by {some(done.cells, 'cell')}, "
        f"{done.labelled:,} of them labelled"
    )
    names = dict.fromkeys([*done.before, *done.after])
    moved = ", ".join(f"{name} {done.before.get(name, 0):,} → {done.after.get(name, 0):,}" for name in names)
    lines.append(f"called otherwise than before: {100 * done.changed:.1f} % ({moved})")
    lines.append(f"unsure: {100 * done.unsure[0]:.1f} % before, {100 * done.unsure[1]:.1f} % now")
    guard = done.guard
    lines.append(
        f"{guard.what}, {some(guard.cells, 'cell')}: {guard.before:.3f} before, {guard.kept:.3f} now"
        + (
            ""
            if guard.share == 1
            else f" (the whole way {guard.adapted:.3f}: taken was {100 * guard.share:.0f} % of it)"
        )
    )
    if guard.share == 0:
        lines.append("[yellow]note:[/] nothing could be learned without forgetting: the model is as it was")
    return lines
