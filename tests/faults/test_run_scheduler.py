"""A cluster that is already there, and a driver that dies before its workers."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from tests.faults.processes import ROOT, completed, running
from tests.oracle import draw_cells, write_oracle_slide

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]


def start(*arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]], text=True, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip


class Cluster:
    """A scheduler and workers in processes of their own, as `dask scheduler` and `dask worker` start them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        scheduler = start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        self.processes = [scheduler]
        assert scheduler.stdout is not None
        found = None
        while found is None:
            line = scheduler.stdout.readline()
            assert line, "the scheduler ended"
            found = re.search(r"(tcp://127\.0\.0\.1:\d+)", line)
        self.address = found[1]

    def add_worker(self) -> None:
        place = self.folder / f"worker-{len(self.processes)}"
        place.mkdir()
        self.processes.append(
            start(
                "dask_worker",
                self.address,
                "--nthreads",
                "1",
                "--no-nanny",
                "--no-dashboard",
                "--local-directory",
                str(place),
            )
        )

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.communicate()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with contextlib.closing(Cluster(tmp_path)) as cluster:
        cluster.add_worker()
        yield cluster


def draw(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    folder.mkdir()
    for number, (width, height) in enumerate(sizes):
        write_oracle_slide(folder / f"{number}.tif", draw_cells(width, height, width * height // 3000, seed=number))
    return folder


def test_workers_that_outlive_their_driver_publish_nothing(cluster: Cluster, tmp_path: Path) -> None:
    slides, out = draw(tmp_path / "in", [(400, 400)] * 8), tmp_path / "out"
    with running(slides, out, scheduler=cluster.address, engine="load_slow_engine") as run:
        assert run.wait_until_started()
        until = time.monotonic() + 200
        while not published(out):
            assert time.monotonic() < until, "nothing was published"
            time.sleep(0.02)
        run.kill()
        there = published(out)
        assert len(there) < 8, "the run was over before it was killed"
    time.sleep(6)  # the worker goes on with its bundle: no task of a client that vanished is interrupted
    # at most the one that was on its way through the turnstile when the driver died
    assert len(published(out)) <= len(there) + 1
    code, said = completed(slides, out, scheduler=cluster.address)
    assert code == 0, said
    assert {path: inode for path, inode in published(out).items() if path in there} == there
    assert len(published(out)) == 8
    assert not (out / "slides" / ".work").exists()


def test_a_worker_that_joins_late_gets_work(cluster: Cluster, tmp_path: Path) -> None:
    """Also where one worker could have been given all of a single slide that nobody knows the speed of."""
    slides, out = draw(tmp_path / "in", [(1100, 800)]), tmp_path / "out"
    with running(slides, out, scheduler=cluster.address, engine="load_slow_engine") as run:
        assert run.wait_until_started()
        cluster.add_worker()
        code, said = run.ended()
    assert code == 0, said
    with Client(cluster.address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        ran: dict[str, int] = client.run(tasks_run)
    assert len(ran) == 2
    assert min(ran.values()) > 1, "one may have been the slide's commit"


def tasks_run(dask_worker: Any) -> int:
    """Return how many tasks a worker has run."""
    count: int = dask_worker.state.executed_count
    return count


def published(out: Path) -> dict[str, int]:
    return {p.name: p.stat().st_ino for p in (out / "slides").glob("*.zarr")}
