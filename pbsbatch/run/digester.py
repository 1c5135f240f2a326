"""A process of the lowest priority that digests slides whose bytes nobody has read as a whole.

Law: it is never waited for but for a moment at the end of a run, it ends with its driver however that dies,
and it opens slides for reading alone. Slides are asked for when they are done: then the disk has them at hand.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from multiprocessing.connection import Connection
from pathlib import Path

from pbsbatch.run.blackbox import offer_to_die_first
from pbsbatch.run.slide_digest import SlideDigest, digest_slide, hint_of
from pbsbatch.slides.files import slide_files

__all__ = ["Digester"]

LOWEST = 19
AHEAD = 8
SECONDS_TO_END = 5.0


class Digester:
    """The driver's side: ask, look what came back, and wait a little at the end."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, os.getpid()), daemon=True, name="pbsbatch-digests")
        self._process.start()
        there.close()
        self._queue: deque[tuple[str, Path, str | None]] = deque()
        self._sent = 0

    @property
    def waiting(self) -> int:
        """Return how many slides were asked for and not answered."""
        return len(self._queue) + self._sent

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def ask(self, slide_id: str, path: Path, hint: str | None) -> None:
        """Ask for a slide's digest; with a hint that still holds, the answer comes without reading it. Never waits."""
        self._queue.append((slide_id, path, hint))

    def answers(self, seconds: float = 0.0) -> list[tuple[str, SlideDigest | str | None]]:
        """Return what came back: a digest, the hint that still holds, or None; wait at most so long for all."""
        until = time.monotonic() + seconds
        found = []
        try:
            self._send()
            while self.waiting and self._here.poll(max(0.0, until - time.monotonic())):
                found.append(self._here.recv())
                self._sent -= 1
                self._send()
        except (
            EOFError,
            OSError,
        ):  # the process is gone, as when memory is short: digests stay unknown
            self._queue.clear()
            self._sent = 0
        return found

    def _send(self) -> None:
        """Keep the process busy; a pipe that it does not empty would hold up the driver."""
        while self._queue and self._sent < AHEAD:
            self._here.send(self._queue.popleft())
            self._sent += 1

    def close(self) -> None:
        """End the process, whatever it is reading; one that a dead share holds is left behind."""
        self._process.kill()
        self._process.join(SECONDS_TO_END)
        self._here.close()


def _work(asked: Connection, parent: int) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all; the driver decides
    os.nice(LOWEST)
    offer_to_die_first()

    def alive(_: int) -> None:
        if os.getppid() != parent:
            raise SystemExit

    while True:
        try:
            slide_id, path, hint = asked.recv()
        except (EOFError, OSError):
            return
        answer: SlideDigest | str | None = None
        with contextlib.suppress(OSError):  # it cannot be read: the run says why
            answer = hint if hint is not None and hint_of(slide_files(path)) == hint else digest_slide(path, alive)
        asked.send((slide_id, answer))
