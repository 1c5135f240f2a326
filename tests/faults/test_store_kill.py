"""Law 5, proved: processes killed at any moment, resumed until done, give the bytes of an undisturbed run."""

import multiprocessing
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import numpy as np
import pytest

from pbsbatch.detections import NEAR_BORDER, OWNED
from pbsbatch.store import Store
from pbsbatch.testing.stores import KEY, digest, labels_of, truth_labels
from tests.faults.store_child import SMEAR, work, work_counted

pytestmark = pytest.mark.fault
TARGET = f"{SMEAR.header.slide_id}.zarr"
Start = Callable[..., ForkServerProcess]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Start a process that has everything imported and the smear drawn, within milliseconds."""
    context: ForkServerContext = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.store_child"])

    def begin(do: Callable[..., None], *args: object) -> ForkServerProcess:
        process = context.Process(target=do, args=args)
        process.start()
        return process

    yield begin


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, start: Start) -> tuple[str, float]:
    """Return the digest of one undisturbed process's store, and how long it took."""
    for _ in range(2):  # the first one compiles
        out = tmp_path_factory.mktemp("undisturbed")
        began = time.monotonic()
        process = start(work, str(out), 0)
        process.join()
        took = time.monotonic() - began
        assert process.exitcode == 0
    return digest(out / "slides"), took


def assert_published(out: Path, expected: str) -> None:
    assert [p.name for p in (out / "slides").iterdir()] == [TARGET]
    assert digest(out / "slides") == expected


def test_cells_lie_across_every_border(undisturbed: tuple[str, float], tmp_path: Path) -> None:
    """Guard of the test itself: without cells on the borders it would prove nothing."""
    boxes, owned, near = SMEAR.truth.boxes, 0, 0
    for y in range(256, 1500, 256):
        assert ((boxes[:, 1] < y) & (boxes[:, 3] > y)).sum() > 5
    for cells, _ in SMEAR.strips:
        owned += int((cells.flags & OWNED > 0).sum())
        near += int((cells.flags == NEAR_BORDER).sum())
    assert owned == len(SMEAR.truth)
    assert near > 200
    work(str(tmp_path), 1)
    np.testing.assert_array_equal(labels_of(tmp_path / "slides" / TARGET), truth_labels(SMEAR.truth, 2300, 1500))
    assert_published(tmp_path, undisturbed[0])


@pytest.mark.parametrize("seed", range(24))
def test_two_processes_killed_at_random(
    tmp_path: Path, start: Start, undisturbed: tuple[str, float], seed: int
) -> None:
    expected, took = undisturbed
    rng = random.Random(seed)
    for n in range(rng.randint(1, 3)):
        pair = [start(work, str(tmp_path), 100 * seed + 10 * n + i) for i in range(2)]
        for process in pair:
            time.sleep(rng.uniform(0, took))
            if rng.random() < 0.9:
                process.kill()
        for process in pair:
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
    pair = [start(work, str(tmp_path), 100 * seed + 90 + i) for i in range(2)]
    for process in pair:
        process.join()
        assert process.exitcode == 0
    Store.begin(tmp_path, SMEAR.header, KEY)  # what a resumed run does with a finished slide
    assert_published(tmp_path, expected)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory, start: Start) -> tuple[int, int]:
    """Return how many calls that change the disk an undisturbed run makes, and how many before it publishes."""
    out = tmp_path_factory.mktemp("calls") / "out"
    process = start(work_counted, str(out), 7)
    process.join()
    made, published = map(int, out.with_name("out.calls").read_text().split())
    return made, published


def test_killed_again_and_again(
    tmp_path: Path, start: Start, undisturbed: tuple[str, float], calls: tuple[int, int]
) -> None:
    """Be killed ever later in the protocol, going on from what the last attempt left."""
    for allowed in range(0, calls[0], max(1, calls[0] // 25)):
        process = start(work_counted, str(tmp_path), allowed, allowed)
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
    process = start(work, str(tmp_path), 8)
    process.join()
    assert_published(tmp_path, undisturbed[0])


@pytest.mark.parametrize("later", range(-6, 14))
def test_killed_around_the_rename(
    tmp_path: Path, start: Start, undisturbed: tuple[str, float], calls: tuple[int, int], later: int
) -> None:
    """Be killed before, at and behind the call that publishes. A visible store is whole."""
    out = tmp_path / "out"
    process = start(work_counted, str(out), 7, calls[1] + later)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (out / "slides" / TARGET).exists() == (later > 0)
    if later > 0:
        shutil.copytree(out / "slides" / TARGET, tmp_path / "seen" / TARGET)
        assert digest(tmp_path / "seen") == undisturbed[0]
    process = start(work, str(out), 8)
    process.join()
    assert process.exitcode == 0
    assert_published(out, undisturbed[0])
