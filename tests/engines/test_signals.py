"""A process that has run a network still takes signals: its own, its children's, Ctrl-C."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pbsbatch.models.folder import ModelFolder

SIGNAL = """
import faulthandler, gc, os, signal, sys, threading
from pathlib import Path
import numpy as np
from pbsbatch.engines.openvino import OpenVINOEngine
from pbsbatch.models.folder import read_folder
faulthandler.enable()  # signals are handled on a stack of their own from here on
signal.signal(signal.SIGUSR1, lambda *_: print("taken"))
tiles = np.zeros((1, 32, 32, 3), np.uint8)
def run():
    engine = OpenVINOEngine(read_folder(Path(sys.argv[1])), "fp32", threads=1)
    engine(tiles)
    return [engine]
if sys.argv[2] == "quantise":
    from tests.engines.tiny import tiny_int8
    tiny_int8()
held = run()
closing = threading.Thread(target=held.clear)
closing.start()
closing.join()
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.parametrize("first", ["run", "quantise"])
def test_a_signal_after_a_network_was_let_go_of_is_taken(folder: ModelFolder, first: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL, str(folder.path), first],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["taken"]), done.stderr


def test_there_is_one_core_for_all() -> None:
    root = Path(__file__).parents[2]
    files = [path for part in ("pbsbatch", "tests", "benchmarks") for path in (root / part).rglob("*.py")]
    assert len(files) > 300
    makers = [path.name for path in files if "ov.Core" + "(" in path.read_text(encoding="utf-8")]
    assert makers == ["openvino.py"]
