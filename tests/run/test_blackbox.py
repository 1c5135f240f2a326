"""Why a worker died: told by what it left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pbsbatch.run.blackbox import cause_of_death, oom_kills

ADDRESS = "tcp://127.0.0.1:12345"
DIE = """
import ctypes, os, signal, sys, time
from pathlib import Path
from pbsbatch.run.blackbox import BlackBox
box = BlackBox(Path(sys.argv[1]), sys.argv[2], 1.0)
with box.task():
    match sys.argv[3]:
        case "segfault": ctypes.string_at(0)
        case "abort": os.abort()
        case "hang": ctypes.PyDLL(None).sleep(60)
        case "kill": os.kill(os.getpid(), signal.SIGKILL)
        case "fine":
            for _ in range(4):
                time.sleep(0.5)
                box.news()
time.sleep(2)
"""


def end(folder: Path, how: str) -> int:
    return subprocess.run([sys.executable, "-c", DIE, str(folder), ADDRESS, how], check=False, timeout=60).returncode


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("segfault", "segmentation fault"),
        ("abort", "aborted"),
        ("hang", "no progress for 1 s"),
        ("kill", "killed from outside, or its connection was lost"),
    ],
)
def test_the_cause_is_told(tmp_path: Path, how: str, said: str) -> None:
    assert end(tmp_path / "boxes", how) != 0
    assert said in cause_of_death(tmp_path / "boxes", ADDRESS, patience=1.0, out_of_memory=False)
    assert list((tmp_path / "boxes").iterdir()) == []


def test_a_silent_death_while_the_system_killed_for_memory_is_out_of_memory(tmp_path: Path) -> None:
    assert "out of memory" in cause_of_death(tmp_path, ADDRESS, patience=1.0, out_of_memory=True)
    assert oom_kills() >= 0


def test_work_that_goes_on_and_workers_without_work_are_left_alone(tmp_path: Path) -> None:
    assert end(tmp_path, "fine") == 0
