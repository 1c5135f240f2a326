"""Signals: one lets what is in flight end, a second one does not wait for it; either way the next run goes on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.faults.processes import completed, running
from tests.oracle import draw_cells, write_oracle_slide

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]
SLIDES = 16
"""In one bundle, of more than half a second of processor time each, and each so large that it is a batch of its own."""


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fields")
    for number in range(SLIDES):
        write_oracle_slide(root / f"{number:02}.tif", draw_cells(1500, 1450, 5, seed=number))
    return root


def stores(out: Path) -> dict[str, int]:
    return {p.name: p.stat().st_ino for p in (out / "slides").glob("*.zarr")}


def test_a_second_signal_does_not_wait_for_what_is_in_flight(slides: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with running(slides, out, workers=1, core=1500, engine="load_slow_engine") as run:
        assert run.wait_until_started()
        until = time.monotonic() + 120
        while not stores(out):
            assert time.monotonic() < until, "nothing was published"
            time.sleep(0.02)
        run.process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        assert run.process.poll() is None, "it did not wait for its bundle"
        run.process.send_signal(signal.SIGHUP)
        code, said = run.ended()
        assert not run.workers(), "a worker goes on"
    assert code == 130
    assert said["stopped"] == "interrupted by SIGTERM"
    there = stores(out)
    assert 0 < len(there) < SLIDES, "the bundle in flight was waited for"
    assert [status for status, _ in said["results"].values()].count("ok") <= len(there)
    assert [status for status, _ in said["results"].values()].count("failed") == 0

    code, said = completed(slides, out, workers=1, core=1500)
    assert code == 0, said
    assert there.items() <= stores(out).items(), "a committed slide was made again"
    assert len(stores(out)) == SLIDES
    assert not (out / "slides" / ".work").exists()
