"""Law 5 where several slides are published together: killed at any moment, each of them is whole or not there."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pbsbatch.run.output import sweep
from pbsbatch.testing.stores import digest
from tests.faults.store_child import SMALL, work_counted, work_together

pytestmark = pytest.mark.fault
NAMES = [f"{small.header.slide_id}.zarr" for small in SMALL]
Start = Callable[..., int | None]


@pytest.fixture(scope="module")
def run() -> Start:
    """Run in a process that has everything imported and the smears drawn, and return its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.store_child"])

    def begin(do: Callable[..., None], *args: object) -> int | None:
        process = context.Process(target=do, args=args)
        process.start()
        process.join()
        return process.exitcode

    return begin


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, run: Start) -> tuple[dict[str, str], list[int]]:
    """Return the digest of each store, and how many calls that change the disk come before each is published."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert run(work_counted, str(out), 0, None, work_together) == 0
    made, *published = map(int, out.with_name("out.calls").read_text().split())
    assert len(published) == len(NAMES) < made
    return {name: digest(out / "slides" / name) for name in NAMES}, published


def stores(out: Path) -> dict[str, str]:
    return {p.name: digest(p) for p in sorted((out / "slides").glob("*.zarr"))}


@pytest.mark.parametrize("later", [-40, -9, -2, -1, 0, 1, 2, 3, 4, 5, 8, 12])
def test_killed_around_the_renames(
    tmp_path: Path, run: Start, undisturbed: tuple[dict[str, str], list[int]], later: int
) -> None:
    """Killed so many calls behind the first rename (before it: while building, or built and not visible)."""
    digests, published = undisturbed
    out = tmp_path / "out"
    allowed = published[0] + later
    assert run(work_counted, str(out), 0, allowed, work_together) == -signal.SIGKILL
    visible = [name for name, at in zip(NAMES, published, strict=True) if at < allowed]
    assert stores(out) == {name: digests[name] for name in visible}, "a visible store is whole"
    inodes = {name: (out / "slides" / name).stat().st_ino for name in visible}

    sweep(out)  # as the next run does
    assert run(work_together, str(out), 1) == 0
    assert stores(out) == digests
    assert {name: (out / "slides" / name).stat().st_ino for name in visible} == inodes, "it was made again"
    assert sorted(p.name for p in (out / "slides").iterdir()) == NAMES, "something else was left"
    assert sorted(p.stem for p in (out / "seals").iterdir()) == [name.removesuffix(".zarr") for name in NAMES]
