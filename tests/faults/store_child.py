"""What a killed process was doing: append strips in a random order, then commit."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

from pbsbatch.store import Store
from pbsbatch.testing.stores import KEY, draw_smear, preview_of

SMEAR = draw_smear(2026, 2300, 1500, 2500, tile=128, strip=256)


def work(out: str, seed: int) -> None:
    """Do what a worker and its driver do, as if it never were killed."""
    rng = random.Random(seed)
    store = Store.begin(Path(out), SMEAR.header, KEY)
    order = list(range(SMEAR.header.strips))
    rng.shuffle(order)
    for strip in order:
        if strip not in store.finished:
            store.append(strip, *SMEAR.strips[strip])
    store.commit(preview_of(SMEAR.header), workers=2)


def work_counted(out: str, seed: int, allowed: int | None = None) -> None:
    """Work, and be killed at the call after the allowed ones that changes the disk's names or syncs it.

    Without being killed it writes to `out` + ".calls" how many calls it made, and how many before the one
    that published.
    """
    made = published = 0
    for name in ("fsync", "open", "listdir", "rename", "replace", "mkdir", "rmdir", "unlink"):
        real = getattr(os, name)

        def counted(*args: object, _name: str = name, _real: Callable[..., object] = real, **kwargs: object) -> object:
            nonlocal made, published
            if made == allowed:
                os.kill(os.getpid(), signal.SIGKILL)
            if _name == "rename" and str(args[1]).endswith(".zarr"):
                published = made
            made += 1
            return _real(*args, **kwargs)

        setattr(os, name, counted)
    work(out, seed)
    Path(out + ".calls").write_text(f"{made} {published}")
