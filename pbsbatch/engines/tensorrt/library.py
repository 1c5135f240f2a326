"""Which TensorRT is here: the full library or TensorRT-RTX, behind one object with the calls that both have.

Laws. No library is imported before the caller has asked the driver for GPUs, but to build or to test. Versions outside
the known ones are refused: an open bound once turned fp16 into silent fp32. The library keeps the first logger that it
is given for as long as the process lives, so there is one of ours, and nothing it says is printed.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pbsbatch.errors import EngineError, one_line

__all__ = ["BOUNDS", "Library", "Log", "find_library"]

BOUNDS: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "tensorrt": ((10, 3), (12, 0)),
    "tensorrt_rtx": ((1, 7), (1, 8)),
}
"""Module -> the first version that has every call used here, and the first one that nobody has tried."""
KEPT = 6
_NO_DRIVER = re.compile(r"cudaError \d+|CUDA driver version is insufficient|checkMacros\.cpp::catchCudaError")


class Log:
    """What the library said last, errors only."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT)

    def note(self, text: str) -> None:
        """Keep an error."""
        self._lines.append(one_line(text))

    def take(self) -> str:
        """Return what was said since the last call, on one line; what is wrong with the network comes first."""
        lines, self._lines = list(self._lines), deque(maxlen=KEPT)
        lines.sort(key=lambda line: _NO_DRIVER.search(line) is not None)
        return "; ".join(dict.fromkeys(lines))[:500] or "it gave no reason"


@dataclass(frozen=True, slots=True)
class Library:
    """A TensorRT library, checked and with our logger in it."""

    trt: Any
    name: str
    version: str
    log: Log
    logger: Any

    @property
    def times(self) -> bool:
        """Say whether it times kernels at building and can keep the times: TensorRT-RTX does neither."""
        return self.name == "tensorrt"

    def told(self) -> str:
        """Return the library's last words."""
        return self.log.take()


@functools.cache
def find_library() -> Library:
    """Return the library that is installed, the full one if both are."""
    names = [name for name in BOUNDS if find_spec(name) is not None]
    if not names:
        raise EngineError(
            "TensorRT is not installed", cure="Run: pip install 'pbsbatch[tensorrt]' (or [trt-rtx] for a GeForce RTX)"
        )
    return wrap(names[0])


def wrap(name: str, load: Callable[[str], Any] = importlib.import_module) -> Library:
    """Import a library and hold its version against the known ones."""
    try:
        trt = load(name)
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(f"{name} cannot be loaded: {one_line(error)}", cure="Install it again") from error
    version = str(trt.__version__)
    least, limit = BOUNDS[name]
    if not least <= _first_two(version) < limit:
        raise EngineError(
            f"{name} {version} is not one of the versions known here, {_dotted(least)} to below {_dotted(limit)}",
            cure=f"Run: pip install '{name.replace('_', '-')}>={_dotted(least)},<{_dotted(limit)}'",
        )
    log = Log()
    return Library(trt, name, version, log, _logger(trt, log))


def _logger(trt: Any, log: Log) -> Any:
    """Return a logger of the library's own kind that keeps errors."""
    serious = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in serious:
                log.note(msg)

    return Logger()


def _first_two(version: str) -> tuple[int, int]:
    parts = re.findall(r"\d+", version)[:2]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 else (0, 0)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
