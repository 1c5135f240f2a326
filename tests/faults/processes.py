"""Real runs in processes of their own, to be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

CHILD = Path(__file__).with_name("run_child.py")
ROOT = CHILD.parents[2]


class Run:
    """One driver process with its workers."""

    def __init__(self, slides: Path, out: Path, *, group: str | None = None, **settings: Any) -> None:
        given = {"input": str(slides), "output": str(out), "core": 128, "workers": 2, **settings}
        paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "tests.faults.run_child", json.dumps(given)]
        if group is not None:  # enter a control group first
            command = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', group, *command]
        self.process = subprocess.Popen(
            command, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": paths},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.lines = self.process.stdout

    def wait_until_started(self) -> bool:
        """Return whether work began; False where the run ended before."""
        return self.lines.readline().strip() == "started"

    def workers(self) -> list[psutil.Process]:
        """Return the processes that compute."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [c for c in children if _is_worker(c)]
        return []

    def kill(self) -> None:
        """Kill the driver; its workers notice by themselves."""
        self.process.kill()
        self.process.communicate()

    def ended(self, timeout: float = 120) -> tuple[int, dict[str, Any]]:
        """Wait for the end; return the exit code and what the run said."""
        text, _ = self.process.communicate(timeout=timeout)
        lines = text.strip().splitlines()
        assert lines and lines[-1].startswith("{"), text
        return self.process.returncode, json.loads(lines[-1])


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "spawn_main" in " ".join(process.cmdline())
    return False


@contextlib.contextmanager
def running(slides: Path, out: Path, **settings: Any) -> Iterator[Run]:
    """Start a run, and leave no process of it behind."""
    run = Run(slides, out, **settings)
    try:
        yield run
    finally:
        children: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(run.process.pid).children(recursive=True)
        if run.process.poll() is None:
            run.process.kill()
            run.process.communicate()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        run.lines.close()


def completed(slides: Path, out: Path, **settings: Any) -> tuple[int, dict[str, Any]]:
    """Run to the end, waiting for what a killed driver left to let go of the folder."""
    for _ in range(100):
        with running(slides, out, **settings) as run:
            run.process.wait(timeout=600)  # the first run on a machine compiles kernels
            if run.process.returncode == 4:
                time.sleep(0.2)
                continue
            return run.ended()
    raise AssertionError("the folder stays locked")


def kill_process(process: psutil.Process) -> bool:
    """Kill with SIGKILL; say whether there was something to kill."""
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    return True
