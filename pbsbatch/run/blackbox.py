"""What a dead worker leaves behind: why it died, as far as anything can tell.

A worker opens its black box before its first task. The interpreter writes there when it meets a fatal
signal, and when nothing came to an end for too long: a timer of its own, which works even where a
library holds everything up, then ends the process. A worker that is killed from outside writes nothing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pbsbatch.disk import make_folder

__all__ = ["BlackBox", "cause_of_death", "offer_to_die_first", "oom_kills"]

_FRAME = re.compile(r'File "[^"]*?([^/"]+)", line (\d+) in (\S+)')
_OWN = re.compile(r'File "[^"]*/(pbsbatch(?:_kernels)?/[^"]+)", line (\d+) in (\S+)')
_MOST = 1 << 16
_FAREWELL = "Ended itself: "


class BlackBox:
    """A worker's side. Law: while a task is at work, the process ends itself after `patience` seconds without news."""

    def __init__(self, folder: Path, address: str, patience: float) -> None:
        make_folder(folder)
        self.patience, self.tasks, self.lock = patience, 0, threading.Lock()
        self.file: IO[bytes] = _box(folder, address).open("wb")
        faulthandler.enable(self.file, all_threads=False)

    def farewell(self, why: str) -> None:
        """Leave the reason behind for which this process is about to end itself."""
        self.file.write(f"{_FAREWELL}{why[:500]}\n".encode())
        self.file.flush()

    def news(self) -> None:
        """Take note that work goes on."""
        faulthandler.dump_traceback_later(self.patience, exit=True, file=self.file)

    @contextlib.contextmanager
    def task(self) -> Iterator[None]:
        """Watch a task."""
        with self.lock:
            self.tasks += 1
        self.news()
        try:
            yield
        finally:
            with self.lock:
                self.tasks -= 1
                if self.tasks == 0:
                    faulthandler.cancel_dump_traceback_later()


def _box(folder: Path, address: str) -> Path:
    return folder / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}.txt"


def cause_of_death(folder: Path, address: str, *, patience: float, out_of_memory: bool) -> str:
    """Say why the worker at an address died, and remove its box."""
    path = _box(folder, address)
    try:
        with path.open("rb") as file:
            text = file.read(_MOST).decode("utf-8", "replace")
        path.unlink()
    except OSError:
        text = ""
    fatal = re.search(r"Fatal Python error: ([A-Za-z -]{1,40})", text)
    frame = _OWN.search(text) or _FRAME.search(text)
    where = f" in {frame[3]} ({frame[1]}:{frame[2]})" if frame else ""
    if text.startswith(_FAREWELL):
        return text.removeprefix(_FAREWELL).split("\n", 1)[0]
    if fatal:
        return f"{fatal[1].strip().lower()}{where}"
    if text.startswith("Timeout"):
        return f"no progress for {patience:g} s{where}"
    if out_of_memory:
        return "out of memory: the system killed it"
    return "it was killed from outside, or its connection was lost"


def offer_to_die_first() -> None:
    """Ask the kernel to take this process before the driver, should memory run out: a worker costs its bundle alone."""
    with contextlib.suppress(OSError):  # where that may not be said, the larger process goes, which is mostly a worker
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def oom_kills() -> int:
    """Return how often the kernel killed for want of memory, on this machine or in this control group."""
    count = 0
    with contextlib.suppress(OSError):
        count += _named(Path("/proc/vmstat").read_text(encoding="ascii"), "oom_kill")
    for group in _groups():
        with contextlib.suppress(OSError):
            count += _named(group.read_text(encoding="ascii"), "oom_kill")
    return count


def _named(text: str, name: str) -> int:
    return sum(int(words[1]) for line in text.splitlines() if (words := line.split()) and words[0] == name)


def _groups() -> list[Path]:
    """Return the files in which this process's control group counts kills, of either version."""
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                found.append(Path("/sys/fs/cgroup", path.lstrip("/"), "memory.events"))
            elif "memory" in controllers.split(","):
                found.append(Path("/sys/fs/cgroup/memory", path.lstrip("/"), "memory.oom_control"))
    return found
