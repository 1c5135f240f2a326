"""`pbsbatch models`: make models, and look at them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbsbatch.cli.adapt import adapt_model
from pbsbatch.cli.compile import compile_model
from pbsbatch.cli.models_classifier import classifier
from pbsbatch.cli.options import AsJson
from pbsbatch.cli.prose import Prose
from pbsbatch.cli.sweep import sweep_settings
from pbsbatch.errors import UsageError

if TYPE_CHECKING:
    from pbsbatch.models.base import Model
    from pbsbatch.models.classifier import CellClassifier

__all__ = ["app"]

app = typer.Typer(cls=Prose, help="Make models and look at them.", no_args_is_help=True)
train_app = typer.Typer(cls=Prose, help="Teach a model from labelled fields.", no_args_is_help=True)
app.add_typer(train_app, name="train")

NameOrFolder = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a shipped model, or a model's folder.")]


app.command("adapt")(adapt_model)
train_app.command(
    epilog="Example: pbsbatch models train classifier --data pictures/ --format folder --mpp 0.14 --output my-types"
)(classifier)
app.command("sweep", epilog="Example: pbsbatch models sweep search.toml --data pictures/ --output my-sweep")(
    sweep_settings
)
app.command("compile", epilog="Example: pbsbatch models compile smear")(compile_model)


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
        Path | None,
        typer.Option(
            help="A TOML file of settings. \\[default: the shipped detector's; with --weights, its second part's]"
        ),
    ] = None,
    data_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="voc, yolo, coco, cvat or labels: DATA is one data set with the splits train and val, instead of "
            "those in the settings.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Start from a model's folder or weights.safetensors: fine-tune it on your own fields. With --arch: a "
            "checkpoint, coco or imagenet."
        ),
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
    arch: Annotated[
        str | None,
        typer.Option(
            help="Teach a two-stage detector of torchvision's instead: fasterrcnn-r50-fpn, fasterrcnn-r50-fpn-v2, "
            "maskrcnn-r50-fpn-v2 or maskrcnn-r101-fpn."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Teach it as a study did, and take its thresholds: cbc-2023, cbc-2023-frozen, smear-2021."),
    ] = None,
    freeze: Annotated[
        str | None, typer.Option(help="Of a two-stage detector: none, backbone, or heads-first, for --head-epochs.")
    ] = None,
    head_epochs: Annotated[
        int | None, typer.Option(min=0, help="So many epochs of heads-first, before the backbone learns too.")
    ] = None,
) -> None:
    """Teach the detector and write it as a model folder.

    With --arch or --preset it is a two-stage detector, which starts from --weights coco or imagenet (torchvision's
    files of those names, in DATA or torch's folder of checkpoints), from a file, or from nothing. Ctrl-C saves and
    stops; the same command with --resume goes on. Exit codes: 0 done; 2 wrong usage or data; 130 interrupted.
    """
    from pbsbatch.cli.train import Wish, train_detector

    wish = Wish(data, output, config, data_format, weights, resume, device, threads, minutes, steps)
    if arch or preset or freeze or head_epochs is not None:
        from pbsbatch.cli.train_rcnn import train_rcnn

        raise typer.Exit(
            train_rcnn(wish, {"arch": arch, "preset": preset, "freeze": freeze, "head_epochs": head_epochs})
        )
    raise typer.Exit(train_detector(wish))


@app.command("list", epilog="Example: pbsbatch models list")
def list_models(json: AsJson = False) -> None:
    """List the models that come with the package: detectors find cells, classifiers name white cells."""
    from pbsbatch.models.load import built_in, classifiers, find

    rows = [_facts(find(name)) for name in (*built_in(), *classifiers())]
    if json:
        _print_json(rows)
        return
    for row in rows:
        found = row["classes"] if row["kind"] == "detector" else row["types"]
        scale = row.get("work_mpp", row.get("crop_mpp"))
        print(f"{row['name']}  {row['kind']}, version {row['version']}  {', '.join(found)}  at {scale:g} µm/px")


@app.command(epilog="Example: pbsbatch models show my-model/model")
def show(model: NameOrFolder, json: AsJson = False) -> None:
    """Show what a model finds, at which scale, what it was trained on and how good it was."""
    from pbsbatch.models.load import find

    facts = _facts(find(model))
    if json:
        _print_json(facts)
        return
    metrics = facts.pop("metrics", {})
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {_plain(value)}")
    for line in _metrics(metrics):
        print(line)


def _metrics(metrics: dict[str, Any]) -> Iterator[str]:
    """Yield what a model's metrics say, as far as they are those of a training here."""
    if "validation" in metrics:
        validation = metrics["validation"]
        yield f"\nvalidation on {validation['fields']:,} fields, step {metrics['step']:,}"
        for name, row in validation["classes"].items():
            figures = (f"{k} {row[k]:.4f}" for k in ("ap50", "ap", "f1", "count_error") if row[k] is not None)
            yield f"  {name}: {', '.join(figures)}"
    if "hold_out" in metrics:
        held = metrics["hold_out"]
        yield (
            f"\n{held['cells']:,} cells held out, step {metrics['step']:,}: accuracy {held['accuracy']:.4f}, "
            f"calibration error {held['calibration_error']:.4f}"
        )
        for name, row in held["types"].items():
            figures = (f"{k} {row[k]:.4f}" for k in ("precision", "recall") if row[k] is not None)
            yield f"  {name}: {', '.join(figures)}"


@app.command(epilog="Example: pbsbatch models check my-model/model")
def check(model: NameOrFolder) -> None:
    """Read every file of a model against its digest, and run it once on this machine."""
    import numpy as np

    from pbsbatch.engines.load import load as load_engine
    from pbsbatch.engines.load import load_classifier as load_classifier_engine
    from pbsbatch.models.classifier import CellClassifier
    from pbsbatch.models.load import find

    loaded = find(model)
    classifies = isinstance(loaded, CellClassifier)
    side = loaded.folder.facts.crop_px if isinstance(loaded, CellClassifier) else loaded.spec.tile_px or 256
    engine = load_classifier_engine(loaded) if isinstance(loaded, CellClassifier) else load_engine(loaded)
    try:
        raw = engine(np.full((1, side, side, 3), 255, np.uint8))
        wrong = [name for name, values in raw.items() if not np.isfinite(np.asarray(values, np.float64)).all()]
    finally:
        engine.close()
    if wrong:
        print(f"{model}: {', '.join(wrong)} are not finite on {engine.name} {engine.precision}")
        raise typer.Exit(1)
    what = "classifier" if classifies else "detector"
    print(f"{model}: a {what}, files are whole, runs on {engine.name} {engine.precision}")


@app.command(epilog="Example: pbsbatch models export my.pth --arch fasterrcnn-r50-fpn --settings my.toml -o my-model")
def export(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A shipped model, a model's folder, or a checkpoint of torchvision's."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write; it must not exist.")],
    *,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Of a checkpoint: fasterrcnn-r50-fpn, fasterrcnn-r50-fpn-v2, maskrcnn-r50-fpn-v2 or maskrcnn-r101-fpn."
        ),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="Of a checkpoint: a TOML file with its classes, scale and anchors.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Of a checkpoint: thresholds as in cbc-2023, cbc-2023-frozen or smear-2021.")
    ] = None,
) -> None:
    """Write a model as a folder of your own: facts, ONNX graphs, weights. Other runtimes read the ONNX.

    A checkpoint (torch.save of weights alone, or safetensors) of torchvision's Faster or Mask R-CNN becomes a model of
    `pbsbatch run`. Its settings name the classes in the network's order, and how large it saw cells:

        classes = \\["RBC", "WBC", "Platelet"]
        red_cell_px = 68
    """
    from pbsbatch.models.load import export_folder

    if Path(model).is_file():
        from pbsbatch.cli.checkpoint import export_checkpoint

        export_checkpoint(Path(model), output, arch, settings, preset)
    elif arch or settings or preset:
        raise UsageError(f"{model} is no file: --arch, --settings and --preset are of a checkpoint")
    else:
        export_folder(model, output)
    print(f"{output}: {', '.join(sorted(file.name for file in output.iterdir()))}")


def _facts(model: Model | CellClassifier) -> dict[str, Any]:
    """Return what is known of a model: its folder's facts, or its spec where it has no folder."""
    from dataclasses import asdict

    from pbsbatch.models.classifier import CellClassifier
    from pbsbatch.models.dense import DenseModel
    from pbsbatch.models.foreign import ForeignModel
    from pbsbatch.models.rcnn import RcnnModel
    from pbsbatch.models.taxonomy import TYPES

    if isinstance(model, CellClassifier):
        facts = asdict(model.folder.facts)
        about = {"name": facts.pop("name"), "kind": "classifier", "version": facts.pop("version")}
        return {**about, "types": TYPES, **facts, "digest": model.folder.digest}
    known = (
        (model.folder.facts, model.folder.digest) if isinstance(model, DenseModel | ForeignModel | RcnnModel) else None
    )
    told, digest = known or (model.spec, model.spec.digest)
    facts = {"classes": model.spec.classes, **asdict(told)}
    return {"name": facts.pop("name"), "kind": "detector", **facts, "digest": digest}


def _plain(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(_plain(v) if not isinstance(v, tuple | list) else f"({_plain(v)})" for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2))
