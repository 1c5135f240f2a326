"""Choose the machine to train on."""

from __future__ import annotations

import os

import torch

from pbsbatch.errors import UsageError

__all__ = ["DEVICES", "choose_device"]

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str, threads: int) -> torch.device:
    """Return the device, with the network's threads set; 0 leaves one core to those that compose canvases.

    One thread less is no loss: with as many as cores OpenMP waits for the one that another process holds up.
    """
    if name not in DEVICES:
        raise UsageError(f"--device must be one of {', '.join(DEVICES)}, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is at hand", cure="Use --device cpu")
    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) - 1))
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
