"""What a killed process was doing: append strips in a random order, then commit."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

from pbsbatch.store import Store, Together
from pbsbatch.testing.stores import KEY, draw_smear, preview_of

SMEAR = draw_smear(2026, 2300, 1500, 2500, tile=128, strip=256)
SMALL = tuple(draw_smear(seed, 400, 300, 60) for seed in (1, 2, 3))


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


def work_together(out: str, seed: int) -> None:
    """Do what a worker does with a bundle of small slides: publish together those that are not there yet."""
    with Together(Path(out)) as together:
        for small in SMALL:
            store = Store.begin(Path(out), small.header, KEY, held=True)
            for strip in sorted(set(range(small.header.strips)) - store.finished):
                store.append(strip, *small.strips[strip])
            together.add(store, preview_of(small.header))
        together.publish()


def work_counted(out: str, seed: int, allowed: int | None = None, do: Callable[[str, int], None] = work) -> None:
    """Work, and be killed at the call after the allowed ones that changes the disk's names or syncs it.

    Without being killed it writes to `out` + ".calls" how many calls it made, and how many before each one
    that published.
    """
    made, published = 0, list[int]()
    for name in ("fsync", "open", "listdir", "rename", "replace", "mkdir", "rmdir", "unlink"):
        real = getattr(os, name)

        def counted(*args: object, _name: str = name, _real: Callable[..., object] = real, **kwargs: object) -> object:
            nonlocal made
            if made == allowed:
                os.kill(os.getpid(), signal.SIGKILL)
            if _name == "rename" and str(args[1]).endswith(".zarr"):
                published.append(made)
            made += 1
            return _real(*args, **kwargs)

        setattr(os, name, counted)
    do(out, seed)
    Path(out + ".calls").write_text(" ".join(map(str, (made, *published))))
