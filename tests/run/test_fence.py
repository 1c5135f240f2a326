"""The fence: only a worker whose driver lives, and still holds the folder, may publish."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pbsbatch.errors import OutputError
from pbsbatch.run.fence import Fence, turnstile
from pbsbatch.run.output import MARKER, locked

PUBLISH = """
import sys
from pathlib import Path
from pbsbatch.errors import OutputError
from pbsbatch.run.fence import Fence
try:
    with Fence(Path(sys.argv[1]), sys.argv[2])():
        print("published")
except OutputError as error:
    print(error)
"""


def publish(out: Path, token: str) -> str:
    """Try to publish from another process, as a worker does."""
    command = [sys.executable, "-c", PUBLISH, str(out / MARKER / "lock"), token]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_worker_publishes_while_its_driver_holds_the_folder(tmp_path: Path) -> None:
    with locked(tmp_path) as token:
        assert publish(tmp_path, token) == "published\n"
        assert "has ended" in publish(tmp_path, "another run's token")
    assert "has ended" in publish(tmp_path, token)  # the driver is gone; its token still stands there
    with locked(tmp_path) as later:
        assert later != token
        assert "has ended" in publish(tmp_path, token)


def test_a_folder_without_a_lock_belongs_to_nobody(tmp_path: Path) -> None:
    (tmp_path / MARKER).mkdir()
    with pytest.raises(OutputError, match="has ended"), Fence(tmp_path / MARKER / "lock", "t")():
        raise AssertionError("published")


def test_a_run_that_takes_over_waits_for_one_who_is_publishing(tmp_path: Path) -> None:
    (tmp_path / MARKER).mkdir()
    order: list[str] = []

    def take_over() -> None:
        with locked(tmp_path):
            order.append("taken over")

    with turnstile(tmp_path / MARKER, alone=False):
        thread = threading.Thread(target=take_over)
        thread.start()
        time.sleep(0.3)
        order.append("published")
    thread.join()
    assert order == ["published", "taken over"]
