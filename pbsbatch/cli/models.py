"""`pbsbatch models`: make models, and look at them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbsbatch.cli.options import AsJson

if TYPE_CHECKING:
    from pbsbatch.models.base import Model

__all__ = ["app"]

app = typer.Typer(help="Make models and look at them.", no_args_is_help=True)
train_app = typer.Typer(help="Teach a model from labelled fields.", no_args_is_help=True)
app.add_typer(train_app, name="train")

NameOrFolder = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a shipped model, or a model's folder.")]


@app.callback()
def _models() -> None:
    """Make models and look at them."""


@train_app.callback()
def _train() -> None:
    """Teach a model from labelled fields."""


@train_app.command(epilog="Example: pbsbatch models train detector --data fields/ --format yolo --output my-model")
def detector(
    data: Annotated[Path, typer.Option(help="Folder that the data sets of the settings lie in.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for checkpoints, metrics and the model.")],
    *,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings. [default: the shipped detector's]")
    ] = None,
    data_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="voc, yolo or coco: DATA is one data set with the splits train and val, instead of those in the "
            "settings.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Start from a model's folder or weights.safetensors: fine-tune it on your own fields."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of the network on a CPU. 0: one per core but one, which composes.")
    ] = 0,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Train so long, instead of the settings' steps.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Train so many steps.")] = None,
) -> None:
    """Teach the detector and write it as a model folder.

    Ctrl-C saves and stops; the same command with --resume goes on. Exit codes: 0 done; 2 wrong usage or data;
    130 interrupted.
    """
    from pbsbatch.cli.train import Wish, train_detector

    wish = Wish(data, output, config, data_format, weights, resume, device, threads, minutes, steps)
    raise typer.Exit(train_detector(wish))


@app.command("list", epilog="Example: pbsbatch models list")
def list_models(json: AsJson = False) -> None:
    """List the models that come with the package."""
    from pbsbatch.models.load import built_in, load

    rows = [{"name": name, **_facts(load(name))} for name in built_in()]
    if json:
        _print_json(rows)
        return
    for row in rows:
        print(f"{row['name']}  version {row['version']}  {', '.join(row['classes'])}  at {row['work_mpp']:g} µm/px")


@app.command(epilog="Example: pbsbatch models show my-model/model")
def show(model: NameOrFolder, json: AsJson = False) -> None:
    """Show what a model finds, at which scale, what it was trained on and how good it was."""
    from pbsbatch.models.load import load

    facts = _facts(load(model))
    if json:
        _print_json(facts)
        return
    metrics = facts.pop("metrics", {})
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {_plain(value)}")
    validation = metrics.get("validation")
    if validation:
        print(f"\nvalidation on {validation['fields']:,} fields, step {metrics['step']:,}")
        for name, row in validation["classes"].items():
            figures = (f"{k} {row[k]:.4f}" for k in ("ap50", "ap", "f1", "count_error") if row[k] is not None)
            print(f"  {name}: {', '.join(figures)}")


@app.command(epilog="Example: pbsbatch models check my-model/model")
def check(model: NameOrFolder) -> None:
    """Read every file of a model against its digest, and run it once on this machine."""
    import numpy as np

    from pbsbatch.engines.load import load as load_engine
    from pbsbatch.models.load import load

    loaded = load(model)
    engine = load_engine(loaded)
    try:
        raw = engine(np.full((1, 256, 256, 3), 255, np.uint8))
        wrong = [name for name, values in raw.items() if not np.isfinite(np.asarray(values, np.float64)).all()]
    finally:
        engine.close()
    if wrong:
        print(f"{model}: {', '.join(wrong)} are not finite on {engine.name} {engine.precision}")
        raise typer.Exit(1)
    print(f"{model}: files are whole, runs on {engine.name} {engine.precision}")


def _facts(model: Model) -> dict[str, Any]:
    """Return what is known of a model: its folder's facts, or its spec where it has no folder."""
    from dataclasses import asdict

    from pbsbatch.models.dense import DenseModel

    if not isinstance(model, DenseModel):
        return asdict(model.spec)
    return {**asdict(model.folder.facts), "digest": model.folder.digest}


def _plain(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(_plain(v) if not isinstance(v, tuple | list) else f"({_plain(v)})" for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2))
