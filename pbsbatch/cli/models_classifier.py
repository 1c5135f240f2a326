"""`pbsbatch models train classifier`: what it is asked, before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pbsbatch.errors import UsageError

__all__ = ["classifier"]


def classifier(
    data: Annotated[Path, typer.Option(help="Folder that the data sets of the settings lie in.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for checkpoints, metrics, the table and the model.")
    ] = None,
    *,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings. \\[default: the shipped classifier's]")
    ] = None,
    data_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="folder: DATA is one data set of single-cell pictures, a folder for each type, instead of those in "
            "the settings.",
        ),
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(min=0.02, max=2.0, help="µm per pixel of the pictures, with --format.")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="small (the shipped one), crp-2|3|4[-fc], microcell, resnet50, resnet101, vgg16, inception_v3, "
            "xception, inception_resnet_v2, nasnetalarge.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Train as a study did: adadelta, adadelta-leaky (as published, its figures leak), adam-42."),
    ] = None,
    freeze: Annotated[
        str | None, typer.Option(help="none or backbone: what of resnet50 and its like stays as it is.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A file that the backbone begins with: safetensors, or torch.save of weights.")
    ] = None,
    augment: Annotated[
        list[str] | None,
        typer.Option(help="small, adaptation or the name of a switch, instead of the settings'; may be given again."),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER=TYPE", help="What a folder's cells are, with --format; may be given again."),
    ] = None,
    show_augmentation: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the augmentations over some cells, and train nothing.")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="ARCH|MODEL",
            help="Cross-validate --classifier on the features of resnet50 or its like (with --weights), or of a model.",
        ),
    ] = None,
    classifiers: Annotated[
        list[str] | None,
        typer.Option("--classifier", help="svm, xgboost, knn or random-forest, with --features; may be given again."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of the network on a CPU. 0: one per core but one, which cuts crops.")
    ] = 0,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Train so long, instead of the settings' steps.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Train so many steps.")] = None,
) -> None:
    """Teach a classifier of white cells from pictures of single cells, and write it as a model folder.

    Folders are called as types or kinds of cells are (neutrophil, band_neutrophil, lymphocyte ...), or renamed.
    Pictures of one cell or field are found and kept in one split; those that cannot be read are named and skipped.
    Beside the model: a table by type, the confusion, training curves, a map of features. Ctrl-C saves and stops; the
    same command with --resume goes on. Exit codes: 0 done; 2 wrong usage or data; 130 interrupted.
    """
    from pbsbatch.cli import train_classifier as own
    from pbsbatch.cli.train import Wish

    if output is None and show_augmentation is None:
        raise UsageError("--output is missing", cure="Give the folder for checkpoints, metrics and the model")
    if bool(features) != bool(classifiers):
        raise UsageError("--features and --classifier go together")
    common = Wish(data, output or Path(), config, data_format, weights, resume, device, threads, minutes, steps)
    wish = own.CellWish(common, mpp, arch, preset, freeze, tuple(augment or ()), tuple(rename or ()))
    if show_augmentation is not None:
        raise typer.Exit(own.show_augmentation(wish, show_augmentation))
    if features is not None:
        raise typer.Exit(own.compare_classifiers(wish, features, tuple(classifiers or ())))
    raise typer.Exit(own.train_classifier(wish))
