"""A run killed while slides lie on its stage: the next one cleans up after it, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.oracle import draw_cells, write_oracle_slide

pytestmark = pytest.mark.fault


def start(*folders: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.stage_child", *map(str, folders)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def test_what_a_killed_run_staged_is_removed_by_the_next(tmp_path: Path) -> None:
    slides, out, stage = tmp_path / "in", tmp_path / "out", tmp_path / "stage"
    slides.mkdir()
    stage.mkdir()
    (stage / "mine.tif").write_bytes(b"not pbsbatch's")
    for number in range(3):
        write_oracle_slide(slides / f"{number}.tif", draw_cells(900, 800, 100, seed=number))
    killed = start(slides, out, stage)
    until = time.monotonic() + 120
    while not list(stage.glob("pbsbatch-stage-*/*/*.tif")):
        assert time.monotonic() < until, "nothing was staged"
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.005)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    (dead,) = stage.glob("pbsbatch-stage-*")
    assert list(dead.rglob("*.tif"))

    text, _ = start(slides, out, stage).communicate(timeout=200)
    assert text.strip().endswith("ok,ok,ok"), text
    assert [path.name for path in stage.iterdir()] == ["mine.tif"]
    assert (stage / "mine.tif").read_bytes() == b"not pbsbatch's"
