"""Bring a torchvision checkpoint into a model folder for `pbsbatch models export`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from pbsbatch.errors import UsageError

__all__ = ["export_checkpoint"]

NEEDED = ("torch", "torchvision", "safetensors", "onnx")


def export_checkpoint(path: Path, output: Path, arch: str | None, settings: Path | None, preset: str | None) -> None:
    """Write a checkpoint as a folder; nothing is written unless all of it fits."""
    if arch is None or settings is None:
        raise UsageError(
            "a checkpoint needs --arch and --settings", path=path, cure="See pbsbatch models export --help"
        )
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} not installed", cure='Install it with: pip install "pbsbatch[train]"')
    from pbsbatch.train.rcnn.export import export_weights_of
    from pbsbatch.train.rcnn.presets import preset_of

    export_weights_of(path, output, arch, settings, None if preset is None else preset_of(preset))
