"""Keep a training run on disk: one safetensors file with every tensor and, in its header, the rest as JSON.

Laws. A checkpoint is there whole or not at all; nothing is ever unpickled. A run that goes on from one computes what
it would have computed without the break.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pbsbatch.disk import output_errors, write_atomic
from pbsbatch.errors import UsageError
from pbsbatch.models.folder import WEIGHTS
from pbsbatch.train.ema import Ema

__all__ = ["load_into", "load_run", "load_weights", "save_run", "save_weights"]

Net = TypeVar("Net", bound=nn.Module)
AGAIN = "Start the run again without --resume"


def save_run(path: Path, net: Net, ema: Ema[Net], optimiser: torch.optim.Optimizer, rest: dict[str, Any]) -> None:
    """Write a checkpoint."""
    tensors = {f"net/{name}": t for name, t in net.state_dict().items()}
    tensors |= {f"ema/{name}": t for name, t in ema.net.state_dict().items()}
    for name, weight in net.named_parameters():
        moments = optimiser.state.get(weight, {})  # none of a weight that has not learnt yet
        tensors |= {f"optimiser/{name}/{key}": t for key, t in moments.items() if isinstance(t, Tensor)}
    save_weights(path, tensors, rest)


def load_run(path: Path, net: Net, ema: Ema[Net], optimiser: torch.optim.Optimizer) -> None:
    """Put a checkpoint's tensors into a run that was begun with the same settings."""
    tensors, _ = load_weights(path)
    device = next(net.parameters()).device
    if any(name.startswith("adam/") for name in tensors):
        raise UsageError("an earlier version wrote it", path=path, cure=AGAIN)
    try:
        for part, module in (("net", net), ("ema", ema.net)):
            prefix = f"{part}/"
            module.load_state_dict({k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)})
        for name, weight in net.named_parameters():
            prefix = f"optimiser/{name}/"
            moments = {k.removeprefix(prefix): t.to(device) for k, t in tensors.items() if k.startswith(prefix)}
            if moments:
                optimiser.state[weight] = {k: t.to(memory_format=_format(t)) for k, t in moments.items()}
    except (KeyError, RuntimeError) as error:
        raise UsageError(f"it holds another network: {error}", path=path, cure=AGAIN) from error


def load_into(net: nn.Module, path: Path) -> None:
    """Give a network the weights of a model folder, its weights.safetensors or a run's best.safetensors."""
    file = path / WEIGHTS if path.is_dir() else path
    try:
        with safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name).float() for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError) as error:
        cure = "Give a model's folder or its weights.safetensors"
        raise UsageError(f"no weights that can be read: {error}", path=file, cure=cure) from error
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise UsageError(
            f"they are of another network: {str(error).splitlines()[1].strip()}", path=file,
            cure="Give [network] in the settings the sizes in that model's model.json",
        ) from error  # fmt: skip


def save_weights(path: Path, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
    """Write tensors, and the rest as JSON beside them."""
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with output_errors(path):
        write_atomic(path, [save(plain, metadata={"run": json.dumps(rest)})])


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what save_weights wrote."""
    try:
        with safe_open(path, "pt") as file:
            rest = json.loads((file.metadata() or {})["run"])
            return {name: file.get_tensor(name) for name in file.keys()}, rest  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise UsageError(f"no checkpoint that can be read: {error}", path=path, cure=AGAIN) from error


def _format(tensor: Tensor) -> torch.memory_format:
    return torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
